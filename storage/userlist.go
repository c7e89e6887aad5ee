package storage

import (
	"context"
	"strings"

	"github.com/latchkey-id/latchkey/broker"
)

// afterEverything ends a range of texts that begin alike: no text that is kept
// has this code point.
const afterEverything = "\U0010FFFF"

// searched are the columns of users that a search looks at, in this order.
var searched = []struct {
	by     broker.UserKey
	column string
	fold   func(string) string
}{
	{broker.ByUsername, "u.username_key", broker.FoldUsername},
	{broker.ByEmail, "u.email_key", broker.FoldEmail},
	{broker.ByName, "u.name_key", broker.FoldName},
}

// ListUsers implements broker.UserStore.
func (s *Store) ListUsers(ctx context.Context, p broker.UserPage) ([]broker.User, error) {
	where, args := pageOfUsers(p)
	return s.usersWhere(ctx, where, args...)
}

// pageOfUsers writes a page as what stands behind WHERE. Each column has an
// index in the order of bytes; a range of it is what a pattern would be, without
// wildcards.
func pageOfUsers(p broker.UserPage) (string, []any) {
	conditions, args := []string{}, []any{}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	order := ""
	for _, c := range searched {
		if prefix := c.fold(p.Search); p.Search != "" {
			in := c.column + " >= ? AND " + c.column + " < ?"
			if c.by != p.By {
				in = "NOT (" + in + ")" // it came before
			}
			add(in, prefix, prefix+afterEverything)
		}
		if c.by == p.By {
			if order = c.column; c.by != broker.ByUsername {
				add(c.column + " <> ''") // as their indexes say
			}
			add("("+c.column+", u.id) > (?, ?)", p.AfterKey, p.AfterID)
			break
		}
	}
	if p.Role != "" {
		add("u.role = ?", string(p.Role))
	}
	if p.Disabled != nil && *p.Disabled {
		add("u.disabled_at IS NOT NULL")
	} else if p.Disabled != nil {
		add("u.disabled_at IS NULL")
	}
	if p.ProviderID != "" {
		add("EXISTS (SELECT 1 FROM identities p WHERE p.provider_id = ? AND p.user_id = u.id)", p.ProviderID)
	}
	return strings.Join(conditions, " AND ") + " ORDER BY " + order + ", u.id LIMIT ?", append(args, p.Limit)
}
