package proxy

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// mallory is somebody who is logged in to the app.
func (w *world) mallory(t *testing.T) *http.Client {
	t.Helper()
	mallory, in := w.comesIn(t, "mallory", app, "/page?x=1&y=2")
	if !strings.HasPrefix(in.body, "GET /page app") || !strings.Contains(in.body, "remote-user: mallory\n") {
		t.Fatalf("not in: %d %s", in.status, in.body)
	}
	return mallory
}

// comesIn is a browser that opens a page of an app, is sent to the login, and comes back
// to the page as that user.
func (w *world) comesIn(t *testing.T, username, host, target string) (*http.Client, answer) {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	browser := w.client(jar)
	page := w.send(t, browser, "GET", host, target, "", "Accept", "text/html")
	if !strings.Contains(page.body, "Continue to "+host) {
		t.Fatalf("no login: %d %s", page.status, page.body)
	}
	form := url.Values{"username": {username}, "password": {harness.PasswordOf(username)}, "next": {next.FindStringSubmatch(page.body)[1]}}
	in := w.send(t, browser, "POST", "id.example.org", "/login/password", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if in.status != 200 {
		t.Fatalf("not in: %d %s", in.status, in.body)
	}
	return browser, in
}

// returns comes back to the address that was asked for, each byte of it.
func (w *world) returns(t *testing.T) {
	for _, target := range []string{
		"/a/b?x=1&y=%26z&z=%C3%A4", "/a/b?z=%c3%a4&q=a+b%20c%2Bd&&=&e=", "/a%20b/%C3%A4?to=https%3A%2F%2Fx.test%2F%3Fa%3D1%23f&r=https://x.test/?a=b", "/a?%25=%2525;b=;c",
		"/a?", "/a??b?", "/a?q=" + strings.Repeat("%E2%82%AC", 200), "/?a[]=1&b={2}&c='~!$()*,|^`",
	} {
		if _, in := w.comesIn(t, "mallory", app, target); !strings.Contains(in.body, "\ntarget: "+target+"\n") {
			t.Errorf("not back at %s: %s", target, in.body)
		}
	}
}

// programs come with a key or an access token; to some paths with a key alone.
func (w *world) programs(t *testing.T, nobody, mallory *http.Client) {
	u, err := w.Store.UserByUsername(t.Context(), "mallory")
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := w.Broker.CreateAPIKey(t.Context(), nil, broker.NewAPIKey{Name: "k", UserID: u.ID, Scope: broker.ScopeForward}, broker.Device{})
	if err != nil {
		t.Fatal(err)
	}
	passes := func(what string, a answer) {
		for _, line := range []string{
			"remote-user: mallory\n", "remote-name: M%C3%A4llory\n", "remote-email: mallory@example.org\n", "remote-groups: guests,a%2Cb\n",
		} {
			if a.status != 200 || strings.Count(a.body, line) != 1 {
				t.Errorf("%s: %d %s, want %s", what, a.status, a.body, line)
			}
		}
	}
	token := w.Login(t, "mallory").AccessToken.Reveal()
	for what, bearer := range map[string]string{"key": key.Reveal(), "token": token} {
		passes(what, w.send(t, nobody, "GET", app, "/page", "", "Authorization", "Bearer "+bearer, "Remote-User", "root"))
		if a := w.send(t, nobody, "GET", app, "/page", "", "Authorization", "Bearer "+bearer+"x"); a.status != 401 || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("bad %s: %d %v", what, a.status, a.header)
		}
	}
	passes("key, alone", w.send(t, nobody, "POST", app, "/api/x", "body", "Authorization", "Bearer "+key.Reveal()))
	passes("key, beside a cookie", w.send(t, mallory, "GET", app, "/api/x", "", "Authorization", "Bearer "+key.Reveal()))
	for what, a := range map[string]answer{
		"a cookie": w.send(t, mallory, "GET", app, "/api/x", "", "Accept", "text/html"), "a token": w.send(t, nobody, "GET", app, "/api/x", "", "Authorization", "Bearer "+token),
		"a cookie and a bad key": w.send(t, mallory, "GET", app, "/api/x", "", "Authorization", "Bearer "+key.Reveal()+"x"),
		"a key in the address":   w.send(t, nobody, "GET", app, "/api/x?token="+key.Reveal(), ""),
		"a header of another":    w.send(t, nobody, "GET", app, "/api/x", "", "X-API-Key", key.Reveal()), "nothing": w.send(t, nobody, "GET", app, "/api/x", "", "Accept", "text/html"),
	} {
		if a.status != 401 && a.status != 403 || strings.Contains(a.body, " app,") {
			t.Errorf("%s, where a key alone opens: %d %s", what, a.status, a.body)
		}
	}
}
