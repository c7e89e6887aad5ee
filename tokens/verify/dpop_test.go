package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

const booksURL = "https://api.example.org/books"

// holder is an app with a key, which makes its proofs with go-jose.
type holder struct {
	t          testing.TB
	signer     jose.Signer
	thumbprint string
}

func newHolder(t testing.TB, algorithm string) *holder {
	t.Helper()
	var key crypto.Signer
	var err error
	if algorithm == "ES256" {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	public := jose.JSONWebKey{Key: key.Public()}
	print, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	return &holder{t, s, base64.RawURLEncoding.EncodeToString(print)}
}

func (h *holder) prove(method, url, token string, change map[string]any) string {
	h.t.Helper()
	sum := sha256.Sum256([]byte(token))
	body := map[string]any{
		"jti": rand.Text(), "htm": method, "htu": url, "iat": now.Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	maps.Copy(body, change)
	signed, err := h.signer.Sign(mustJSON(body))
	if err != nil {
		h.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

func mustJSON(v any) []byte {
	raw, err := base64.RawURLEncoding.DecodeString(seg(v))
	if err != nil {
		panic(err)
	}
	return raw
}

// bound is a token for the holder of a key.
func (r *rig) bound(thumbprint string) string {
	c := claims()
	c.Confirmation = &tokens.Confirmation{Thumbprint: thumbprint}
	return r.mint(c)
}

func request(method, url, authorization string, proofs ...string) *http.Request {
	r := httptest.NewRequest(method, url, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	return r
}

func (r *rig) wantRequest(name string, req *http.Request, url string, want error) error {
	r.t.Helper()
	c, err := r.VerifyRequest(req, url)
	if !errors.Is(err, want) || want == nil && err != nil {
		r.t.Errorf("%s: %v, want %v", name, err, want)
	}
	if (err == nil) != (c.Subject != "") {
		r.t.Errorf("%s: claims %+v with %v", name, c, err)
	}
	return err
}

func TestBoundTokenWithItsProof(t *testing.T) {
	for _, algorithm := range []string{"ES256", "EdDSA"} {
		r, h := newRig(t, "ES256", nil), newHolder(t, algorithm)
		token := r.bound(h.thumbprint)
		for _, scheme := range []string{"DPoP ", "dpop ", "DPOP  "} {
			r.wantRequest(scheme, request("GET", booksURL, scheme+token, h.prove("GET", booksURL, token, nil)), booksURL, nil)
		}
		r.wantRequest("by the request", request("GET", booksURL+"?q=1", "DPoP "+token, h.prove("GET", booksURL, token, nil)), "", nil)
	}
	r := newRig(t, "ES256", nil)
	r.wantRequest("a bearer token", request("GET", booksURL, "Bearer "+r.mint(claims())), "", nil)
	r.wantRequest("a bearer token and a proof", request("GET", booksURL, "Bearer "+r.mint(claims()), "x"), "", nil)
}

// T14: a bound token is no bearer token, and a bearer token is not bound.
func TestDowngrade(t *testing.T) {
	r, h := newRig(t, "ES256", nil), newHolder(t, "ES256")
	bound, free := r.bound(h.thumbprint), r.mint(claims())
	r.want("Verify", bound, verify.ErrBound)
	r.want("Verify, from the cache", bound, verify.ErrBound)
	r.wantRequest("as Bearer", request("GET", booksURL, "Bearer "+bound), booksURL, verify.ErrBound)
	r.wantRequest("as Bearer with its proof", request("GET", booksURL, "Bearer "+bound, h.prove("GET", booksURL, bound, nil)), booksURL, verify.ErrBound)
	r.wantRequest("unbound as DPoP", request("GET", booksURL, "DPoP "+free, h.prove("GET", booksURL, free, nil)), booksURL, verify.ErrUnbound)
	r.wantRequest("unbound as DPoP without proof", request("GET", booksURL, "DPoP "+free), booksURL, verify.ErrUnbound)

	// Bound to something that we cannot check is bound all the same.
	head, body := r.honest()
	for name, cnf := range map[string]any{"an empty cnf": map[string]any{}, "a certificate": map[string]any{"x5t#S256": "x"}, "an empty jkt": map[string]any{"jkt": ""}} {
		token := r.signed(head, with(body, "cnf", cnf))
		r.want(name, token, verify.ErrBound)
		r.wantRequest(name+" as DPoP", request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL, token, nil)), booksURL, verify.ErrBinding)
	}
	r.want("a jkt that is no text", r.signed(head, with(body, "cnf", map[string]any{"jkt": 7})), verify.ErrMalformed)
}

// A stolen token without its key, and a stolen proof.
func TestStolenBoundToken(t *testing.T) {
	r, h, thief := newRig(t, "ES256", nil), newHolder(t, "ES256"), newHolder(t, "ES256")
	token, other := r.bound(h.thumbprint), r.bound(h.thumbprint)
	good := func() string { return h.prove("GET", booksURL, token, nil) }
	for name, tc := range map[string]struct {
		req  *http.Request
		want error
	}{
		"another key":       {request("GET", booksURL, "DPoP "+token, thief.prove("GET", booksURL, token, nil)), verify.ErrBinding},
		"no proof":          {request("GET", booksURL, "DPoP "+token), verify.ErrProof},
		"an empty proof":    {request("GET", booksURL, "DPoP "+token, ""), verify.ErrProof},
		"two proofs":        {request("GET", booksURL, "DPoP "+token, good(), good()), verify.ErrProof},
		"another token's":   {request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL, other, nil)), verify.ErrProof},
		"of no token":       {request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL, token, map[string]any{"ath": ""})), verify.ErrProof},
		"another method":    {request("DELETE", booksURL, "DPoP "+token, good()), verify.ErrProof},
		"another URL":       {request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL+"/7", token, nil)), verify.ErrProof},
		"another server":    {request("GET", booksURL, "DPoP "+token, h.prove("GET", "https://evil.example/books", token, nil)), verify.ErrProof},
		"old":               {request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL, token, map[string]any{"iat": now.Add(-61 * time.Second).Unix()})), verify.ErrProof},
		"made in advance":   {request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL, token, map[string]any{"iat": now.Add(61 * time.Second).Unix()})), verify.ErrProof},
		"an expired token":  {request("GET", booksURL, "DPoP "+r.expired(h.thumbprint), good()), verify.ErrExpired},
		"a forged token":    {request("GET", booksURL, "DPoP "+token+"x", good()), verify.ErrMalformed},
		"no token":          {request("GET", booksURL, "DPoP", good()), verify.ErrNoToken},
		"a proof alone":     {request("GET", booksURL, "", good()), verify.ErrNoToken},
		"the proof as both": {request("GET", booksURL, "DPoP "+good(), good()), verify.ErrWrongType},
	} {
		r.wantRequest(name, tc.req, booksURL, tc.want)
	}
	two := request("GET", booksURL, "Bearer "+r.mint(claims()), good())
	two.Header.Add("Authorization", "DPoP "+token)
	r.wantRequest("two Authorization headers", two, booksURL, verify.ErrMalformed)
}

