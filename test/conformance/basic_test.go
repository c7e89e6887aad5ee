package conformance

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBasicOP(t *testing.T) { runPlan(t, plan{modules: basic}) }

// The same modules with response_mode=form_post are a plan of their own.
func TestFormPostOP(t *testing.T) { runPlan(t, plan{modules: basic, formPost: true}) }

// basic is oidcc-basic-certification-test-plan, in its order.
var basic = []module{
	{name: "oidcc-server", run: server,
		asserts: "code flow with `client_secret_basic`; code of 128 bits and more; `at_hash` right; `expires_in` there; nothing unasked-for and no `name` in the ID token; a second client too; the first over https, too"},
	{name: "oidcc-response-type-missing", run: responseTypeMissing, asserts: "`invalid_request` or `unsupported_response_type` at the redirect URI"},
	{name: "oidcc-idtoken-signature", run: idTokenSignature, asserts: "a client that registers itself and names no algorithm gets RS256, with `kid`"},
	{name: "oidcc-idtoken-unsigned", run: idTokenUnsigned, asserts: "the suite's rule; and a registration that asks for `none` is refused"},
	{name: "oidcc-userinfo-get", run: userinfoGet, asserts: "GET with a bearer token: 200, JSON, the same `sub`, claims of the right types"},
	{name: "oidcc-userinfo-post-header", run: userinfoPostHeader, asserts: "the same by POST"},
	{name: "oidcc-userinfo-post-body", run: userinfoPostBody, asserts: "POST with the token in the body: accepted, or refused with a 4xx (a warning)"},
	{name: "oidcc-ensure-request-without-nonce-succeeds-for-code-flow", run: with("nonce", ""), asserts: "a login without `nonce`, and none in the ID token"},
	{name: "oidcc-scope-profile", run: scope("openid profile"), asserts: "the claims of `profile` in userinfo, of the right types"},
	{name: "oidcc-scope-email", run: scopeEmail("openid email"), asserts: "`email` and `email_verified` in userinfo, not in the ID token; no `name`"},
	{name: "oidcc-scope-address", run: scope("openid address"), asserts: "the suite's rule"},
	{name: "oidcc-scope-phone", run: scope("openid phone"), asserts: "the suite's rule"},
	{name: "oidcc-scope-all", run: scope("openid profile email address phone"), asserts: "the suite's rule"},
	{name: "oidcc-alternate-happy-flow", run: alternate, asserts: "scopes reversed, parameters in the reverse order: as `oidcc-scope-email`"},
	{name: "oidcc-display-page", run: with("display", "page"), asserts: "a login with the parameter"},
	{name: "oidcc-display-popup", run: with("display", "popup"), asserts: "a login with the parameter"},
	{name: "oidcc-prompt-login", run: promptLogin, asserts: "the login form is shown again; the same `sub`, a later and recent `auth_time`"},
	{name: "oidcc-prompt-none-not-logged-in", run: promptNoneNotLoggedIn, asserts: "`login_required` or its like, without a page; a `state` of 128 characters intact"},
	{name: "oidcc-prompt-none-logged-in", run: promptNoneLoggedIn, asserts: "no page; the same `sub` and `auth_time`"},
	{name: "oidcc-max-age-1", run: maxAge1, asserts: "after 2 s the login form again; `auth_time` there, later and recent"},
	{name: "oidcc-max-age-10000", run: maxAge10000, asserts: "no second login; `auth_time` there both times, the same"},
	{name: "oidcc-ensure-request-with-unknown-parameter-succeeds", run: with("extra", "foobar"), asserts: "a login with the parameter `extra=foobar`"},
	{name: "oidcc-id-token-hint", run: idTokenHint, asserts: "`prompt=none` with the hint: no page; the same `sub` and `auth_time`"},
	{name: "oidcc-login-hint", run: with("login_hint", "buffy@suite.test"), asserts: "a login with the parameter"},
	{name: "oidcc-ui-locales", run: with("ui_locales", "se"), asserts: "a login with the parameter"},
	{name: "oidcc-claims-locales", run: with("claims_locales", "se"), asserts: "a login with the parameter"},
	{name: "oidcc-ensure-request-with-acr-values-succeeds", run: acrValues, asserts: "`acr` is one of those asked for"},
	{name: "oidcc-codereuse", run: codeReuse, asserts: "the second use at once: 400 `invalid_grant` in JSON"},
	{name: "oidcc-codereuse-30seconds", run: codeReuse30, asserts: "after 30 s: 400 `invalid_grant`; the first access token then gives 401"},
	{name: "oidcc-ensure-registered-redirect-uri", run: registeredRedirectURI, asserts: "an error page for a URI that is not registered; neither URI is called"},
	{name: "oidcc-ensure-post-request-succeeds", run: postRequest, asserts: "a form of another site, without cookies, to the authorization endpoint: a login, and for who is logged in none"},
	{name: "oidcc-server-client-secret-post", run: clientSecretPost, asserts: "code flow with `client_secret_post`; the secret in the header is refused"},
	{name: "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", run: requestURI, asserts: "a client that registered itself: `request_uri_not_supported`, and nothing is fetched"},
	{name: "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", run: requestObject, asserts: "`request_not_supported`, not ignored"},
	{name: "oidcc-claims-essential", run: claimsEssential, asserts: "`name` in userinfo, not in the ID token"},
	{name: "oidcc-ensure-request-object-with-redirect-uri", run: requestObjectRedirect, asserts: "a bad `redirect_uri` beside the request object: an error page; no URI is called"},
	{name: "oidcc-refresh-token", run: refreshToken, asserts: "with `offline_access` and `prompt=consent`: 200, JSON, no-store, Bearer; token of 128 bits and more; new `iat`, all else in the ID token as it was; the token of client 2 at client 1: 400 `invalid_grant`"},
	{name: "oidcc-ensure-request-with-valid-pkce-succeeds", run: pkce, asserts: "a login with `S256`"},
}

