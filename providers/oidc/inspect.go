package oidc

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// ReadClaims implements broker.Inspector.
func (p *Provider) ReadClaims(object []byte) (broker.IdPClaims, error) {
	claims, err := idp.Object(object)
	if err != nil {
		return broker.IdPClaims{}, err
	}
	return read(p.cfg.Claims, p.cfg.Issuer, claims), nil
}

// InspectIDToken implements broker.Inspector. Nothing of the token is quoted but
// what a login compares.
func (p *Provider) InspectIDToken(ctx context.Context, raw string) ([]byte, []broker.TokenCheck, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > maxSentToken {
		return nil, nil, &broker.Error{Code: broker.InvalidRequest, Message: "id_token: is not a signed JWT of at most 64 KB"}
	}
	object, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, nil, &broker.Error{Code: broker.InvalidRequest, Message: "id_token: its claims cannot be read"}
	}
	claims, err := idp.Object(object)
	if err != nil {
		return nil, nil, &broker.Error{Code: broker.InvalidRequest, Message: "id_token: its claims cannot be read"}
	}
	checks := append([]broker.TokenCheck{p.checkSignature(ctx, raw), p.checkIssuer(claims), p.checkAudience(claims)}, p.inspectTimes(claims)...)
	return object, checks, nil
}

func checked(name string, ok bool, detail string) broker.TokenCheck {
	c := broker.TokenCheck{Check: name, Result: broker.CheckPassed, Detail: detail}
	if !ok {
		c.Result = broker.CheckFailed
	}
	return c
}

// checkSignature asks the IdP for its keys as seldom as for any token that
// somebody sent us.
func (p *Provider) checkSignature(ctx context.Context, raw string) broker.TokenCheck {
	const unknown = "the identity provider's keys cannot be had at the moment"
	m, err := p.strangersMetadata(ctx)
	if err != nil {
		return broker.TokenCheck{Check: "signature", Result: broker.CheckUnknown, Detail: unknown}
	}
	_, keys := p.verifier(m, forStranger, p.cfg.ClientID, isNotOther)
	_, err = keys.VerifySignature(ctx, raw)
	switch {
	case keys.trouble != nil:
		return broker.TokenCheck{Check: "signature", Result: broker.CheckUnknown, Detail: unknown}
	case err != nil:
		return checked("signature", false, shorten(err.Error()))
	}
	return checked("signature", true, "by a key of the identity provider")
}

func (p *Provider) checkIssuer(claims map[string]any) broker.TokenCheck {
	iss := idp.Text(claims["iss"])
	if p.isIssuer(iss) {
		return checked("iss", true, iss)
	}
	return checked("iss", false, fmt.Sprintf("is %.200q, the configured issuer is %q", iss, p.cfg.Issuer))
}

func (p *Provider) checkAudience(claims map[string]any) broker.TokenCheck {
	aud, azp := audiences(claims["aud"]), claims["azp"]
	switch {
	case slices.Contains(aud, p.cfg.ClientID) && (azp == p.cfg.ClientID || azp == nil && len(aud) == 1):
		return checked("aud", true, "for this client")
	case p.checkNative(claims) == nil && len(p.cfg.ExchangeAudiences) > 0:
		return checked("aud", true, "for an app of exchange_audiences")
	}
	return checked("aud", false, fmt.Sprintf("is for %.200q, the configured client_id is %q", strings.Join(aud, " "), p.cfg.ClientID))
}

// inspectTimes says when, because a token that somebody pastes is mostly old.
func (p *Provider) inspectTimes(claims map[string]any) []broker.TokenCheck {
	now := p.cfg.Now()
	at := func(name string, fits func(t time.Time) bool) broker.TokenCheck {
		t, ok := moment(claims[name])
		if !ok {
			return checked(name, false, "is missing, or not a number of seconds")
		}
		return checked(name, fits(t), fmt.Sprintf("%s, which is %s from now", t.Format(time.RFC3339), t.Sub(now).Round(time.Second)))
	}
	return []broker.TokenCheck{
		at("exp", func(t time.Time) bool { return t.After(now.Add(-verify.Leeway)) }),
		at("iat", func(t time.Time) bool { return !t.After(now.Add(verify.Leeway)) }),
	}
}

var _ broker.Inspector = (*Provider)(nil)

// LastAnswer implements broker.Answering.
func (p *Provider) LastAnswer() time.Time {
	p.discovery.mu.Lock()
	defer p.discovery.mu.Unlock()
	return p.discovery.answered
}
