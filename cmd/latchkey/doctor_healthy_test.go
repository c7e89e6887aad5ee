package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/providers/smtp"
	"github.com/latchkey-id/latchkey/test/mail"
	"github.com/latchkey-id/latchkey/test/proc"
)

// healthy are set-ups without a fault, by what they have.
var healthy = map[string]func(*world){
	"nothing yet":         func(*world) {},
	"stopped, with users": func(w *world) { w.run("user", "list") },
	"running, with a provider": func(w *world) {
		w.idp("")
		w.serve()
	},
	"behind nginx": func(w *world) {
		w.nginx(proxyGood)
		w.idp(", link_by: verified_email")
		w.yaml = "trusted_proxies: [127.0.0.1, 10.0.0.0/8]\ncors_origins: ['https://app.example.org']\n" + w.yaml
		w.serve()
	},
	"forward auth behind nginx": func(w *world) {
		w.nginx(proxyGood)
		w.yaml = `trusted_proxies: [127.0.0.1]
forward_auth:
  rules:
  - {hosts: [wiki.example.org], paths: [/health, /public/*], policy: allow}
  - {hosts: [wiki.example.org], paths: [/api/*], policy: key, scopes: [wiki]}
  - {hosts: [wiki.example.org, '*.apps.example.org'], policy: login, groups: [staff]}
`
		w.serve()
	},
	"TLS of its own": func(w *world) {
		w.useTLS(w.certificate("localhost", time.Now().Add(60*24*time.Hour)))
		w.serve()
	},
	"mail and Redis": func(w *world) {
		w.useMail()
		w.useRedis()
		w.serve()
	},
	"PostgreSQL, not used yet": onPostgres(nil),
	"PostgreSQL, running": func(w *world) {
		w.usePostgres(nil)
		w.idp("").Script(func(s *providertest.Script) { s.SignAlg = providertest.AlgES256 })
		w.serve()
	},
	"PostgreSQL behind a transaction pooler": func(w *world) {
		w.usePostgres(func(u *url.URL) { u.RawQuery += "&binary_parameters=yes" })
		w.run("user", "list")
	},
	"two replicas, with everything": func(w *world) {
		w.usePostgres(nil)
		w.useMail()
		w.useRedis()
		w.idp("")
		w.yaml += "metrics: {listen: '127.0.0.1:0'}\n"
		w.serve()
		first := w.env["LATCHKEY_LISTEN"]
		w.set("LATCHKEY_LISTEN", freeAddress(w.t))
		w.serve()
		w.set("LATCHKEY_LISTEN", first)
	},
}

// useMail gives the installation a real mail server, which asks who it is.
func (w *world) useMail() {
	w.t.Helper()
	server := mail.Start(w.t, smtp.StartTLS, true)
	w.yaml += fmt.Sprintf("smtp: {host: 127.0.0.1, port: %d, tls: starttls, ca_file: '%s', username: %s, password: %s, from: login@example.org}\n",
		server.Port, w.write("mail.pem", server.Cert, 0o644), mail.User, mail.Password)
}

// useRedis gives it a real Redis.
func (w *world) useRedis() {
	w.t.Helper()
	redis := proc.NewRedis(w.t)
	redis.Start()
	w.set("LATCHKEY_REDIS_URL", redis.URL())
}

// Healthy set-ups are left in peace, whether the server runs or not.
func TestDoctorIsSilentAboutHealthyOnes(t *testing.T) {
	for name, prepare := range healthy {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			prepare(w)
			d := w.examine()
			got := slices.DeleteFunc(d.ids(levelFault, levelWarning, levelNote), func(id string) bool { return id == "server_not_running" })
			if len(got) > 0 || d.Result != "ok" {
				var out strings.Builder
				d.print(&out)
				t.Errorf("found %v\n%s", got, out.String())
			}
			has := map[string]bool{
				"mail": strings.Contains(w.yaml, "smtp:"), "redis": w.env["LATCHKEY_REDIS_URL"] != "", "tls": w.env["LATCHKEY_TLS_CERT_FILE"] != "",
				"providers": strings.Contains(w.yaml, "providers:"), "proxy": strings.Contains(w.yaml, "trusted_proxies:"),
			}
			for _, a := range d.Areas {
				if has[a.Area] && a.Result != "ok" {
					t.Errorf("%s is %s", a.Area, a.Result)
				}
			}
		})
	}
}
