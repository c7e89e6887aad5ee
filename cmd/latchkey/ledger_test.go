package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ledger is a way to the program that writes down every secret that passes, in
// either direction, and everything that was said of an error.
type ledger struct {
	t       *testing.T
	mu      sync.Mutex
	secrets map[string]string // what it is, by the secret
	codes   map[string]string // the same of those of six digits
	errors  []string          // bodies of refusals
	kinds   map[int]int       // how many answers of which status

	settings []string // whose secrets are among them
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, secrets: map[string]string{}, codes: map[string]string{}, kinds: map[int]int{}}
}

// secretNames are fields of forms, queries and JSON whose values are secrets.
var secretNames = regexp.MustCompile(`(?i)^(code|state|nonce|code_verifier|token|.*_token|.*token|password|newPassword|.*secret|apiKey|device_code|user_code|id_token_hint|ticket)$`)

// public are values of such fields that anybody may know.
var public = []string{"", "urn:ietf:params:oauth:token-type:access_token", "Bearer", "DPoP"}

// note takes down a secret. Short ones would be found by accident.
func (l *ledger) note(what, secret string) {
	if len(secret) < 8 || slices.Contains(public, secret) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.secrets[secret]; !known {
		l.secrets[secret] = what
	}
}

// noteCode takes down a code of six digits, which counts where it stands as a word.
func (l *ledger) noteCode(what, code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[code] = what
}

func (l *ledger) values(where string, v url.Values) {
	for name, list := range v {
		for _, value := range list {
			if secretNames.MatchString(name) {
				l.note(where+" "+name, value)
			}
		}
	}
}

func (l *ledger) json(where string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if text, ok := inner.(string); ok && secretNames.MatchString(name) {
				l.note(where+" "+name, text)
			}
			l.json(where, inner)
		}
	case []any:
		for _, inner := range v {
			l.json(where, inner)
		}
	}
}

func (l *ledger) body(where, contentType string, raw []byte) {
	var tree any
	if json.Unmarshal(raw, &tree) == nil {
		l.json(where, tree)
	}
	if strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		if form, err := url.ParseQuery(string(raw)); err == nil {
			l.values(where, form)
		}
	}
}

// repeated is what a page gives back to whoever sent it, and to nobody else: its
// own address in another language, the fields of its own form, and the secret of the
// authenticator app that is being set up.
var repeated = regexp.MustCompile(`href="[^"]*ui_locales=[^"]*"|<input [^>]*>|<code id="totp-secret"[^>]*>[^<]*</code>`)

// RoundTrip implements http.RoundTripper.
func (l *ledger) RoundTrip(r *http.Request) (*http.Response, error) {
	where := r.Method + " " + r.URL.Path
	l.values(where, r.URL.Query())
	for _, c := range r.Cookies() {
		l.note(where+" cookie "+c.Name, c.Value)
	}
	for _, name := range []string{"Authorization", "X-Refresh-Token", "DPoP"} {
		_, secret, found := strings.Cut(r.Header.Get(name), " ")
		if !found {
			secret = r.Header.Get(name)
		}
		l.note(where+" "+name, secret)
	}
	if _, password, ok := r.BasicAuth(); ok {
		l.note(where+" basic", password)
	}
	if r.Body != nil {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		l.body(where, r.Header.Get("Content-Type"), raw)
		r.Body = io.NopCloser(bytes.NewReader(raw))
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	for _, c := range res.Cookies() {
		l.note(where+" sets "+c.Name, c.Value)
	}
	if to, err := res.Location(); err == nil {
		l.values(where+" leads to", to.Query())
	}
	raw, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(raw))
	l.mu.Lock()
	l.kinds[res.StatusCode]++
	if res.StatusCode >= 400 {
		l.errors = append(l.errors, where+": "+repeated.ReplaceAllString(string(raw), ""))
	}
	l.mu.Unlock()
	if res.StatusCode < 400 {
		l.body(where, res.Header.Get("Content-Type"), raw)
	}
	return res, nil
}

// client goes through the ledger, and follows nothing; with a jar it is a browser.
func (l *ledger) client(browser bool) *http.Client {
	c := noRedirects(nil)
	c.Transport = l
	if browser {
		c.Jar, _ = cookiejar.New(nil) // never fails without options
	}
	return c
}

// answered is what came of a request.
type answered struct {
	status int
	body   string
	to     string
	tree   map[string]any
	header http.Header
}

func (a answered) text(name string) string {
	out, _ := a.tree[name].(string)
	return out
}

// send sends one request. pairs are fields of a form; headers are name, value.
func (l *ledger) send(c *http.Client, method, address string, pairs []string, headers ...string) answered {
	l.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	if len(pairs) > 0 {
		headers = append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)
	}
	return l.sendBody(c, method, address, form.Encode(), headers...)
}

// sendBody is send with a body of its own.
func (l *ledger) sendBody(c *http.Client, method, address, body string, headers ...string) answered {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	out := answered{status: res.StatusCode, body: string(raw), to: res.Header.Get("Location"), header: res.Header}
	_ = json.Unmarshal(raw, &out.tree)
	return out
}

// want is send with a status that is expected.
func (l *ledger) want(status int, a answered) answered {
	l.t.Helper()
	if a.status != status {
		l.t.Fatalf("%d, want %d: %s %s", a.status, status, a.to, a.body)
	}
	return a
}

// isIn reports the secrets that a text says, in clear, escaped or in base64.
func (l *ledger) isIn(what, text string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for code, of := range l.codes {
		if at := regexp.MustCompile(`(?:^|[^\w.])` + code + `\b`).FindStringIndex(text); at != nil {
			l.t.Errorf("%s says the code of %s: …%s…", what, of, text[max(0, at[0]-120):min(len(text), at[1]+40)])
		}
	}
	for secret, of := range l.secrets {
		for _, shape := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if i := strings.Index(text, shape); i >= 0 {
				l.t.Errorf("%s says the secret of %s: …%s…", what, of, text[max(0, i-120):min(len(text), i+len(shape)+40)])
				break
			}
		}
	}
}