// with is a login with one parameter that differs.
func with(pairs ...string) func(m *run) {
	return func(m *run) { m.logIn(m.newBrowser(alice), client1, pairs...) }
}

func server(m *run) {
	for i, c := range []client{client1, client2, client1} {
		if i == 2 {
			m.overHTTPS()
		}
		l := m.logIn(m.newBrowser(alice), c)
		m.unguessable("the code", codeOf(l))
		m.unasked(l.id)
		if _, has := l.id["name"]; has {
			m.warn("name", "the ID token has name")
		}
	}
}

// codeOf is the code that a login was made with.
func codeOf(l login) string {
	if l.asked.at.form != nil {
		return l.asked.at.form.Get("code")
	}
	u, err := url.Parse(l.asked.at.url)
	if err != nil {
		return ""
	}
	return u.Query().Get("code")
}

// unasked looks for claims in an ID token that openid alone does not stand for.
func (m *run) unasked(id claims) {
	m.Helper()
	known := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "nbf", "jti", "sid"}
	for name := range id {
		if !slices.Contains(known, name) {
			m.warn("unasked", "the ID token has %s", name)
		}
	}
}

func responseTypeMissing(m *run) {
	m.refused(m.ask(m.newBrowser(alice), client1, "response_type", ""), "invalid_request", "unsupported_response_type")
}

func idTokenSignature(m *run) {
	l := m.logIn(m.newBrowser(alice), m.register(nil))
	m.signedByRS256(l)
}

func (m *run) signedByRS256(l login) {
	m.Helper()
	if h := m.joseHeader(l.hint()); h.Algorithm != "RS256" || h.KeyID == "" {
		m.Errorf("the ID token's alg is %s, its kid %q", h.Algorithm, h.KeyID)
	}
}

