package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// reloadable is a setting that takes effect by a reload, as it can be seen from
// outside.
type reloadable struct {
	key        string // as the log names it
	was, is    string // YAML
	wrong      string // YAML that is refused, with a mention of the key
	look       func() string
	looked, to string // what look gives, before and after
}

// reloadables are settings of a program; those of providers come first, since they go
// on with a list.
func (x *watchedWorld) reloadables() []reloadable {
	second := providertest.Start(x.t, providertest.Config{Clients: []providertest.Client{{ID: "old"}, {ID: "new"}}})
	provider := func(issuer, client string) string {
		return fmt.Sprintf("  - {id: second, name: Second, issuer: %q, client_id: %s, client_secret: a secret of a test}\n", issuer, client)
	}
	rule := func(policy string) string {
		return "forward_auth: {rules: [{hosts: [wiki.example.org], policy: " + policy + "}]}\n"
	}
	n := 0
	return []reloadable{
		{
			"providers.second", provider(second.Issuer(), "old"), provider(second.Issuer(), "new"), provider("no address", "new"),
			x.clientAt("second"), "old", "new",
		},
		{
			"trusted_proxies", "trusted_proxies: [127.0.0.1]\n", "trusted_proxies: [127.0.0.1, 192.0.2.9]\n", "trusted_proxies: [127.0.0.1, proxy]\n",
			func() string { // whom it takes a failed login to be of
				n++
				name := fmt.Sprint("nobody", n)
				x.asks(http.MethodPost, "/login", fmt.Sprintf(`{"username":%q,"password":"a guess"}`, name), "Content-Type", "application/json", "X-Forwarded-For", "198.51.100.7, 192.0.2.9")
				return x.log.find(x.t, `"remote_ip":"([^"]+)","username":"`+name+`"`)
			}, "192.0.2.9", "198.51.100.7",
		},
		{
			"cors_origins", "cors_origins: [https://old.example.org]\n", "cors_origins: [https://new.example.org]\n", "cors_origins: [new.example.org]\n",
			func() string { // whose scripts may read an answer
				allowed := ""
				for _, origin := range []string{"https://old.example.org", "https://new.example.org"} {
					allowed += x.asks(http.MethodGet, "/status", "", "Origin", origin).Header.Get("Access-Control-Allow-Origin")
				}
				return allowed
			}, "https://old.example.org", "https://new.example.org",
		},
		{
			"forward_auth.rules", rule("allow"), rule("deny"), rule("perhaps"),
			func() string { // whether an app lets anybody in
				return x.asks(http.MethodGet, "/forward-auth", "", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "wiki.example.org", "X-Forwarded-Uri", "/", "X-Forwarded-Method", "GET").Status
			}, "200 OK", "403 Forbidden",
		},
	}
}

// clientAt is who the program says to be at a provider.
func (x *watchedWorld) clientAt(provider string) func() string {
	return func() string {
		x.t.Helper()
		to, err := newDemoBrowser().follow(x.t.Context(), x.base+"/auth/"+provider+"?callback="+url.QueryEscape(x.base+"/"))
		if err != nil {
			x.t.Fatal(err)
		}
		at, err := url.Parse(to)
		if err != nil {
			x.t.Fatal(err)
		}
		return at.Query().Get("client_id")
	}
}

// asks is one request; headers are pairs.
func (x *watchedWorld) asks(method, path, body string, headers ...string) *http.Response {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), method, x.base+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res
}

// What a reload changes can be seen from outside, of each setting; a file that is wrong
// in one of them changes none.
func TestReloadTakesEffectWholeOrNotAtAll(t *testing.T) {
	x := prepareWorld(t, "", nil)
	list := x.reloadables()
	file := func(of func(i int, r reloadable) string) (text string) {
		for i, r := range list {
			text += of(i, r)
		}
		return text
	}
	in := func(when string, want func(reloadable) string) {
		t.Helper()
		for _, r := range list {
			if got := r.look(); got != want(r) {
				t.Errorf("%s: %s gives %q, want %q", when, r.key, got, want(r))
			}
		}
	}
	was, is := func(r reloadable) string { return r.looked }, func(r reloadable) string { return r.to }
	x.write(file(func(_ int, r reloadable) string { return r.was }))
	x.start()
	in("at the start", was)
	keys := []string{}
	for wrong, bad := range list {
		keys = append(keys, bad.key)
		x.write(file(func(i int, r reloadable) string {
			if i == wrong {
				return r.wrong
			}
			return r.is
		}))
		line := x.hangUp()
		named, _, _ := strings.Cut(bad.key, ".")
		if said, _ := line["error"].(string); line["event"] != "config.refused" || !strings.Contains(said, named) {
			t.Errorf("a wrong %s: %v", bad.key, line)
		}
		in("after a wrong "+bad.key, was)
	}
	x.write(file(func(_ int, r reloadable) string { return r.is }))
	line := x.hangUp()
	got := changedIn(line)
	slices.Sort(got)
	slices.Sort(keys)
	if line["event"] != "config.reloaded" || !slices.Equal(got, keys) {
		t.Errorf("%v, want %v", line, keys)
	}
	in("after the reload", is)
}
