package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAtFiles is how often the files of the certificate are looked at.
const lookAtFiles = 2 * time.Second

// certificates is the certificate that the server shows, as its files have it.
// Whoever renews it replaces two files one after the other: a pair that does not
// fit takes no effect, and the next look finds the one that does.
type certificates struct {
	log *slog.Logger
	mu  sync.Mutex
	keyPair
	seen string // of the files that were last looked at
}

// keyPair is a certificate and where it is from.
type keyPair struct {
	certFile, keyFile string
	certificate       *tls.Certificate
}

// loadCertificates reads the certificate of a configuration; none: plain HTTP.
func (c *config) loadCertificates() (keyPair, error) {
	if c.TLS.CertFile == "" {
		return keyPair{}, nil
	}
	loaded, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
	if err != nil {
		return keyPair{}, fmt.Errorf("tls: %w", err)
	}
	return keyPair{c.TLS.CertFile, c.TLS.KeyFile, &loaded}, nil
}

// stamp changes when one of the files does.
func (p keyPair) stamp() string {
	out := ""
	for _, name := range []string{p.certFile, p.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			out += " " + err.Error()
			continue
		}
		out += fmt.Sprintf(" %d %d", info.ModTime().UnixNano(), info.Size())
	}
	return out
}

// serveCertificates begins to look after the certificate of a configuration.
func (r *running) serveCertificates(ctx context.Context, c *config) error {
	loaded, err := c.loadCertificates()
	if err != nil || loaded.certificate == nil {
		return err
	}
	r.certificates = &certificates{log: r.log, keyPair: loaded, seen: loaded.stamp()}
	r.background.Go(func() {
		for pause(ctx, lookAtFiles) == nil {
			r.certificates.look()
		}
	})
	return nil
}

// look reads the files again where they changed.
func (x *certificates) look() {
	x.mu.Lock()
	defer x.mu.Unlock()
	stamp := x.stamp()
	if stamp == x.seen {
		return
	}
	x.seen = stamp
	loaded, err := tls.LoadX509KeyPair(x.certFile, x.keyFile)
	if err != nil {
		x.log.Warn("the new certificate cannot be used; the one before it stays", "event", "tls.refused", "file", x.certFile, "error", err)
		return
	}
	x.certificate = &loaded
	x.log.Info("certificate read again", "event", "tls.loaded", "file", x.certFile, "expires_at", loaded.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

// replace takes another pair of files.
func (x *certificates) replace(p keyPair) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.keyPair, x.seen = p, p.stamp()
}

// config is how the server speaks TLS.
func (x *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.certificate, nil
	}}
}

// expires is when the certificate does; zero: there is none.
func (x *certificates) expires() time.Time {
	if x == nil {
		return time.Time{}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.certificate.Leaf.NotAfter
}
