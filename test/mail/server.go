package mail

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
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// Got is a mail that a server took.
type Got struct {
	Port   int
	From   string
	To     []string
	Raw    string
	Secure bool
	User   string
}

// Server is a mail server in a process of its own, at Port of 127.0.0.1.
type Server struct {
	Port  int
	Cert  string         // PEM
	Roots *x509.CertPool // of Cert alone

	mu    sync.Mutex
	mails []Got
}

// User and Password are what a server with a login asks for.
const (
	User     = "latchkey"
	Password = "the password of the mail server"
)

// Start runs a server until the test ends. mode: starttls, implicit or none, as smtp.tls
// has it. login: it asks for name and password.
func Start(tb testing.TB, mode string, login bool) *Server {
	tb.Helper()
	key, cert, roots := certificate(tb)
	options := map[string]string{"tls": mode, "key": key, "cert": cert}
	if login {
		options["user"], options["pass"] = User, Password
	}
	text, err := json.Marshal(options)
	if err != nil {
		tb.Fatal(err)
	}
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command("node", filepath.Join(filepath.Dir(here), "server.mjs"), string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Cert: cert, Roots: roots}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.read(bufio.NewScanner(out), ready)
	}()
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		tb.Fatal("the mail server does not start")
	}
	return s
}

func (s *Server) read(lines *bufio.Scanner, ready chan struct{}) {
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one Got
		if json.Unmarshal(lines.Bytes(), &one) != nil {
			continue
		}
		if one.Port != 0 {
			s.Port = one.Port
			close(ready)
			continue
		}
		s.mu.Lock()
		s.mails = append(s.mails, one)
		s.mu.Unlock()
	}
}

// Mails are those that it took.
func (s *Server) Mails() []Got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// To waits for so many mails to an address.
func (s *Server) To(tb testing.TB, address string, n int) (out []Got) {
	tb.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		out = slices.DeleteFunc(s.Mails(), func(one Got) bool { return !slices.Contains(one.To, address) })
		if len(out) >= n {
			return out
		}
	}
	tb.Fatalf("%d mails to %s, want %d", len(out), address, n)
	return nil
}

// certificate signs itself for 127.0.0.1.
func certificate(tb testing.TB) (key, cert string, roots *x509.CertPool) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})), cert, roots
}
