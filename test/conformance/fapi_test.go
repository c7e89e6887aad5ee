package conformance

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// Modules of the FAPI 2.0 plan that hold for a provider without FAPI. Where the
// suite has every request pushed and every client use PKCE and DPoP, these do so
// where that is what the module is about.
func TestFAPI2(t *testing.T) { runPlan(t, plan{modules: fapi2}) }

const fapi = "fapi2-security-profile-final-"

var fapi2 = []module{
	{name: fapi + "ensure-authorization-code-is-bound-to-client", run: codeBoundToClient, asserts: "the code of one client with the credentials of another: 400 `invalid_grant`; the first can use it still"},
	{name: fapi + "ensure-token-endpoint-fails-with-expired-auth-code", run: expiredCode, asserts: "after 62 s: 400 `invalid_grant`"},
	{name: fapi + "attempt-reuse-authorization-code-after-one-second", run: codeReuse1, asserts: "after 1 s: 400 `invalid_grant`; the first access token then gives 401"},
	{name: fapi + "ensure-pkce-code-verifier-required", run: verifier(""), asserts: "no `code_verifier`: 400 `invalid_grant`, for a public and a confidential client"},
	{name: fapi + "incorrect-pkce-code-verifier-rejected", run: verifier(random(64)), asserts: "another `code_verifier`: 400 `invalid_grant`, for a public and a confidential client"},
	{name: fapi + "par-ensure-pkce-required", run: pkceRequired, asserts: "a pushed request without a challenge: 400 `invalid_request`. Here of a public client; confidential ones may do without"},
	{name: fapi + "par-plain-pkce-rejected", run: plainRejected, asserts: "a pushed request with `plain`, and with no method: 400 `invalid_request`"},
	{name: fapi + "user-rejects-authentication", run: userRejects, asserts: "`access_denied` with `state`, and with the query of a registered URI"},
	{name: fapi + "ensure-authorization-request-with-long-nonce", run: pushed("nonce", random(384)), asserts: "384 characters come back in the ID token"},
	{name: fapi + "ensure-authorization-request-with-long-state", run: pushed("state", random(1000)), asserts: "1000 characters come back"},
	{name: fapi + "ensure-authorization-request-without-state-success", run: pushed("state", ""), asserts: "a login without `state`"},
	{name: fapi + "refresh-token", run: fapiRefresh, asserts: "a bound session: refresh with its key; without client authentication, without proof, and at another client: refused. The suite refreshes a confidential client with a new key"},
	{name: fapi + "dpop-negative-tests", run: dpopNegative, asserts: "31 proofs at userinfo, bad and unusual ones; the suite's default port in `htu` needs an issuer without port"},
	{name: fapi + "check-dpop-proof-nbf-exp", run: proofWith(func(claims map[string]any, now int64) { claims["nbf"], claims["exp"] = now, now+300 }), asserts: "proofs with `nbf` and `exp` at token endpoint and userinfo"},
	{name: fapi + "ensure-dpopproof-with-iat-10seconds-before-succeeds", run: proofWith(func(claims map[string]any, now int64) { claims["iat"] = now - 10 }), asserts: "`iat` 10 s ago at PAR, token endpoint and userinfo"},
	{name: fapi + "ensure-dpopproof-with-iat-10seconds-after-succeeds", run: proofWith(func(claims map[string]any, now int64) { claims["iat"] = now + 10 }), asserts: "`iat` in 10 s at PAR, token endpoint and userinfo"},
	{name: fapi + "ensure-dpop-auth-code-binding-success", run: codeBoundToKey, asserts: "`dpop_jkt` of the key that redeems: a login"},
	{name: fapi + "ensure-token-endpoint-fails-with-mismatched-dpop-jkt", run: otherThumbprint, asserts: "`dpop_jkt` of another key than that of the proof: 400 with one of the three errors that the suite takes"},
	{name: fapi + "ensure-mismatched-dpop-jkt-fails", run: otherProofAtPAR, asserts: "`dpop_jkt` of another key than that of the proof at PAR: 400 `invalid_dpop_proof`"},
	{name: fapi + "ensure-holder-of-key-required", run: proofRequired, asserts: "a client that is registered for DPoP, without proof: 400"},
	{name: fapi + "access-token-type-header-case-sensitivity", run: schemeCase, asserts: "`dpop`, `DPOP`, `bearer` and `BEARER` as the scheme at userinfo"},
	{name: fapi + "par-attempt-reuse-request_uri", run: reusedRequestURI, asserts: "the second use: an error page with `invalid_request_uri`; nobody is called"},
	{name: fapi + "par-attempt-to-use-expired-request_uri", run: expiredRequestURI, asserts: "after `expires_in`: an error page with `invalid_request_uri`; nobody is called. In the process of the tests, with a clock that is set forward 90 s"},
	{name: fapi + "par-attempt-to-use-request_uri-for-different-client", run: strangersRequestURI, asserts: "the URI that another client got: an error page with `invalid_request_uri`; nobody is called"},
	{name: fapi + "par-attempt-invalid-http-method", run: parMethod, asserts: "PUT, and GET: a 4xx"},
	{name: fapi + "par-authorization-request-containing-request_uri-form-param", run: parWithRequestURI, asserts: "400 `invalid_request`"},
	{name: fapi + "par-authorization-request-containing-request_uri", run: parWithObject, asserts: "the suite's rule; and a pushed request object is refused with `request_not_supported`"},
	{name: fapi + "ensure-client-assertion-with-wrong-aud-fails", run: wrongAssertion(func(claims map[string]any, _ int64) { claims["aud"] = elsewhere }), asserts: "401 `invalid_client`"},
	{name: fapi + "ensure-client-assertion-with-no-sub-fails", run: wrongAssertion(func(claims map[string]any, _ int64) { delete(claims, "sub") }), asserts: "401 `invalid_client`"},
	{name: fapi + "ensure-client-assertion-with-exp-is-5-minutes-in-past-fails", run: wrongAssertion(func(claims map[string]any, now int64) { claims["exp"], claims["iat"] = now-300, now-360 }), asserts: "401 `invalid_client`"},
	{name: fapi + "par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails", run: wrongAssertion(func(claims map[string]any, now int64) { claims["nbf"], claims["exp"] = now+70, now+120 }), asserts: "401 `invalid_client`"},
	{name: fapi + "par-test-array-as-audience-fails", run: wrongAssertionOf(func(m *run, claims map[string]any) { claims["aud"] = []string{m.op.issuer} }), asserts: "401 `invalid_client`"},
	{name: fapi + "par-test-par-endpoint-url-as-audience-fails", run: wrongAssertionOf(func(m *run, claims map[string]any) {
		claims["aud"] = m.meta.text("pushed_authorization_request_endpoint")
	}), asserts: "401 `invalid_client`"},
}

