// Package idp is what asking an IdP has in common, whatever the protocol: the
// bounds of a call, what an error says of the person who logs in, and how claims
// are read that may have any type and size.
package idp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// Bounds of what is read from an IdP and of how long one call may take.
const (
	MaxDocument = 256 << 10
	MaxAnswer   = 1 << 20
	CallTimeout = 4 * time.Second
)

// Limits of what is asked of an IdP.
var Limits = outbound.Limits{Time: CallTimeout, Answer: MaxAnswer}

var errUnreachable = errors.New("the IdP cannot be reached")

// statusError is an answer with another status than 200.
type statusError struct {
	status  int
	passing bool // trouble that may be over soon
}

func (s statusError) Error() string { return fmt.Sprintf("status %d", s.status) }

// Fetch reads one document. Errors hold no body: it may be anything.
func Fetch(ctx context.Context, client *http.Client, target string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	body, _, err := Send(client, req, MaxDocument)
	return body, err
}

// Send reads the answer to a prepared request, up to most bytes.
func Send(client *http.Client, req *http.Request, most int) (body []byte, header http.Header, err error) {
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	// #nosec G704 -- the URL is of the configuration, or of a document that it names; hosts are judged when they are dialled
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, nil, statusError{res.StatusCode, passing(res)}
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, int64(most)+1))
	switch {
	case len(body) > most, errors.Is(err, outbound.ErrTooLarge):
		return nil, nil, outbound.ErrTooLarge
	case err != nil:
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return body, res.Header, nil
}

// Dark reports whether nobody is there: no answer, or a proxy's word for it.
func Dark(err error) bool {
	s, _ := errors.AsType[statusError](err)
	return errors.Is(err, errUnreachable) || s.status >= http.StatusBadGateway && s.status <= http.StatusGatewayTimeout
}

// passing reports whether an answer is trouble that may be over soon. GitHub
// says with 403 that we have asked too often.
func passing(res *http.Response) bool {
	spent := res.StatusCode == http.StatusForbidden && (res.Header.Get("X-RateLimit-Remaining") == "0" || res.Header.Get("Retry-After") != "")
	return res.StatusCode >= http.StatusInternalServerError || res.StatusCode == http.StatusTooManyRequests || spent
}

// Trouble gives an error of the way to an IdP its code: what may pass, or an
// answer that proves nothing.
func Trouble(what string, err error) error {
	if s, ok := errors.AsType[statusError](err); errors.Is(err, errUnreachable) || ok && s.passing {
		return Unavailable(fmt.Errorf("%s: %w", what, err))
	}
	return BadResponse(what+" is not valid", err)
}

// Unavailable is an outage of the IdP, or of the way to it.
func Unavailable(err error) error {
	return &broker.Error{Code: broker.TemporarilyUnavailable, Message: "the identity provider cannot be used at the moment", Err: err, RetryAfter: 5 * time.Second}
}

// BadResponse is an answer that proves nothing.
func BadResponse(message string, err error) error {
	return &broker.Error{Code: broker.IdPBadResponse, Message: message, Err: err}
}
