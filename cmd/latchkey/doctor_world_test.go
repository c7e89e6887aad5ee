package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/proc"
)

// rootSecret is a root secret as openssl rand makes it.
const rootSecret = "q0R3vS8mZt1KpX5nYc7LhWb2JdUf9GaE4iTo6CxMzQkBwNrP"

// world is an installation for the doctor: real files, a real server and what
// stands around it.
type world struct {
	t      *testing.T
	dir    string
	env    map[string]string
	yaml   string
	listen string
	change func(*doctor) // what cannot be broken for real
	roots  *x509.CertPool
}

// newWorld is an installation without a fault, whose server does not run.
func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: openFolder(t), roots: x509.NewCertPool(), change: func(*doctor) {}}
	w.listen = freeAddress(t)
	w.env = map[string]string{
		"LATCHKEY_DATA_DIR": filepath.Join(w.dir, "data"), "LATCHKEY_CONFIG": filepath.Join(w.dir, "latchkey.yaml"),
		"LATCHKEY_LISTEN": w.listen, "LATCHKEY_PUBLIC_URL": "http://" + w.listen,
	}
	w.mkdir("data", 0o700)
	return w
}

// openFolder is one that everybody on the machine may enter.
func openFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mkdir(name string, mode os.FileMode) string {
	full := filepath.Join(w.dir, name)
	w.must(os.MkdirAll(full, 0o700))
	w.must(os.Chmod(full, mode))
	return full
}

func (w *world) write(name, text string, mode os.FileMode) string {
	full := filepath.Join(w.dir, name)
	w.must(os.WriteFile(full, []byte(text), 0o600))
	w.must(os.Chmod(full, mode))
	return full
}

func (w *world) set(name, value string) { w.env[name] = value }

func (w *world) program(out io.Writer) *program {
	environ := []string{}
	for k, v := range w.env {
		environ = append(environ, k+"="+v)
	}
	return &program{getenv: func(k string) string { return w.env[k] }, environ: environ, stdin: strings.NewReader(""), stdout: out, stderr: out}
}

// examine writes the configuration and runs the doctor.
func (w *world) examine() diagnosis {
	w.t.Helper()
	if _, err := os.Stat(w.env["LATCHKEY_CONFIG"]); os.IsNotExist(err) {
		w.write("latchkey.yaml", w.yaml, 0o600)
	}
	d := w.program(io.Discard).newDoctor()
	d.roots = w.roots
	w.change(d)
	return d.examine(w.t.Context())
}

// run runs another command.
func (w *world) run(args ...string) string {
	w.t.Helper()
	if _, err := os.Stat(w.env["LATCHKEY_CONFIG"]); os.IsNotExist(err) {
		w.write("latchkey.yaml", w.yaml, 0o600)
	}
	var out bytes.Buffer
	p := w.program(&out)
	if code := run(w.t.Context(), args, p.getenv, p.environ, p.stdin, &out, &out); code != 0 {
		w.t.Fatalf("%v: exit %d, %s", args, code, out.String())
	}
	return out.String()
}

// serve runs the server as the configuration says, until the test ends.
func (w *world) serve() {
	w.t.Helper()
	w.write("latchkey.yaml", w.yaml, 0o600)
	c, err := w.program(io.Discard).loadConfig()
	w.must(err)
	listener, err := net.Listen("tcp", c.Listen)
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.serve(ctx, listener, slog.New(slog.DiscardHandler)) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); c.probe(ctx, c.Listen, "/readyz") != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("the server does not get ready")
		}
	}
}

// idp is a provider that knows us, with the settings of one in the configuration.
func (w *world) idp(settings string) *providertest.IdP {
	w.t.Helper()
	p := providertest.Start(w.t, providertest.Config{Clients: []providertest.Client{{
		ID: "latchkey", Secret: "s3cret of the IdP", RedirectURIs: []string{w.env["LATCHKEY_PUBLIC_URL"] + "/auth/home/callback"},
	}}})
	w.provider(p.Issuer(), settings)
	return p
}

// provider names one in the configuration.
func (w *world) provider(issuer, settings string) {
	if !strings.Contains(settings, "client_secret:") {
		settings += ", client_secret: s3cret of the IdP"
	}
	w.yaml += fmt.Sprintf("providers:\n- {id: home, name: Home, issuer: '%s', client_id: latchkey%s}\n", issuer, settings)
}

// certificate makes a certificate that the doctor trusts, and its key, as files.
func (w *world) certificate(name string, until time.Time) (cert, key string) {
	w.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: until.Add(-90 * 24 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	w.must(err)
	rawKey, err := x509.MarshalPKCS8PrivateKey(private)
	w.must(err)
	leaf, err := x509.ParseCertificate(raw)
	w.must(err)
	w.roots.AddCert(leaf)
	cert = w.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})), 0o644)
	return cert, w.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})), 0o600)
}

const (
	proxyFor   = "proxy_set_header X-Forwarded-For $remote_addr;"
	proxyProto = "proxy_set_header X-Forwarded-Proto $scheme;"
	proxyHost  = "proxy_set_header Host $http_host;"
	proxyGood  = proxyFor + proxyProto + proxyHost
)

// nginx puts a real nginx in front, with TLS, and makes it the public address.
func (w *world) nginx(location string) {
	w.t.Helper()
	file, err := exec.LookPath("/usr/sbin/nginx") // test/install.sh has it
	w.must(err)
	port := fmt.Sprint(proc.Port(w.t))
	w.set("LATCHKEY_PUBLIC_URL", "https://localhost:"+port)
	cert, key := w.certificate("localhost", time.Now().Add(60*24*time.Hour))
	if !strings.Contains(location, "return") && !strings.Contains(location, "proxy_pass") {
		location += " proxy_pass http://" + w.listen + ";"
	}
	home := w.mkdir("nginx", 0o700)
	conf := w.write("nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen 127.0.0.1:%[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; location / { %[5]s } }
}
`, home, port, cert, key, location), 0o600)
	nginx := proc.Run(w.t, exec.Command(file, "-p", home, "-c", conf))
	waitFor(w.t, "127.0.0.1:"+port, &nginx.Out)
}

func waitFor(t *testing.T, address string, log fmt.Stringer) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing listens at %s: %s", address, log)
		}
	}
}

// site serves something at an address until the test ends.
func (w *world) site(address string, h http.Handler) {
	w.t.Helper()
	listener, err := net.Listen("tcp", address)
	w.must(err)
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(listener) }()
	w.t.Cleanup(func() { _ = s.Close() })
}