func codeBoundToClient(m *run) {
	x := m.ask(m.newBrowser(alice), client1)
	form := m.codeForm(x, "code", m.code(x))
	m.tokenError(m.tokenCall(client2, nil, form), http.StatusBadRequest, "invalid_grant")
	m.finish(x)
}

func expiredCode(m *run) {
	x := m.ask(m.newBrowser(alice), client1)
	code := m.code(x)
	time.Sleep(62 * time.Second)
	m.tokenError(m.tokenCall(client1, nil, m.codeForm(x, "code", code)), http.StatusBadRequest, "invalid_grant")
}

func codeReuse1(m *run) {
	l := m.logIn(m.newBrowser(alice), client1)
	later()
	m.tokenError(m.again(l), http.StatusBadRequest, "invalid_grant")
	m.revoked(l)
}

func verifier(value string) func(m *run) {
	return func(m *run) {
		for _, c := range []client{public, client1} {
			c.pkce = true
			x := m.ask(m.newBrowser(alice), c)
			m.tokenError(m.tokenCall(c, nil, m.codeForm(x, "code", m.code(x), "code_verifier", value)), http.StatusBadRequest, "invalid_grant")
		}
	}
}

// push pushes an authorization request (RFC 9126 section 2.1).
func (m *run) push(x asked, key *prover) answer {
	m.Helper()
	return m.backCall(m.meta.text("pushed_authorization_request_endpoint"), x.client, key, x.sent)
}

// requestURI is what a push gave.
func (m *run) requestURI(a answer) string {
	m.Helper()
	seconds, _ := a.body["expires_in"].(float64)
	if a.status != http.StatusCreated || a.text("request_uri") == "" || seconds < 5 || seconds > 600 || a.header.Get("Cache-Control") != "no-store" {
		m.Fatalf("the push is answered with %d %s", a.status, a.raw)
	}
	m.unguessable("the request_uri", a.text("request_uri"))
	return a.text("request_uri")
}

// openPushed sends a browser with a request_uri.
func (m *run) openPushed(b *browser, clientID, uri string) place {
	m.Helper()
	return b.open(m.meta.text("authorization_endpoint") + "?" + url.Values{"client_id": {clientID}, "request_uri": {uri}}.Encode())
}

// pushed is a login whose request was pushed.
func pushed(differ ...string) func(m *run) {
	return func(m *run) {
		x := m.request(client1, differ...)
		x.pkce()
		x.at = m.openPushed(m.newBrowser(alice), x.client.id, m.requestURI(m.push(x, nil)))
		m.finish(x)
	}
}

