package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// A token that somebody sends us, and not the IdP for a code of ours, proves
// itself by its signature alone.

// Bounds of such a token.
const (
	maxSentToken = 64 << 10
	maxSentAge   = 10 * time.Minute
	maxClaim     = 255 // bytes of sub (OIDC Core section 2) and jti
)

// claimer is a token that go-oidc has verified.
type claimer interface{ Claims(v any) error }

// sent reads the claims of a token that somebody sent us: how go-oidc verifies
// one, and what it leaves to its caller. The error is one of the IdP's outage,
// or says for the log what is wrong with the token; see [refusal].
func (p *Provider) sent(
	ctx context.Context, raw, clientID string, checkTyp func(typ any) error,
	check func(v *gooidc.IDTokenVerifier) (claimer, error),
) (claims map[string]any, err error) {
	if raw == "" || len(raw) > maxSentToken {
		return nil, fmt.Errorf("it has %d bytes", len(raw))
	}
	m, err := p.strangersMetadata(ctx)
	if err != nil {
		return nil, err
	}
	verifier, keys := p.verifier(m, forStranger, clientID, checkTyp)
	token, err := check(verifier)
	switch {
	case keys.trouble != nil:
		return nil, idp.Unavailable(fmt.Errorf("the identity provider's key set: %w", keys.trouble))
	case err != nil:
		return nil, errors.New(shorten(err.Error()))
	case token.Claims(&claims) != nil:
		return nil, errors.New("the claims are no JSON object")
	}
	return claims, checkTimes(claims, p.cfg.Now(), maxSentAge)
}

// refusal is what is said of a token that is not accepted. An outage proves
// nothing against it.
func refusal(code broker.Code, message string, err error) error {
	if errors.Is(err, broker.TemporarilyUnavailable) {
		return err
	}
	return &broker.Error{Code: code, Message: message, Err: err}
}

// audiences reads aud in either of its shapes (RFC 7519 section 4.1.3); nil if
// it is neither.
func audiences(v any) (out []string) {
	many, ok := v.([]any)
	if !ok {
		many = []any{v}
	}
	for _, one := range many {
		out = append(out, idp.Text(one))
	}
	if slices.Contains(out, "") {
		return nil
	}
	return out
}

// named is a claim that is a text of some length, or is absent.
func named(claims map[string]any, name string) (value string, err error) {
	v, present := claims[name]
	value = idp.Text(v)
	if present && (value == "" || len(value) > maxClaim) {
		return "", fmt.Errorf("%s is not a text of 1 to %d bytes", name, maxClaim)
	}
	return value, nil
}

// accepted is until when a verified token is accepted, and its use has to be
// remembered against a replay.
func accepted(claims map[string]any) time.Time {
	expires, _ := moment(claims["exp"])
	issued, _ := moment(claims["iat"])
	expires, stale := expires.Add(verify.Leeway), issued.Add(maxSentAge)
	if stale.Before(expires) {
		return stale
	}
	return expires
}