func idTokenUnsigned(m *run) {
	if slices.Contains(m.meta.list("id_token_signing_alg_values_supported"), "none") {
		m.Fatal("none is offered")
	}
	a := m.registration(map[string]any{"id_token_signed_response_alg": "none"})
	if a.status != http.StatusBadRequest || a.text("error") != "invalid_client_metadata" {
		m.Errorf("the registration is answered with %d %s", a.status, a.raw)
	}
	m.bySuite("`none` is not among `id_token_signing_alg_values_supported`")
}

func userinfoGet(m *run) { m.logIn(m.newBrowser(alice), client1) }

func userinfoPostHeader(m *run) {
	l := m.logIn(m.newBrowser(alice), client1)
	m.person(m.call(http.MethodPost, m.meta.text("userinfo_endpoint"), bearer(l.access()), nil), l.id.text("sub"))
}

func userinfoPostBody(m *run) {
	l := m.logIn(m.newBrowser(alice), client1)
	a := m.call(http.MethodPost, m.meta.text("userinfo_endpoint"), nil, url.Values{"access_token": {l.access()}})
	if a.status/100 == 2 {
		m.person(a, l.id.text("sub"))
		return
	}
	if a.status/100 != 4 {
		m.Errorf("the answer is %d %s", a.status, a.raw)
	}
	m.warn("token-in-body", "the answer is %d %s", a.status, a.raw)
}

// standsFor are the claims that a scope stands for (OIDC Core section 5.4).
var standsFor = map[string][]string{
	"profile": {"name", "given_name", "family_name", "middle_name", "nickname", "profile", "picture", "website", "gender", "birthdate",
		"zoneinfo", "locale", "updated_at", "preferred_username"},
	"email": {"email", "email_verified"},
}

// offered ends a module whose scopes the provider does not list.
func (m *run) offered(scope string) {
	m.Helper()
	var missing []string
	for _, one := range strings.Fields(scope) {
		if !slices.Contains(m.meta.list("scopes_supported"), one) {
			missing = append(missing, "`"+one+"`")
		}
	}
	if missing != nil {
		m.bySuite(strings.Join(missing, ", ") + " not among `scopes_supported`")
	}
}

// fromUserinfo looks for the claims of the scopes that were asked for.
func (m *run) fromUserinfo(l login) {
	m.Helper()
	for _, scope := range strings.Fields(l.asked.sent.Get("scope")) {
		for _, name := range standsFor[scope] {
			if _, has := l.person[name]; !has {
				m.warn(scope+"-claims", "userinfo lacks %s", name)
			}
		}
	}
}

func scope(wanted string) func(m *run) {
	return func(m *run) {
		m.offered(wanted)
		l := m.logIn(m.newBrowser(alice), client1, "scope", wanted)
		m.fromUserinfo(l)
		// The suite would take a provider with none of them.
		for _, name := range []string{"name", "preferred_username", "updated_at"} {
			if _, has := l.person[name]; !has {
				m.Errorf("userinfo lacks %s", name)
			}
		}
	}
}

func scopeEmail(wanted string) func(m *run) {
	return func(m *run) {
		m.offered(wanted)
		m.emailOnly(m.logIn(m.newBrowser(alice), client1, "scope", wanted))
	}
}

func (m *run) emailOnly(l login) {
	m.Helper()
	m.fromUserinfo(l)
	for what, in := range map[string]struct {
		claims claims
		not    []string
	}{"the ID token": {l.id, []string{"name", "email"}}, "userinfo": {l.person, []string{"name"}}} {
		for _, name := range in.not {
			if _, has := in.claims[name]; has {
				m.warn("email-only", "%s has %s", what, name)
			}
		}
	}
	if l.person.text("email") != alice+"@example.org" {
		m.Errorf("userinfo: %v", l.person)
	}
}

