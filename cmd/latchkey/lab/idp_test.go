package lab

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// idToken logs anna in at the provider and reads what the ID token says.
func idToken(t *testing.T, p *providertest.IdP) (header, claims map[string]any) {
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
	r := httptest.NewRequest(http.MethodPost, p.Issuer()+"/token", strings.NewReader(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"latchkey"}, "client_secret": {"s"}, "redirect_uri": {"http://localhost/cb"},
		"code": {back.Query().Get("code")}, "code_verifier": {verifier},
	}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	var answer struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(answer.IDToken, ".")[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// TestLies: what a scenario says of the provider, the provider says; afterwards it
// is honest again.
func TestLies(t *testing.T) {
	clock := &Clock{}
	p := providertest.Start(t, providertest.Config{
		Now:     clock.IdPNow,
		Users:   []providertest.User{{Subject: "1", Username: "anna"}},
		Clients: []providertest.Client{{ID: "latchkey", Secret: "s", RedirectURIs: []string{"http://localhost/cb"}}},
	})
	s, err := Read([]byte(`
name: lies
title: The provider lies
must: Say so.
untried: nobody logged in
expect: {stays: true}
idp:
  clock: 1h
  sign: none
  header: {kid: another}
  claims: {iss: "https://elsewhere.example", aud: [a, b], sub: mallory, azp: other, at_hash: wrong}
  times: {exp: -10m}
  omit: [nonce]
`))
	if err != nil {
		t.Fatal(err)
	}
	s.IdP.tell(p, clock)
	header, claims := idToken(t, p)
	exp, _ := claims["exp"].(float64)
	iat, _ := claims["iat"].(float64)
	inAnHour := float64(time.Now().Add(time.Hour).Unix())
	if header["alg"] != "none" || header["kid"] != "another" || claims["iss"] != "https://elsewhere.example" || claims["sub"] != "mallory" ||
		claims["azp"] != "other" || claims["at_hash"] != "wrong" || claims["nonce"] != nil || exp > inAnHour-500 || iat < inAnHour-60 {
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
