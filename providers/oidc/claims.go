package oidc

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// ClaimNames say which claim gives what. Empty fields have the standard's name.
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
	standard(&n.Email, "email")
	standard(&n.Name, "name")
	standard(&n.Groups, "groups")
	return n
}

// read maps raw claims. Nothing in them is trusted to have a type.
func (n ClaimNames) read(issuer string, claims map[string]any) broker.IdPClaims {
	c := broker.IdPClaims{
		Issuer: issuer, Subject: text(claims["sub"]), SessionID: text(claims["sid"]),
		Username: text(claims[n.Username]), Name: text(claims[n.Name]), Email: text(claims[n.Email]),
		Groups: list(claims[n.Groups]), AMR: list(claims["amr"]),
	}
	if len(c.AMR) > 10 {
		c.AMR = c.AMR[:10]
	}
	// email_verified as a string counts as absent (OIDC Core section 5.1: a boolean).
	if verified, ok := claims["email_verified"].(bool); ok {
		c.EmailVerified = &verified
	}
	if at, ok := claims["auth_time"].(float64); ok && at > 0 && at < 1e11 {
		c.AuthTime = time.Unix(int64(at), 0).UTC()
	}
	return c
}

func text(v any) string {
	s, _ := v.(string)
	if strings.ContainsRune(s, 0) {
		return ""
	}
	return s
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
			switch item := item.(type) {
			case string:
				out = append(out, item)
			case map[string]any:
				out = append(out, text(item["name"]))
			}
		}
	case map[string]any:
		for name := range v {
			out = append(out, name)
		}
		slices.Sort(out)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// merge adds what userinfo says to what the ID token says; the ID token wins
// for what names the person (OIDC Core section 5.3.2: the same sub, or none).
func merge(idToken map[string]any, userinfo []byte) error {
	var more map[string]any
	if err := json.Unmarshal(userinfo, &more); err != nil {
		return fmt.Errorf("userinfo is not JSON")
	}
	if text(more["sub"]) != text(idToken["sub"]) {
		return fmt.Errorf("userinfo is of another subject")
	}
	for name, value := range more {
		if _, has := idToken[name]; !has {
			idToken[name] = value
		}
	}
	return nil
}
