package conformance

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"time"
)

// Modules of the comprehensive and the dynamic plan that say something of a
// provider which wants neither.
func TestComprehensiveOP(t *testing.T) { runPlan(t, plan{modules: comprehensive}) }

var comprehensive = []module{
	{name: "oidcc-redirect-uri-query-OK", run: redirectQueryOK, asserts: "a registered URI with a query: a login; the query is kept"},
	{name: "oidcc-redirect-uri-query-added", run: redirectQueryAdded, asserts: "a query that the registered URI does not have: an error page; nobody is called"},
	{name: "oidcc-redirect-uri-query-mismatch", run: redirectQueryMismatch, asserts: "another query than the registered one: an error page; nobody is called"},
	{name: "oidcc-redirect-uri-regfrag", run: redirectFragment, asserts: "a registration with a fragment: 400 `invalid_redirect_uri`"},
	{name: "oidcc-ensure-redirect-uri-in-authorization-request", run: redirectMissing, asserts: "two registered URIs and none in the request: an error page; nobody is called"},
	{name: "oidcc-idtoken-rs256", run: idTokenRS256, asserts: "a registration that asks for RS256 gets it, with `kid`"},
	{name: "oidcc-ensure-client-assertion-with-iss-aud-succeeds", run: assertionForIssuer, asserts: "a login with `private_key_jwt` whose `aud` is the issuer; the same assertion once more: `invalid_client`"},
	{name: "oidcc-server-rotate-keys", run: rotateKeys, asserts: "after `latchkey key rotate`: its new keys are in the set, and the ones before them as they were (a warning)"},
	{name: "oidcc-registration-logo-uri", reason: "a person judges pictures of the login page, which shows neither logo nor links of a client that registered itself; of the Dynamic profile"},
	{name: "oidcc-registration-policy-uri", reason: "a person judges pictures of the login page, which shows neither logo nor links of a client that registered itself; of the Dynamic profile"},
	{name: "oidcc-registration-tos-uri", reason: "a person judges pictures of the login page, which shows neither logo nor links of a client that registered itself; of the Dynamic profile"},
	{name: "oidcc-registration-sector-uri", reason: "there are no pairwise subjects here; of the Dynamic profile"},
	{name: "oidcc-registration-sector-bad", reason: "there are no pairwise subjects here; of the Dynamic profile"},
	{name: "oidcc-registration-jwks-uri", reason: "keys of a client that registered itself are fetched from public addresses only, and these tests have none; of the Dynamic profile"},
	{name: "oidcc-refresh-token-rp-key-rotation", reason: "keys of a client that registered itself are fetched from public addresses only, and these tests have none; of the Dynamic profile"},
	{name: "oidcc-request-uri-unsigned", reason: "`request_uri` is not supported, and the metadata says so; of the Dynamic profile"},
	{name: "oidcc-request-uri-signed-rs256", reason: "`request_uri` is not supported, and the metadata says so; of the Dynamic profile"},
	{name: "oidcc-userinfo-rs256", reason: "userinfo is not signed here, and the metadata says so; of the Dynamic profile"},
}

func redirectQueryOK(m *run) {
	m.logIn(m.newBrowser(alice), m.register(map[string]any{"redirect_uris": []string{callback("query") + "?foo=bar"}}))
}

func redirectQueryAdded(m *run) {
	m.errorPage(m.ask(m.newBrowser(alice), client1, "redirect_uri", client1.redirect+"?foo=bar"))
}

func redirectQueryMismatch(m *run) {
	c := m.register(map[string]any{"redirect_uris": []string{callback("query") + "?bar=foo"}})
	m.errorPage(m.ask(m.newBrowser(alice), c, "redirect_uri", callback("query")+"?foo=bar"))
}

func redirectFragment(m *run) {
	a := m.registration(map[string]any{"redirect_uris": []string{callback("fragment") + "#foobar"}})
	if a.status != http.StatusBadRequest || a.body == nil {
		m.Errorf("the answer is %d %s", a.status, a.raw)
	}
	if code := a.text("error"); code != "invalid_redirect_uri" && code != "invalid_client_metadata" {
		m.warn("registration-error", "the error is %q", code)
	}
}

func redirectMissing(m *run) {
	c := m.register(map[string]any{"redirect_uris": []string{callback("one"), callback("two")}})
	m.errorPage(m.ask(m.newBrowser(alice), c, "redirect_uri", ""))
}

func idTokenRS256(m *run) {
	m.signedByRS256(m.logIn(m.newBrowser(alice), m.register(map[string]any{"id_token_signed_response_alg": "RS256"})))
}

func assertionForIssuer(m *run) {
	b := m.newBrowser(alice)
	m.logIn(b, byKey)
	x := m.ask(b, byKey)
	form := m.codeForm(x, "code", m.code(x))
	m.authenticate(byKey, nil, form)
	endpoint := m.meta.text("token_endpoint")
	m.granted(m.call(http.MethodPost, endpoint, nil, form), nil)
	m.tokenError(m.call(http.MethodPost, endpoint, nil, form), http.StatusUnauthorized, "invalid_client")
}

// rotateKeys, as the suite has it, asks the set alone and not which key signs (OIDC
// Core section 10.1.1).
func rotateKeys(m *run) {
	out, err := m.op.command("key", "rotate", "--json").Output()
	var fresh keySet
	if err != nil || json.Unmarshal(out, &fresh) != nil || len(fresh) == 0 {
		m.Fatalf("key rotate: %v %s", err, out)
	}
	before := m.keys.byID()
	for _, key := range fresh {
		if before[key["kid"]] != nil {
			m.Errorf("%s is no new key", key["kid"])
		}
		m.published(key["kid"])
	}
	after := m.keys.byID()
	for kid, key := range before {
		if !reflect.DeepEqual(after[kid], key) {
			m.warn("old-keys", "%s was %v and is %v", kid, key, after[kid])
		}
	}
	m.logIn(m.newBrowser(alice), client1)
}

// published waits until the set has a key.
func (m *run) published(kid any) {
	m.Helper()
	for deadline := time.Now().Add(30 * time.Second); m.keys.byID()[kid] == nil; m.keys = m.fetchKeys() {
		if time.Now().After(deadline) {
			m.Fatalf("%s is not in the set", kid)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s keySet) byID() map[any]map[string]any {
	out := map[any]map[string]any{}
	for _, key := range s {
		out[key["kid"]] = key
	}
	return out
}