func alternate(m *run) {
	x := m.request(client1, "scope", "email openid")
	names := slices.Sorted(maps.Keys(x.sent))
	slices.Reverse(names)
	var pairs []string
	for _, name := range names {
		pairs = append(pairs, name+"="+url.QueryEscape(x.sent.Get(name)))
	}
	x.at = m.newBrowser(alice).open(m.meta.text("authorization_endpoint") + "?" + strings.Join(pairs, "&"))
	m.emailOnly(m.finish(x))
}

// later waits until the clock of seconds has moved.
func later() { time.Sleep(1100 * time.Millisecond) }

// secondLogin compares the ID tokens of two logins, where the second was forced.
func (m *run) secondLogin(first, second login) {
	m.Helper()
	if first.id.text("sub") != second.id.text("sub") {
		m.Errorf("sub %v, then %v", first.id["sub"], second.id["sub"])
	}
	one, two := m.at(first.id, "auth_time"), m.at(second.id, "auth_time")
	if two <= one || time.Now().Unix()-two > 60 {
		m.Errorf("auth_time %d, then %d", one, two)
	}
}

// sameLogin compares the ID tokens of two answers of one login.
func (m *run) sameLogin(first, second login) {
	m.Helper()
	if first.id.text("sub") != second.id.text("sub") || first.id["auth_time"] != second.id["auth_time"] {
		m.Errorf("sub %v, auth_time %v; then %v, %v", first.id["sub"], first.id["auth_time"], second.id["sub"], second.id["auth_time"])
	}
}

func promptLogin(m *run) {
	b := m.newBrowser(alice)
	first := m.logIn(b, client1)
	later()
	second := m.logIn(b, client1, "prompt", "login")
	if b.logins != 2 {
		m.Errorf("%d logins", b.logins)
	}
	m.secondLogin(first, second)
}

func promptNoneNotLoggedIn(m *run) {
	b := m.newBrowser(alice)
	m.refused(m.ask(b, client1, "prompt", "none", "state", random(128)), needsInterface...)
	m.silent(b, 0)
}

// silent expects that the browser has seen that many login forms.
func (m *run) silent(b *browser, logins int) {
	m.Helper()
	if b.logins != logins {
		m.Errorf("%d logins, want %d", b.logins, logins)
	}
}

// quietly is a login with parameters that lets the person see nothing.
func (m *run) quietly(b *browser, differ ...string) login {
	m.Helper()
	logins, consents := b.logins, b.consents
	l := m.logIn(b, client1, differ...)
	if b.logins != logins || b.consents != consents {
		m.Errorf("%d logins and %d consents were asked for", b.logins-logins, b.consents-consents)
	}
	return l
}

func promptNoneLoggedIn(m *run) {
	b := m.newBrowser(alice)
	first := m.logIn(b, client1)
	later()
	m.sameLogin(first, m.quietly(b, "prompt", "none"))
}

func maxAge1(m *run) {
	b := m.newBrowser(alice)
	first := m.logIn(b, client1)
	time.Sleep(2100 * time.Millisecond)
	second := m.logIn(b, client1, "max_age", "1")
	if b.logins != 2 {
		m.Errorf("%d logins", b.logins)
	}
	m.secondLogin(first, second)
}

func maxAge10000(m *run) {
	b := m.newBrowser(alice)
	first := m.logIn(b, client1, "max_age", "10000")
	later()
	second := m.quietly(b, "max_age", "10000")
	m.at(first.id, "auth_time")
	m.sameLogin(first, second)
}

func idTokenHint(m *run) {
	b := m.newBrowser(alice)
	first := m.logIn(b, client1)
	later()
	m.sameLogin(first, m.quietly(b, "prompt", "none", "id_token_hint", first.hint()))
}

func acrValues(m *run) {
	values := m.meta.list("acr_values_supported")
	if values == nil {
		values = []string{"1", "2"}
	}
	l := m.logIn(m.newBrowser(alice), client1, "acr_values", strings.Join(values, " "))
	if !slices.Contains(values, l.id.text("acr")) {
		m.warn("acr", "acr is %v, asked for were %v", l.id["acr"], values)
	}
}