func pkceRequired(m *run) {
	m.tokenError(m.push(m.request(public, "code_challenge", "", "code_challenge_method", ""), nil), http.StatusBadRequest, "invalid_request")
}

func plainRejected(m *run) {
	for _, method := range []string{"plain", ""} {
		for _, c := range []client{public, client1} {
			m.tokenError(m.push(m.request(c, "code_challenge", random(43), "code_challenge_method", method), nil), http.StatusBadRequest, "invalid_request")
		}
	}
}

func userRejects(m *run) {
	for _, c := range []client{client1, client2} {
		b := m.newBrowser(bob)
		b.deny = true
		m.refused(m.ask(b, c, "state", random(128)), "access_denied")
		if b.consents != 1 {
			m.Errorf("asked %d times", b.consents)
		}
	}
}

func fapiRefresh(m *run) {
	key := newProver()
	c := byProof
	l := m.bound(key, c, m.offline()...)
	later()
	a := m.granted(m.refreshed(c, key, l.refresh(), l.asked.sent.Get("scope")), key)
	m.sameButNewer(l, a)
	token := a.text("refresh_token")
	if token == "" {
		token = l.refresh()
	}
	// The suite makes a new key here: a confidential client proves by its secret
	// that the token is its own (RFC 9449 section 5).
	if a := m.refreshed(c, newProver(), token, ""); a.status != http.StatusOK {
		m.deviate("refresh-new-key", "a refresh with a new key is answered with %d %s", a.status, a.raw)
		m.tokenError(a, http.StatusBadRequest, "invalid_grant", "invalid_dpop_proof")
	}
	stranger := c
	stranger.method = "none"
	if a := m.refreshed(stranger, key, token, ""); a.status != http.StatusUnauthorized {
		m.tokenError(a, http.StatusBadRequest, "invalid_client", "invalid_grant", "invalid_request")
	}
	m.tokenError(m.refreshed(c, nil, token, ""), http.StatusBadRequest, "invalid_request", "invalid_grant", "invalid_dpop_proof")
	m.tokenError(m.refreshed(client1, key, token, ""), http.StatusBadRequest, "invalid_grant")
	m.granted(m.refreshed(c, key, token, ""), key)
}

func proofWith(change func(claims map[string]any, now int64)) func(m *run) {
	return func(m *run) {
		key := newProver().with(func(_ map[jose.HeaderKey]any, claims map[string]any) { change(claims, time.Now().Unix()) })
		m.bound(key, byProof)
		x := m.request(byProof)
		a := m.push(x, key)
		x.at = m.openPushed(m.newBrowser(alice), byProof.id, m.requestURI(a))
		m.redeem(x, key)
	}
}

func codeBoundToKey(m *run) {
	key := newProver()
	m.bound(key, byProof, "dpop_jkt", thumbprint(key.key))
}

func otherThumbprint(m *run) {
	key := newProver()
	x := m.ask(m.newBrowser(alice), byProof, "dpop_jkt", thumbprint(makeKey()))
	a := m.tokenCall(byProof, key, m.codeForm(x, "code", m.code(x)))
	m.tokenError(a, http.StatusBadRequest, "invalid_request", "invalid_grant", "invalid_dpop_proof")
}

func otherProofAtPAR(m *run) {
	a := m.push(m.request(byProof, "dpop_jkt", thumbprint(makeKey())), newProver())
	m.tokenError(a, http.StatusBadRequest, "invalid_request", "invalid_dpop_proof")
}

func proofRequired(m *run) {
	x := m.ask(m.newBrowser(alice), byProof)
	a := m.tokenCall(byProof, nil, m.codeForm(x, "code", m.code(x)))
	m.tokenError(a, http.StatusBadRequest, "invalid_request", "invalid_grant", "invalid_dpop_proof")
}

func schemeCase(m *run) {
	key := newProver()
	l := m.bound(key, byProof)
	for _, scheme := range []string{"dpop", "DPOP"} {
		m.person(m.resource(scheme, l.access(), key.proof(http.MethodGet, m.meta.text("userinfo_endpoint"), l.access())), l.id.text("sub"))
	}
	l = m.logIn(m.newBrowser(alice), client1)
	for _, scheme := range []string{"bearer", "BEARER"} {
		m.person(m.resource(scheme, l.access()), l.id.text("sub"))
	}
}

