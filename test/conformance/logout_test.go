package conformance

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func TestRPInitiatedLogoutOP(t *testing.T) { runPlan(t, plan{modules: rpInitiated}) }

func TestBackChannelOP(t *testing.T) { runPlan(t, plan{modules: backChannel}) }

// rpInitiated is oidcc-rp-initiated-logout-certification-test-plan, in its order.
var rpInitiated = []module{
	{name: "oidcc-rp-initiated-logout-discovery-endpoint-verification", run: logoutDiscovery, asserts: "over https: `end_session_endpoint` is there; every endpoint is https"},
	{name: "oidcc-rp-initiated-logout", run: rpLogout(true), asserts: "back at the client with the same `state` of 128 characters and nothing else; then `prompt=none` gives `login_required` or its like"},
	{name: "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", run: stays("post_logout_redirect_uri", elsewhere+"/bad_post_logout_redirect_uri"), asserts: "a URI that is not registered: a page; nobody is called"},
	{name: "oidcc-rp-initiated-logout-modified-id-token-hint", run: staysWith(unsecuredHint), asserts: "the hint with `alg` none: a page; nobody is called"},
	{name: "oidcc-rp-initiated-logout-no-id-token-hint", run: stays("id_token_hint", ""), asserts: "a page; nobody is called, not after a confirmation either"},
	{name: "oidcc-rp-initiated-logout-no-params", run: ends("id_token_hint", "", "post_logout_redirect_uri", "", "state", ""), asserts: "logged out, after a confirmation; a page"},
	{name: "oidcc-rp-initiated-logout-no-post-logout-redirect-uri", run: ends("post_logout_redirect_uri", ""), asserts: "logged out; a page"},
	{name: "oidcc-rp-initiated-logout-no-state", run: rpLogout(false), asserts: "back at the client without `state`; then `prompt=none` gives `login_required` or its like"},
	{name: "oidcc-rp-initiated-logout-only-state", run: ends("id_token_hint", "", "post_logout_redirect_uri", ""), asserts: "logged out, after a confirmation; a page"},
	{name: "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", run: stays("post_logout_redirect_uri", client1.afterwards+"?foo=bar"), asserts: "`?foo=bar` added: a page; nobody is called"},
	{name: "oidcc-rp-initiated-logout-bad-id-token-hint", run: staysWith(inventedHint, forgedHint), asserts: "a hint that somebody else signed, as the suite makes it and with the right claims: a page; nobody is called"},
}

// backChannel is oidcc-backchannel-rp-initiated-logout-certification-test-plan.
var backChannel = []module{
	{name: "oidcc-backchannel-logout-discovery-endpoint-verification", run: backChannelDiscovery, asserts: "over https: `backchannel_logout_supported` and `backchannel_logout_session_supported` are true, `end_session_endpoint` is there"},
	{name: "oidcc-backchannel-rp-initiated-logout", run: backChannelLogout, asserts: "a form with `logout_token` alone: its signature, `iss`, `aud`, `iat`, `exp`, `jti`, `events`, no `nonce`, the `sid` of the ID token and no `sub`, which would mean every session of the person; back at the client with `state`; then `prompt=none` gives `login_required` or its like"},
}

func logoutDiscovery(m *run) {
	m.overHTTPS()
	m.endSession()
}

// endSession checks what both logout plans want of the metadata.
func (m *run) endSession() {
	m.Helper()
	m.allHTTPS()
	if m.meta.text("end_session_endpoint") == "" {
		m.Error("end_session_endpoint is missing")
	}
}

func backChannelDiscovery(m *run) {
	m.overHTTPS()
	m.endSession()
	for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported"} {
		if m.meta[name] != true {
			m.Errorf("%s is %v", name, m.meta[name])
		}
	}
}

// leaving is a logout at a client's wish.
type leaving struct {
	login login
	b     *browser
	sent  url.Values
	at    place
}

// logOut logs in and out again. change is done to the request in between.
func (m *run) logOut(c client, change func(l login, sent url.Values)) leaving {
	m.Helper()
	x := leaving{b: m.newBrowser(alice)}
	x.login = m.logIn(x.b, c, "state", random(128))
	x.sent = url.Values{"id_token_hint": {x.login.hint()}, "post_logout_redirect_uri": {c.afterwards}, "state": {random(128)}}
	change(x.login, x.sent)
	target := m.meta.text("end_session_endpoint")
	if encoded := x.sent.Encode(); encoded != "" {
		target += "?" + encoded
	}
	x.b.stay = true // where it is over, the login page is shown
	x.at = x.b.open(target)
	x.b.stay = false
	return x
}

// arrived expects the browser at the client's URI, with state as it was sent.
func (m *run) arrived(x leaving) {
	m.Helper()
	want := x.sent.Get("post_logout_redirect_uri")
	if state := x.sent.Get("state"); state != "" {
		want += "?state=" + state
	}
	if !x.at.left || x.at.url != want {
		m.Errorf("the browser is at %s (%d), want %s", x.at.url, x.at.status, want)
	}
	if x.b.confirmations != 0 {
		m.Errorf("%d confirmations", x.b.confirmations)
	}
}

// loggedOut expects that nobody is logged in at the browser.
func (m *run) loggedOut(x leaving) {
	m.Helper()
	logins := x.b.logins
	m.refused(m.ask(x.b, x.login.asked.client, "prompt", "none", "state", random(128)), needsInterface...)
	m.silent(x.b, logins)
	a := m.call(http.MethodGet, m.meta.text("userinfo_endpoint"), bearer(x.login.access()), nil)
	if a.status != http.StatusUnauthorized {
		m.Errorf("after the logout, userinfo answers %d", a.status)
	}
}

