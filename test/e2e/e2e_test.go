package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/proc"
)

// A person logs in to Latchkey's own pages through a certified OP, and out.
func TestWebLogin(t *testing.T) {
	x, o := withOP(t)
	for _, javaScript := range []bool{true, false} {
		t.Run(map[bool]string{true: "JavaScript", false: "no JavaScript"}[javaScript], func(t *testing.T) {
			node(t, "web.mjs", map[string]any{"base": x.base, "op": o.issuer, "javaScript": javaScript, "shots": javaScript})
		})
	}
}

// Setup and login by keyboard alone, and the looks of every page.
func TestPages(t *testing.T) {
	x := serve(t, proc.Port(t), "providers:\n"+
		provider("dark", "Dark", "http://127.0.0.1:9")+
		provider("long", "Volkshochschule Oberammergau-Unterstinkenbrunn, Anmeldedienst für Mitarbeitende", "https://long.example")+
		provider("word", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "https://word.example")+
		provider("short", "Ö", "https://short.example"))
	bare := serve(t, proc.Port(t), "local_login: false\n")
	const name = "Maximiliane-Wilhelmine von und zu Hohenstein-Schwarzenfels X" // 60 characters
	node(t, "pages.mjs", map[string]any{
		"base": x.base, "setup": x.setupLink(t), "bare": bare.base, "name": name, "password": "a few words are better",
	})
}

// An app logs in through the OP, lives on while that is dark, and logs in again
// when it is back.
func TestMobileLogin(t *testing.T) {
	x, o := withOP(t)
	first := &app{base: x.base, t: t}
	first.logIn(o, "anna")
	first.alive("anna")

	o.Kill()
	old := first.refreshToken
	first.refresh()
	if first.refreshToken == old {
		t.Log("the refresh token is the same: within the grace period it may be")
	}
	first.alive("anna")

	dark := &app{base: x.base, t: t}
	given := dark.begin()
	begun := time.Now()
	back := dark.browse(given)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the app hears of the dark IdP after %v", took)
	}
	q := back.Query()
	if back.Scheme != "audiobookshelf" || q.Get("error") != "temporarily_unavailable" || q.Get("state") != dark.state || q.Get("code") != "" {
		t.Errorf("with the IdP dark the app is sent %s", back)
	}
	first.alive("anna")

	// Another process on the same port; latchkey goes on as it was.
	o.start(t)
	second := &app{base: x.base, t: t}
	second.logIn(o, "bo")
	second.alive("bo")
	first.refresh()
	first.alive("anna")
}

// app does what the official app does (contract, section 4.5): no redirects, no
// cookies, and a URL that it rebuilds from seven parameters.
type app struct {
	base                      string
	t                         *testing.T
	verifier, state           string
	accessToken, refreshToken string
}

const appURI = "audiobookshelf://oauth"

var noRedirects = &http.Client{
	Timeout:       20 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send makes a request without a body, as the app does.
func (a *app) send(method, target string, headers map[string]string) (*http.Response, []byte) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, target, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	res, err := noRedirects.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		a.t.Fatal(err)
	}
	return res, body
}

// begin asks for the login URL and rebuilds it.
func (a *app) begin() string {
	a.t.Helper()
	raw := make([]byte, 42)
	_, _ = rand.Read(raw) // never fails
	a.verifier = hex.EncodeToString(raw)
	sum := sha256.Sum256([]byte(a.verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	res, body := a.send(http.MethodGet, a.base+"/auth/openid?"+url.Values{
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "redirect_uri": {appURI},
		"client_id": {"Audiobookshelf-App"}, "response_type": {"code"},
	}.Encode(), nil)
	given, err := res.Location()
	if err != nil {
		a.t.Fatalf("the start answered %d %s", res.StatusCode, body)
	}
	keep := url.Values{"code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	for _, name := range []string{"response_type", "client_id", "scope", "state", "redirect_uri"} {
		value := given.Query().Get(name)
		if value == "" {
			a.t.Fatalf("the start's URL has no %s: %s", name, given)
		}
		keep.Set(name, value)
	}
	a.state = keep.Get("state")
	given.RawQuery = keep.Encode()
	return given.String()
}

// browse follows the browser's way until it is called back. It is the system
// browser where nobody has to click.
func (a *app) browse(target string) *url.URL {
	a.t.Helper()
	for range 5 {
		res, body := a.send(http.MethodGet, target, nil)
		to, err := res.Location()
		if err != nil {
			a.t.Fatalf("%s answered %d %s", target, res.StatusCode, body)
		}
		if to.Scheme != "http" {
			return to
		}
		target = to.String()
	}
	a.t.Fatal("the browser is sent from one place to the next")
	return nil
}

// logIn is the whole login, with Chromium as the system browser.
func (a *app) logIn(o *op, account string) {
	a.t.Helper()
	called := node(a.t, "app.mjs", map[string]any{"url": a.begin(), "op": o.issuer, "account": account})
	u, err := url.Parse(called)
	if err != nil {
		a.t.Fatal(err)
	}
	q := u.Query()
	if !strings.HasPrefix(called, appURI+"?") || q.Get("state") != a.state || q.Get("code") == "" {
		a.t.Fatalf("the app is called with %s, its state is %s", called, a.state)
	}
	res, body := a.send(http.MethodGet, a.base+"/auth/openid/callback?"+url.Values{
		"state": {a.state}, "code": {q.Get("code")}, "code_verifier": {a.verifier},
	}.Encode(), nil)
	a.keep(res, body)
	a.send(http.MethodPost, a.base+"/api/authorize", map[string]string{"Authorization": "Bearer " + a.accessToken})
}

func (a *app) keep(res *http.Response, body []byte) {
	a.t.Helper()
	var payload struct {
		User struct{ AccessToken, RefreshToken string }
	}
	if err := json.Unmarshal(body, &payload); err != nil || res.StatusCode != http.StatusOK {
		a.t.Fatalf("%s answered %d %s", res.Request.URL.Path, res.StatusCode, body)
	}
	if payload.User.AccessToken == "" || payload.User.RefreshToken == "" || payload.User.AccessToken == a.accessToken {
		a.t.Fatalf("%s: no new access token, or no refresh token", res.Request.URL.Path)
	}
	a.accessToken, a.refreshToken = payload.User.AccessToken, payload.User.RefreshToken
}

func (a *app) refresh() {
	a.t.Helper()
	a.keep(a.send(http.MethodPost, a.base+"/auth/refresh", map[string]string{
		"X-Refresh-Token": a.refreshToken, "Content-Type": "application/json",
	}))
}

// alive asks who the access token is for.
func (a *app) alive(username string) {
	a.t.Helper()
	bearer := map[string]string{"Authorization": "Bearer " + a.accessToken}
	for method, path := range map[string]string{http.MethodGet: "/api/me", http.MethodPost: "/api/authorize"} {
		res, body := a.send(method, a.base+path, bearer)
		var me struct {
			Username string
			User     struct{ Username string }
		}
		if err := json.Unmarshal(body, &me); err != nil || res.StatusCode != http.StatusOK || me.Username+me.User.Username != username {
			a.t.Fatalf("%s answered %d %s, want %s", path, res.StatusCode, body, username)
		}
	}
}
