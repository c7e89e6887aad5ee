package oidc

import (
	"net"
	"net/http"

	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// NewHTTPClient is the client for everything that is asked of an IdP: bounded
// in time and size, and it follows no redirect, so that code, verifier and
// secret reach nobody but the endpoint that was configured.
func NewHTTPClient() *http.Client { return outbound.Anywhere(idp.Limits) }

// NewHTTPClientWithDialer is [NewHTTPClient] with a dialer that may refuse
// addresses.
func NewHTTPClientWithDialer(dialer *net.Dialer) *http.Client {
	return outbound.WithDialer(idp.Limits, dialer)
}