// badRequestURI expects an error page that names the error; the request says
// nowhere where the browser could go.
func (m *run) badRequestURI(at place) {
	m.Helper()
	m.errorPage(asked{at: at})
	if !strings.Contains(at.body, "invalid_request_uri") {
		m.Errorf("the page does not name invalid_request_uri: %s", at.body)
	}
}

func reusedRequestURI(m *run) {
	b := m.newBrowser(alice)
	x := m.request(client1)
	uri := m.requestURI(m.push(x, nil))
	x.at = m.openPushed(b, client1.id, uri)
	m.finish(x)
	m.badRequestURI(m.openPushed(b, client1.id, uri))
}

func expiredRequestURI(m *run) {
	clock := m.inProcess()
	b := m.newBrowser(alice)
	push := func() (asked, string) {
		x := m.request(client1)
		return x, m.requestURI(m.push(x, nil))
	}
	x, uri := push()
	x.at = m.openPushed(b, client1.id, uri)
	m.code(x)
	_, uri = push()
	clock.Advance(90 * time.Second)
	m.badRequestURI(m.openPushed(b, client1.id, uri))
}

// inProcess has the module run against a broker in this process, whose clock it
// returns.
func (m *run) inProcess() *harness.Clock {
	m.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	m.Cleanup(server.Close)
	c, err := broker.CheckClient(broker.Client{
		ID: client1.id, SecretHash: broker.HashClientSecret(client1.secret), RedirectURIs: []string{client1.redirect}, FirstParty: true,
	})
	if err != nil {
		m.Fatal(err)
	}
	rig := harness.New(m, "", func(cfg *broker.Config) { cfg.PublicURL, cfg.Clients = server.URL, []broker.Client{c} })
	if _, err := rig.Broker.CreateUser(m.Context(), broker.NewUser{Username: alice, Password: passwordOf(alice), Role: broker.RoleUser}); err != nil {
		m.Fatal(err)
	}
	if handler, err = web.New(web.Config{Broker: rig.Broker, LocalLogin: true}); err != nil {
		m.Fatal(err)
	}
	m.op = &op{issuer: server.URL}
	m.begin()
	return rig.Clock
}

func strangersRequestURI(m *run) {
	uri := m.requestURI(m.push(m.request(client1), nil))
	m.badRequestURI(m.openPushed(m.newBrowser(alice), client2.id, uri))
}

func parMethod(m *run) {
	endpoint := m.meta.text("pushed_authorization_request_endpoint")
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		header, form := http.Header{}, m.request(client1).sent
		m.authenticate(client1, header, form)
		if a := m.call(method, endpoint, header, form); a.status/100 != 4 {
			m.Errorf("%s is answered with %d %s", method, a.status, a.raw)
		}
	}
}

func parWithRequestURI(m *run) {
	x := m.request(client1, "request_uri", "urn:ietf:params:oauth:request_uri:"+random(20))
	m.tokenError(m.push(x, nil), http.StatusBadRequest, "invalid_request")
}

func parWithObject(m *run) {
	x := m.request(client1)
	x.sent.Set("request", unsignedObject(x.sent))
	m.tokenError(m.push(x, nil), http.StatusBadRequest, "request_not_supported")
	if m.meta["request_parameter_supported"] == true || slices.Contains(m.meta.list("request_object_signing_alg_values_supported"), "ES256") {
		m.Error("request objects are offered")
	}
	m.bySuite("the module is for request objects, which are not supported")
}

func wrongAssertion(change func(claims map[string]any, now int64)) func(m *run) {
	return wrongAssertionOf(func(_ *run, claims map[string]any) { change(claims, time.Now().Unix()) })
}

// wrongAssertionOf pushes a request with a client assertion that is wrong in one
// thing.
func wrongAssertionOf(change func(m *run, claims map[string]any)) func(m *run) {
	return func(m *run) {
		now := time.Now().Unix()
		claims := map[string]any{"iss": byKey.id, "sub": byKey.id, "aud": m.op.issuer, "jti": random(30), "iat": now, "exp": now + 60}
		good := url.Values{
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_id": {byKey.id},
			"client_assertion": {signed(byKey.key, map[jose.HeaderKey]any{"kid": thumbprint(byKey.key)}, claims)},
		}
		for name, values := range m.request(byKey).sent {
			good[name] = values
		}
		endpoint := m.meta.text("pushed_authorization_request_endpoint")
		m.requestURI(m.call(http.MethodPost, endpoint, nil, good))
		claims["jti"] = random(30)
		change(m, claims)
		good.Set("client_assertion", signed(byKey.key, map[jose.HeaderKey]any{"kid": thumbprint(byKey.key)}, claims))
		m.tokenError(m.call(http.MethodPost, endpoint, nil, good), http.StatusUnauthorized, "invalid_client")
	}
}
