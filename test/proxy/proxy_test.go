package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/proc"
	"github.com/latchkey-id/latchkey/web"
)

const (
	deploy = "../../deploy"
	app    = "app.example.org"
	staff  = "staff.example.org"
)

// world is a proxy before a Latchkey and an app.
type world struct {
	*harness.Rig
	port     string
	latchkey string // address
	echo     string // address
	witness  *witness
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{port: fmt.Sprint(proc.Port(t)), witness: &witness{}}
	rules, err := broker.CheckForwardRules([]broker.ForwardRule{
		{Hosts: []string{app + ":" + w.port}, Paths: []string{"/public/*"}, Policy: broker.ForwardAllow},
		{Hosts: []string{app}, Paths: []string{"/api/*"}, Policy: broker.ForwardKey},
		{Hosts: []string{app}, Policy: broker.ForwardLogin},
		{Hosts: []string{staff + ":" + w.port}, Policy: broker.ForwardLogin, Groups: []string{"staff"}},
	}, "id.example.org")
	if err != nil {
		t.Fatal(err)
	}
	w.Rig = harness.New(t, "", func(c *broker.Config) { c.PublicURL, c.Forward = "https://id.example.org:"+w.port, rules })
	for name, groups := range map[string][]string{"mallory": {"guests", "a,b"}, "sally": {"guests", "staff"}} {
		u := w.User(t, name, broker.RoleUser)
		u.Name, u.Email, u.Groups = strings.ToUpper(name[:1])+"ä"+name[2:], name+"@example.org", groups
		if err := w.Store.UpdateProfile(t.Context(), u, ""); err != nil {
			t.Fatal(err)
		}
	}
	handler, err := web.New(web.Config{Broker: w.Broker, LocalLogin: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	if err != nil {
		t.Fatal(err)
	}
	server, echo := httptest.NewServer(w.witness.watch(handler, false)), httptest.NewServer(w.witness.watch(http.HandlerFunc(echoes), true))
	t.Cleanup(server.Close)
	t.Cleanup(echo.Close)
	w.latchkey, w.echo = server.Listener.Addr().String(), echo.Listener.Addr().String()
	return w
}

// echoes says what of a request reached the app, a header a line; of a request to
// upgrade, it upgrades.
func echoes(out http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "websocket" {
		conn, _, err := http.NewResponseController(out).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			conn.Close()
		}
		return
	}
	n, _ := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(out, "%s %s app, %d bytes\ntarget: %s\n", r.Method, r.URL.Path, n, r.RequestURI)
	for name, values := range r.Header {
		for _, value := range values {
			fmt.Fprintf(out, "%s: %s\n", strings.ToLower(strings.ReplaceAll(name, "_", "-")), value)
		}
	}
}

// run starts a proxy and waits until it answers; it ends with the test.
func (w *world) run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	command := exec.Command(name, args...)
	command.Dir, command.Env = dir, append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	proxy := proc.Run(t, command)
	t.Cleanup(func() { // before it is killed, so that it ends its workers
		_ = command.Process.Signal(os.Interrupt)
		select {
		case <-proxy.Done:
		case <-time.After(5 * time.Second):
		}
	})
	proxy.Until(t, "the proxy answers", func() bool {
		// Caddy makes its certificates one by one.
		return w.says(staff) != 0 && w.says(app) != 0 && w.says("id.example.org") == http.StatusOK
	})
}

