package oidc

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// Whatever an ID token claims and userinfo adds: the subject is the token's, the token's claims win,
// an address is verified only where one document said both, and what goes on is within bounds.
func FuzzClaims(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"sub":"a"}`, `{"sub":"a","email":"x@y.test","email_verified":true}`}, {`{"sub":"a","email":"x@y.test"}`, `{"sub":"a","email":"other@y.test","email_verified":true}`},
		{`{"sub":1}`, `{"sub":1}`}, {`{"sub":"a","groups":"one"}`, `{"sub":"a","groups":["one",2,null,"three"]}`}, {`{"sub":"a","email_verified":"true"}`, `{"sub":"b"}`},
		{`{"sub":"a","auth_time":1e400,"amr":["pwd","\u0000"]}`, `{}`}, {`{"sub":"a","sid":["x"],"email_verified":true}`, `{"sub":"a","email":"x@y.test"}`},
		{`{"sub":"a","email":"x@y.test"}`, `{"sub":"a","email":"x@y.test","email_verified":true}`}, {`{"sub":"a","email":7,"email_verified":true}`, `{"sub":"a","email":"x@y.test"}`},
		{`{"sub":"a","email":"","preferred_username":"u"}`, `{"sub":"a","email":"x@y.test","email_verified":true,"preferred_username":"root","name":"N"}`}, {`{"sub":"a","amr":"a b c d e f g h i j k l"}`, `{"sub":"a"}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, token, userinfo string) {
		var claims, inToken, inUserinfo map[string]any
		if json.Unmarshal([]byte(token), &claims) != nil || claims == nil {
			t.Skip("no object")
		}
		_ = json.Unmarshal([]byte(token), &inToken)
		if merge(claims, []byte(userinfo)) != nil {
			if !reflect.DeepEqual(claims, inToken) {
				t.Errorf("a refused userinfo has changed the claims to %v", claims)
			}
			return
		}
		_ = json.Unmarshal([]byte(userinfo), &inUserinfo)
		c := read(ClaimNames{}.WithDefaults(), "https://idp.test", claims)
		for name, said := range map[string]string{"sub": c.Subject, "email": c.Email, "preferred_username": c.Username, "name": c.Name} {
			from := inToken
			if inToken[name] == nil {
				from = inUserinfo
			}
			if idp.Text(from[name]) != said {
				t.Errorf("%s is %q, of %v and %v", name, said, inToken[name], inUserinfo[name])
			}
		}
		vouches := func(doc map[string]any) bool { return doc["email"] == c.Email && doc["email_verified"] == true }
		if c.EmailVerified != nil && *c.EmailVerified && c.Email != "" && !vouches(inToken) && !vouches(inUserinfo) {
			t.Errorf("nobody says that %q is verified", c.Email)
		}
		tooLong := func(method string) bool { return len(method) > maxMethod }
		if c.Subject == "" || c.Issuer != "https://idp.test" || len(c.SessionID) > maxSessionID || len(c.AMR) > maxAMR || slices.ContainsFunc(c.AMR, tooLong) {
			t.Errorf("out of bounds: %+v", c)
		}
	})
}