func (r *rig) expired(thumbprint string) string {
	c := claims()
	c.ExpiresAt = now.Add(-time.Hour).Unix()
	c.Confirmation = &tokens.Confirmation{Thumbprint: thumbprint}
	return r.mint(c)
}

// A proof is taken once, by whomever, however many try at once.
func TestReplayedProof(t *testing.T) {
	r, h := newRig(t, "ES256", nil), newHolder(t, "ES256")
	token := r.bound(h.thumbprint)
	proof := h.prove("GET", booksURL, token, map[string]any{"iat": now.Add(time.Minute).Unix()})
	r.wantRequest("first", request("GET", booksURL, "DPoP "+token, proof), booksURL, nil)
	err := r.wantRequest("again", request("GET", booksURL, "DPoP "+token, proof), booksURL, verify.ErrProof)
	if !strings.Contains(verify.Describe(err), "used before") {
		t.Error(verify.Describe(err))
	}
	r.wantRequest("at another server's name", request("GET", booksURL, "DPoP "+token, proof), booksURL, verify.ErrProof)
	// It is remembered for as long as it could be good: two minutes here.
	for range 12 {
		*r.at = r.at.Add(10 * time.Second)
		r.wantRequest("others", request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL, token, map[string]any{"iat": r.at.Unix()})), booksURL, nil)
		r.wantRequest("later", request("GET", booksURL, "DPoP "+token, proof), booksURL, verify.ErrProof)
	}
	*r.at = now
	// The same jti of another key is another proof.
	h2 := newHolder(t, "EdDSA")
	token2 := r.bound(h2.thumbprint)
	r.wantRequest("a jti", request("GET", booksURL, "DPoP "+token, h.prove("GET", booksURL, token, map[string]any{"jti": "the same"})), booksURL, nil)
	r.wantRequest("another's", request("GET", booksURL, "DPoP "+token2, h2.prove("GET", booksURL, token2, map[string]any{"jti": "the same"})), booksURL, nil)
	// A refused proof is not remembered: nobody spends another's jti.
	spoiled := h.prove("GET", booksURL, token, nil)
	r.wantRequest("for another method", request("PUT", booksURL, "DPoP "+token, spoiled), booksURL, verify.ErrProof)
	r.wantRequest("with another token", request("GET", booksURL, "DPoP "+token2, spoiled), booksURL, verify.ErrProof)
	r.wantRequest("by its owner", request("GET", booksURL, "DPoP "+token, spoiled), booksURL, nil)

	race := h.prove("GET", booksURL, token, nil)
	var mu sync.Mutex
	var group sync.WaitGroup
	taken := 0
	for range 20 {
		group.Go(func() {
			if _, err := r.VerifyRequest(request("GET", booksURL, "DPoP "+token, race), booksURL); err == nil {
				mu.Lock()
				defer mu.Unlock()
				taken++
			}
		})
	}
	if group.Wait(); taken != 1 {
		t.Errorf("taken %d times", taken)
	}
}

