package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/test/harness"
)

// payloads are what strangers put where a page could show it.
var payloads = []string{
	`"><svg onload=alert(1)>`, `'><script>alert(1)</script>`, `javascript:alert(1)`, `{{7*7}}`, `</title><h2>x</h2>`, "\u202eevil", strings.Repeat("A", 8000),
	"x\r\nX-Injected: yes",
}

var (
	// ownScript is what the pages behind the door have of scripts.
	ownScript = regexp.MustCompile(`<script src="/static/[a-z]+\.js\?v=[0-9a-f]+" type="module"></script>`)
	quoted    = regexp.MustCompile(`"[^"]*"`)
	scripted  = regexp.MustCompile(`<[^>]*\s(on[a-z]+|style)\s*=[^>]*>|<script|<h2>|<svg on|49`)
)

// inert expects that nothing of a payload became markup, a link or a header.
func (a *answer) inert() {
	a.t.Helper()
	if found := scripted.FindString(quoted.ReplaceAllString(ownScript.ReplaceAllString(a.Body, ""), "")); found != "" {
		a.t.Errorf("%s: %s in %s", a.request, found, a.Body)
	}
	for _, link := range a.links() {
		if u, err := url.Parse(link); err != nil || u.Scheme != "" && u.Scheme != "https" {
			a.t.Errorf("%s: leads to %q", a.request, link)
		}
	}
	if a.Header.Get("X-Injected") != "" {
		a.t.Errorf("%s: a header was injected", a.request)
	}
}

func TestPageEscapesWhatStrangersSend(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	browser := cookies(x.pageLogin("alice"))
	fresh := openSite(t, setup{})
	for _, payload := range payloads {
		q := url.QueryEscape(payload)
		for _, target := range []string{
			"/login?next=" + q, "/login?ended=" + q, "/login?error=" + q, "/login?switch=1&next=" + q, "/nothing/" + url.PathEscape(payload), "/setup?token=" + q,
			"/auth/" + url.PathEscape(payload) + "?callback=/", "/auth/openid?callback=" + q, "/auth/openid/callback?code=x&state=" + q,
			"/auth/openid/callback?error=" + q + "&error_description=" + q + "&state=" + q, "/auth/openid/authorize?state=" + q + "&code_challenge=" + q,
			"/auth/openid/mobile-redirect?state=" + q, "/static/" + url.PathEscape(payload),
		} {
			for _, who := range []option{htmlOnly, func(r *http.Request) { htmlOnly(r); browser(r) }} {
				a := x.do(http.MethodGet, target, who)
				if a.Status >= 500 {
					t.Errorf("%s: status %d", a.request, a.Status)
				}
				a.inert()
			}
		}
		for _, f := range []option{
			form("username", payload, "password", "x", "next", payload), form("username", "alice", "password", payload, "next", payload),
		} {
			x.do(http.MethodPost, "/login/password", f).inert()
		}
		fresh.do(http.MethodPost, "/setup", form("token", payload, "username", payload, "password", "a few words")).inert()
		fresh.do(http.MethodPost, "/setup", form("token", fresh.setupToken(), "username", payload, "password", "short")).want(400).inert()
	}
}

func TestPageEscapesNames(t *testing.T) {
	names := []string{`"><svg onload=alert(1)>`, `{{7*7}}`, `javascript:alert(1)`, `'><script>alert(1)</script>`}
	x := newSite(t, setup{broker: func(c *broker.Config) {
		for i, name := range names {
			c.Providers = append(c.Providers, broker.Provider{
				ProviderSettings: broker.ProviderSettings{ID: fmt.Sprint("idp", i), Name: name}, IdP: oidc.New(oidc.Config{Issuer: "http://127.0.0.1:9"}),
			})
		}
	}})
	x.do(http.MethodGet, "/login").want(200).says(names...).inert()
	x.do(http.MethodGet, "/auth/idp0?callback=/", htmlOnly).want(503).says(names[0] + " does not answer").inert()
	for i, name := range names {
		u, err := x.Broker.CreateUser(context.Background(), broker.NewUser{Username: name, Name: name + " " + fmt.Sprint(i), Password: harness.PasswordOf(name)})
		if err != nil {
			t.Fatal(err)
		}
		list := x.pageLogin(u.Username)
		x.do(http.MethodGet, "/", cookies(list)).want(200).says("Hello "+name+" "+fmt.Sprint(i), name).inert()
		x.do(http.MethodGet, "/login?switch=1", cookies(list)).want(200).says("You are logged in as " + name).inert()
	}
}

