package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// signingAlgs are the algorithms that a token of an IdP may have; what the IdP
// advertises for ID tokens narrows them, none and the symmetric ones are never
// among them.
var signingAlgs = []string{"RS256", "ES256", "EdDSA", "PS256", "RS384", "RS512", "ES384", "ES512", "PS384", "PS512"}

// maxTokenAge is how old an ID token may be that comes for a code.
const maxTokenAge = 3 * time.Minute

// verifier checks one token of the IdP by go-oidc. If keys has trouble after
// that, nothing is proven.
func (p *Provider) verifier(m *Metadata, who asker, clientID string, checkTyp func(typ any) error) (v *gooidc.IDTokenVerifier, keys *keySet) {
	keys = &keySet{document: p.keys, uri: m.JWKSURI, who: who, checkTyp: checkTyp}
	algs := []string{}
	for _, alg := range signingAlgs {
		if len(m.SigningAlgs) == 0 || slices.Contains(m.SigningAlgs, alg) {
			algs, keys.algs = append(algs, alg), append(keys.algs, jose.SignatureAlgorithm(alg))
		}
	}
	return gooidc.NewVerifier(p.cfg.Issuer, keys, &gooidc.Config{
		ClientID: clientID, SkipClientIDCheck: clientID == "", SupportedSigningAlgs: algs,
		// go-oidc has no leeway for exp; a minute, as everywhere.
		Now: func() time.Time { return p.cfg.Now().Add(-verify.Leeway) },
	}), keys
}

// verify checks the ID token of a login (OIDC Core section 3.1.3.7).
func (p *Provider) verify(ctx context.Context, m *Metadata, raw, nonce string) (map[string]any, error) {
	return p.verifyIDToken(ctx, m, raw, func(inToken string) bool { return subtle.ConstantTimeCompare([]byte(inToken), []byte(nonce)) == 1 })
}

// verifyIDToken checks what go-oidc checks, and what it leaves to its caller.
func (p *Provider) verifyIDToken(ctx context.Context, m *Metadata, raw string, nonceFits func(nonce string) bool) (map[string]any, error) {
	const invalid = "the identity provider's ID token is not valid"
	verifier, keys := p.verifier(m, forLogin, p.cfg.ClientID, isNotOther)
	token, err := verifier.Verify(ctx, raw)
	switch {
	case keys.trouble != nil:
		return nil, idp.Trouble("the identity provider's key set", keys.trouble)
	case err != nil:
		return nil, idp.BadResponse(invalid, errors.New(shorten(err.Error())))
	case !nonceFits(token.Nonce):
		return nil, &broker.Error{Code: broker.NonceMismatch, Message: "the identity provider's answer belongs to another login"}
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return nil, idp.BadResponse(invalid, errors.New("the claims are no JSON object"))
	}
	if err := checkTimes(claims, p.cfg.Now(), maxTokenAge); err != nil {
		return nil, idp.BadResponse("the identity provider's ID token was not issued just now; compare the clocks of both machines", err)
	}
	switch azp := claims["azp"]; {
	case idp.Text(claims["sub"]) == "":
		return nil, idp.BadResponse("the identity provider's ID token names nobody", nil)
	case azp != nil && idp.Text(azp) != p.cfg.ClientID, azp == nil && len(token.Audience) > 1:
		return nil, idp.BadResponse("the identity provider's ID token is for another client", nil)
	}
	return claims, nil
}

// isNotOther refuses the types that say that they are something else (RFC 8725
// section 3.11). Access tokens of many IdPs do not say so: those fail for want
// of our nonce.
func isNotOther(typ any) error {
	if t := mediaType(typ); t == "at+jwt" || t == "logout+jwt" {
		return errors.New("not an ID token by its typ")
	}
	return nil
}

// mediaType is the typ of a header in its short form (RFC 7515 section 4.1.9).
func mediaType(typ any) string {
	s, _ := typ.(string)
	return strings.TrimPrefix(strings.ToLower(s), "application/")
}

// checkTimes is strict on the types too: go-oidc reads exp from a string, and
// from a number that fits into no time.
func checkTimes(claims map[string]any, now time.Time, maxAge time.Duration) error {
	expires, hasExpires := moment(claims["exp"])
	issued, hasIssued := moment(claims["iat"])
	before, hasBefore := moment(claims["nbf"])
	switch {
	case !hasExpires || !hasIssued || !hasBefore && claims["nbf"] != nil:
		return errors.New("exp, iat or nbf is missing or not a number of seconds")
	case issued.After(now.Add(verify.Leeway)), issued.Before(now.Add(-maxAge)), before.After(now.Add(verify.Leeway)),
		!expires.After(now.Add(-verify.Leeway)):
		return fmt.Errorf("issued at %s, which is %s from now", issued.Format(time.RFC3339), issued.Sub(now).Round(time.Second))
	}
	return nil
}

// shorten bounds what a library says of a token: it quotes from it.
func shorten(text string) string { return text[:min(len(text), 200)] }
