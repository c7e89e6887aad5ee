package ban

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// world is a Latchkey behind a proxy that it trusts, and its log in both formats.
type world struct {
	*harness.Rig
	t          testing.TB
	server     *httptest.Server
	client     *http.Client
	json, text string // files
}

// both writes each record to two handlers, in one order.
type both [2]slog.Handler

var order sync.Mutex

func (b both) Enabled(ctx context.Context, l slog.Level) bool { return b[0].Enabled(ctx, l) }
func (b both) Handle(ctx context.Context, r slog.Record) error {
	order.Lock()
	defer order.Unlock()
	return errors.Join(b[0].Handle(ctx, r), b[1].Handle(ctx, r))
}
func (b both) WithAttrs(a []slog.Attr) slog.Handler {
	return both{b[0].WithAttrs(a), b[1].WithAttrs(a)}
}
func (b both) WithGroup(g string) slog.Handler { return both{b[0].WithGroup(g), b[1].WithGroup(g)} }

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, json: filepath.Join(dir, "json.log"), text: filepath.Join(dir, "text.log")}
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	log := slog.New(both{slog.NewJSONHandler(w.file(w.json), options), slog.NewTextHandler(w.file(w.text), options)})
	w.Rig = harness.New(t, "", func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Log, c.Limiter, c.Limits = log, limiter, broker.Limits{Failures: broker.Quota{Max: 40, Window: 10 * time.Minute}}
		app, err := broker.CheckClient(broker.Client{ID: "app", RedirectURIs: []string{"https://app.test/cb"}, SecretHash: broker.HashClientSecret("the secret of the app")})
		if err != nil {
			t.Fatal(err)
		}
		app.ReadOnly = true
		c.Clients, c.RegistrationToken = []broker.Client{app}, "a registration token that nobody guesses"
		c.Providers = []broker.Provider{{
			ProviderSettings: broker.ProviderSettings{ID: "dark", Name: "Dark", Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone},
			IdP: oidc.New(oidc.Config{
				Issuer: "http://127.0.0.1:1", ClientID: "latchkey", ClientSecret: "secret", Cache: c.Store.(*storage.Store), Now: c.Now,
			}),
		}}
	})
	handler, err := web.New(web.Config{
		Broker: w.Broker, Version: "test", LocalLogin: true, Log: log, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(handler)
	t.Cleanup(w.server.Close)
	w.client = &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

func (w *world) file(name string) *os.File {
	f, err := os.Create(name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.Close() })
	return f
}

// asJournal is the log as the journal, or a syslog, shows it; its lines are in
// turns of the one and the other format.
func (w *world) asJournal() (file string) {
	w.t.Helper()
	logs := [2][]string{}
	for i, name := range []string{w.json, w.text} {
		raw, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		logs[i] = strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	}
	var out strings.Builder
	for n := range min(len(logs[0]), len(logs[1])) {
		var at struct{ Time time.Time }
		if err := json.Unmarshal([]byte(logs[0][n]), &at); err != nil {
			w.t.Fatal(err)
		}
		out.WriteString(at.Time.Local().Format(time.Stamp) + " host latchkey[4711]: " + logs[n%2][n] + "\n")
	}
	file = filepath.Join(w.t.TempDir(), "journal.log")
	if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// answer is what a request came to.
type answer struct {
	status  int
	cookies []*http.Cookie
}

// send is one request from an address, as the proxy passes it on.
func (w *world) send(ip, method, path, contentType, body string, headers ...string) answer {
	r, err := http.NewRequest(method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Error(err)
		return answer{}
	}
	r.Header.Set("X-Forwarded-For", ip)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	response, err := w.client.Do(r)
	if err != nil {
		w.t.Error(err)
		return answer{}
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return answer{response.StatusCode, response.Cookies()}
}

func (w *world) get(ip, path string, headers ...string) answer {
	return w.send(ip, http.MethodGet, path, "", "", headers...)
}

func (w *world) form(ip, path string, values url.Values, headers ...string) answer {
	return w.send(ip, http.MethodPost, path, "application/x-www-form-urlencoded", values.Encode(), headers...)
}

func (w *world) login(ip, name, password string) answer {
	body, err := json.Marshal(map[string]string{"username": name, "password": password})
	if err != nil {
		w.t.Error(err)
	}
	return w.send(ip, http.MethodPost, "/login", "application/json", string(body))
}

// browser is the cookie header of somebody who is logged in on a page.
func (w *world) browser(ip, name string) string {
	w.t.Helper()
	a := w.form(ip, "/login/password", url.Values{"username": {name}, "password": {harness.PasswordOf(name)}})
	pairs := []string{}
	for _, c := range a.cookies {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	if a.status != http.StatusSeeOther || len(pairs) == 0 {
		w.t.Fatalf("%s cannot log in: %d", name, a.status)
	}
	return strings.Join(pairs, "; ")
}
