package e2e

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/proc"
)

// The OP knows Latchkey by its jwks_uri alone, and neither has a secret of the
// other. It fetches the keys itself, checks the assertion, and takes none twice.
func TestPrivateKeyJWT(t *testing.T) {
	port, opPort := proc.Port(t), proc.Port(t)
	base, issuer := fmt.Sprintf("http://localhost:%d", port), fmt.Sprintf("http://127.0.0.1:%d", opPort)
	settings, err := json.Marshal(map[string]any{"port": opPort, "clients": []any{map[string]any{
		"client_id": "latchkey", "token_endpoint_auth_method": "private_key_jwt", "redirect_uris": []string{base + "/auth/npm/callback"},
		"jwks_uri": fmt.Sprintf("http://127.0.0.1:%d/.well-known/jwks.json", port),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	idp := proc.Run(t, exec.Command("node", "../interop/op.mjs", string(settings)))
	idp.Until(t, "the OP answers", func() bool { return proc.Answers(issuer + "/.well-known/openid-configuration") })
	serve(t, port, fmt.Sprintf("providers:\n  - {id: npm, issuer: %q, client_id: latchkey, token_endpoint_auth: private_key_jwt}\n", issuer))

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	for range 2 { // the second login needs another assertion
		at, page := visit(t, client, http.MethodGet, base+"/auth/npm?callback=/", nil)
		for _, filled := range []url.Values{{"prompt": {"login"}, "login": {"anna"}, "password": {"any"}}, {"prompt": {"consent"}}} {
			form := regexp.MustCompile(`<form[^>]* action="([^"]+)"`).FindStringSubmatch(page)
			if form == nil || at.Host != fmt.Sprintf("127.0.0.1:%d", opPort) {
				break // it remembers what was asked before
			}
			at, page = visit(t, client, http.MethodPost, html.UnescapeString(form[1]), filled)
		}
		if at.String() != base+"/" {
			t.Fatalf("the login ends at %s:\n%s", at, page)
		}
	}
	_, answer := visit(t, client, http.MethodPost, base+"/auth/refresh", url.Values{})
	var said struct {
		User struct{ Username string }
	}
	if err := json.Unmarshal([]byte(answer), &said); err != nil || said.User.Username != "anna" {
		t.Errorf("%s, %v", answer, err)
	}
}

// visit follows redirects and says where they led.
func visit(t *testing.T, client *http.Client, method, to string, form url.Values) (at *url.URL, page string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.Request.URL, string(text)
}