// says is the status of a host's health check; 0: there is no answer.
func (w *world) says(host string) int {
	client := w.client(nil)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Get("https://" + host + ":" + w.port + "/healthz")
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// shipped is a file of deploy with other addresses in it.
func shipped(t *testing.T, dir, name string, replace ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, name))
	if err != nil {
		t.Fatal(err)
	}
	out := strings.NewReplacer(replace...).Replace(string(text))
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) nginx(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	for _, name := range []string{"http", "ask", "server", "protect", "example"} {
		shipped(t, dir, "nginx/"+name+".conf", "/etc/nginx/latchkey/", dir+"/", "/etc/ssl/", dir+"/", "127.0.0.1:8080", w.latchkey, "127.0.0.1:3000", w.echo,
			"listen 443", "listen 127.0.0.1:"+w.port)
	}
	main := fmt.Sprintf("daemon off; master_process off; pid %[1]s/pid; error_log stderr warn;\nevents {}\nhttp { access_log off; underscores_in_headers on;\n", dir)
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += fmt.Sprintf("%s_temp_path %s/%s;\n", temp, dir, temp)
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(main+"include "+dir+"/example.conf;\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(t, dir, "/usr/sbin/nginx", "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
}

func (w *world) caddy(t *testing.T) {
	dir := t.TempDir()
	shipped(t, dir, "caddy/latchkey.caddy", "localhost:8080", w.latchkey)
	global := fmt.Sprintf("{\n\tadmin off\n\tlocal_certs\n\tskip_install_trust\n\tauto_https disable_redirects\n\thttps_port %s\n\tstorage file_system %s\n}\n", w.port, dir)
	shipped(t, dir, "caddy/Caddyfile", "# Latchkey and", global+"# Latchkey and", "localhost:8080", w.latchkey, "localhost:3000", w.echo)
	w.run(t, dir, "caddy", "run", "--config", filepath.Join(dir, "Caddyfile"))
}

func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"example.org.pem": {Type: "CERTIFICATE", Bytes: cert}, "example.org.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// client finds every host at the proxy. Its certificate is of the test.
func (w *world) client(jar http.CookieJar) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+w.port)
	}
	return &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
}

type answer struct {
	status int
	body   string
	header http.Header
}