// again presents the code of a login once more.
func (m *run) again(l login) answer {
	m.Helper()
	return m.tokenCall(l.asked.client, nil, m.codeForm(l.asked, "code", codeOf(l)))
}

func codeReuse(m *run) {
	l := m.logIn(m.newBrowser(alice), client1)
	a := m.again(l)
	if a.status == http.StatusOK {
		m.warn("codereuse", "the code was taken twice")
		return
	}
	m.tokenError(a, http.StatusBadRequest, "invalid_grant")
}

func codeReuse30(m *run) {
	l := m.logIn(m.newBrowser(alice), client1)
	time.Sleep(30 * time.Second)
	m.tokenError(m.again(l), http.StatusBadRequest, "invalid_grant")
	m.revoked(l)
}

// revoked expects that the access token of a login is refused now.
func (m *run) revoked(l login) {
	m.Helper()
	a := m.call(http.MethodGet, m.meta.text("userinfo_endpoint"), bearer(l.access()), nil)
	if a.status/100 != 4 {
		m.warn("revoked", "userinfo answers %d", a.status)
	}
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
		m.Errorf("WWW-Authenticate: %s", a.header.Get("WWW-Authenticate")) // RFC 6750 section 3
	}
}

func registeredRedirectURI(m *run) {
	b := m.newBrowser(alice)
	m.errorPage(m.ask(b, client1, "redirect_uri", client1.redirect+"/"+random(10)))
	m.silent(b, 0)
}

func postRequest(m *run) {
	b := m.newBrowser(alice)
	for _, logins := range []int{1, 1} {
		x := m.request(client1)
		x.at = b.openByForm(m.meta.text("authorization_endpoint"), x.sent)
		m.finish(x)
		m.silent(b, logins)
	}
}

func clientSecretPost(m *run) {
	b := m.newBrowser(alice)
	m.logIn(b, byPost)
	x := m.ask(b, byPost)
	wrong := byPost
	wrong.method = "client_secret_basic"
	m.tokenError(m.tokenCall(wrong, nil, m.codeForm(x, "code", m.code(x))), http.StatusUnauthorized, "invalid_client")
}

// unsignedObject is a request object with alg none.
func unsignedObject(request url.Values) string {
	object := map[string]any{}
	for name := range request {
		object[name] = request.Get(name)
	}
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(text) + "."
}

// byObject makes a request whose parameters are in the object; those that OAuth
// itself wants are outside, too.
func (m *run) byObject(c client, name string, object func(url.Values) string) asked {
	x := m.request(c)
	sent := url.Values{name: {object(x.sent)}}
	for _, outside := range []string{"client_id", "redirect_uri", "response_type", "scope"} {
		sent.Set(outside, x.sent.Get(outside))
	}
	x.sent = sent
	return x
}

// unsupported is the answer to a request object. state and response_mode were
// in the object, where nobody looked.
func (m *run) unsupported(x asked, code string) {
	m.Helper()
	m.refused(x, code)
	m.bySuite("`" + code + "`, which is allowed")
}

func requestURI(m *run) {
	c := m.register(nil)
	fetched := logouts.fetches()
	x := m.byObject(c, "request_uri", func(url.Values) string { return logouts.url + "/request.jwt" })
	x.at = m.newBrowser(alice).open(m.meta.text("authorization_endpoint") + "?" + x.sent.Encode())
	if logouts.fetches() != fetched {
		m.Error("the request_uri was fetched")
	}
	m.unsupported(x, "request_uri_not_supported")
}

func requestObject(m *run) {
	x := m.byObject(client1, "request", unsignedObject)
	x.at = m.newBrowser(alice).open(m.meta.text("authorization_endpoint") + "?" + x.sent.Encode())
	m.unsupported(x, "request_not_supported")
}

func requestObjectRedirect(m *run) {
	x := m.byObject(client1, "request", unsignedObject)
	x.sent.Set("redirect_uri", client1.redirect+"_invalid")
	x.at = m.newBrowser(alice).open(m.meta.text("authorization_endpoint") + "?" + x.sent.Encode())
	m.errorPage(x)
}

