package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/web"
)

// A page that answered a POST stood in the address bar, and Enter there got bare
// English text: no link, no code.
func TestAddressOfAFormOpenedAgain(t *testing.T) {
	x := openSite(t, setup{})
	x.User(t, "root", broker.RoleRoot)
	x.do(http.MethodPost, "/login/password", form("username", "root", "password", "wrong"), htmlOnly).want(401)
	for path, to := range map[string]string{
		"/login/password": "/login", "/login/second/passkey": "/login/second", "/login/new-password": "/login", "/account/devices/end": "/account",
		"/account/factors/totp": "/account/factors", "/account/identities/unlink": "/account/identities", "/admin/providers/a%20b/check": "/admin/providers/a%20b",
	} {
		if got := x.do(http.MethodGet, path+"?next=//evil.example", htmlOnly).want(303).Header.Get("Location"); got != publicURL+to {
			t.Errorf("%s leads to %s", path, got)
		}
		x.do(http.MethodGet, path, header("Accept", "*/*")).want(405)
		x.do(http.MethodDelete, path, htmlOnly).want(405)
	}
	for _, path := range []string{"/session/end", "/oauth2/consent", "/oauth2/token", "/auth/openid/backchannel-logout"} {
		a := x.do(http.MethodGet, path, htmlOnly, header("Accept-Language", "de")).want(405).says("Diese Adresse ist keine Seite", "method_not_allowed")
		if !a.linksTo(publicURL+"/") || a.Header.Get("Latchkey-Code") != "method_not_allowed" {
			t.Errorf("%s: %v, %v", path, a.links(), a.Header)
		}
	}
	large := x.do(http.MethodPost, "/login/password", form("username", "root", "password", strings.Repeat("a", 70<<10)), htmlOnly, header("Accept-Language", "de"))
	large.want(413).says("Was gesendet wurde, ist zu groß.", "request_too_large")
}

// The set-up said "done" where its check was red, and its last step could never
// turn green by what it offered.
func TestSetupIsNotDoneWhereItsCheckIsRed(t *testing.T) {
	x, _ := providersSite(t, false)
	root := x.inBrowser("root")
	step := func(id string) string {
		t.Helper()
		_, rest, ok := strings.Cut(root.send(http.MethodGet, "/admin/setup", htmlOnly).want(200).Body, `<li id="`+id+`"`)
		if !ok {
			t.Fatalf("there is no step %s", id)
		}
		out, _, _ := strings.Cut(rest, "</ul>\n<div")
		return strings.Split(out, `class="card"`)[1]
	}
	if _, _, err := x.Broker.CreateClient(t.Context(), broker.Client{Name: "Backup", GrantTypes: []string{broker.GrantClientCredentials}, TokenEndpointAuthMethod: "client_secret_basic"}); err != nil {
		t.Fatal(err)
	}
	if said := step("login"); !strings.Contains(said, "acts for itself") || !strings.Contains(said, `pill good`) {
		t.Error(said)
	}
	to := root.submit("/admin/providers/new", newPocket()...).location()
	root.send(http.MethodGet, strings.TrimPrefix(to.String(), publicURL), htmlOnly).want(200).says("something about it is wrong").saysNot("from now on")
	if said := step("provider"); strings.Contains(said, "pill good") || !strings.Contains(said, `class="bad"`) {
		t.Error(said)
	}
	login := root.send(http.MethodGet, "/admin/setup", htmlOnly).want(200)
	if !login.linksTo("/login?switch=1") {
		t.Errorf("no way to a login: %v", login.links())
	}
}

// The token of the setup link stayed in the address bar, and in both links to
// another language.
func TestSetupTokenStaysInNoAddress(t *testing.T) {
	x := openSite(t, setup{})
	token := x.setupToken()
	first := x.do(http.MethodGet, "/setup?token="+url.QueryEscape(token)).want(303)
	if to := first.location().String(); to != publicURL+"/setup" || first.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("the token stays: %s, %v", to, first.Header)
	}
	page := x.do(http.MethodGet, "/setup?ui_locales=de", cookies(first.cookies)).want(200).says("Legen Sie den ersten Administrator an")
	for _, link := range append(page.links(), x.do(http.MethodGet, "/setup?token=wrong").want(403).links()...) {
		if strings.Contains(link, "token") {
			t.Errorf("a link has the token: %s", link)
		}
	}
	for _, c := range first.cookies {
		if !c.HttpOnly {
			t.Errorf("scripts read %s", c.Name)
		}
	}
	done := x.do(http.MethodPost, "/setup", cookies(first.cookies), form("token", token, "username", "root", "password", "a few words that are long")).want(303)
	if c := done.cookie("__Host-latchkey_setup_link"); c == nil || c.MaxAge >= 0 {
		t.Error("the cookie of the link stays")
	}
}

// The links to another language carried the ID token of whoever logs out.
func TestLanguageLinksHaveNoIDToken(t *testing.T) {
	x := openSite(t, setup{})
	x.User(t, "alice", broker.RoleUser)
	for _, link := range x.do(http.MethodGet, "/oauth2/logout?id_token_hint=a.b.c&client_id=none", cookies(x.pageLogin("alice")), htmlOnly).links() {
		if strings.Contains(link, "id_token_hint") {
			t.Errorf("a link has the ID token: %s", link)
		}
	}
}

// Whoever can have another link mailed was told to ask an administrator.
func TestBadPasswordLinkOffersAnotherByMail(t *testing.T) {
	without := openSite(t, setup{})
	without.do(http.MethodGet, "/password", htmlOnly).want(400).says("Ask your administrator")
	x := openSite(t, withPostbox(t, &postbox{}))
	a := x.do(http.MethodGet, "/password", htmlOnly).want(400).says("Ask for another one.").saysNot("administrator")
	if !a.linksTo(publicURL + "/login/forgotten") {
		t.Errorf("%v", a.links())
	}
}

// A rate limit at the login, and a session that is over, read as "there is none
// for this site here" or "the device refused": the script has a sentence for each.
func TestPasskeyScriptSaysWhyTheServerRefused(t *testing.T) {
	x := newSite(t, setup{broker: func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits.Starts = limiter, broker.Quota{Max: 1, Window: 10 * time.Minute, Own: true}
	}})
	asProgram := header("Accept", "application/json")
	for range 2 {
		x.do(http.MethodPost, "/login/passkey/options", fromPage, asProgram, form())
	}
	x.do(http.MethodPost, "/login/passkey/options", fromPage, asProgram, form()).refused(429, broker.RateLimited, web.VerdictRetry)
	script := x.do(http.MethodGet, "/static/passkey.js").want(200)
	for name, page := range map[string]*answer{"the login": x.do(http.MethodGet, "/login"), "the factors": x.at("alice").open("/account/factors")} {
		for _, attribute := range []string{"limited", "over", "trouble", "failed"} {
			if !strings.Contains(page.Body, " data-"+attribute+`="`) || !strings.Contains(script.Body, attribute) {
				t.Errorf("%s has no sentence %q", name, attribute)
			}
		}
	}
}
