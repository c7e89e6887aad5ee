package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
)

// forgedAddress is what the doctor claims to come from: of a network for
// documentation (RFC 5737), so that nobody has it.
const forgedAddress = "192.0.2.77"

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// sighting is what came of asking a server how it sees the doctor.
type sighting struct {
	base     string
	err      error // nobody answered in HTTP
	status   int
	location string
	latchkey string // the code of a refusal by Latchkey, whichever it is
	body     string
	proven   bool // the answer is of a server with our root secret
	seen     broker.Sight
	from     string      // our end of the connection, address and port
	until    time.Time   // of the certificate; zero: plain http
	keys     []string    // of the JWKS there, where the answer is not proven
	header   http.Header // of the answer
}

// reached reports whether anything speaks HTTP there.
func (s sighting) reached() bool { return s.err == nil }

// isLatchkey reports whether it is a Latchkey that answered, this one or another.
func (s sighting) isLatchkey() bool { return s.proven || s.latchkey != "" }

// askLocal asks the server of this machine, past every proxy.
func (d *doctor) askLocal() sighting {
	host, port, _ := net.SplitHostPort(d.config.Listen) // checked with the configuration
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if d.config.TLS.CertFile != "" {
		scheme = "https"
	}
	return d.ask(scheme+"://"+net.JoinHostPort(host, port), true)
}

// askPublic asks where everybody does.
func (d *doctor) askPublic() sighting { return d.ask(d.config.PublicURL, false) }

// ask claims another address on top: a proxy that passes that on would believe it
// of everybody. local is for our own port, whose certificate has another name.
func (d *doctor) ask(base string, local bool) (s sighting) {
	s.base = base
	ctx, cancel := context.WithTimeout(context.Background(), d.limit*4/5) // which leaves time for a second one
	defer cancel()
	nonce, held := rand.Text(), d.secrets
	if held == nil { // whoever answers refuses this, and shows who it is
		stranger, _ := tokens.NewRootSecret([]byte(rand.Text() + rand.Text()))
		held = tokens.Secrets{stranger}
	}
	client := d.client(local)
	defer client.CloseIdleConnections()
	header := http.Header{
		"Latchkey-Question": {broker.NewQuestion(held, nonce, d.now())}, "X-Forwarded-For": {forgedAddress},
	}
	res, body, err := d.fetch(ctx, client, base+"/diagnosis", header, &s.from)
	if err != nil {
		s.err = err
		return s
	}
	s.status, s.location, s.latchkey, s.body, s.header = res.StatusCode, res.Header.Get("Location"), res.Header.Get("Latchkey-Code"), string(body), res.Header
	if res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
		s.until = res.TLS.PeerCertificates[0].NotAfter
	}
	if s.status == http.StatusOK {
		s.seen, err = broker.ReadAnswer(held, nonce, body, res.Header.Get("Latchkey-Proof"))
		s.proven = err == nil
	}
	if !s.proven {
		s.keys = d.keysAt(ctx, client, base)
	}
	return s
}

func (d *doctor) client(local bool) *http.Client {
	return &http.Client{
		// #nosec G402 -- of the own process alone; the certificate is judged apart
		Transport:     &http.Transport{DialContext: d.dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: local, RootCAs: d.roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch reads an answer, and notes our end of the connection.
func (d *doctor) fetch(ctx context.Context, client *http.Client, target string, header http.Header, from *string) (*http.Response, []byte, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if from != nil {
			*from = i.Conn.LocalAddr().String()
		}
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header = header
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res, body, err
}

// keysAt are the ids of the key set of whoever answers there; none: it has no
// such set.
func (d *doctor) keysAt(ctx context.Context, client *http.Client, base string) (out []string) {
	_, body, err := d.fetch(ctx, client, base+"/.well-known/jwks.json", http.Header{}, nil)
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if err != nil || json.Unmarshal(body, &set) != nil {
		return nil
	}
	for _, k := range set.Keys {
		out = append(out, k.ID)
	}
	return out
}

// sameKeys reports whether any of these keys is in our database.
func (d *doctor) sameKeys(ctx context.Context, ids []string) (same, known bool) {
	if !d.storeFits() {
		return false, false
	}
	stored, err := d.store.SigningKeys(ctx)
	if err != nil || len(stored) == 0 {
		return false, false
	}
	return slices.ContainsFunc(stored, func(k broker.StoredKey) bool { return slices.Contains(ids, k.ID) }), true
}

// reasonOf is the part of an error that says what is wrong, without the address
// that was asked.
func reasonOf(err error) string {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}
