package oidc

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever an ID token claims and userinfo adds: the subject is the token's, and
// what goes on is text within bounds.
func FuzzClaims(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"sub":"a"}`, `{"sub":"a","email":"x@y.test","email_verified":true}`}, {`{"sub":"a","email":"x@y.test"}`, `{"sub":"a","email":"other@y.test","email_verified":true}`},
		{`{"sub":1}`, `{"sub":1}`}, {`{"sub":"a","groups":"one"}`, `{"sub":"a","groups":["one",2,null,"three"]}`}, {`{"sub":"a","email_verified":"true"}`, `{"sub":"b"}`},
		{`{"sub":"a","auth_time":1e400,"amr":["pwd","\u0000"]}`, `{}`}, {`{"sub":"a","sid":["x"],"email_verified":true}`, `{"sub":"a","email":"x@y.test"}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, token, userinfo string) {
		var claims map[string]any
		if json.Unmarshal([]byte(token), &claims) != nil || claims == nil {
			t.Skip("no object")
		}
		tokenSub, _ := claims["sub"].(string)
		tokenEmail, tokenSays := claims["email"].(string)
		if merge(claims, []byte(userinfo)) != nil {
			if claims["sub"] != any(tokenSub) && tokenSub != "" {
				t.Error("a refused userinfo changed the subject")
			}
			return
		}
		c := read(ClaimNames{}, "https://idp.test", claims)
		if c.Subject != tokenSub || c.Issuer != "https://idp.test" {
			t.Errorf("%q of %q is said of %q", c.Subject, c.Issuer, tokenSub)
		}
		if tokenSays && strings.TrimSpace(tokenEmail) != "" && c.Email != "" && c.Email != tokenEmail {
			t.Errorf("the address is %q, and the token says %q", c.Email, tokenEmail)
		}
		if len(c.SessionID) > maxSessionID || len(c.AMR) > maxAMR || !utf8.ValidString(c.Username+c.Name+c.Email) {
			t.Errorf("out of bounds: %+v", c)
		}
	})
}
