package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/latchkey-id/latchkey/tokens"
)

type contextKey struct{}

// NewContext carries verified claims.
func NewContext(ctx context.Context, c Claims) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext returns the claims that [Verifier.Middleware] verified.
func FromContext(ctx context.Context) (Claims, bool) {
	c, ok := ctx.Value(contextKey{}).(Claims)
	return c, ok
}

// Bearer reads the token of an Authorization header (RFC 6750 section 2.1).
// Other schemes are no token.
func Bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Middleware lets requests with a good access token pass, as
// [Verifier.VerifyRequest] decides, claims in their context, and answers the
// others. Behind a proxy, Config.BaseURL is needed for tokens that are bound to
// a key.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.VerifyRequest(r, "")
		if err != nil {
			Refuse(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), claims)))
	})
}

// Refuse writes the answer to an error of [Verifier.Verify] or
// [Verifier.VerifyRequest]: 401 with WWW-Authenticate (RFC 6750 section 3, RFC
// 9449 section 7.1), or 503 with Retry-After where the keys could not be had.
func Refuse(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	status, body := http.StatusUnauthorized, map[string]string{"error": "invalid_token", "error_description": "invalid token"}
	switch {
	case errors.Is(err, ErrUnavailable):
		status, body = http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"}
		h.Set("Retry-After", "5")
	case errors.Is(err, ErrNoToken):
		body = map[string]string{"error": "no_token"}
		h.Set("WWW-Authenticate", Challenge(err))
	default:
		body["error"], body["error_description"] = code(err), Describe(err)
		h.Set("WWW-Authenticate", Challenge(err))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// algorithmsOfProofs is what the answer tells a client (RFC 9449 section 7.1).
var algorithmsOfProofs = fmt.Sprintf("algs=%q", strings.Join(tokens.Algorithms, " "))

// Challenge is the WWW-Authenticate value for an error of [Verifier.Verify] or
// [Verifier.VerifyRequest], in the scheme that the request was in. A bound
// token that came as a bearer token is told of both.
func Challenge(err error) string {
	var inDPoP dpopError
	switch {
	case errors.As(err, &inDPoP) && errors.Is(err, ErrNoToken):
		return "DPoP " + algorithmsOfProofs
	case errors.As(err, &inDPoP):
		return fmt.Sprintf(`DPoP error=%q, error_description=%q, %s`, code(err), Describe(err), algorithmsOfProofs)
	case errors.Is(err, ErrNoToken):
		return "Bearer"
	case errors.Is(err, ErrBound):
		return fmt.Sprintf(`Bearer error="invalid_token", error_description=%q, DPoP %s`, Describe(err), algorithmsOfProofs)
	}
	return fmt.Sprintf(`Bearer error="invalid_token", error_description=%q`, Describe(err))
}

// code is the error code of RFC 6750 section 3.1 or RFC 9449 section 12.2.
func code(err error) string {
	if errors.Is(err, ErrProof) {
		return "invalid_dpop_proof"
	}
	return "invalid_token"
}

// Describe is a sentence that is safe to show for an error of [Verifier.Verify]
// or [Verifier.VerifyRequest].
func Describe(err error) string {
	for _, known := range []error{
		ErrNoToken, ErrExpired, ErrFuture, ErrWrongType, ErrAudience, ErrRevoked, ErrBound, ErrUnbound, ErrBinding, ErrUnavailable,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	var proof proofError
	if errors.As(err, &proof) {
		return proof.Error()
	}
	return ErrMalformed.Error()
}
