package providertest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoginPage(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	w := httptest.NewRecorder()
	rp.idp.ServeHTTP(w, httptest.NewRequest(http.MethodGet, rp.authURL(), nil))
	page := w.Body.String()

	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	csp := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("the policy %q forbids the page's own style", csp)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, `m<"`) {
		t.Error("the page has a script, or a name that is not escaped")
	}
	for _, want := range []string{"Demo IdP", "alice@x.test<", "m@x.test (not verified)", "Groups: staff", "rp.test"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the page:\n%s", want, page)
		}
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("the page may be cached")
	}
}