// secure expects the headers that every page has. Only of one whose form leads
// outward nobody says how far.
func (a *answer) secure(outward bool) *answer {
	a.t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
		"Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
	} {
		if got := a.Header.Values(name); len(got) != 1 || got[0] != want {
			a.t.Errorf("%s: %s %q, want %q", a.request, name, got, want)
		}
	}
	policy := map[string]string{}
	for directive := range strings.SplitSeq(a.Header.Get("Content-Security-Policy"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
		policy[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
		"form-action": map[bool]string{false: "'self'"}[outward],
	} {
		if got := policy[name]; got != want {
			a.t.Errorf("%s: %s %s, want %s", a.request, name, got, want)
		}
	}
	for _, link := range a.links() {
		if !strings.HasPrefix(link, "/") && !strings.HasPrefix(link, publicURL+"/") && !strings.HasPrefix(link, "#") && !strings.HasPrefix(link, "?") {
			a.t.Errorf("%s: leads to %s", a.request, link)
		}
	}
	if !strings.Contains(a.Body, `<html lang="en">`) || strings.Count(a.Body, "<h1>") != 1 {
		a.t.Errorf("%s: no language, or not one heading", a.request)
	}
	return a
}

func TestW03PageHeaders(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	fresh := openSite(t, setup{})
	browser, throughIdP := cookies(x.pageLogin("alice")), cookies(x.idpLogin(idp.Authorize))
	opened := fresh.do(http.MethodGet, "/setup?token="+url.QueryEscape(fresh.setupToken())).want(303)
	fresh.do(http.MethodGet, "/setup", cookies(opened.cookies)).want(200).secure(false)
	fresh.do(http.MethodPost, "/setup", form("token", fresh.setupToken(), "username", "x", "password", "x")).want(400).secure(false)
	x.do(http.MethodGet, "/setup?token=x").want(404).secure(false)
	x.do(http.MethodGet, "/login").want(200).secure(false)
	x.do(http.MethodGet, "/login?switch=1", browser).want(200).secure(false)
	x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "x")).want(401).secure(false)
	x.do(http.MethodGet, "/", browser).want(200).secure(false)
	x.do(http.MethodGet, "/", throughIdP).want(200).secure(true)
	x.do(http.MethodGet, "/nothing").want(404).secure(false)
	x.do(http.MethodGet, "/auth/openid/callback?state=x&code=x").want(400).secure(false)
	x.do(http.MethodGet, "/auth/openid/authorize?state=x&code_challenge=x").want(400).secure(false)
	x.do(http.MethodPost, "/session/end", htmlOnly, header("Sec-Fetch-Site", "cross-site")).want(403).secure(false)
	// Redirects that carry a code or set a session are not kept either.
	if a := x.do(http.MethodGet, "/auth/openid?callback=/"); a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers %v", a.Header)
	}
	idp.SetDown(true)
	x.Clock.Advance(time.Hour)
	x.do(http.MethodGet, "/auth/openid?callback=/", htmlOnly).want(503).secure(false)
}

func TestPageErrors(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	browser := cookies(x.pageLogin("alice"))
	x.do(http.MethodGet, "/nothing").refused(404, broker.NotFound, "").says("Not found", "There is no such page.", "not_found")
	x.do(http.MethodGet, "//evil.example/x").want(404).saysNot("evil.example")

	// What came back from the IdP is used up: nobody is sent there again.
	used := x.do(http.MethodGet, "/auth/openid/callback?code=a-code&state=a-state").refused(400, broker.InvalidState, "").saysNot("a-code", "a-state")
	if !used.linksTo(publicURL+"/login") || !strings.Contains(used.Body, "Log in again") {
		t.Errorf("no way on: %v", used.links())
	}

	asProgram := header("Accept", "application/json")
	for _, a := range []*answer{
		x.do(http.MethodGet, "/nothing", asProgram).refused(404, broker.NotFound, ""),
		x.do(http.MethodGet, "/", asProgram).want(401),
		x.do(http.MethodGet, "/setup?token=x", asProgram).refused(404, broker.SetupDone, ""),
		x.do(http.MethodPost, "/login/password", asProgram, form("username", "alice", "password", "x")).refused(401, broker.InvalidCredentials, ""),
		x.do(http.MethodGet, "/auth/openid/callback?code=x&state=x", asProgram).refused(400, broker.InvalidState, ""),
	} {
		if kind := a.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") || a.json()["code"] == nil {
			t.Errorf("%s: %s %s", a.request, kind, a.Body)
		}
	}

	if err := x.Store.Close(); err != nil {
		t.Fatal(err)
	}
	down := x.do(http.MethodGet, "/?a=1&b=%22%3E", browser).refused(503, broker.TemporarilyUnavailable, "retry").
		says("Not possible at the moment", "Nothing is lost: try again in a moment.").secure(false).noCookies()
	if !down.linksTo(publicURL+"/?a=1&b=%22%3E") || down.Header.Get("Retry-After") == "" {
		t.Errorf("no way to try again: %v", down.links())
	}
	back := x.do(http.MethodGet, "/auth/openid/callback?code=a-code&state=a-state").want(503).saysNot("a-code", "a-state", "Try again")
	if !back.linksTo(publicURL + "/login") {
		t.Errorf("no way on: %v", back.links())
	}
	// A form is not repeated by a link.
	x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "secret words")).want(503).saysNot("Try again", "secret words")
	if kind := x.do(http.MethodGet, "/", browser, asProgram).want(503).Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		t.Errorf("a program is told in %s", kind)
	}
}

