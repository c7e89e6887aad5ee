package providertest

import (
	"crypto/rand"
	"time"
)

// LogoutEvent is the event of a logout token (OIDC Back-Channel Logout section
// 2.4).
const LogoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// Bend changes a token before it is signed. In the header, nil leaves a member
// out; times in the claims are int64.
type Bend = func(header, claims map[string]any)

// MintLogoutToken is what the provider posts to a client when a session ends:
// the one of that sid, or all of that subject ("": not said). It is signed in
// the way the script says.
func (p *IdP) MintLogoutToken(clientID, subject, sid string, bend Bend) (string, error) {
	now := p.now()
	claims := map[string]any{
		"iss": p.issuer, "aud": clientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": rand.Text(),
		"events": map[string]any{LogoutEvent: map[string]any{}},
	}
	if subject != "" {
		claims["sub"] = subject
	}
	if sid != "" {
		claims["sid"] = sid
	}
	return p.mint(map[string]any{"typ": "logout+jwt"}, claims, bend)
}

// MintIDToken is what an app gets that logs in by itself, with an SDK: no
// browser, and no code of ours. nonce may be "". It is signed in the way the
// script says.
func (p *IdP) MintIDToken(clientID, username, nonce string, bend Bend) (string, error) {
	now := p.now()
	user, _ := p.user(username)
	claims := user.claims("openid profile email")
	claims["iss"], claims["aud"], claims["sid"] = p.issuer, clientID, rand.Text()
	claims["iat"], claims["exp"], claims["auth_time"] = now.Unix(), now.Add(tokenLife).Unix(), now.Unix()
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return p.mint(map[string]any{}, claims, bend)
}

func (p *IdP) mint(header, claims map[string]any, bend Bend) (string, error) {
	if bend != nil {
		bend(header, claims)
	}
	return p.SignToken(header, claims)
}
