package oidc

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// ClaimNames say which claim gives what.
type ClaimNames = idp.ClaimNames

// Bounds of what goes into a session as it is.
const (
	maxSessionID = 255
	maxAMR       = 10
	maxMethod    = 64
)

// read maps the claims of an ID token, and of userinfo.
func read(names ClaimNames, issuer string, claims map[string]any) broker.IdPClaims {
	c := names.Read(issuer, claims)
	c.Subject, c.SessionID = idp.Text(claims["sub"]), idp.Text(claims["sid"])
	if len(c.SessionID) > maxSessionID {
		c.SessionID = ""
	}
	c.AMR = slices.DeleteFunc(idp.List(claims["amr"]), func(method string) bool { return len(method) > maxMethod })
	c.AMR = c.AMR[:min(len(c.AMR), maxAMR)]
	c.AuthTime, _ = moment(claims["auth_time"])
	return c
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

// merge adds what userinfo says to what the ID token says. It must be of the
// same subject (OIDC Core section 5.3.2), the ID token wins, and an address and
// whether it is verified come from the same place.
func merge(idToken map[string]any, userinfo []byte) error {
	var more map[string]any
	if json.Unmarshal(userinfo, &more) != nil {
		return errors.New("userinfo is not JSON")
	}
	if idp.Text(more["sub"]) == "" || idp.Text(more["sub"]) != idp.Text(idToken["sub"]) {
		return errors.New("userinfo is of another subject")
	}
	switch {
	case idToken[idp.ClaimEmail] == nil && idToken[idp.ClaimVerified] == true:
		delete(idToken, idp.ClaimVerified)
	case idToken[idp.ClaimEmail] != nil && idp.Text(idToken[idp.ClaimEmail]) != idp.Text(more[idp.ClaimEmail]):
		delete(more, idp.ClaimVerified)
	}
	for name, value := range more {
		if idToken[name] == nil {
			idToken[name] = value
		}
	}
	return nil
}