func TestPageWhenTheIdPFails(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	refuse := func(code string) *answer {
		begin := x.do(http.MethodGet, "/auth/openid?callback=/account")
		state := begin.location().Query().Get("state")
		return x.do(http.MethodGet, "/auth/openid/callback?"+url.Values{
			"error": {code}, "error_description": {"<b>no</b>"}, "state": {state}, "iss": {idp.Issuer()},
		}.Encode(), cookies(begin.cookies))
	}
	refuse("access_denied").refused(403, broker.AccessDenied, "").says("Test IdP refused the login.", "Password").saysNot("no</b>", "Try again")
	refuse("server_error").refused(503, broker.TemporarilyUnavailable, "retry").says("Test IdP does not answer at the moment.", "Password")

	idp.SetDown(true)
	x.Clock.Advance(time.Hour)
	dark := x.do(http.MethodGet, "/auth/openid?callback="+url.QueryEscape("/account?tab=1"), htmlOnly)
	dark.refused(503, broker.TemporarilyUnavailable, "retry").says("Test IdP does not answer at the moment. Try again shortly, or choose another way in.", "Continue with Test IdP")
	if !strings.Contains(dark.Body, `name="next" value="/account?tab=1"`) {
		t.Errorf("next is lost: %s", dark.Body)
	}
	x.do(http.MethodGet, "/auth/openid?callback=/", header("Accept", "application/json")).refused(503, broker.TemporarilyUnavailable, "retry")
	x.pageLogin("alice")
	x.do(http.MethodGet, "/login?error=access_denied").want(200).says("The identity provider refused the login.", "Code: access_denied")
	x.do(http.MethodGet, "/login?error=whatever").want(200).saysNot("whatever", "role=\"alert\">")
}

func TestStaticFiles(t *testing.T) {
	for _, public := range []string{publicURL, publicURL + "/prefix"} {
		x := newSite(t, setup{publicURL: public})
		base := strings.TrimPrefix(public, publicURL)
		page := x.do(http.MethodGet, base+"/login").want(200)
		bytes, seen := len(page.Body), 0
		for _, link := range page.links() {
			if !strings.Contains(link, "/static/") {
				continue
			}
			seen++
			if !strings.HasPrefix(link, base+"/static/") {
				t.Errorf("%s is outside of %q", link, base)
			}
			file := x.do(http.MethodGet, link).want(200).noCookies()
			bytes += len(file.Body)
			if got := file.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
				t.Errorf("%s: %s", link, got)
			}
			if kind := file.Header.Get("Content-Type"); kind != "text/css; charset=utf-8" && kind != "image/svg+xml" && kind != "text/javascript; charset=utf-8" {
				t.Errorf("%s: %s", link, kind)
			}
			// Another version of the page must not fill caches with this one's file.
			other := strings.SplitN(link, "?v=", 2)[0] + "?v=0123456789ab"
			if got := x.do(http.MethodGet, other).want(200).Header.Get("Cache-Control"); got != "no-cache" {
				t.Errorf("%s: %s", other, got)
			}
		}
		if seen < 2 || bytes > 60_000 {
			t.Errorf("%d files, %d bytes at first view", seen, bytes)
		}
		for _, target := range []string{"/static/", "/static/none.css", "/static/../pages.go", "/static/%2e%2e/pages.go", "/static/%2e%2e%2ftemplates/login.html", "/static//latchkey.css"} {
			if a := x.do(http.MethodGet, base+target); a.Status != 404 {
				t.Errorf("%s: status %d", target, a.Status)
			}
		}
		x.do(http.MethodGet, base+"/favicon.ico").want(204)
	}
}