// A proof is remembered over the change of generations too.
func TestReplayAcrossGenerations(t *testing.T) {
	r, h := newRig(t, "ES256", nil), newHolder(t, "EdDSA")
	token := r.bound(h.thumbprint)
	at := func(d time.Duration) map[string]any { return map[string]any{"iat": now.Add(d).Unix()} }
	present := func(name, proof string, want error) {
		r.wantRequest(name, request("GET", booksURL, "DPoP "+token, proof), booksURL, want)
	}
	present("the first generation begins", h.prove("GET", booksURL, token, nil), nil)
	*r.at = now.Add(110 * time.Second)
	proof := h.prove("GET", booksURL, token, at(170*time.Second))
	present("the proof", proof, nil)
	*r.at = now.Add(125 * time.Second)
	present("the second begins", h.prove("GET", booksURL, token, at(125*time.Second)), nil)
	present("again", proof, verify.ErrProof)
	*r.at = now.Add(230 * time.Second)
	present("again, at its last second", proof, verify.ErrProof)
}

// What is remembered is bounded, and the oldest goes first.
func TestReplayMemoryIsBounded(t *testing.T) {
	r, h := newRig(t, "ES256", func(c *verify.Config) { c.ReplaySize = 8 }), newHolder(t, "EdDSA")
	token := r.bound(h.thumbprint)
	present := func(proof string) error {
		_, err := r.VerifyRequest(request("GET", booksURL, "DPoP "+token, proof), booksURL)
		return err
	}
	first := h.prove("GET", booksURL, token, nil)
	if present(first) != nil || present(first) == nil {
		t.Fatal("the first")
	}
	for range 8 {
		last := h.prove("GET", booksURL, token, nil)
		if present(last) != nil || present(last) == nil {
			t.Error("a new one is refused, or taken twice")
		}
	}
	if err := present(first); err != nil {
		t.Errorf("it was not forgotten: %v", err)
	}
}

// The URL is what the client called, whatever stands between.
func TestRequestURL(t *testing.T) {
	h := newHolder(t, "ES256")
	for name, tc := range map[string]struct {
		base, target, url string
		change            func(*http.Request)
		want              error
	}{
		"as it came":               {"", "http://api.example.org/books?x=y", "http://api.example.org/books", nil, nil},
		"TLS":                      {"", "https://api.example.org/books", booksURL, nil, nil},
		"a port":                   {"", "http://localhost:9090/books", "http://localhost:9090/books", nil, nil},
		"behind a proxy, unsaid":   {"", "http://api.example.org/books", booksURL, nil, verify.ErrProof},
		"behind a proxy":           {"https://api.example.org", "http://10.0.0.7:9090/books", booksURL, nil, nil},
		"a base with a slash":      {"https://api.example.org/", "http://10.0.0.7:9090/books", booksURL, nil, nil},
		"stripped":                 {"", "https://api.example.org/books", booksURL, func(r *http.Request) { r.URL.Path = "/" }, nil},
		"escaped":                  {"", "https://api.example.org/a%2Fb", "https://api.example.org/a%2Fb", nil, nil},
		"not escaped":              {"", "https://api.example.org/a%2Fb", "https://api.example.org/a/b", nil, verify.ErrProof},
		"X-Forwarded-Host":         {"", "https://api.example.org/books", "https://evil.example/books", func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "evil.example") }, verify.ErrProof},
		"X-Forwarded-Proto":        {"", "http://api.example.org/books", booksURL, func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, verify.ErrProof},
		"a Host that is no host":   {"", "https://api.example.org/books", booksURL, func(r *http.Request) { r.Host = "api.example.org/books?" }, verify.ErrProof},
		"a Host with a fragment":   {"", "https://api.example.org/secret", booksURL, func(r *http.Request) { r.Host = "api.example.org/books#" }, verify.ErrProof},
		"an escaped Host":          {"", "https://api.example.org/books", booksURL, func(r *http.Request) { r.Host = "api%2Eexample.org" }, verify.ErrProof},
		"two slashes":              {"", "https://api.example.org/books", booksURL, func(r *http.Request) { r.RequestURI = "//api.example.org/books" }, verify.ErrProof},
		"a Host with a user":       {"", "https://api.example.org/books", booksURL, func(r *http.Request) { r.Host = "x@api.example.org" }, verify.ErrProof},
		"without a host":           {"", "https://api.example.org/books", booksURL, func(r *http.Request) { r.Host = "" }, verify.ErrProof},
		"a request made by hand":   {"", "https://api.example.org/books", booksURL, func(r *http.Request) { r.RequestURI = "" }, nil},
		"TLS is not in the scheme": {"", "http://api.example.org/books", booksURL, func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, nil},
	} {
		r := newRig(t, "ES256", func(c *verify.Config) { c.BaseURL = tc.base })
		token := r.bound(h.thumbprint)
		req := request("GET", tc.target, "DPoP "+token, h.prove("GET", tc.url, token, nil))
		if tc.change != nil {
			tc.change(req)
		}
		r.wantRequest(name, req, "", tc.want)
	}
}

