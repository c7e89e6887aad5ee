package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

// Middleware lets requests with a good access token pass, claims in their
// context, and answers the others.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.Verify(r.Context(), Bearer(r))
		if err != nil {
			Refuse(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), claims)))
	})
}

// Refuse writes the answer to an error of [Verifier.Verify]: 401 with
// WWW-Authenticate (RFC 6750 section 3), or 503 with Retry-After where the
// keys could not be had.
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
		body["error_description"] = Describe(err)
		h.Set("WWW-Authenticate", Challenge(err))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// Challenge is the WWW-Authenticate value for an error of [Verifier.Verify].
func Challenge(err error) string {
	if errors.Is(err, ErrNoToken) {
		return "Bearer"
	}
	return fmt.Sprintf(`Bearer error="invalid_token", error_description=%q`, Describe(err))
}

// Describe is a sentence that is safe to show for an error of [Verifier.Verify].
func Describe(err error) string {
	for _, known := range []error{ErrNoToken, ErrExpired, ErrWrongType, ErrAudience, ErrUnavailable} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ErrMalformed.Error()
}
