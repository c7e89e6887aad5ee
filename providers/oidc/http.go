package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"code.dny.dev/ssrf"

	"github.com/latchkey-id/latchkey/broker"
)

// NewHTTPClient is the client for everything that is asked of an IdP: bounded
// in time and size, and it follows no redirect, so that code, verifier and
// secret reach nobody but the endpoint that was configured.
func NewHTTPClient() *http.Client { return NewHTTPClientWithDialer(&net.Dialer{Timeout: callTimeout}) }

// NewHTTPClientWithDialer is [NewHTTPClient] with a dialer that may refuse
// addresses.
func NewHTTPClientWithDialer(dialer *net.Dialer) *http.Client { return newClient(newTransport(dialer)) }

// newClientFor is the client for one issuer. Whoever configured the issuer has
// permitted its host, wherever that is; what its metadata names on other hosts
// must be at public addresses, so that no document sends requests into our own
// network (SSRF). The address is judged when it is dialed, after the DNS.
func newClientFor(issuer string) *http.Client {
	own := ""
	if u, err := url.Parse(issuer); err == nil {
		own = u.Hostname()
	}
	return newClient(byHost{
		own: own, anywhere: newTransport(&net.Dialer{Timeout: callTimeout}),
		public: newTransport(&net.Dialer{Timeout: callTimeout, Control: ssrf.New(ssrf.WithAnyPort()).Safe}),
	})
}

type byHost struct {
	own              string
	anywhere, public *http.Transport
}

// RoundTrip implements http.RoundTripper. Behind a proxy it is the proxy that
// dials, and that decides.
func (b byHost) RoundTrip(req *http.Request) (*http.Response, error) {
	proxy, err := b.anywhere.Proxy(req)
	if req.URL.Hostname() == b.own || err == nil && proxy != nil {
		return b.anywhere.RoundTrip(req)
	}
	return b.public.RoundTrip(req)
}

func newTransport(dialer *net.Dialer) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dialer.DialContext
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.ResponseHeaderTimeout = callTimeout
	transport.TLSHandshakeTimeout = callTimeout
	transport.MaxConnsPerHost = 32
	return transport
}

func newClient(transport http.RoundTripper) *http.Client {
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

var errUnreachable = errors.New("the IdP cannot be reached")

// statusError is an answer with another status than 200.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// fetch reads one document. Errors hold no body: it may be anything.
func fetch(ctx context.Context, client *http.Client, target string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	return send(client, req)
}

// send reads the answer to a prepared request, bounded.
func send(client *http.Client, req *http.Request) ([]byte, error) {
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, statusError(res.StatusCode)
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

// dark reports whether nobody is there: no answer, or a proxy's word for it.
func dark(err error) bool {
	status, _ := errors.AsType[statusError](err)
	return errors.Is(err, errUnreachable) || status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout
}

// passing reports whether a status is trouble that may be over soon.
func passing(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests
}

// trouble gives an error of the way to an IdP its code: what may pass, or an
// answer that proves nothing.
func trouble(what string, err error) error {
	if status, ok := errors.AsType[statusError](err); errors.Is(err, errUnreachable) || ok && passing(int(status)) {
		return unavailable(fmt.Errorf("%s: %w", what, err))
	}
	return badResponse(what+" is not valid", err)
}

func unavailable(err error) error {
	return &broker.Error{Code: broker.TemporarilyUnavailable, Message: "the identity provider cannot be used at the moment", Err: err, RetryAfter: 5 * time.Second}
}

func badResponse(message string, err error) error {
	return &broker.Error{Code: broker.IdPBadResponse, Message: message, Err: err}
}
