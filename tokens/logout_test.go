package tokens_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
)

func logoutClaims() tokens.LogoutClaims {
	return tokens.LogoutClaims{
		Issuer: issuer, Subject: "u", Audience: clientID, SessionID: "s", ID: "j", IssuedAt: now.Unix(), ExpiresAt: now.Add(2 * time.Minute).Unix(),
	}
}

// What OIDC Back-Channel Logout section 2.6 has a client check, with go-jose.
func TestLogoutToken(t *testing.T) {
	for _, algorithm := range tokens.Algorithms {
		k := key(t, algorithm, 0, 0)
		token, err := k.MintLogout(logoutClaims())
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jose.ParseSignedCompact(token.Reveal(), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := parsed.Verify(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		if head := parsed.Signatures[0].Protected; head.ExtraHeaders["typ"] != "logout+jwt" || head.KeyID != k.ID {
			t.Errorf("%s: header %+v", algorithm, head)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		events, _ := claims["events"].(map[string]any)
		event, ok := events["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
		if !ok || len(events) != 1 || len(event) != 0 {
			t.Errorf("%s: events %v", algorithm, claims["events"])
		}
		if _, there := claims["nonce"]; there {
			t.Error("a nonce makes it an ID token")
		}
		if claims["iss"] != issuer || claims["sub"] != "u" || claims["aud"] != clientID || claims["sid"] != "s" || claims["jti"] != "j" || claims["iat"] == nil || claims["exp"] == nil || len(claims) != 8 {
			t.Errorf("%s: %v", algorithm, claims)
		}
	}
}

func TestLogoutTokenNeeds(t *testing.T) {
	k := key(t, "ES256", 0, 0)
	for name, change := range map[string]func(*tokens.LogoutClaims){
		"iss": func(c *tokens.LogoutClaims) { c.Issuer = "" }, "aud": func(c *tokens.LogoutClaims) { c.Audience = "" },
		"jti": func(c *tokens.LogoutClaims) { c.ID = "" }, "iat": func(c *tokens.LogoutClaims) { c.IssuedAt = 0 },
		"exp": func(c *tokens.LogoutClaims) { c.ExpiresAt = 0 }, "sub or sid": func(c *tokens.LogoutClaims) { c.Subject, c.SessionID = "", "" },
	} {
		c := logoutClaims()
		change(&c)
		if token, err := k.MintLogout(c); err == nil || token != "" {
			t.Errorf("minted without %s", name)
		}
	}
	for name, change := range map[string]func(*tokens.LogoutClaims){
		"sub alone": func(c *tokens.LogoutClaims) { c.SessionID = "" }, "sid alone": func(c *tokens.LogoutClaims) { c.Subject = "" },
	} {
		c := logoutClaims()
		change(&c)
		if _, err := k.MintLogout(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
