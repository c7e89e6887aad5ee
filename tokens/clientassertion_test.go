package tokens_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
)

func ourAssertion() tokens.AssertionClaims {
	return tokens.AssertionClaims{
		ClientID: clientID, Audience: "https://idp.test", ID: "j", IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Minute).Unix(),
	}
}

// What RFC 7523 section 3 has a server check, with go-jose; and by our own check
// of what clients send.
func TestClientAssertion(t *testing.T) {
	for _, algorithm := range tokens.Algorithms {
		k := key(t, algorithm, 0, 0)
		assertion, err := k.MintAssertion(ourAssertion())
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jose.ParseSignedCompact(assertion.Reveal(), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := parsed.Verify(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		if head := parsed.Signatures[0].Protected; head.ExtraHeaders["typ"] != "JWT" || head.KeyID != k.ID {
			t.Errorf("%s: header %+v", algorithm, head)
		}
		want := fmt.Sprintf(`{"iss":%q,"sub":%q,"aud":"https://idp.test","jti":"j","iat":%d,"exp":%d}`, clientID, clientID, now.Unix(), now.Unix()+60)
		if string(payload) != want {
			t.Errorf("%s: %s", algorithm, payload)
		}
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.Public()}})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := tokens.ParseKeySet(set)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tokens.ParseAssertion(t.Context(), assertion.Reveal(), clientID, "https://idp.test", keys, now); err != nil || got.ID != "j" {
			t.Errorf("%s: %+v, %v", algorithm, got, err)
		}
		if text := fmt.Sprintf("%v %s %#v %+v", assertion, assertion, assertion, struct{ A tokens.ClientAssertion }{assertion}); strings.Contains(text, assertion.Reveal()) {
			t.Error(text)
		}
	}
}

func TestClientAssertionNeeds(t *testing.T) {
	k := key(t, "ES256", 0, 0)
	for name, change := range map[string]func(*tokens.AssertionClaims){
		"client": func(c *tokens.AssertionClaims) { c.ClientID = "" }, "aud": func(c *tokens.AssertionClaims) { c.Audience = "" },
		"jti": func(c *tokens.AssertionClaims) { c.ID = "" }, "iat": func(c *tokens.AssertionClaims) { c.IssuedAt = 0 },
		"exp": func(c *tokens.AssertionClaims) { c.ExpiresAt = c.IssuedAt },
	} {
		c := ourAssertion()
		change(&c)
		if assertion, err := k.MintAssertion(c); err == nil || assertion != "" {
			t.Errorf("minted without %s", name)
		}
	}
}

// Our own assertion is no access token and no ID token of ours.
func TestClientAssertionIsNothingElse(t *testing.T) {
	k := key(t, "ES256", 0, 0)
	assertion, err := k.MintAssertion(ourAssertion())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := tokens.NewKeyRing([]*tokens.SigningKey{k})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.ParseIDToken(assertion.Reveal(), issuer); err == nil {
		t.Error("it is taken for an ID token")
	}
}
