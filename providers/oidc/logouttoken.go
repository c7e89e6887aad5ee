package oidc

import (
	"context"
	"errors"
	"slices"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// logoutEvent is what makes a token a logout token (OIDC Back-Channel Logout
// section 2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// VerifyLogoutToken implements broker.IdP (OIDC Back-Channel Logout section
// 2.6). Whether the jti was seen before is for the caller to know.
func (p *Provider) VerifyLogoutToken(ctx context.Context, raw string) (broker.IdPLogoutToken, error) {
	claims, err := p.sent(ctx, raw, p.cfg.ClientID, isLogoutType, func(v *gooidc.IDTokenVerifier) (claimer, error) { return v.VerifyLogout(ctx, raw) })
	var token broker.IdPLogoutToken
	if err == nil {
		token, err = p.readLogout(claims)
	}
	if err != nil {
		return broker.IdPLogoutToken{}, refusal(broker.InvalidRequest, "the logout token is not valid", err)
	}
	return token, nil
}

// isLogoutType admits no type, JWT, and the one of logout tokens: the explicit
// type is younger than the tokens, and not required of them.
func isLogoutType(typ any) error {
	if t := mediaType(typ); typ != nil && t != "jwt" && t != "logout+jwt" {
		return errors.New("not a logout token by its typ")
	}
	return nil
}

// readLogout checks by their exact names what go-oidc, which does not tell sub
// from SUB, has read.
func (p *Provider) readLogout(claims map[string]any) (token broker.IdPLogoutToken, err error) {
	events, _ := claims["events"].(map[string]any)
	_, isLogout := events[logoutEvent].(map[string]any)
	_, hasNonce := claims["nonce"]
	switch {
	case idp.Text(claims["iss"]) != p.cfg.Issuer:
		return token, errors.New("of another issuer")
	case !slices.Contains(audiences(claims["aud"]), p.cfg.ClientID):
		return token, errors.New("for another client")
	case !isLogout:
		return token, errors.New("events does not have the event of a logout")
	case hasNonce:
		return token, errors.New("it has a nonce, as ID tokens have")
	}
	if token.Subject, err = named(claims, "sub"); err != nil {
		return token, err
	}
	if token.ID, err = named(claims, "jti"); err != nil {
		return token, err
	}
	if token.SessionID = idp.Text(claims["sid"]); token.SessionID == "" && claims["sid"] != nil {
		return token, errors.New("sid is not a text")
	}
	if len(token.SessionID) > maxSessionID {
		token.SessionID = "" // no session has kept it: see read
	}
	if token.ID == "" || token.Subject == "" && token.SessionID == "" {
		return token, errors.New("jti, or both sub and sid, are missing")
	}
	token.IssuedAt, _ = moment(claims["iat"])
	token.ExpiresAt = accepted(claims)
	return token, nil
}
