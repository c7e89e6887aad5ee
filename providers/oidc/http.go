package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// limits of what is asked of an IdP.
var limits = outbound.Limits{Time: callTimeout, Answer: maxAnswer}

// NewHTTPClient is the client for everything that is asked of an IdP: bounded
// in time and size, and it follows no redirect, so that code, verifier and
// secret reach nobody but the endpoint that was configured.
func NewHTTPClient() *http.Client { return outbound.Anywhere(limits) }

// NewHTTPClientWithDialer is [NewHTTPClient] with a dialer that may refuse
// addresses.
func NewHTTPClientWithDialer(dialer *net.Dialer) *http.Client {
	return outbound.WithDialer(limits, dialer)
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
		return nil, outbound.ErrTooLarge
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
