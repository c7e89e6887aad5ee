package conformance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The brokers that all modules run against.
var (
	plain *op // http on loopback, with dynamic registration
	https *op // https with a certificate of its own
)

// logouts takes back-channel logouts.
var logouts *receiver

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	flag.Parse()
	// Modules wait more than they compute.
	if err := flag.Set("test.parallel", "24"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "latchkey-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	stop, err := startAll(dir)
	defer stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code != 0 && testing.Verbose() {
		fmt.Fprintf(os.Stderr, "%s\n%s", &plain.out, &https.out)
	}
	return code
}

// sources looks at everything that the tests are made of, because `go test`
// takes what it looked at, and only that, for a reason to run them again.
func sources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && slices.Contains([]string{".git", "bin", "data", "node_modules", "shots"}, d.Name()) {
			return fs.SkipDir
		}
		return err
	})
}

// startAll builds latchkey and starts a broker of either kind.
func startAll(dir string) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	if err := sources("../.."); err != nil {
		return stop, err
	}
	binary := filepath.Join(dir, "latchkey")
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", binary, "./cmd/latchkey")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return stop, fmt.Errorf("go build: %w\n%s", err, out)
	}
	if logouts, err = newReceiver(); err != nil {
		return stop, err
	}
	stops = append(stops, logouts.close)
	for _, x := range []struct {
		op     **op
		scheme string
	}{{&plain, "http"}, {&https, "https"}} {
		o, err := newOP(filepath.Join(dir, x.scheme), binary, x.scheme)
		if err == nil {
			err = o.start(binary)
			stops = append(stops, o.stop)
		}
		if err != nil {
			return stop, err
		}
		*x.op = o
	}
	return stop, nil
}

// op is one broker: the OpenID provider under test.
type op struct {
	issuer string
	tls    *tls.Config // nil: the standard one
	dir    string
	out    output
	stop   func()
}

// registrationToken lets clients register themselves.
const registrationToken = "an initial access token of a test, long enough"

// The people who log in.
const (
	alice = "alice"
	bob   = "bob" // who says no
)

func passwordOf(user string) string { return "a password of " + user }

// newOP writes the configuration of a broker and makes its users.
func newOP(dir, binary, scheme string) (*op, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	o := &op{issuer: fmt.Sprintf("%s://127.0.0.1:%d", scheme, port), dir: dir, stop: func() {}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	config := map[string]any{
		"public_url": o.issuer, "listen": fmt.Sprintf("127.0.0.1:%d", port), "data_dir": filepath.Join(dir, "data"),
		"log": map[string]any{"format": "json"}, "registration_token": registrationToken, "clients": registrations(),
	}
	if scheme == "https" {
		pool, err := certificate(dir)
		if err != nil {
			return nil, err
		}
		o.tls = &tls.Config{RootCAs: pool}
		config["tls"] = map[string]any{"cert_file": filepath.Join(dir, "cert.pem"), "key_file": filepath.Join(dir, "key.pem")}
	}
	text, err := json.Marshal(config) // JSON is YAML
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "latchkey.yaml"), text, 0o600); err != nil {
		return nil, err
	}
	for user, name := range map[string]string{alice: "Alice Example", bob: "Bob Example"} {
		create := o.command(binary, "user", "create", user, "--email", user+"@example.org", "--full-name", name, "--password-stdin")
		create.Stdin = strings.NewReader(passwordOf(user) + "\n")
		if out, err := create.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", create, err, out)
		}
	}
	return o, nil
}

func (o *op) command(binary string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = o.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir}
	return cmd
}

// start runs the broker until stop, and waits until it is ready. Its standard
// input stays open as long as it may live.
func (o *op) start(binary string) error {
	cmd := o.command(binary, "serve")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &o.out, &o.out, sysProcAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The parent death signal belongs to the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // being killed is no failure
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	o.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // by its id; fails only if it is gone already
		_ = stdin.Close()
		<-done
	})
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: o.tls, DisableKeepAlives: true}}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if res, err := client.Get(o.issuer + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-done:
			return fmt.Errorf("latchkey has ended:\n%s", &o.out)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("latchkey is not ready within 60 s:\n%s", &o.out)
		}
	}
}

// certificate makes one for 127.0.0.1, signed by itself, for an hour.
func certificate(dir string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool, errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), text, 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// freePort is free now; nothing else asks for it before its process does.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
