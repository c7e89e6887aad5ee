package conformance

import (
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
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/proc"
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
		fmt.Fprintf(os.Stderr, "%s\n%s", &plain.process.Out, &https.process.Out)
	}
	return code
}

// startAll builds latchkey and starts a broker of either kind.
func startAll(dir string) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	binary := filepath.Join(dir, "latchkey")
	if err := proc.Build(binary); err != nil {
		return stop, err
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
			err = o.start()
		}
		if err != nil {
			return stop, err
		}
		stops = append(stops, o.process.Kill)
		*x.op = o
	}
	return stop, nil
}

// op is one broker: the OpenID provider under test.
type op struct {
	issuer  string
	tls     *tls.Config // nil: the standard one
	dir     string
	binary  string
	process *proc.Process
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
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	o := &op{issuer: fmt.Sprintf("%s://127.0.0.1:%d", scheme, port), dir: dir, binary: binary}
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
		create := o.command("user", "create", user, "--email", user+"@example.org", "--full-name", name, "--password-stdin")
		create.Stdin = strings.NewReader(passwordOf(user) + "\n")
		if out, err := create.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", create, err, out)
		}
	}
	return o, nil
}

func (o *op) command(args ...string) *exec.Cmd {
	cmd := exec.Command(o.binary, args...)
	cmd.Dir, cmd.Env = o.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir}
	return cmd
}

// start runs the broker and waits until it is ready.
func (o *op) start() (err error) {
	if o.process, err = proc.Start(o.command("serve")); err != nil {
		return err
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: o.tls, DisableKeepAlives: true}}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if res, err := client.Get(o.issuer + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !o.process.Running() || time.Now().After(deadline) {
			o.process.Kill()
			return fmt.Errorf("latchkey has ended, or is not ready within 60 s:\n%s", &o.process.Out)
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
