package oidc

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// NewHTTPClient is the client for everything that is asked of an IdP: bounded
// in time and size, and it follows no redirect, so that code, verifier and
// secret reach nobody but the endpoint that was configured.
func NewHTTPClient() *http.Client { return NewHTTPClientWithDialer(&net.Dialer{Timeout: callTimeout}) }

// NewHTTPClientWithDialer is [NewHTTPClient] with a dialer that may refuse
// addresses.
func NewHTTPClientWithDialer(dialer *net.Dialer) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dialer.DialContext
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.ResponseHeaderTimeout = callTimeout
	transport.TLSHandshakeTimeout = callTimeout
	transport.MaxConnsPerHost = 32
	return &http.Client{
		Transport:     bounded{transport},
		Timeout:       callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded cuts answers off: x/oauth2 and go-oidc read what they get, and an
// answer that unpacks (gzip) may be larger than it looks.
type bounded struct{ next http.RoundTripper }

var errTooLarge = errors.New("the answer is too large")

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err == nil {
		res.Body = &limitedBody{ReadCloser: res.Body, left: maxAnswer}
	}
	return res, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// send reads the answer to a prepared request; any status but 200 is an error
// without the body.
func send(client *http.Client, req *http.Request) ([]byte, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d", req.URL.Host, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	case len(body) > maxDocument:
		return nil, errTooLarge
	}
	return body, nil
}