func rpLogout(state bool) func(m *run) {
	return func(m *run) {
		x := m.logOut(client1, func(_ login, sent url.Values) {
			if !state {
				sent.Del("state")
			}
		})
		m.arrived(x)
		m.loggedOut(x)
	}
}

// stayed expects the browser at a page of the provider.
func (m *run) stayed(x leaving) {
	m.Helper()
	if x.at.left {
		m.Errorf("the browser was sent to %s", x.at.url)
	} else if !strings.HasPrefix(x.at.header.Get("Content-Type"), "text/html") {
		m.Errorf("no page but %d %s", x.at.status, x.at.header.Get("Content-Type"))
	}
}

func changing(pairs ...string) func(login, url.Values) {
	return func(_ login, sent url.Values) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if sent.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
				sent.Del(pairs[i])
			}
		}
	}
}

func stays(pairs ...string) func(m *run) {
	return func(m *run) { m.stayed(m.logOut(client1, changing(pairs...))) }
}

// staysWith tries each forged hint, after a login of its own.
func staysWith(forge ...func(m *run, l login) string) func(m *run) {
	return func(m *run) {
		for _, hint := range forge {
			m.stayed(m.logOut(client1, func(l login, sent url.Values) { sent.Set("id_token_hint", hint(m, l)) }))
		}
	}
}

func unsecuredHint(_ *run, l login) string { return unsecured(l.hint()) }

// inventedHint is what the suite sends as an ID token.
func inventedHint(m *run, l login) string {
	now := time.Now().Unix()
	return signed(makeKey(), map[jose.HeaderKey]any{"typ": "JWT"}, map[string]any{
		"iss": l.asked.client.id, "sub": "SubjectID", "aud": m.op.issuer, "nonce": "flibble", "iat": now, "exp": now + 300,
	})
}

// forgedHint is right but for the key.
func forgedHint(m *run, l login) string {
	return signed(makeKey(), map[jose.HeaderKey]any{"typ": "JWT", "kid": m.joseHeader(l.hint()).KeyID}, l.id)
}

func ends(pairs ...string) func(m *run) {
	return func(m *run) {
		x := m.logOut(client1, changing(pairs...))
		m.stayed(x)
		if x.at.status != http.StatusOK {
			m.Errorf("the page is %d", x.at.status)
		}
		want := 0
		if !x.sent.Has("id_token_hint") { // OIDC RP-Initiated Logout section 2
			want = 1
		}
		if x.b.confirmations != want {
			m.Errorf("%d confirmations, want %d", x.b.confirmations, want)
		}
		m.loggedOut(x)
	}
}

// logoutEvent is the member of events (OIDC Back-Channel Logout section 2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

func backChannelLogout(m *run) {
	x := m.logOut(listening, func(login, url.Values) {})
	sid := x.login.id.text("sid")
	if sid == "" {
		m.Fatal("the ID token has no sid")
	}
	m.arrived(x)
	d := logouts.wait(m, sid)
	if d.method != http.MethodPost || !strings.HasPrefix(d.contentType, "application/x-www-form-urlencoded") || len(d.query) > 0 {
		m.Errorf("the logout came as %s of %s with the query %v", d.method, d.contentType, d.query)
	}
	for name, values := range d.form {
		if name != "logout_token" || len(values) != 1 {
			m.warn("logout-parameters", "the logout brings %s: %d values", name, len(values))
		}
	}
	m.logoutToken(d.form.Get("logout_token"), x.login)
	m.loggedOut(x)
}

func (m *run) logoutToken(raw string, l login) {
	m.Helper()
	token, err := jwt.ParseSigned(raw, signatures)
	if err != nil {
		m.Fatal(err)
	}
	header := m.joseHeader(raw)
	var set jose.JSONWebKeySet
	for _, key := range m.keys {
		var one jose.JSONWebKey
		if err := one.UnmarshalJSON([]byte(asJSON(key))); err != nil {
			m.Fatal(err)
		}
		set.Keys = append(set.Keys, one)
	}
	keys := set.Key(header.KeyID)
	if len(keys) != 1 || keys[0].Algorithm != header.Algorithm {
		m.Fatalf("the logout token is signed by %s with %s, which is not published", header.KeyID, header.Algorithm)
	}
	var got claims
	if err := token.Claims(keys[0].Key, &got); err != nil {
		m.Fatalf("the logout token: %v", err)
	}
	c := l.asked.client
	if aud := asJSON(got["aud"]); got.text("iss") != m.op.issuer || !slices.Contains([]string{`"` + c.id + `"`, `["` + c.id + `"]`}, aud) {
		m.Errorf("the logout token has iss %v and aud %s", got["iss"], aud)
	}
	now := time.Now().Unix()
	if iat := m.at(got, "iat"); iat > now+300 || iat < now-24*3600 {
		m.Errorf("iat is %d s off", iat-now)
	}
	if exp := m.at(got, "exp"); exp < now { // required since Back-Channel Logout 1.0 became final
		m.Errorf("exp was %d s ago", now-exp)
	}
	if got.text("jti") == "" || asJSON(got["events"]) != `{"`+logoutEvent+`":{}}` {
		m.Errorf("the logout token has jti %v and events %s", got["jti"], asJSON(got["events"]))
	}
	if _, has := got["nonce"]; has {
		m.Error("the logout token has a nonce")
	}
	if got.text("sid") != l.id.text("sid") {
		m.Errorf("sid is %v, in the ID token %v", got["sid"], l.id["sid"])
	}
	if sub, has := got["sub"]; has { // one of the two is enough (section 2.4), and clients end all that a sub has
		m.Errorf("the logout token has the sub %v beside the sid", sub)
	}
	if typ := header.ExtraHeaders["typ"]; typ != "logout+jwt" { // recommended
		m.Errorf("typ is %v", typ)
	}
}
