package mail_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/smtp"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// got is a mail that the server took.
type got struct {
	Port   int
	From   string
	To     []string
	Raw    string
	Secure bool
	User   string
}

// server is a mail server in a process of its own.
type server struct {
	mu    sync.Mutex
	mails []got
	port  int
	roots *x509.CertPool
	cert  string // PEM
}

const user, password = "latchkey", "the password of the mail server"

// start runs a server. login: it asks for name and password.
func start(t *testing.T, mode string, login bool) *server {
	t.Helper()
	key, cert, roots := certificate(t)
	options := map[string]string{"tls": mode, "key": key, "cert": cert}
	if login {
		options["user"], options["pass"] = user, password
	}
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "server.mjs", string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &server{roots: roots, cert: cert}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.read(bufio.NewScanner(out), ready)
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the mail server does not start")
	}
	return s
}

func (s *server) read(lines *bufio.Scanner, ready chan struct{}) {
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one got
		if json.Unmarshal(lines.Bytes(), &one) != nil {
			continue
		}
		s.mu.Lock()
		if one.Port != 0 {
			s.port = one.Port
			close(ready)
		} else {
			s.mails = append(s.mails, one)
		}
		s.mu.Unlock()
	}
}

// to waits for so many mails to an address.
func (s *server) to(t *testing.T, address string, n int) (out []got) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		out = nil
		s.mu.Lock()
		for _, one := range s.mails {
			if slices.Contains(one.To, address) {
				out = append(out, one)
			}
		}
		s.mu.Unlock()
		if len(out) >= n {
			return out
		}
	}
	t.Fatalf("%d mails to %s, want %d", len(out), address, n)
	return nil
}

func (s *server) sender(t *testing.T, mode string, change func(*smtp.Config)) *smtp.Sender {
	t.Helper()
	c := smtp.Config{
		Host: "127.0.0.1", Port: s.port, TLS: mode, RootCAs: s.roots, From: &netmail.Address{Name: "Latchkey", Address: "login@example.org"}, Hello: "id.example.org",
		Timeout: 5 * time.Second,
	}
	if change != nil {
		change(&c)
	}
	sender, err := smtp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func login(c *smtp.Config) { c.Username, c.Password = user, password }

// certificate signs itself for 127.0.0.1.
func certificate(t *testing.T) (key, cert string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})), cert, roots
}
