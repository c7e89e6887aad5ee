package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certFiles are the files of a certificate, as whoever renews it writes them.
type certFiles struct {
	t         *testing.T
	cert, key string
}

func newCertFiles(t *testing.T) *certFiles {
	folder := t.TempDir()
	return &certFiles{t, filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")}
}

// renew makes a certificate of that serial number, and writes one half or both.
func (f *certFiles) renew(serial int64, cert, key bool) (expires time.Time) {
	f.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	expires = time.Now().Add(time.Duration(serial) * 24 * time.Hour).Truncate(time.Second)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: expires, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		f.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		f.t.Fatal(err)
	}
	for name, part := range map[string]struct {
		write bool
		kind  string
		der   []byte
	}{f.cert: {cert, "CERTIFICATE", der}, f.key: {key, "PRIVATE KEY", raw}} {
		if part.write {
			if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: part.kind, Bytes: part.der}), 0o600); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	return expires
}

// shown is the serial number of the certificate that a server shows.
func shown(t *testing.T, address string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// A renewed certificate is shown without a restart and without a signal; half a
// one, as it is while it is being replaced, changes nothing.
func TestCertificateFiles(t *testing.T) {
	files := newCertFiles(t)
	files.renew(41, true, true)
	x := newWatchedWorld(t, watchedMetrics, map[string]string{"LATCHKEY_TLS_CERT_FILE": files.cert, "LATCHKEY_TLS_KEY_FILE": files.key})
	address := x.env["LATCHKEY_LISTEN"]
	if got := shown(t, address); got != 41 {
		t.Fatal(got)
	}
	files.renew(42, true, false)
	x.log.find(t, `"event":"(tls.refused)"`)
	if got := shown(t, address); got != 41 {
		t.Errorf("a pair that does not fit is shown: %d", got)
	}
	expires := files.renew(43, true, true)
	x.log.find(t, `"event":"(tls.loaded)"`)
	if got := shown(t, address); got != 43 {
		t.Errorf("the certificate %d is shown, not the new one", got)
	}
	want := fmt.Sprintf("latchkey_tls_certificate_expiry_timestamp_seconds %v", float64(expires.Unix()))
	if text := x.metrics(); !strings.Contains(text, want) {
		t.Errorf("there is no %s", want)
	}
	if text := x.log.String(); strings.Contains(text, "PRIVATE KEY") {
		t.Error("the log has a private key")
	}
}

// Other files come with a reload; ones that are not there change nothing at all.
func TestOtherCertificateFilesByReload(t *testing.T) {
	files, other := newCertFiles(t), newCertFiles(t)
	files.renew(51, true, true)
	other.renew(52, true, true)
	tlsOf := func(cert, key string) string { return fmt.Sprintf("tls: {cert_file: %s, key_file: %s}\n", cert, key) }
	x := newWatchedWorld(t, tlsOf(files.cert, files.key), nil)
	x.write(tlsOf(other.cert, other.key+".gone") + "local_login: false\n")
	if line := x.hangUp(); line["event"] != "config.refused" || shown(t, x.env["LATCHKEY_LISTEN"]) != 51 {
		t.Error(line)
	}
	x.write(tlsOf(other.cert, other.key))
	if line := x.hangUp(); line["event"] != "config.reloaded" || shown(t, x.env["LATCHKEY_LISTEN"]) != 52 {
		t.Error(line)
	}
	x.write("")
	if line := x.hangUp(); line["event"] != "config.refused" || !strings.Contains(fmt.Sprint(line["error"]), "needs a restart") {
		t.Error(line)
	}
}
