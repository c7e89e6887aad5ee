package ban

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/proc"
)

// world is the real program behind a proxy that it trusts, and a broker of the test
// at the same database, two hours behind: for what was there before.
type world struct {
	*harness.Rig
	t      testing.TB
	server *proc.Latchkey
	client *http.Client
}

const config = `
database_url: sqlite:%s
secret_key: %q
trusted_proxies: [127.0.0.1]
registration_token: a registration token that nobody guesses
clients:
  - {client_id: app, client_secret: the secret of the app which is long, redirect_uris: ["https://app.test/cb"]}
providers:
  - {id: dark, name: Dark, issuer: "http://127.0.0.1:1", client_id: latchkey, client_secret: a secret of a test}
`

// newWorld starts the program that was built into a file; it logs in a format.
func newWorld(t testing.TB, binary, format string) *world {
	t.Helper()
	port, database, clock := proc.Port(t), filepath.Join(t.TempDir(), "latchkey.db"), harness.NewClock()
	clock.Set(time.Now().Add(-2 * time.Hour).Sub(clock.Now()))
	w := &world{t: t, client: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(w.client.CloseIdleConnections)
	w.Rig = harness.NewAt(t, clock, "sqlite:"+database, func(c *broker.Config) { c.PublicURL = fmt.Sprintf("http://localhost:%d", port) })
	w.server = proc.Serve(t, binary, port, fmt.Sprintf(config, database, harness.Secret), "LATCHKEY_LOG_FORMAT="+format)
	return w
}

// logged ends the program, whose log is then complete.
func (w *world) logged() string {
	w.t.Helper()
	w.server.Stop(w.t)
	return w.server.Out.String()
}

var stamped = regexp.MustCompile(`^(?:\{"time":"|time=)([^ "]+)`)

// asJournal is a log as the journal, or a syslog, shows it.
func asJournal(t testing.TB, log string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(log) {
		found := stamped.FindStringSubmatch(line)
		if found == nil {
			t.Fatalf("a line without its time: %q", line)
		}
		at, err := time.Parse(time.RFC3339Nano, found[1])
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(at.Local().Format(time.Stamp) + " host latchkey[4711]: " + line)
	}
	return out.String()
}

// answer is what a request came to.
type answer struct {
	status  int
	cookies string // as the header of the next request
}

// send is one request from an address, as the proxy passes it on.
func (w *world) send(ip, method, path, contentType, body string, headers ...string) answer {
	r, err := http.NewRequest(method, w.server.Base+path, strings.NewReader(body))
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
	pairs := []string{}
	for _, c := range response.Cookies() {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return answer{response.StatusCode, strings.Join(pairs, "; ")}
}

func (w *world) get(ip, path string, headers ...string) answer {
	return w.send(ip, http.MethodGet, path, "", "", headers...)
}

func (w *world) form(ip, path string, values url.Values, headers ...string) answer {
	return w.send(ip, http.MethodPost, path, "application/x-www-form-urlencoded", values.Encode(), headers...)
}

// login logs in as an app does; more are members of its request.
func (w *world) login(ip, name, password string, more ...string) answer {
	in := map[string]string{"username": name, "password": password}
	for i := 0; i+1 < len(more); i += 2 {
		in[more[i]] = more[i+1]
	}
	body, err := json.Marshal(in)
	if err != nil {
		w.t.Error(err)
	}
	return w.send(ip, http.MethodPost, "/login", "application/json", string(body))
}

// browser is the cookies of somebody whose password a page took.
func (w *world) browser(ip, name string) string {
	w.t.Helper()
	a := w.form(ip, "/login/password", url.Values{"username": {name}, "password": {harness.PasswordOf(name)}})
	if a.status != http.StatusSeeOther || a.cookies == "" {
		w.t.Errorf("the password of %s is not taken: %d", name, a.status)
	}
	return a.cookies
}
