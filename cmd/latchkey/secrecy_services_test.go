package main

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/smtp"
	"github.com/latchkey-id/latchkey/test/mail"
	"github.com/latchkey-id/latchkey/test/proc"
)

const tourRegistrationToken = "the token of those who register clients"

// secretServices are what the program logs in to, beside the identity provider.
type secretServices struct {
	mails *mail.Server
	redis *proc.Redis
	yaml  string
}

func newSecretServices(t *testing.T) *secretServices {
	t.Helper()
	s := &secretServices{mails: mail.Start(t, smtp.StartTLS, true), redis: proc.NewRedis(t)}
	s.redis.Start()
	ca := filepath.Join(t.TempDir(), "mail.pem")
	if err := os.WriteFile(ca, []byte(s.mails.Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	s.yaml = fmt.Sprintf("smtp: {host: 127.0.0.1, port: %d, tls: starttls, ca_file: %s, username: %s, password: %s, from: login@example.org}\n", s.mails.Port, ca, mail.User, mail.Password) +
		"trusted_proxies: [127.0.0.1]\nforward_auth: {rules: [{hosts: [wiki.example.org], policy: login}]}\n"
	return s
}

const boPassword = "a long passphrase of bo, the second"

// opens opens a password link, and gives its secret and what chooses a password there.
func (x *secretTour) opens(link string) (secret string, choose func(password string) answered) {
	x.t.Helper()
	l, browser := x.l, x.l.client(true)
	u, err := url.Parse(link)
	x.must2(err)
	if secret = u.Query().Get("token"); secret == "" {
		secret = u.Fragment
	}
	if len(secret) < 8 {
		x.t.Fatalf("no secret in %s", link)
	}
	l.note("a password link", secret)
	l.send(l.client(true), "GET", x.base+"/password?token="+url.QueryEscape(secret)+"x", nil)
	l.want(303, l.send(browser, "GET", u.String(), nil))
	page := l.want(200, l.send(browser, "GET", x.base+"/password", nil))
	fields := []string{}
	for _, m := range regexp.MustCompile(`type="hidden" name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(page.body, -1) {
		fields = append(fields, m[1], m[2])
	}
	return secret, func(password string) answered {
		return l.send(browser, "POST", x.base+"/password", append(fields, "password", password), ownPage...)
	}
}

// mailedLinks: an invitation and a forgotten password, by a mail server that asks who
// it is.
func (x *secretTour) mailedLinks() {
	l := x.l
	l.setting("smtp.password", mail.Password)
	mailed := func(n int) string {
		got := x.mails.To(x.t, "bo@example.org", n)[n-1]
		if got.User != mail.User {
			x.t.Fatalf("the program did not log in at the mail server: %+v", got)
		}
		_, link := got.Letter(x.t)
		return link
	}
	x.must("", "user", "invite", "bo", "--email", "bo@example.org", "--mail")
	_, choose := x.opens(mailed(1))
	l.want(400, choose("weak-one"))
	l.want(303, choose("the first passphrase of bo"))
	l.want(303, l.send(l.client(true), "POST", x.base+"/login/forgotten", []string{"account", "bo"}, ownPage...))
	_, choose = x.opens(mailed(2))
	l.want(303, choose(boPassword))
	l.want(400, choose(boPassword)) // once more
}

// secondFactors: an authenticator app, its codes and recovery codes, right and wrong.
func (x *secretTour) secondFactors() {
	l, browser := x.l, x.l.client(true)
	password := []string{"username", "bo", "password", boPassword}
	l.want(303, l.send(browser, "POST", x.base+"/login/password", password, ownPage...))
	typed, secret := enrolmentIn(x.t, l.want(200, l.send(browser, "POST", x.base+"/account/factors/totp", []string{"proof", boPassword}, ownPage...)).body)
	l.note("an authenticator app", typed)
	l.note("an authenticator app, in one", strings.ReplaceAll(typed, " ", ""))
	l.note("an authenticator app, in base64", base64.StdEncoding.EncodeToString(secret))
	step := func(of int64) string {
		code := codeOf(x.t, secret, of)
		l.noteCode("an authenticator app", code)
		return code
	}
	confirm := func(code string) answered {
		return l.send(browser, "POST", x.base+"/account/factors/totp/confirm", []string{"code", code}, ownPage...)
	}
	l.want(400, confirm(step(99)))
	shown := regexp.MustCompile(`(?s)id="recovery-codes"[^>]*>(.*?)</pre>`).FindStringSubmatch(l.want(200, confirm(step(0))).body)
	if shown == nil || len(strings.Fields(shown[1])) != 10 {
		x.t.Fatalf("no recovery codes: %v", shown)
	}
	recovery := strings.Fields(shown[1])
	for _, code := range recovery {
		l.note("a recovery code", code)
		l.note("a recovery code, in one", strings.ReplaceAll(code, "-", ""))
	}
	for _, right := range []string{step(1), recovery[0]} {
		browser := l.client(true)
		second := func(code string) answered {
			return l.send(browser, "POST", x.base+"/login/second", []string{"code", code}, ownPage...)
		}
		l.want(303, l.send(browser, "POST", x.base+"/login/password", password, ownPage...))
		l.want(401, second(step(98)))
		l.want(401, second("not-"+recovery[1]))
		l.want(303, second(right))
		l.want(200, l.send(browser, "GET", x.base+"/account", nil))
	}
}

// registrations: clients that register with the token for it, and without.
func (x *secretTour) registrations() {
	register := func(token string) answered {
		return x.l.sendBody(x.l.client(false), "POST", x.base+"/oauth2/register", `{"client_name":"Registered","redirect_uris":["https://registered.example.org/cb"]}`,
			"Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	x.l.setting("registration_token", tourRegistrationToken)
	x.l.want(401, register(tourRegistrationToken+"x"))
	x.l.want(201, register(tourRegistrationToken))
}

// appsBehindProxies: a browser on its way to an app behind a proxy, with the codes and
// the cookies that lead there.
func (x *secretTour) appsBehindProxies() {
	l, browser, start := x.l, x.l.client(true), len(x.l.secrets)
	behind := func(address string) answered { // what a proxy asks of us or passes on
		u, err := url.Parse(address)
		x.must2(err)
		return l.send(browser, "GET", x.base+u.RequestURI(), nil, "X-Forwarded-Proto", "http", "X-Forwarded-Host", "wiki.example.org", "X-Forwarded-Uri", "/page", "X-Forwarded-Method", "GET")
	}
	l.want(303, l.send(browser, "POST", x.base+"/login/password", []string{"username", "root", "password", x.admin}, ownPage...))
	begin := l.want(302, behind("/forward-auth?mode=redirect"))
	handover := l.want(302, behind(begin.to))
	base, err := url.Parse(x.base)
	x.must2(err)
	for _, c := range browser.Jar.Cookies(base) {
		if value, _, found := strings.Cut(c.Value, "."); found && strings.HasPrefix(c.Name, "latchkey_handover") {
			l.note("the handover to an app", value)
		}
	}
	back := l.want(303, l.send(browser, "GET", handover.to, nil))
	l.want(303, behind(back.to))
	l.want(200, behind("/forward-auth"))
	behind(back.to) // once more
	if got := len(l.secrets) - start; got < 5 {
		x.t.Errorf("only %d secrets on the way to an app", got)
	}
}

// redisGone: a login while Redis is dead, which the log tells of.
func (x *secretTour) redisGone() {
	x.l.setting("redis_url", proc.RedisPassword)
	conn, err := net.Dial("tcp", x.redis.Address)
	x.must2(err)
	defer conn.Close()
	x.must2(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	_, err = fmt.Fprintf(conn, "AUTH %s\r\nDBSIZE\r\n", proc.RedisPassword)
	x.must2(err)
	var ok string
	var keys int
	if _, err := fmt.Fscanf(conn, "%s\r\n:%d\r\n", &ok, &keys); err != nil || keys == 0 {
		x.t.Fatalf("Redis counts nothing for the program: %s %d %v", ok, keys, err)
	}
	x.redis.Stop()
	if app := x.app(); app.password(x.t.Context(), "root", "a wrong password while Redis is dead") == nil {
		x.t.Fatal("a wrong password logged in")
	}
	x.log.find(x.t, `"event":"(limiter\.alone)"`)
}

// newRootSecret starts the program anew with another root secret. The one of before
// stands among the previous ones, and its tokens count. It gives the metrics.
func (x *secretTour) newRootSecret(app *demoApp) string {
	x.t.Helper()
	raw, err := os.ReadFile(filepath.Join(x.env["LATCHKEY_DATA_DIR"], "secret.key"))
	x.must2(err)
	const fresh = "the root secret that came after the first one"
	x.l.setting("secret_key", fresh)
	x.env["JWT_SECRET_KEY"], x.env["JWT_SECRET_KEY_PREVIOUS"] = fresh, string(raw)
	x.start()
	x.must2(app.refreshTokens(x.t.Context()))
	x.must2(x.app().password(x.t.Context(), "root", x.admin))
	said := x.metrics()
	x.stop()
	return said
}
