package idp

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/broker"
)

// ClaimNames say which claim gives what.
type ClaimNames broker.ClaimNames

// WithDefaults fills in the names of the standard (OIDC Core section 5.1).
func (n ClaimNames) WithDefaults() ClaimNames {
	standard := func(name *string, fallback string) {
		if *name == "" {
			*name = fallback
		}
	}
	standard(&n.Username, "preferred_username")
	standard(&n.Email, ClaimEmail)
	standard(&n.Name, "name")
	standard(&n.Groups, "groups")
	standard(&n.Subject, "sub")
	standard(&n.EmailVerified, ClaimVerified)
	return n
}

// The claims of an address (OIDC Core section 5.1).
const (
	ClaimEmail    = "email"
	ClaimVerified = "email_verified"
)

// Read maps the claims of a person. Nothing in them is trusted to have a type
// or a size. The subject is the caller's to read.
func (n ClaimNames) Read(issuer string, claims map[string]any) broker.IdPClaims {
	c := broker.IdPClaims{
		Issuer: issuer, Username: Text(Lookup(claims, n.Username)), Name: Text(Lookup(claims, n.Name)), Email: Text(Lookup(claims, n.Email)),
		Groups: List(Lookup(claims, n.Groups)), EmailVerified: n.verified(claims),
	}
	if n.Permissions != "" {
		c.Permissions = Lookup(claims, n.Permissions)
	}
	return c
}

// verified is email_verified, which is a boolean (OIDC Core section 5.1); a
// string counts as absent. It speaks of the claim email: true says nothing of
// an address that was taken from another claim, unless it has another name too.
func (n ClaimNames) verified(claims map[string]any) *bool {
	verified, ok := Lookup(claims, n.EmailVerified).(bool)
	if !ok || verified && n.EmailVerified == ClaimVerified && Text(Lookup(claims, n.Email)) != Text(claims[ClaimEmail]) {
		return nil
	}
	return &verified
}

// Lookup finds a claim by its name, which may have dots itself, or by a path.
func Lookup(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	head, rest, _ := strings.Cut(name, ".")
	if inner, ok := claims[head].(map[string]any); ok && rest != "" {
		return Lookup(inner, rest)
	}
	return nil
}

// Text is a claim that is a string, or empty.
func Text(v any) string {
	s, _ := v.(string)
	if strings.ContainsRune(s, 0) {
		return ""
	}
	return s
}

// List reads groups in any shape that IdPs use: an array of strings, of
// objects with a name, one string with spaces or commas, or an object whose
// keys are the names.
func List(v any) (out []string) {
	switch v := v.(type) {
	case string:
		out = strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' })
	case []any:
		for _, item := range v {
			if object, ok := item.(map[string]any); ok {
				item = object["name"]
			}
			out = append(out, Text(item))
		}
	case map[string]any:
		for name, is := range v {
			if is != nil && is != false {
				out = append(out, Text(name))
			}
		}
		slices.Sort(out)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// Object reads the claims that somebody gives to try the rules with.
func Object(raw []byte) (claims map[string]any, err error) {
	if json.Unmarshal(raw, &claims) != nil || claims == nil {
		return nil, &broker.Error{Code: broker.InvalidRequest, Message: "claims: must be a JSON object"}
	}
	return claims, nil
}