func (w *world) send(t *testing.T, c *http.Client, method, host, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequest(method, "https://"+host+":"+w.port+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return answer{res.StatusCode, string(text), res.Header}
}

// raw sends bytes as they are, and returns the status, and whether the app was
// reached.
func (w *world) raw(t *testing.T, sni, text string) (status int, reached bool) {
	t.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:"+w.port, &tls.Config{InsecureSkipVerify: true, ServerName: sni})
	if err != nil {
		return 0, false // refused before it could ask
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return 0, false
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, false
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, strings.Contains(string(body), " app,")
}

var (
	next     = regexp.MustCompile(`name="next" value="([^"]*)"`)
	somebody = regexp.MustCompile(`remote-user: .`)
)

func TestNginx(t *testing.T) {
	w := newWorld(t)
	w.nginx(t)
	w.attack(t)
}

func TestCaddy(t *testing.T) {
	w := newWorld(t)
	w.caddy(t)
	w.attack(t)
}

func (w *world) attack(t *testing.T) {
	nobody := w.client(nil)
	nobody.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	mallory := w.mallory(t)
	w.spoofs(t, nobody, mallory)
	w.sideDoors(t, nobody, mallory)
	w.rules(t, nobody, mallory)
	w.programs(t, nobody, mallory)
	w.returns(t)
	w.send(t, mallory, "POST", "id.example.org", "/session/end", "")
	if a := w.send(t, mallory, "GET", app, "/page", "", "Accept", "application/json"); a.status != 401 {
		t.Errorf("after the logout: %d", a.status)
	}
}

// rules decide by path and by host: open to everybody, or to a group alone.
func (w *world) rules(t *testing.T, nobody, mallory *http.Client) {
	if a := w.send(t, nobody, "GET", app, "/public/x", "", "Accept", "text/html"); a.status != 200 || !strings.Contains(a.body, " app,") || somebody.MatchString(a.body) {
		t.Errorf("open to everybody: %d %s", a.status, a.body)
	}
	if a := w.send(t, mallory, "GET", staff, "/", "", "Accept", "text/html"); a.status != 403 || strings.Contains(a.body, " app,") {
		t.Errorf("another group: %d %s", a.status, a.body)
	}
	sally, in := w.comesIn(t, "sally", staff, "/rota")
	for _, a := range []answer{in, w.send(t, sally, "GET", staff, "/rota", "", "Accept", "application/json", "Remote-Groups", "root")} {
		if a.status != 200 || !strings.HasPrefix(a.body, "GET /rota app,") || strings.Count(a.body, "remote-groups: guests,staff\n") != 1 || strings.Contains(a.body, "root") {
			t.Errorf("this group: %d %s", a.status, a.body)
		}
	}
}

// F01, F02: what a client says of itself reaches no app, and what it says of its
// request decides nothing.
func (w *world) spoofs(t *testing.T, nobody, mallory *http.Client) {
	spoofed := []string{}
	for _, name := range []string{
		"Remote-User", "remote-user", "Remote_User", "REMOTE_USER", "Remote-Groups", "Remote_Email", "X-Forwarded-User", "X_Forwarded_User", "X-Forwarded-Email",
		"X-Auth-Request-User", "X-Auth-Request-Email", "x_auth_request_email", "X-Remote-User", "X-WebAuth-User",
	} {
		spoofed = append(spoofed, name, "root", name, "root")
	}
	for what, c := range map[string]*http.Client{"nobody": nobody, "mallory": mallory} {
		for _, path := range []string{"/public/x", "/page"} {
			a := w.send(t, c, "GET", app, path, "", spoofed...)
			if strings.Contains(a.body, "root") || what == "mallory" && strings.Count(a.body, "remote-user: mallory\n") != 1 {
				t.Errorf("%s %s: %d %s", what, path, a.status, a.body)
			}
			if what == "nobody" && path == "/page" && a.status != 302 {
				t.Errorf("nobody: %d", a.status)
			}
		}
	}
	if a := w.send(t, mallory, "GET", app, "/page", "", "Connection", "Remote-User, keep-alive", "Remote-User", "root"); strings.Contains(a.body, "root") ||
		a.status == 200 && !strings.Contains(a.body, "remote-user: mallory\n") {
		t.Errorf("hop by hop: %d %s", a.status, a.body)
	}
	a := w.send(t, nobody, "GET", app, "/page", "", "Accept", "application/json", "X-Forwarded-Uri", "/public/x", "X-Original-Url", "/public/x", "X-Forwarded-Method", "OPTIONS",
		"X-Forwarded-Host", "open.example.org", "X_Forwarded_Uri", "/public/x")
	if a.status != 401 && a.status != 400 {
		t.Errorf("another request: %d %s", a.status, a.body)
	}
}

// F03, F06: no path, method, host or upgrade leads past the question.
func (w *world) sideDoors(t *testing.T, nobody, mallory *http.Client) {
	host := "Host: " + app + ":" + w.port + "\r\n"
	for what, text := range map[string]string{
		"dots": "GET /public/../page HTTP/1.1\r\n" + host, "encoded dots": "GET /public/%2e%2e/page HTTP/1.1\r\n" + host,
		"parameters": "GET /public/..;/page HTTP/1.1\r\n" + host, "slashes": "GET //page HTTP/1.1\r\n" + host,
		"encoded": "GET /public%2f..%2fpage HTTP/1.1\r\n" + host, "twice": "GET /public/%252e%252e/page HTTP/1.1\r\n" + host,
		"the login's": "GET /.latchkey/../page HTTP/1.1\r\n" + host, "inside": "GET /.latchkey/check HTTP/1.1\r\n" + host,
		"other host": "GET /public/x HTTP/1.1\r\nHost: " + staff + "\r\n",
		"absolute":   "GET https://" + staff + "/public/x HTTP/1.1\r\n" + host, "old": "GET /page HTTP/1.0\r\n",
		"no host": "GET /public/x HTTP/1.1\r\nHost: nobody.example.org\r\n",
		"upgrade": "GET /page HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + host,
		"chunked": "POST /page HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + host,
	} {
		end := "Connection: close\r\n\r\n"
		if what == "upgrade" {
			end = "\r\n"
		}
		if what == "chunked" {
			end = "\r\n0\r\n\r\n"
		}
		if status, reached := w.raw(t, app, text+end); reached || status == 101 {
			t.Errorf("%s: %d, and the app was reached", what, status)
		}
	}
	for _, method := range []string{"OPTIONS", "HEAD", "PUT", "DELETE", "PROPFIND"} {
		if a := w.send(t, nobody, method, app, "/page", "", "Accept", "application/json"); a.status < 300 {
			t.Errorf("%s: %d", method, a.status)
		}
		if a := w.send(t, mallory, method, app, "/page", "", "Accept", "application/json"); a.status != 200 {
			t.Errorf("%s, logged in: %d %s", method, a.status, a.body)
		}
	}
	big := strings.Repeat("x", 200_000)
	if a := w.send(t, mallory, "POST", app, "/page", big); a.status != 200 || !strings.Contains(a.body, "200000 bytes") {
		t.Errorf("a body: %d %s", a.status, a.body)
	}
	cookies := ""
	for _, c := range mallory.Jar.Cookies(&url.URL{Scheme: "https", Host: app, Path: "/"}) {
		cookies += c.Name + "=" + c.Value + "; "
	}
	upgrade := "GET /page HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nCookie: " + cookies + "\r\n" + host + "\r\n"
	if status, _ := w.raw(t, app, upgrade); status != 101 {
		t.Errorf("a WebSocket, logged in: %d", status)
	}
}
