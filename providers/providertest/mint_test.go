package providertest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

func TestMintLogoutToken(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	verifier := rp.provider.Verifier(&oidc.Config{ClientID: "rp"})
	raw, err := rp.idp.MintLogoutToken("rp", "s1", "sid1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := verifier.VerifyLogout(t.Context(), raw); err != nil || token.Subject != "s1" || token.SessionID != "sid1" || token.TokenID == "" {
		t.Errorf("%+v, %v", token, err)
	}
	header, claims := wire(t, raw)
	expectClaims(t, header, `{"typ":"logout+jwt","alg":"RS256"}`)
	expectClaims(t, claims, `{"events":{"`+LogoutEvent+`":{}},"aud":"rp","nonce":null}`)

	raw, err = rp.idp.MintLogoutToken("rp", "", "sid1", func(header, claims map[string]any) {
		header["typ"] = nil
		claims["nonce"] = "x"
	})
	if err != nil {
		t.Fatal(err)
	}
	header, claims = wire(t, raw)
	if _, has := header["typ"]; has || claims["sub"] != nil {
		t.Errorf("%v %v", header, claims)
	}
	if _, err := verifier.VerifyLogout(t.Context(), raw); err == nil {
		t.Error("a logout token with a nonce")
	}
}

func TestMintIDToken(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	raw, err := rp.idp.MintIDToken("rp", "alice", "n", func(_, claims map[string]any) { claims["azp"] = "rp" })
	if err != nil {
		t.Fatal(err)
	}
	if token, err := rp.verify(raw); err != nil || token.Nonce != "n" {
		t.Errorf("%+v, %v", token, err)
	}
	_, claims := wire(t, raw)
	expectClaims(t, claims, `{"sub":"s1","azp":"rp","preferred_username":"alice"}`)
	rp.idp.Script(func(s *Script) { s.SignWithUnknownKey = true })
	if raw, err = rp.idp.MintIDToken("rp", "alice", "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := rp.verify(raw); err == nil {
		t.Error("the script is not heeded")
	}
}

func TestReauthentication(t *testing.T) {
	idp := Start(t, testConfig())
	age := func(query url.Values, s Script) time.Duration {
		return time.Since(idp.authTime(query, s)).Round(time.Minute)
	}
	hour := Script{SessionAge: time.Hour}
	for query, want := range map[string]time.Duration{
		"": time.Hour, "prompt=login": 0, "prompt=consent": time.Hour, "prompt=consent+login": 0,
		"max_age=0": 0, "max_age=3599": 0, "max_age=3600": time.Hour,
	} {
		q, _ := url.ParseQuery(query)
		if got := age(q, hour); got != want {
			t.Errorf("%q: %v", query, got)
		}
		if got := age(q, Script{}); got != 0 {
			t.Errorf("%q without a session: %v", query, got)
		}
		if got := age(q, Script{SessionAge: time.Hour, IgnoreReauth: true}); got != time.Hour {
			t.Errorf("%q, not heeded: %v", query, got)
		}
	}
	rp := newRelyingParty(t, idp)
	for value, want := range map[string]string{"-1": "invalid_request", "x": "invalid_request", "": "invalid_request"} {
		callback, err := idp.Authorize(t.Context(), rp.authURL()+"&max_age="+value, "alice")
		if err != nil || !strings.Contains(callback, "error="+want) {
			t.Errorf("max_age=%s: %s, %v", value, callback, err)
		}
	}
}

func TestLoginHint(t *testing.T) {
	idp := Start(t, testConfig())
	rp := newRelyingParty(t, idp)
	idp.SetUser(User{Subject: "s7", Username: "zoe", Email: "zoe@example.org"})
	first := func(hint string) string {
		target := rp.authURL() + "&login_hint=" + url.QueryEscape(hint)
		w := httptest.NewRecorder()
		idp.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		_, rest, _ := strings.Cut(w.Body.String(), `name="user" value="`)
		name, _, _ := strings.Cut(rest, `"`)
		return name
	}
	for hint, want := range map[string]string{"zoe": "zoe", "zoe@example.org": "zoe", "alice": "alice", "": "alice", "nobody": "alice"} {
		if got := first(hint); got != want {
			t.Errorf("%q: first is %q", hint, got)
		}
	}
}
