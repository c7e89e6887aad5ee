package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser is one that runs no scripts and that nobody looks at: it follows
// redirects by hand, and fills in the OP's own forms.
type browser struct {
	t    *testing.T
	x    *latchkey
	o    *op
	http *http.Client
}

func newBrowser(t *testing.T, x *latchkey, o *op) *browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &browser{t, x, o, &http.Client{
		Jar: jar, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// page is an answer, read to its end.
type page struct {
	*http.Response
	body []byte
}

func (p page) read(t *testing.T, to any) {
	t.Helper()
	if err := json.Unmarshal(p.body, to); err != nil || p.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %d %s", p.Request.URL, p.StatusCode, p.body)
	}
}

// send makes a request; a form is sent as from a page of the same origin.
func (b *browser) send(method, target string, form url.Values, headers ...string) page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if len(headers) == 0 { // else it is a program's
			req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
		}
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return b.do(req)
}

func (b *browser) sendJSON(target string, body any, token string) page {
	b.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, target, bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	return b.do(req)
}

func (b *browser) do(req *http.Request) page {
	b.t.Helper()
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		b.t.Fatal(err)
	}
	return page{res, text}
}

var opForm = regexp.MustCompile(`(?s)<form[^>]* action="([^"]+)"[^>]*>.*?name="prompt" value="(login|consent)"`)

// follow goes on from an answer until the browser is at a page, or is about to
// leave for somewhere that begins with stop. At the OP it logs in as somebody and
// agrees to everything.
func (b *browser) follow(at page, account, stop string) page {
	b.t.Helper()
	for range 20 {
		if to, err := at.Location(); err == nil {
			if stop != "" && strings.HasPrefix(to.String(), stop) {
				return at
			}
			at = b.send(http.MethodGet, to.String(), nil)
			continue
		}
		form := opForm.FindSubmatch(at.body)
		if !strings.HasPrefix(at.Request.URL.String(), b.o.issuer) || form == nil {
			return at
		}
		at = b.send(http.MethodPost, string(form[1]), url.Values{"prompt": {string(form[2])}, "login": {account}, "password": {"any"}})
	}
	b.t.Fatalf("the browser is sent from one place to the next; now %s", at.Request.URL)
	return at
}

// logIn goes through a provider to the end; code is that of a refusal.
func (b *browser) logIn(provider, account string) (code string) {
	b.t.Helper()
	at := b.follow(b.send(http.MethodGet, b.x.base+"/auth/"+provider+"?callback=/", nil), account, "")
	code = at.Header.Get("Latchkey-Code")
	if code == "" && (at.StatusCode != http.StatusOK || at.Request.URL.String() != b.x.base+"/") {
		b.t.Fatalf("the login ends at %s: %d %s", at.Request.URL, at.StatusCode, at.body)
	}
	return code
}

// password logs in with one on the page.
func (b *browser) password(username, password string) {
	b.t.Helper()
	at := b.send(http.MethodPost, b.x.base+"/login/password", url.Values{"username": {username}, "password": {password}})
	if at.StatusCode != http.StatusSeeOther && at.StatusCode != http.StatusFound {
		b.t.Fatalf("the login of %s answers %d %s", username, at.StatusCode, at.body)
	}
}

// refresh is what a web app does with the browser's session: an access token, or
// the code of the refusal.
func (b *browser) refresh() (token, code string) {
	b.t.Helper()
	at := b.send(http.MethodPost, b.x.base+"/auth/refresh", nil)
	if at.StatusCode != http.StatusOK {
		return "", at.Header.Get("Latchkey-Code")
	}
	var payload struct{ User struct{ AccessToken string } }
	at.read(b.t, &payload)
	return payload.User.AccessToken, ""
}

// api reads what the JSON API says to whoever is logged in.
func (b *browser) api(path string, to any) {
	b.t.Helper()
	token, code := b.refresh()
	if code != "" {
		b.t.Fatalf("the session is over: %s", code)
	}
	b.send(http.MethodGet, b.x.base+path, nil, "Authorization", "Bearer "+token).read(b.t, to)
}