func claimsEssential(m *run) {
	l := m.logIn(m.newBrowser(alice), client1, "claims", `{"userinfo":{"name":{"essential":true}}}`)
	if l.person.text("name") == "" {
		m.warn("essential", "userinfo lacks name")
	}
	if _, has := l.id["name"]; has {
		m.warn("name", "the ID token has name")
	}
}

// offline is the scope for a refresh token, and what goes with it (OIDC Core
// section 11).
func (m *run) offline() []string {
	if slices.Contains(m.meta.list("scopes_supported"), "offline_access") {
		return []string{"scope", "openid offline_access", "prompt", "consent"}
	}
	return []string{"scope", "openid"}
}

func (m *run) refreshed(c client, key *prover, token, scope string) answer {
	m.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return m.tokenCall(c, key, form)
}

func refreshToken(m *run) {
	m.refreshing(client1, true)
	m.tokenError(m.refreshed(client1, nil, m.refreshing(client2, false), ""), http.StatusBadRequest, "invalid_grant")
}

// refreshing logs in and refreshes, and returns the refresh token that is good
// then.
func (m *run) refreshing(c client, withScope bool) string {
	m.Helper()
	differ := append(m.offline(), "nonce", random(43))
	b := m.newBrowser(alice)
	l := m.logIn(b, c, differ...)
	if b.consents != 1 {
		m.Errorf("prompt=consent asked %d times", b.consents)
	}
	if l.refresh() == "" {
		m.Fatal("no refresh token")
	}
	if !slices.Contains(m.meta.list("grant_types_supported"), "refresh_token") {
		m.warn("grant-types", "refresh_token is not listed")
	}
	m.unguessable("the refresh token", l.refresh())
	later()
	scope := ""
	if withScope {
		scope = l.asked.sent.Get("scope")
	}
	a := m.granted(m.refreshed(c, nil, l.refresh(), scope), nil)
	m.unguessable("the access token", a.text("access_token"))
	m.sameButNewer(l, a)
	m.userinfo(a.text("access_token"), l.id.text("sub"))
	if a.text("refresh_token") == "" {
		return l.refresh()
	}
	m.unguessable("the refresh token", a.text("refresh_token"))
	return a.text("refresh_token")
}

// sameButNewer compares the ID token of a refresh with that of the login (OIDC
// Core section 12.2).
func (m *run) sameButNewer(l login, a answer) {
	m.Helper()
	raw := a.text("id_token")
	if raw == "" {
		return // it need not be there
	}
	nonce := ""
	if m.hasClaim(raw, "nonce") { // it need not, but if it does it is the old one
		nonce = l.id.text("nonce")
	}
	fresh := m.idToken(l.asked.client, raw, a.text("access_token"), nonce)
	for _, name := range []string{"iss", "sub", "auth_time", "azp"} {
		if fresh[name] != l.id[name] {
			m.Errorf("%s was %v, and is %v", name, l.id[name], fresh[name])
		}
	}
	if was, is := m.at(l.id, "iat"), m.at(fresh, "iat"); is <= was {
		m.Errorf("iat was %d, and is %d", was, is)
	}
	if was, is := asJSON(l.id["aud"]), asJSON(fresh["aud"]); was != is {
		m.Errorf("aud was %s, and is %s", was, is)
	}
}

// hasClaim reads a claim of a token that is verified elsewhere.
func (m *run) hasClaim(raw, name string) bool {
	m.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		m.Fatalf("no JWT: %s", raw)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var got claims
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil {
		m.Fatal(err)
	}
	_, has := got[name]
	return has
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func pkce(m *run) {
	x := m.request(client1)
	x.pkce()
	x.at = m.newBrowser(alice).open(m.meta.text("authorization_endpoint") + "?" + x.sent.Encode())
	m.finish(x)
}
