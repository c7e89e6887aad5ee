package absdb

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
)

// row is one row, with the first thing in it that makes no sense.
type row struct {
	values  map[string]sql.NullString
	problem string
}

func (r *row) bad(column, what string) {
	if r.problem == "" {
		r.problem = fmt.Sprintf("%s: %s", column, what)
	}
}

// text is a value or, where it is NULL, the empty text.
func (r *row) text(column string) string {
	v := r.values[column].String
	switch {
	case len(v) > maxValue:
		r.bad(column, fmt.Sprintf("has more than %d bytes", maxValue))
		return ""
	case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
		r.bad(column, "is no text")
		return ""
	}
	return v
}

// needed is a text that must be there.
func (r *row) needed(column string) string {
	v := r.text(column)
	if v == "" {
		r.bad(column, "is empty")
	}
	return v
}

// flag is a boolean, as Sequelize writes it: 1 or 0.
func (r *row) flag(column string) bool {
	switch v := r.text(column); v {
	case "1", "true":
		return true
	case "0", "false", "":
	default:
		r.bad(column, "is neither 1 nor 0")
	}
	return false
}

// at is a time, as Sequelize writes it; zero where it is NULL.
func (r *row) at(column string) time.Time {
	v := r.text(column)
	if v == "" {
		return time.Time{}
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -07:00", v)
	if err != nil {
		at, err = time.Parse(time.RFC3339Nano, v)
	}
	if err != nil || at.Year() < 1970 || at.Year() > 9999 {
		r.bad(column, "is no time")
		return time.Time{}
	}
	return at.UTC().Truncate(time.Millisecond)
}

// neededAt is a time that must be there.
func (r *row) neededAt(column string) time.Time {
	at := r.at(column)
	if at.IsZero() {
		r.bad(column, "is empty")
	}
	return at
}

// document reads a column that holds JSON; NULL is no document.
func (r *row) document(column string, into any) (there bool) {
	v := r.text(column)
	if v == "" || v == "null" {
		return false
	}
	if err := json.Unmarshal([]byte(v), into); err != nil {
		r.bad(column, "is not the JSON that is meant")
		return false
	}
	return true
}

func toUser(r *row) broker.ImportUser {
	u := broker.ImportUser{User: broker.User{
		ID: r.needed("id"), Username: r.needed("username"), Email: r.text("email"), PasswordHash: broker.PasswordHash(r.text("pash")),
		Role: broker.Role(r.needed("type")), LastSeenAt: r.at("lastSeen"), CreatedAt: r.neededAt("createdAt"),
	}}
	u.Disabled = !r.flag("isActive")
	var permissions broker.Permissions
	if r.document("permissions", &permissions) {
		u.User.Permissions = &permissions
	}
	var extra struct {
		Subject string `json:"authOpenIDSub"`
	}
	if r.document("extraData", &extra); extra.Subject != "" {
		u.Identities = []broker.Identity{{Subject: extra.Subject}}
	}
	u.Legacy = tokens.AccessToken(r.text("token"))
	u.Problem = r.problem
	return u
}

func toSession(r *row) broker.ImportSession {
	s := broker.ImportSession{Session: broker.Session{
		ID: r.needed("id"), UserID: r.needed("userId"), IdleExpiresAt: r.neededAt("expiresAt"),
		LastIP: r.text("ipAddress"), UserAgent: r.text("userAgent"), CreatedAt: r.neededAt("createdAt"), LastSeenAt: r.neededAt("updatedAt"),
	}}
	// A device that lost the last answer holds the token before.
	for _, raw := range []string{r.needed("refreshToken"), r.text("lastRefreshToken")} {
		switch {
		case len(raw) > tokens.MaxTokenBytes:
			r.bad("refreshToken", "is too long for a token")
		case raw != "":
			s.Tokens = append(s.Tokens, tokens.RefreshToken(raw))
		}
	}
	s.Problem = r.problem
	return s
}

func toKey(r *row) broker.ImportKey {
	k := broker.ImportKey{Key: broker.APIKey{
		ID: r.needed("id"), Name: r.needed("name"), Description: r.text("description"), UserID: r.needed("userId"), CreatedBy: r.text("createdByUserId"),
		ExpiresAt: r.at("expiresAt"), CreatedAt: r.neededAt("createdAt"),
	}}
	k.Disabled = !r.flag("isActive")
	k.Problem = r.problem
	return k
}