// Who asks about a token gets an answer without a proof, and sees the binding.
func TestInspect(t *testing.T) {
	r := newRig(t, "ES256", nil)
	c, err := r.Inspect(t.Context(), r.bound("a thumbprint"))
	if err != nil || c.Confirmation == nil || c.Confirmation.Thumbprint != "a thumbprint" {
		t.Errorf("%+v %v", c, err)
	}
	for raw, want := range map[string]error{"": verify.ErrNoToken, "x": verify.ErrMalformed, r.expired("x"): verify.ErrExpired} {
		if c, err := r.Inspect(t.Context(), raw); !errors.Is(err, want) || c.Subject != "" {
			t.Errorf("%+v %v, want %v", c, err, want)
		}
	}
}

func TestMiddlewareDPoP(t *testing.T) {
	r, h := newRig(t, "ES256", nil), newHolder(t, "ES256")
	reached := 0
	handler := r.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	do := func(req *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		return w
	}
	token, free := r.bound(h.thumbprint), r.mint(claims())
	proof := h.prove("GET", booksURL, token, nil)
	if w := do(request("GET", booksURL, "DPoP "+token, proof)); w.Code != 200 || reached != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	const algs = `algs="ES256 EdDSA RS256"`
	for name, tc := range map[string]struct {
		req             *http.Request
		challenge, code string
	}{
		"a replay":      {request("GET", booksURL, "DPoP "+token, proof), `DPoP error="invalid_dpop_proof", error_description="the DPoP proof is not acceptable: it has been used before", ` + algs, "invalid_dpop_proof"},
		"no proof":      {request("GET", booksURL, "DPoP "+token), `DPoP error="invalid_dpop_proof", error_description="the DPoP proof is not acceptable: exactly one DPoP header is needed", ` + algs, "invalid_dpop_proof"},
		"a thief":       {request("GET", booksURL, "DPoP "+token, newHolder(t, "ES256").prove("GET", booksURL, token, nil)), fmt.Sprintf(`DPoP error="invalid_token", error_description=%q, %s`, verify.ErrBinding, algs), "invalid_token"},
		"expired":       {request("GET", booksURL, "DPoP "+r.expired(h.thumbprint)), `DPoP error="invalid_token", error_description="the access token has expired", ` + algs, "invalid_token"},
		"garbage":       {request("GET", booksURL, `DPoP "evil"`), fmt.Sprintf(`DPoP error="invalid_token", error_description=%q, %s`, verify.ErrMalformed, algs), "invalid_token"},
		"unbound":       {request("GET", booksURL, "DPoP "+free), fmt.Sprintf(`DPoP error="invalid_token", error_description=%q, %s`, verify.ErrUnbound, algs), "invalid_token"},
		"as Bearer":     {request("GET", booksURL, "Bearer "+token), fmt.Sprintf(`Bearer error="invalid_token", error_description=%q, DPoP %s`, verify.ErrBound, algs), "invalid_token"},
		"a proof alone": {request("GET", booksURL, "", proof), "Bearer", "no_token"},
		"DPoP alone":    {request("GET", booksURL, "DPoP  "), "DPoP " + algs, "no_token"},
	} {
		w := do(tc.req)
		if w.Code != 401 || w.Header().Get("WWW-Authenticate") != tc.challenge || !strings.Contains(w.Body.String(), `"`+tc.code+`"`) || strings.Contains(w.Body.String(), "evil") {
			t.Errorf("%s: %d %s\n%s", name, w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
		}
	}
	r.keys.err = errors.New("down")
	if w := do(request("GET", booksURL, "DPoP "+r.bound(h.thumbprint), proof)); w.Code != 503 || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("without keys: %d %v", w.Code, w.Header())
	}
	if reached != 1 {
		t.Errorf("the handler was reached %d times", reached)
	}
}
