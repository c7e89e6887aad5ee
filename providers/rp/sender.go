package rp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"code.dny.dev/ssrf"

	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// senderLimits are for one logout token.
var senderLimits = outbound.Limits{Time: 5 * time.Second, Answer: 64 << 10}

// Sender posts logout tokens to clients.
type Sender struct{ clients clients }

// NewSender sends nothing yet.
func NewSender() *Sender { return &Sender{clients: newClients(senderLimits)} }

// SendLogout posts a logout token to a client's backchannel_logout_uri (OIDC
// Back-Channel Logout section 2.5). 200 and 204 mean that the client has
// understood (section 2.8). guarded keeps to https and public addresses. No
// error has the token or anything that the client has answered in its text.
func (s *Sender) SendLogout(ctx context.Context, uri, logoutToken string, guarded bool) error {
	if err := checkAddress(uri, guarded); err != nil {
		return err
	}
	form := url.Values{"logout_token": {logoutToken}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, strings.NewReader(form))
	if err != nil {
		return errAddress
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.clients.pick(guarded).Do(req)
	if err != nil {
		return unsent(err)
	}
	defer res.Body.Close()
	// Read to its end, a short answer leaves its connection for the next one. What
	// is wrong with it does not matter: the status has been said.
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the client answered with status %d", res.StatusCode)
	}
	return nil
}

// unsent is the error of the way to a client. That of net/http quotes from
// answers that are no HTTP, and an answer may repeat the token.
func unsent(err error) error {
	if errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrProhibitedPort) {
		return errors.New("the client is at an address that is not public")
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("the client did not answer in time")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errors.New("the client's certificate is not valid")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("the client cannot be reached: %w", op)
	}
	return errors.New("the connection to the client failed")
}
