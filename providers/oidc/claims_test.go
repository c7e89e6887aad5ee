package oidc

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal([]byte(text), &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestGroupShapes(t *testing.T) {
	for shape, want := range map[string][]string{
		`["a","b c"]`: {"a", "b c"},
		`"a b"`:       {"a", "b"},
		`"a,b, c"`:    {"a", "b", "c"},
		`""`:          nil,
		`[]`:          nil,
		`null`:        nil,
		`[{"name":"a","id":7},{"id":8},"b",3,[]]`:          {"a", "b"},
		`{"b":{"org":"1"},"a":true,"no":false,"nor":null}`: {"a", "b"}, // Zitadel
		`true`:              nil,
		`42`:                nil,
		`["a\u0000","b"]`:   {"b"},
		`[null,{"name":1}]`: nil,
	} {
		c := read(ClaimNames{}.WithDefaults(), "i", object(t, `{"groups":`+shape+`}`))
		if !slices.Equal(c.Groups, want) {
			t.Errorf("%s: %q, want %q", shape, c.Groups, want)
		}
	}
}

func TestClaimNames(t *testing.T) {
	names := ClaimNames{Username: "upn", Email: "mail", Name: "https://example.org/name", Groups: "realm_access.roles"}.WithDefaults()
	c := read(names, "i", object(t, `{"sub":"s","upn":"u","mail":"m@x.test","https://example.org/name":"N","realm_access":{"roles":["r"]},"a.b":"x"}`))
	if c.Username != "u" || c.Email != "m@x.test" || c.Name != "N" || !slices.Equal(c.Groups, []string{"r"}) {
		t.Errorf("%+v", c)
	}
	for _, shape := range []string{`{"realm_access":"roles"}`, `{"realm_access":{"roles":{}}}`, `{}`, `{"realm_access":null}`} {
		if c := read(names, "i", object(t, shape)); len(c.Groups) != 0 {
			t.Errorf("%s: %q", shape, c.Groups)
		}
	}
}

// email_verified is a boolean and speaks of the claim email.
func TestEmailVerified(t *testing.T) {
	for claims, want := range map[string]string{
		`{"email":"a@x","email_verified":true}`:                "true",
		`{"email":"a@x","email_verified":false}`:               "false",
		`{"email":"a@x","email_verified":"true"}`:              "absent",
		`{"email":"a@x","email_verified":1}`:                   "absent",
		`{"email":"a@x","email_verified":null}`:                "absent",
		`{"email":"a@x"}`:                                      "absent",
		`{"email":null,"email_verified":false}`:                "false",
		`{"email":"a@x","upn":"root@x","email_verified":true}`: "absent if upn",
		`{"email":"a@x","upn":"b@x","email_verified":false}`:   "false",
		`{"email":"a@x","upn":"a@x","email_verified":true}`:    "true",
	} {
		names := ClaimNames{}
		if strings.Contains(claims, "upn") {
			names.Email = "upn"
		}
		got := "absent"
		if v := read(names.WithDefaults(), "i", object(t, claims)).EmailVerified; v != nil {
			got = fmt.Sprint(*v)
		}
		if got != strings.TrimSuffix(want, " if upn") {
			t.Errorf("%s: %s, want %s", claims, got, want)
		}
	}
}

func TestMergeUserinfo(t *testing.T) {
	for _, c := range []struct{ idToken, userinfo, want string }{
		{`{"sub":"s"}`, `{"sub":"s","email":"a@x","email_verified":true}`, `{"email":"a@x","email_verified":true,"sub":"s"}`},
		{`{"sub":"s","email":"a@x"}`, `{"sub":"s","email":"b@x","email_verified":true}`, `{"email":"a@x","sub":"s"}`},
		{`{"sub":"s","email":"a@x"}`, `{"sub":"s","email":"a@x","email_verified":true}`, `{"email":"a@x","email_verified":true,"sub":"s"}`},
		{`{"sub":"s","email_verified":true}`, `{"sub":"s","email":"b@x"}`, `{"email":"b@x","sub":"s"}`},
		{`{"sub":"s","email":null,"email_verified":false}`, `{"sub":"s","email":"b@x"}`, `{"email":"b@x","email_verified":false,"sub":"s"}`},
		{`{"sub":"s","name":"N"}`, `{"sub":"s","name":"M","iss":"other","groups":["g"]}`, `{"groups":["g"],"iss":"other","name":"N","sub":"s"}`},
		{`{"sub":"s","email":{"a":1}}`, `{"sub":"s","email":{"a":1},"email_verified":true}`, `{"email":{"a":1},"email_verified":true,"sub":"s"}`},
	} {
		claims := object(t, c.idToken)
		if err := merge(claims, []byte(c.userinfo)); err != nil {
			t.Errorf("%s: %v", c.userinfo, err)
		}
		if got, _ := json.Marshal(claims); string(got) != c.want {
			t.Errorf("%s + %s: %s, want %s", c.idToken, c.userinfo, got, c.want)
		}
	}
}

// What goes into a session as it is has bounds.
func TestBoundsOfClaims(t *testing.T) {
	long := strings.Repeat("x", 1000)
	many := `"pwd"` + strings.Repeat(`,"otp"`, 50)
	c := read(ClaimNames{}.WithDefaults(), "i", object(t, `{"sid":"`+long+`","amr":["`+long+`",`+many+`],"auth_time":1e30}`))
	if c.SessionID != "" || len(c.AMR) != maxAMR || c.AMR[0] != "pwd" || !c.AuthTime.IsZero() {
		t.Errorf("%d, %d methods, %v", len(c.SessionID), len(c.AMR), c.AuthTime)
	}
	c = read(ClaimNames{}.WithDefaults(), "i", object(t, `{"sid":"s","amr":["hwk"],"auth_time":1700000000}`))
	if c.SessionID != "s" || !slices.Equal(c.AMR, []string{"hwk"}) || !c.AuthTime.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("%+v", c)
	}
}
