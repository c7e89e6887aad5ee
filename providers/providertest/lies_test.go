package providertest

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// wire is what an ID token says, whether or not it is signed.
func wire(t *testing.T, raw string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("the token %q has %d parts", raw, len(parts))
	}
	for i, v := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func TestIDTokenLies(t *testing.T) {
	claim := func(name string, value any) func(*Script) {
		return func(s *Script) {
			s.EditIDToken = func(c map[string]any) {
				if c[name] = value; value == nil {
					delete(c, name)
				}
			}
		}
	}
	for name, test := range map[string]struct {
		lie            func(*Script)
		header, claims string // on the wire
		accepted       bool   // by go-oidc, which leaves much to its caller
	}{
		"honest":          {func(*Script) {}, `{"alg":"RS256","typ":"JWT"}`, `{"aud":"rp"}`, true},
		"nonce":           {claim("nonce", "x"), `{}`, `{"nonce":"x"}`, true},
		"no sub":          {claim("sub", nil), `{}`, `{"sub":null}`, true},
		"email_verified":  {claim("email_verified", "true"), `{}`, `{"email_verified":"true"}`, true},
		"azp":             {claim("azp", "x"), `{}`, `{"azp":"x"}`, true},
		"iss":             {claim("iss", "http://evil.test"), `{}`, `{"iss":"http://evil.test"}`, false},
		"aud":             {claim("aud", []string{"x"}), `{}`, `{"aud":["x"]}`, false},
		"no exp":          {claim("exp", nil), `{}`, `{"exp":null}`, false},
		"exp is huge":     {claim("exp", json.RawMessage("1e30")), `{}`, `{"exp":1e30}`, false},
		"none":            {func(s *Script) { s.SignAlg = "None" }, `{"alg":"None"}`, `{"sub":"s1"}`, false},
		"PEM":             {func(s *Script) { s.SignAlg = AlgHS256PublicPEM }, `{"alg":"HS256"}`, `{"sub":"s1"}`, false},
		"DER":             {func(s *Script) { s.SignAlg = AlgHS256PublicDER }, `{"alg":"HS256"}`, `{"sub":"s1"}`, false},
		"JWK":             {func(s *Script) { s.SignAlg = AlgHS256PublicJWK }, `{"alg":"HS256"}`, `{"sub":"s1"}`, false},
		"client secret":   {func(s *Script) { s.SignAlg = AlgHS256ClientSecret }, `{"alg":"HS256"}`, `{"sub":"s1"}`, false},
		"unknown key":     {func(s *Script) { s.SignWithUnknownKey = true }, `{"alg":"RS256"}`, `{"sub":"s1"}`, false},
		"alg of a header": {func(s *Script) { s.IDTokenHeader["alg"] = "ES256" }, `{"alg":"ES256"}`, `{"sub":"s1"}`, false},
		"jku":             {func(s *Script) { s.IDTokenHeader["jku"] = "http://evil.test" }, `{"jku":"http://evil.test"}`, `{}`, true},
		"no kid":          {func(s *Script) { s.OmitKid = true }, `{"kid":null}`, `{}`, true},
		// RP learned the algs before this one.
		"ES256 suddenly": {func(s *Script) { s.SignAlg = AlgES256 }, `{"alg":"ES256"}`, `{"sub":"s1"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			rp := newRelyingParty(t, Start(t, testConfig()))
			rp.idp.Script(test.lie)
			_, raw := rp.login()
			header, claims := wire(t, raw)
			expectClaims(t, header, test.header)
			expectClaims(t, claims, test.claims)
			if _, err := rp.verify(raw); (err == nil) != test.accepted {
				t.Errorf("go-oidc: %v", err)
			}
		})
	}
}

func TestHonestES256(t *testing.T) {
	idp := Start(t, testConfig())
	idp.Script(func(s *Script) { s.SignAlg = AlgES256 })
	rp := newRelyingParty(t, idp)
	_, raw := rp.login()
	if _, err := rp.verify(raw); err != nil {
		t.Error(err)
	}
}

func TestClientSecretSignature(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	rp.idp.Script(func(s *Script) { s.SignAlg = AlgHS256ClientSecret })
	_, raw := rp.login()
	dot := strings.LastIndex(raw, ".")
	mac := hmac.New(sha256.New, []byte(rp.ClientSecret))
	mac.Write([]byte(raw[:dot]))
	if raw[dot+1:] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
		t.Error("signed with something else")
	}
}

func TestDuplicateKid(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	rp.idp.Script(func(s *Script) {
		s.SignWithUnknownKey = true
		s.ExtraJWKS = []any{map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "o"}, rp.idp.UnknownJWK()}
	})
	_, raw := rp.login()
	if _, err := rp.verify(raw); err != nil {
		t.Error("the second key of the kid signed: ", err)
	}
}

func TestRotateKey(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	_, old := rp.login()
	rp.idp.RotateKey()
	_, raw := rp.login()
	before, _ := wire(t, old)
	after, _ := wire(t, raw)
	if before["kid"] == after["kid"] {
		t.Error("the kid is the same")
	}
	fresh := newRelyingParty(t, rp.idp)
	if _, err := fresh.verify(old); err == nil {
		t.Error("the old key is still there")
	}
	if _, err := rp.verify(raw); err != nil {
		t.Error(err)
	}
	rp.idp.Script(func(s *Script) { s.KeepOldKeys = true })
	if _, err := newRelyingParty(t, rp.idp).verify(old); err != nil {
		t.Error(err)
	}
}

func TestProvidersDoNotShareKeys(t *testing.T) {
	one, two := newRelyingParty(t, Start(t, testConfig())), newRelyingParty(t, Start(t, testConfig()))
	two.idp.Script(func(s *Script) {
		s.EditIDToken = func(c map[string]any) { c["iss"] = one.idp.Issuer() }
	})
	_, raw := two.login()
	if _, err := one.verify(raw); err == nil {
		t.Error("one provider signs for the other")
	}
}

func TestSignToken(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	raw, err := rp.idp.SignToken(map[string]any{"typ": "logout+jwt"}, map[string]any{
		"iss": rp.idp.Issuer(), "aud": "rp", "exp": time.Now().Add(time.Minute).Unix(), "sid": "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	header, _ := wire(t, raw)
	expectClaims(t, header, `{"typ":"logout+jwt"}`)
	if _, err := rp.verify(raw); err != nil {
		t.Error(err)
	}
}

func TestOtherLies(t *testing.T) {
	idp := Start(t, testConfig())
	idp.Script(func(s *Script) {
		s.EditDiscovery = func(m map[string]any) { m["issuer"] = "http://evil.test" }
	})
	if _, err := oidc.NewProvider(t.Context(), idp.Issuer()); err == nil {
		t.Error("the metadata are honest")
	}
	idp.Script(func(s *Script) { *s = Script{} })
	rp := newRelyingParty(t, idp)
	idp.Script(func(s *Script) {
		s.OmitIDToken = true
		s.IgnorePKCE = true
		s.EditTokenAnswer = func(a map[string]any) { a["scope"] = "all" }
		s.EditUserinfo = func(c map[string]any) { c["sub"] = "s9" }
		s.EditCallback = func(v url.Values) { v.Set("iss", "x"); v.Del("state") }
		s.EditJWKS = func(m map[string]any) { m["keys"] = []any{} }
	})
	params := rp.callback("alice")
	if params.Get("iss") != "x" || params.Has("state") {
		t.Errorf("the callback has %v", params)
	}
	token, err := rp.Exchange(t.Context(), params.Get("code")) // and no verifier
	if err != nil {
		t.Fatal(err)
	}
	if token.Extra("id_token") != nil || token.Extra("scope") != "all" {
		t.Error("the token's answer is honest")
	}
	if info, err := rp.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token)); err != nil || info.Subject != "s9" {
		t.Errorf("userinfo: %+v, %v", info, err)
	}
	if keys := get(t, idp.Issuer()+pathJWKS); keys != `{"keys":[]}` {
		t.Errorf("the keys are %s", keys)
	}
	if n := idp.Count(EndpointToken); n != 1 {
		t.Errorf("%d requests for a token", n)
	}
}

func get(t *testing.T, target string) string {
	t.Helper()
	res, err := http.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, res)
}

func TestFaults(t *testing.T) {
	idp := Start(t, testConfig())
	client := &http.Client{
		Timeout:       300 * time.Millisecond,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableCompression: true},
	}
	defer client.CloseIdleConnections()
	ask := func(respond Responder) (*http.Response, []byte, error) {
		idp.Script(func(s *Script) { s.Respond[EndpointToken] = respond })
		res, err := client.PostForm(idp.Issuer()+pathToken, url.Values{"a": {"b"}})
		if err != nil {
			return nil, nil, err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return res, body, err
	}
	if _, _, err := ask(Stall); !isTimeout(err) {
		t.Errorf("Stall: %v", err)
	}
	if _, body, err := ask(Drip(strings.Repeat("x", 1000), 10*time.Millisecond)); !isTimeout(err) || len(body) == 0 {
		t.Errorf("Drip: %q, %v", body, err)
	}
	client.Timeout = time.Minute // what follows is answered in the end
	if _, body, err := ask(Flood(1 << 20)); err != nil || len(body) != 1<<20+8 || !json.Valid(body) {
		t.Errorf("Flood: %d bytes, %v", len(body), err)
	}
	_, bomb, err := ask(GzipBomb(1 << 20))
	if err != nil || len(bomb) > 1<<12 {
		t.Errorf("GzipBomb: %d bytes, %v", len(bomb), err)
	}
	if z, err := gzip.NewReader(bytes.NewReader(bomb)); err != nil {
		t.Error(err)
	} else if n, err := io.Copy(io.Discard, z); n != 1<<20+8 || err != nil {
		t.Errorf("GzipBomb becomes %d bytes, %v", n, err)
	}
	if res, _, err := ask(RedirectTo(307, "http://evil.test/c")); err != nil || res.StatusCode != 307 || res.Header.Get("Location") != "http://evil.test/c" {
		t.Errorf("RedirectTo: %v, %v", res, err)
	}
	if res, body, err := ask(Body(200, "text/html", "<p>")); err != nil || res.Header.Get("Content-Type") != "text/html" || string(body) != "<p>" {
		t.Errorf("Body: %v %s, %v", res, body, err)
	}
	if _, body, err := ask(CutOff(`{"access`)); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != `{"access` {
		t.Errorf("CutOff: %q, %v", body, err)
	}
	var seen string
	spy := func(_ http.ResponseWriter, r *http.Request) bool { seen = r.FormValue("a"); return false }
	if res, _, err := ask(spy); err != nil || res.StatusCode != http.StatusUnauthorized || seen != "b" {
		t.Errorf("a spy saw %q: %v, %v", seen, res, err)
	}
	if n := idp.Count(EndpointToken); n != 8 {
		t.Errorf("%d requests", n)
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestSetDown(t *testing.T) {
	idp := Start(t, testConfig())
	client := &http.Client{Timeout: 5 * time.Second}
	idp.Script(func(s *Script) { s.Respond[EndpointJWKS] = Stall })
	cut := make(chan error)
	go func() {
		_, err := client.Get(idp.Issuer() + pathJWKS)
		cut <- err
	}()
	for idp.Count(EndpointJWKS) == 0 {
		time.Sleep(time.Millisecond)
	}
	idp.SetDown(true)
	idp.SetDown(true)
	if err := <-cut; err == nil || isTimeout(err) {
		t.Errorf("a request under way: %v", err)
	}
	if _, err := client.Get(idp.Issuer() + pathDiscovery); err == nil {
		t.Error("it answers while it is down")
	}
	idp.SetDown(false)
	rp := newRelyingParty(t, idp)
	idp.Script(func(s *Script) { *s = Script{} })
	if _, raw := rp.login(); raw == "" {
		t.Error("no login")
	}
}

func TestMistakesOfTests(t *testing.T) {
	idp := Start(t, testConfig())
	for name, mistake := range map[string]func(){
		"count":    func() { idp.Count("tokens") },
		"alg":      func() { idp.Script(func(s *Script) { s.SignAlg = "HS256" }) },
		"endpoint": func() { idp.Script(func(s *Script) { s.Respond["tokens"] = Stall }) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			mistake()
		}()
	}
	if _, raw := newRelyingParty(t, idp).login(); raw == "" {
		t.Error("no login after it")
	}
}

func TestSetUserAndClient(t *testing.T) {
	idp := Start(t, Config{})
	idp.SetClient(testConfig().Clients[0])
	for _, groups := range []any{[]string{"admin"}, "admin", nil} {
		idp.SetUser(User{Subject: "s1", Username: "alice", Groups: groups})
		_, raw := newRelyingParty(t, idp).login()
		_, claims := wire(t, raw)
		if toJSON(t, claims["groups"]) != toJSON(t, groups) {
			t.Errorf("the groups are %v, want %v", claims["groups"], groups)
		}
	}
	if users := idp.allUsers(); !slices.ContainsFunc(users, func(u User) bool { return u.Username == "alice" }) || len(users) != 1 {
		t.Errorf("the users are %v", users)
	}
}
