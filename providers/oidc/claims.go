package oidc

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// ClaimNames say which claim gives what. Empty fields have the standard's name.
// A name may lead into an object, with dots: realm_access.roles.
type ClaimNames struct {
	Username string `yaml:"username"` // preferred_username
	Email    string `yaml:"email"`    // email
	Name     string `yaml:"name"`     // name
	Groups   string `yaml:"groups"`   // groups
}

func (n ClaimNames) withDefaults() ClaimNames {
	standard := func(name *string, fallback string) {
		if *name == "" {
			*name = fallback
		}
	}
	standard(&n.Username, "preferred_username")
	standard(&n.Email, claimEmail)
	standard(&n.Name, "name")
	standard(&n.Groups, "groups")
	return n
}

const (
	claimEmail    = "email"
	claimVerified = "email_verified"
)

// Bounds of what goes into a session as it is.
const (
	maxSessionID = 255
	maxAMR       = 10
	maxMethod    = 64
)

// read maps raw claims. Nothing in them is trusted to have a type or a size.
func (n ClaimNames) read(issuer string, claims map[string]any) broker.IdPClaims {
	c := broker.IdPClaims{
		Issuer: issuer, Subject: text(claims["sub"]), SessionID: text(claims["sid"]),
		Username: text(lookup(claims, n.Username)), Name: text(lookup(claims, n.Name)), Email: text(lookup(claims, n.Email)),
		Groups: list(lookup(claims, n.Groups)), EmailVerified: n.verified(claims),
	}
	if len(c.SessionID) > maxSessionID {
		c.SessionID = ""
	}
	c.AMR = slices.DeleteFunc(list(claims["amr"]), func(method string) bool { return len(method) > maxMethod })
	c.AMR = c.AMR[:min(len(c.AMR), maxAMR)]
	c.AuthTime, _ = moment(claims["auth_time"])
	return c
}

// verified is email_verified, which is a boolean (OIDC Core section 5.1); a
// string counts as absent. It speaks of the claim email: true says nothing of
// an address that was taken from another claim.
func (n ClaimNames) verified(claims map[string]any) *bool {
	verified, ok := claims[claimVerified].(bool)
	if !ok || verified && text(lookup(claims, n.Email)) != text(claims[claimEmail]) {
		return nil
	}
	return &verified
}

// lookup finds a claim by its name, which may have dots itself, or by a path.
func lookup(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	head, rest, _ := strings.Cut(name, ".")
	if inner, ok := claims[head].(map[string]any); ok && rest != "" {
		return lookup(inner, rest)
	}
	return nil
}

func text(v any) string {
	s, _ := v.(string)
	if strings.ContainsRune(s, 0) {
		return ""
	}
	return s
}

// moment reads a NumericDate (RFC 7519 section 2): a whole number of seconds,
// as a JSON number.
func moment(v any) (time.Time, bool) {
	s, ok := v.(float64)
	if !ok || s <= 0 || s > 1e11 || s != math.Trunc(s) {
		return time.Time{}, false
	}
	return time.Unix(int64(s), 0).UTC(), true
}

// list reads groups in any shape that IdPs use: an array of strings, of
// objects with a name, one string with spaces or commas, or an object whose
// keys are the names.
func list(v any) (out []string) {
	switch v := v.(type) {
	case string:
		out = strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' })
	case []any:
		for _, item := range v {
			if object, ok := item.(map[string]any); ok {
				item = object["name"]
			}
			out = append(out, text(item))
		}
	case map[string]any:
		for name, is := range v {
			if is != nil && is != false {
				out = append(out, text(name))
			}
		}
		slices.Sort(out)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// merge adds what userinfo says to what the ID token says. It must be of the
// same subject (OIDC Core section 5.3.2), the ID token wins, and an address and
// whether it is verified come from the same place.
func merge(idToken map[string]any, userinfo []byte) error {
	var more map[string]any
	if json.Unmarshal(userinfo, &more) != nil {
		return errors.New("userinfo is not JSON")
	}
	if text(more["sub"]) == "" || text(more["sub"]) != text(idToken["sub"]) {
		return errors.New("userinfo is of another subject")
	}
	switch {
	case idToken[claimEmail] == nil && idToken[claimVerified] == true:
		delete(idToken, claimVerified)
	case idToken[claimEmail] != nil && text(idToken[claimEmail]) != text(more[claimEmail]):
		delete(more, claimVerified)
	}
	for name, value := range more {
		if idToken[name] == nil {
			idToken[name] = value
		}
	}
	return nil
}
