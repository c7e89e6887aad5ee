package verify_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/tokens/verify"
)

func TestMiddleware(t *testing.T) {
	r := newRig(t, "ES256", nil)
	reached := 0
	h := r.Middleware(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		reached++
		if c, ok := verify.FromContext(req.Context()); !ok || c.Subject != "u" {
			t.Errorf("claims %+v %v", c, ok)
		}
	}))
	get := func(authorization string) *httptest.ResponseRecorder {
		req, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		h.ServeHTTP(w, req)
		return w
	}
	good := r.mint(claims())
	old := claims()
	old.ExpiresAt = now.Add(-time.Hour).Unix()
	for name, tc := range map[string]struct{ authorization, challenge, err string }{
		"none":         {"", `Bearer`, "no_token"},
		"basic":        {"Basic YTpi", `Bearer`, "no_token"},
		"scheme alone": {"Bearer", `Bearer`, "no_token"},
		"empty":        {"Bearer  ", `Bearer`, "no_token"},
		"garbage":      {"Bearer x", `Bearer error="invalid_token", error_description="the access token is malformed or not from this issuer"`, "invalid_token"},
		"two":          {"Bearer " + good + " " + good, `Bearer error="invalid_token", error_description="the access token is malformed or not from this issuer"`, "invalid_token"},
		"expired":      {"Bearer " + r.mint(old), `Bearer error="invalid_token", error_description="the access token has expired"`, "invalid_token"},
	} {
		w := get(tc.authorization)
		var body map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["error"] != tc.err {
			t.Errorf("%s: body %s", name, w.Body)
		}
		if w.Code != 401 || w.Header().Get("WWW-Authenticate") != tc.challenge || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	if reached != 0 {
		t.Errorf("the handler was reached %d times", reached)
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		if w := get(scheme + good); w.Code != 200 {
			t.Errorf("%q: %d", scheme, w.Code)
		}
	}
	if reached != 3 {
		t.Errorf("the handler was reached %d times", reached)
	}
	r.keys.err = errors.New("the issuer is down")
	w := get("Bearer " + r.mint(claims()))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("keys unavailable: %d %v", w.Code, w.Header())
	}
}

func TestFromContextWithoutMiddleware(t *testing.T) {
	if c, ok := verify.FromContext(t.Context()); ok {
		t.Errorf("claims out of nowhere: %+v", c)
	}
}

func TestDescribeShowsNoCause(t *testing.T) {
	if got := verify.Describe(errors.New("secret of the inside")); got != verify.ErrMalformed.Error() {
		t.Errorf("%q", got)
	}
}
