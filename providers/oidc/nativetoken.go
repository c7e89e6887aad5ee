package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// Issuer implements broker.IdP.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// VerifyIDToken implements broker.IdP (OIDC Core section 3.1.3.7, with the
// audiences of the configuration in place of our client id). Userinfo is not
// asked: there is no access token.
func (p *Provider) VerifyIDToken(ctx context.Context, raw string) (broker.IdPToken, error) {
	if len(p.cfg.ExchangeAudiences) == 0 {
		return broker.IdPToken{}, &broker.Error{Code: broker.CodeInvalid, Message: "this identity provider's tokens are not accepted for exchange"}
	}
	claims, err := p.sent(ctx, raw, "", isNotTyped, func(v *gooidc.IDTokenVerifier) (claimer, error) { return v.Verify(ctx, raw) })
	if err == nil {
		err = p.checkNative(claims)
	}
	if err != nil {
		return broker.IdPToken{}, refusal(broker.CodeInvalid, "the ID token is not valid, or not for an app that may exchange it", err)
	}
	return broker.IdPToken{
		Claims: read(p.cfg.Claims, p.cfg.Issuer, claims), Nonce: idp.Text(claims["nonce"]), ExpiresAt: accepted(claims),
	}, nil
}

// isNotTyped refuses every type that says what else it is (RFC 8725 section
// 3.11): there is none for ID tokens.
func isNotTyped(typ any) error {
	if strings.HasSuffix(mediaType(typ), "+jwt") {
		return errors.New("not an ID token by its typ")
	}
	return nil
}

// checkNative checks by their exact names what go-oidc, which does not tell
// sub from SUB, has read.
func (p *Provider) checkNative(claims map[string]any) error {
	aud, azp := audiences(claims["aud"]), claims["azp"]
	foreign := func(client string) bool { return !slices.Contains(p.cfg.ExchangeAudiences, client) }
	switch {
	case !p.isIssuer(idp.Text(claims["iss"])):
		return errors.New("of another issuer")
	case len(aud) == 0 || slices.ContainsFunc(aud, foreign):
		return fmt.Errorf("for %.200q, who may not exchange it", strings.Join(aud, " "))
	case azp == nil && len(aud) > 1, azp != nil && foreign(idp.Text(azp)):
		return errors.New("azp may not exchange it, or is missing")
	case claims["nonce"] != nil && idp.Text(claims["nonce"]) == "":
		return errors.New("nonce is not a text")
	case claims["events"] != nil:
		return errors.New("a security event, such as a logout token")
	case isAccessToken(claims):
		return errors.New("an access token")
	case claims["sub"] == nil:
		return errors.New("it names nobody")
	}
	_, err := named(claims, "sub")
	return err
}

// isIssuer lets Google leave out the scheme, as go-oidc does and as Google's
// own documentation of native logins has it.
func (p *Provider) isIssuer(iss string) bool {
	return iss == p.cfg.Issuer || p.cfg.Issuer == "https://accounts.google.com" && iss == "accounts.google.com"
}

// isAccessToken knows the access tokens whose header says nothing, and whose
// audience may be an app all the same: Keycloak's and Cognito's.
func isAccessToken(claims map[string]any) bool {
	return strings.EqualFold(idp.Text(claims["typ"]), "Bearer") || idp.Text(claims["token_use"]) == "access"
}
