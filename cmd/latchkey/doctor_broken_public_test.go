package main

import (
	"io"
	"net/http"
	"strings"
	"time"
)

var notFound = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "<h1>It works!</h1>", http.StatusNotFound)
})

var brokenPublicURLs = []setup{
	{id: "server_not_running", make: func(*world) {}},
	{id: "server_not_ready", make: func(w *world) { w.site(w.listen, newFront()) }},
	{id: "server_other_configuration", make: func(w *world) {
		w.serve()
		w.set("LATCHKEY_PUBLIC_URL", strings.Replace(w.env["LATCHKEY_PUBLIC_URL"], "127.0.0.1", "localhost", 1))
	}},
	{id: "server_clock", make: clockIs(2 * time.Minute)},
	{id: "server_clock", make: clockIs(-20 * time.Minute)},
	{id: "public_url_no_host", make: envIs("LATCHKEY_PUBLIC_URL", "https://latchkey.invalid")},
	{id: "public_url_certificate", make: func(w *world) {
		w.serveBehind(proxyGood)
		w.change = func(d *doctor) { d.roots = nil }
	}},
	{id: "public_url_certificate", make: func(w *world) {
		w.useTLS(w.certificate("localhost", time.Now().Add(-time.Hour)))
		w.serve()
	}, with: []string{"certificate_expired"}},
	{id: "public_url_no_tls", make: func(w *world) {
		w.serve()
		w.set("LATCHKEY_PUBLIC_URL", "https://"+w.listen)
	}},
	{id: "public_url_unreachable", make: func(w *world) {
		w.serve()
		w.set("LATCHKEY_PUBLIC_URL", "http://"+freeAddress(w.t))
	}},
	{id: "public_url_hairpin", make: func(w *world) {
		w.set("LATCHKEY_PUBLIC_URL", "https://192.0.2.10")
		w.serve()
		w.unreachable("192.0.2.10")
	}},
	{id: "public_url_leads_on", make: func(w *world) { w.nginx("return 301 https://id.example.org$request_uri;") }},
	{id: "public_url_other_server", make: func(w *world) {
		w.serve()
		address := freeAddress(w.t)
		w.site(address, notFound)
		w.set("LATCHKEY_PUBLIC_URL", "http://"+address)
	}},
	{id: "public_url_other_server", make: func(w *world) { // another Latchkey
		w.run("user", "list")
		other := newWorld(w.t)
		other.serve()
		w.set("LATCHKEY_PUBLIC_URL", other.env["LATCHKEY_PUBLIC_URL"])
	}},
	{id: "public_url_other_database", make: func(w *world) { // a copy for trying things out, with the same secret
		w.set("JWT_SECRET_KEY", rootSecret)
		w.run("user", "list")
		copied := newWorld(w.t)
		copied.set("JWT_SECRET_KEY", rootSecret)
		copied.serve()
		w.set("LATCHKEY_PUBLIC_URL", copied.env["LATCHKEY_PUBLIC_URL"])
	}},
	{id: "proxy_finds_no_server", make: func(w *world) {
		w.nginx("proxy_pass http://" + freeAddress(w.t) + ";")
		w.serve()
	}},
	{id: "proxy_forwarded_for", make: func(w *world) { w.serveBehind(proxyProto + proxyHost) }},
	{id: "proxy_forwarded_for", make: func(w *world) { w.serveBehind(`proxy_set_header X-Forwarded-For "";` + proxyProto + proxyHost) }},
	{id: "proxy_forwarded_proto", make: func(w *world) { w.serveBehind(proxyFor + proxyHost) }},
	{id: "proxy_other_proto", make: func(w *world) { w.serveBehind(proxyFor + proxyHost + "proxy_set_header X-Forwarded-Proto http;") }},
	{id: "proxy_other_host", make: func(w *world) { w.serveBehind(proxyFor + proxyProto) }},
	{id: "trusted_proxies_missing", make: func(w *world) {
		w.nginx(proxyGood)
		w.serve()
	}},
}

// serveBehind runs the server behind a real nginx that it trusts.
func (w *world) serveBehind(location string) {
	w.t.Helper()
	w.nginx(location)
	w.yaml = "trusted_proxies: [127.0.0.1]\n" + w.yaml
	w.serve()
}

// clockIs is a set-up where the doctor's clock is another than the server's.
func clockIs(ahead time.Duration) func(*world) {
	return func(w *world) {
		w.serve()
		w.change = func(d *doctor) { d.now = func() time.Time { return time.Now().Add(ahead) } }
	}
}

// cut takes connections and cuts them.
var cut = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
})
