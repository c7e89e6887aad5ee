package oidc

import (
	"net/http"

	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// NewHTTPClient is the client for everything that is asked of an IdP: bounded
// in time and size, and it follows no redirect, so that code, verifier and
// secret reach nobody but the endpoint that was configured.
func NewHTTPClient() *http.Client { return outbound.Anywhere(idp.Limits) }

// NewPublicHTTPClient is the client for an IdP that somebody named who is not to
// send requests into our own network: it keeps to public addresses.
func NewPublicHTTPClient() *http.Client { return outbound.Public(idp.Limits) }
