package web_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// contains expects HTML, or JSON, as it is.
func (a *answer) contains(text string) *answer {
	a.t.Helper()
	if !strings.Contains(a.Body, text) {
		a.t.Errorf("%s: no %s in %s", a.request, text, a.Body)
	}
	return a
}

var inGerman = header("Accept-Language", "de-CH, de;q=0.9, en;q=0.8")

func TestPageLanguage(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	for _, c := range []struct{ query, accept, lang string }{
		{"", "", "en"},
		{"", "de", "de"},
		{"", "de-AT,de;q=0.9", "de"},
		{"", "fr, de;q=0.5", "de"},
		{"", "fr", "en"},
		{"", "de;q=0.2, en;q=0.9", "en"},
		{"", ";;q=x,-", "en"},
		{"", strings.Repeat("de,", 400), "en"}, // more than anybody means
		{"de", "en", "de"},
		{"fr de-DE", "en", "de"},
		{"en", "de", "en"},
		{"tlh", "de", "de"},
		{"%%%<script>", "de", "de"},
		{strings.Repeat("de ", 400), "en", "en"},
	} {
		a := x.do(http.MethodGet, "/login?ui_locales="+url.QueryEscape(c.query), header("Accept-Language", c.accept)).want(200)
		if !strings.Contains(a.Body, `<html lang="`+c.lang+`">`) {
			t.Errorf("ui_locales %q, Accept-Language %q: not in %s", c.query, c.accept, c.lang)
		}
		if !slices.Contains(a.Header.Values("Vary"), "Accept-Language") {
			t.Errorf("Vary is %q", a.Header.Values("Vary"))
		}
		a.says(map[string]string{"en": "Password", "de": "Passwort"}[c.lang], map[string]string{"en": "Continue with ", "de": "Weiter mit "}[c.lang])
	}
	x.do(http.MethodGet, "/.well-known/openid-configuration").want(200).contains(`"ui_locales_supported":["en","de"]`)
}

// What a page says of a login, and of its end, in the other language.
func TestPageInGerman(t *testing.T) {
	x := newSite(t, setup{failures: 3})
	browser := x.pageLogin("alice")
	x.do(http.MethodGet, "/", cookies(browser), inGerman).want(200).
		says("Hallo alice", "Sie sind auf diesem Gerät angemeldet.", "gerade eben, mit Passwort", "Benutzer", "Sie sind angemeldet · Latchkey").
		saysNot("You are", "{")
	x.do(http.MethodGet, "/login?switch=1", cookies(browser), inGerman).want(200).contains("Sie sind als <strong><bdi>alice</bdi></strong> angemeldet.")

	wrong := x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "hunter22"), inGerman)
	wrong.refused(401, broker.InvalidCredentials, "").says("Der Benutzername oder das Passwort ist falsch.", "Fehler: Anmelden · Latchkey")
	for range 3 {
		x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "hunter22"))
	}
	// The broker's own words are English: here stands the sentence of the code.
	x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "hunter22"), inGerman).want(429).
		says("Es gab zu viele Fehlversuche. Versuchen Sie es in 4 Minuten noch einmal.").saysNot("Too many")
	x.do(http.MethodGet, "/nothing", inGerman, htmlOnly).want(404).says("Nicht gefunden", "Diese Seite gibt es nicht.", "Zur Startseite")
	// JSON and its like stay English.
	x.do(http.MethodGet, "/nothing", inGerman, header("Accept", "application/json")).want(404).contains("Not Found")

	if _, err := x.Broker.EndSessions(t.Context(), broker.SessionFilter{ID: x.sessions("alice", true)[0].ID}, broker.RevokedByAdmin, false, ""); err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodGet, "/login", cookies(browser), inGerman).want(200).says("Ein Administrator hat dieses Gerät am 2. Januar 2026 um 03:04 UTC abgemeldet.")
}

// A name from outside is set apart and escaped wherever a text has it.
func TestPageTextsEscapeNames(t *testing.T) {
	x := newSite(t, setup{})
	const hostile = `<b>{name}</b>`
	x.User(t, hostile, broker.RoleUser)
	for _, language := range []string{"en", "de"} {
		browser := x.do(http.MethodPost, "/login/password", form("username", hostile, "password", harness.PasswordOf(hostile))).cookies
		x.do(http.MethodGet, "/?ui_locales="+language, cookies(browser)).want(200).contains("<bdi>&lt;b&gt;{name}&lt;/b&gt;</bdi></h1>").saysNot(hostile + "</h1>")
	}
}

// The language of an authorization request goes with it to the last page.
func TestPageLanguageOfTheClient(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.newBrowser()
	door := b.open("/oauth2/authorize?" + request("asking", "https://asking.test/cb", "ui_locales", "de en").Encode()).want(200)
	door.contains("Weiter zu <bdi>Asking App</bdi></h1>").contains("<title>Weiter zu Asking App · Latchkey</title>").says("bei asking.test")
	b.post("/login/password", "username", "alice", "password", "wrong", "next", hidden(door, "next")).want(401).says("Der Benutzername oder das Passwort ist falsch.")
	b.logIn(door, "alice").want(200).says("Die App wird", "Ihren Namen und Benutzernamen sehen", "Abbrechen").saysNot("You ", "It will")

	// Logout: in the page's own query (OIDC RP-Initiated Logout section 2), by POST too.
	b.open("/oauth2/logout?client_id=asking&ui_locales=de").want(200).says("Asking App möchte Sie abmelden.")
	b.follow(b.send(http.MethodPost, "/oauth2/logout", form("client_id", "asking", "ui_locales", "de"))).want(200).says("Asking App möchte Sie abmelden.")
}

// A first view of a page, with all that it loads, is under 60 kB.
func TestPageFirstViewIsSmall(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.newBrowser()
	door := b.open("/oauth2/authorize?" + request("asking", "https://asking.test/cb", "ui_locales", "de").Encode())
	for _, page := range []*answer{door, b.logIn(door, "alice"), b.open("/"), b.open("/account/identities"), b.open("/device"), b.open("/nothing")} {
		size := len(page.Body)
		for _, link := range page.links() {
			if strings.Contains(link, "/static/") {
				size += len(x.do(http.MethodGet, link).want(200).Body)
			}
		}
		if size < 4000 || size > 60_000 {
			t.Errorf("%s: %d bytes", page.request, size)
		}
	}
}
