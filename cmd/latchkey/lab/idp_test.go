package lab

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// ask sends a request and reads the object that comes back.
func ask(t *testing.T, r *http.Request, err error) (answer map[string]any) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", r.URL, res.Status, err)
	}
	return answer
}

// tokenAnswer is what the provider says when it has logged anna in.
func tokenAnswer(t *testing.T, p *providertest.IdP) map[string]any {
	t.Helper()
	const verifier = "a verifier that is long enough to be one, really"
	sum := sha256.Sum256([]byte(verifier))
	callback, err := p.Authorize(t.Context(), p.Issuer()+"/authorize?"+url.Values{
		"client_id": {"latchkey"}, "redirect_uri": {"http://localhost/cb"}, "response_type": {"code"}, "scope": {"openid"}, "nonce": {"N"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, p.Issuer()+"/token", strings.NewReader(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"latchkey"}, "client_secret": {"s"}, "redirect_uri": {"http://localhost/cb"},
		"code": {back.Query().Get("code")}, "code_verifier": {verifier},
	}.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return ask(t, r, err)
}

// idToken logs anna in at the provider and reads what the ID token says.
func idToken(t *testing.T, p *providertest.IdP) (header, claims map[string]any) {
	t.Helper()
	token, _ := tokenAnswer(t, p)["id_token"].(string)
	parts := strings.Split(token, ".")
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// lying is a scenario in which the provider lies so.
func lying(t *testing.T, lies string) Lies {
	t.Helper()
	s, err := Read([]byte("name: lies\ntitle: The provider lies\nmust: Say so.\nuntried: nobody logged in\nexpect: {stays: true}\nidp: " + lies))
	if err != nil {
		t.Fatal(err)
	}
	return s.IdP
}

func startIdP(t *testing.T, clock *Clock) *providertest.IdP {
	return providertest.Start(t, providertest.Config{
		Now:     clock.IdPNow,
		Users:   []providertest.User{{Subject: "1", Username: "anna"}},
		Clients: []providertest.Client{{ID: "latchkey", Secret: "s", RedirectURIs: []string{"http://localhost/cb"}}},
	})
}

// TestLies: what a scenario says of the provider, the provider says; afterwards it
// is honest again.
func TestLies(t *testing.T) {
	clock := &Clock{}
	p := startIdP(t, clock)
	lying(t, `
  clock: 1h
  sign: none
  header: {kid: another, typ: null, jwk: {kty: oct, k: null}}
  claims: {iss: "https://elsewhere.example", aud: [a, b], sub: mallory, azp: other, at_hash: wrong, nonce: null}
  times: {exp: -10m}
`).tell(p, clock)
	header, claims := idToken(t, p)
	exp, _ := claims["exp"].(float64)
	iat, _ := claims["iat"].(float64)
	inAnHour := float64(time.Now().Add(time.Hour).Unix())
	if header["alg"] != "none" || header["kid"] != "another" || header["typ"] != nil || claims["iss"] != "https://elsewhere.example" || claims["sub"] != "mallory" ||
		!reflect.DeepEqual(header["jwk"], map[string]any{"kty": "oct"}) || claims["azp"] != "other" || claims["at_hash"] != "wrong" || claims["nonce"] != nil || exp > inAnHour-500 || iat < inAnHour-60 {
		t.Errorf("%v %v", header, claims)
	}
	Lies{}.tell(p, clock)
	if header, claims = idToken(t, p); header["alg"] != "RS256" || claims["iss"] != p.Issuer() || claims["nonce"] != "N" {
		t.Errorf("afterwards: %v %v", header, claims)
	}
	kid := header["kid"]
	Lies{RotateKeys: true, Stall: []string{"userinfo"}}.tell(p, clock)
	if header, _ = idToken(t, p); header["kid"] == kid {
		t.Error("the key did not change")
	}
	for _, c := range []struct {
		lies Lies
		path string
	}{{Lies{Stall: []string{"jwks"}}, "/jwks"}, {Lies{Down: true}, "/jwks"}} {
		c.lies.tell(p, clock)
		client := &http.Client{Timeout: 100 * time.Millisecond}
		if res, err := client.Get(p.Issuer() + c.path); err == nil {
			t.Errorf("%+v: answered %s", c.lies, res.Status)
			res.Body.Close()
		}
	}
}

// TestLiesOfEndpoints: members of an answer are changed, removed and added, those of
// a list in each member of it, and the others stay as they are.
func TestLiesOfEndpoints(t *testing.T) {
	clock := &Clock{}
	p := startIdP(t, clock)
	answers := func() map[string]map[string]any {
		out := map[string]map[string]any{"token": tokenAnswer(t, p)}
		access, _ := out["token"]["access_token"].(string)
		for name, path := range map[string]string{"discovery": "/.well-known/openid-configuration", "jwks": "/jwks", "userinfo": "/userinfo"} {
			r, err := http.NewRequest(http.MethodGet, p.Issuer()+path, nil)
			if err == nil {
				r.Header.Set("Authorization", "Bearer "+access)
			}
			out[name] = ask(t, r, err)
		}
		return out
	}
	honest := answers()
	for _, c := range []struct{ endpoint, lie, change, remove string }{ // change: what must be there then
		{"discovery", `{issuer: "https://evil.example"}`, `{"issuer": "https://evil.example"}`, ""},
		{"discovery", `{userinfo_endpoint: null, scopes_supported: [openid], mtls: {a: {b: 1, c: null}}}`, `{"scopes_supported": ["openid"], "mtls": {"a": {"b": 1}}}`, "userinfo_endpoint"},
		{"jwks", `{keys: []}`, `{"keys": []}`, ""},
		{"jwks", `{keys: null, more: true}`, `{"more": true}`, "keys"},
		{"token", `{token_type: mac, id_token: null, refresh_token: R}`, `{"token_type": "mac", "refresh_token": "R"}`, "id_token"},
		{"userinfo", `{birthdate: 2000-01-01, at: &now 2000-01-01 10:00:00, more: [*now, "2000-01-01"], 2000-01-01: &all {a: 1}, b: {<<: *all}}`,
			`{"birthdate": "2000-01-01", "at": "2000-01-01 10:00:00", "more": ["2000-01-01 10:00:00", "2000-01-01"], "2000-01-01": {"a": 1}, "b": {"a": 1}}`, ""},
		{"userinfo", `{sub: another, email: [1], name: null}`, `{"sub": "another", "email": [1]}`, "name"},
	} {
		lying(t, "{"+c.endpoint+": "+c.lie+"}").tell(p, clock)
		got := answers()
		want := maps.Clone(honest[c.endpoint])
		if err := json.Unmarshal([]byte(c.change), &want); err != nil {
			t.Fatal(err)
		}
		delete(want, c.remove)
		for name, answer := range got {
			expected := honest[name]
			if name == c.endpoint {
				expected = want
			}
			for _, random := range []string{"access_token", "id_token"} {
				if answer[random] != nil && expected[random] != nil {
					answer[random] = expected[random]
				}
			}
			if !reflect.DeepEqual(answer, expected) {
				t.Errorf("%s: %s: %s says %v, want %v", c.endpoint, c.lie, name, answer, expected)
			}
		}
	}
	lying(t, `{jwks: {keys: {kid: null, alg: HS256}}}`).tell(p, clock)
	keys, _ := answers()["jwks"]["keys"].([]any)
	if key, _ := keys[0].(map[string]any); len(keys) != 1 || key["alg"] != "HS256" || key["kid"] != nil || key["n"] == nil {
		t.Errorf("a change of each key makes %v", keys)
	}
	Lies{}.tell(p, clock)
	if got := answers(); !reflect.DeepEqual(got["jwks"], honest["jwks"]) || !reflect.DeepEqual(got["discovery"], honest["discovery"]) {
		t.Errorf("afterwards: %v", got)
	}
}

// TestMerge: an object goes into the members of a list that has nothing but objects.
// Anything else is as in RFC 7396 appendix A.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ truth, lie, want string }{
		{`{"a": [{"b": 1}, {"c": 2}]}`, `{"a": {"b": null, "d": 3}}`, `{"a": [{"d": 3}, {"c": 2, "d": 3}]}`},
		{`{"a": ["readers"]}`, `{"a": {"admins": true}}`, `{"a": {"admins": true}}`},
		{`{"a": []}`, `{"a": {"admins": true}}`, `{"a": {"admins": true}}`},
		{`{"a": [{"b": 1}, "c"]}`, `{"a": {"b": null}}`, `{"a": {}}`},
		{`{"a": "b"}`, `{"b": "c"}`, `{"a": "b", "b": "c"}`},
		{`{"a": {"b": "c"}}`, `{"a": {"b": "d", "c": null}}`, `{"a": {"b": "d"}}`},
		{`{"a": [{"b": "c"}]}`, `{"a": [1]}`, `{"a": [1]}`},
		{`{"e": null}`, `{"a": 1}`, `{"e": null, "a": 1}`},
		{`{}`, `{"a": {"bb": {"ccc": null}}}`, `{"a": {"bb": {}}}`},
	} {
		read := [3]map[string]any{}
		for i, text := range []string{c.truth, c.lie, c.want} {
			if err := json.Unmarshal([]byte(text), &read[i]); err != nil {
				t.Fatal(err)
			}
		}
		if Patch(read[1]).edit(read[0]); !reflect.DeepEqual(read[0], read[2]) {
			t.Errorf("%s in %s makes %v, want %s", c.lie, c.truth, read[0], c.want)
		}
	}
}

// TestTellers: each lie is told by somebody, lest it pass for none.
func TestTellers(t *testing.T) {
	single := map[string]string{
		`{stall: [jwks]}`: "jwks", `{clock: 1h}`: "token", `{rotate_keys: true}`: "token", `{sign: none}`: "token", `{unknown_key: true}`: "token",
		`{header: {kid: a}}`: "token", `{claims: {sub: a}}`: "token", `{times: {exp: 1h}}`: "token", `{token: {a: b}}`: "token",
		`{discovery: {a: b}}`: "discovery", `{jwks: {keys: []}}`: "jwks", `{userinfo: {sub: a}}`: "userinfo", `{down: true}`: "",
	}
	if n := reflect.TypeFor[Lies]().NumField(); n != len(single) {
		t.Errorf("there are %d lies, and %d are tried", n, len(single))
	}
	for text, want := range single {
		if l := lying(t, text); strings.Join(l.tellers(), " ") != want || !l.any() {
			t.Errorf("%s: told by %q", text, l.tellers())
		}
	}
	if lying(t, `{claims: {}, stall: []}`).any() {
		t.Error("nothing is a lie")
	}
}
