package broker

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Page asks for one page of a list: at most Limit entries, after the one that
// the Next of the page before stands for.
type Page struct {
	Next  string
	Limit int
}

// MaxPage is the greatest Limit.
const MaxPage = 500

// maxSearch bounds what a list is searched for, in bytes.
const maxSearch = MaxEmail

// place is where the next page of a list begins. It is handed out with a MAC, so
// that it comes back as it was made, for the list that it was made for.
type place struct {
	By  UserKey   `json:"b,omitempty"`
	Key string    `json:"k,omitempty"`
	ID  string    `json:"i"`
	At  time.Time `json:"t,omitzero"`
}

const tagPage = "page"

func (b *Broker) nextOf(list string, p place) string {
	text, _ := json.Marshal(p) // texts and a time always marshal
	return b.cfg.Secrets.Current().Tag(tagPage, list, string(text)) + "." + base64.RawURLEncoding.EncodeToString(text)
}

// maxNext is longer than any that is handed out.
const maxNext = 4096

func (b *Broker) placeOf(list, next string) (p place, err error) {
	if next == "" {
		return p, nil
	}
	tag, rest, _ := strings.Cut(next, ".")
	text, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(next) > maxNext || !b.cfg.Secrets.CheckTag(tag, tagPage, list, string(text)) || json.Unmarshal(text, &p) != nil {
		return p, fault(InvalidRequest, "next", "this is not what a page of this list ended with")
	}
	return p, nil
}

// checkSearch refuses what is in no database.
func checkSearch(field, text string) error {
	if len(text) > maxSearch || !utf8.ValidString(text) || slices.Contains([]byte(text), 0) {
		return fault(InvalidRequest, field, "at most 254 bytes of text")
	}
	return nil
}

// bound keeps a page within what one may hold.
func (p Page) bound(most int) int { return max(1, min(p.Limit, most)) }

// PageUsers lists users by name. A search goes by username, then by address, then by
// full name, and finds nobody twice. next is empty at the end.
func (b *Broker) PageUsers(ctx context.Context, f UserFilter, p Page) (users []User, next string, err error) {
	const list = "users"
	limit := p.bound(MaxPage)
	at, err := b.placeOf(list, p.Next)
	if err := cmp.Or(err, checkSearch("search", f.Search), checkSearch("provider", f.ProviderID)); err != nil {
		return nil, "", err
	}
	keys := []UserKey{ByUsername}
	if f.Search != "" {
		keys = append(keys, ByEmail, ByName)
	}
	for _, key := range keys[max(0, slices.Index(keys, at.By)):] {
		query := UserPage{UserFilter: f, By: key, Limit: limit + 1 - len(users)}
		if key == at.By {
			query.AfterKey, query.AfterID = at.Key, at.ID
		}
		found, err := b.cfg.Store.ListUsers(ctx, query)
		if err != nil {
			return nil, "", err
		}
		before := len(users)
		if users = append(users, found...); len(users) <= limit {
			continue
		}
		users, at = users[:limit], place{By: key}
		if before < limit { // else what is beyond the page is the first of this key
			at.Key, at.ID = key.of(users[limit-1]), users[limit-1].ID
		}
		return users, b.nextOf(list, at), nil
	}
	return users, "", nil
}

// of is the key of a user, folded.
func (k UserKey) of(u User) string {
	switch k {
	case ByEmail:
		return FoldEmail(u.Email)
	case ByName:
		return FoldName(u.Name)
	}
	return FoldUsername(u.Username)
}

// PageSessions lists sessions for administrators, those that have ended too, the
// newest first. A page may have fewer than its limit, or none, and a next one: it
// looks at so many sessions and no more.
func (b *Broker) PageSessions(ctx context.Context, f SessionFilter, p Page) (sessions []UserSession, next string, err error) {
	const list = "sessions"
	limit := p.bound(MaxPage)
	at, err := b.placeOf(list, p.Next)
	if err := cmp.Or(err, checkSessionFilter(f)); err != nil {
		return nil, "", err
	}
	f.All = true
	sessions, lookedTo, err := b.cfg.Store.PageSessions(ctx, f, at.ID, limit+1)
	if lookedTo != "" {
		next = b.nextOf(list, place{ID: lookedTo})
	}
	if err == nil && len(sessions) > limit {
		sessions = sessions[:limit]
		next = b.nextOf(list, place{ID: sessions[limit-1].ID})
	}
	return sessions, next, err
}

// SessionsOf are the newest sessions of a user: at most so many that are alive, and
// so many that are over.
func (b *Broker) SessionsOf(ctx context.Context, userID string, live, over int) (alive, past []Session, err error) {
	return b.cfg.Store.SessionsOfUser(ctx, userID, b.now(), live, over)
}

func checkSessionFilter(f SessionFilter) error {
	for field, text := range map[string]string{"user": f.UserID, "client": f.ClientID, "provider": f.ProviderID, "ip": f.IP, "cause": string(f.EndCause)} {
		if err := checkSearch(field, text); err != nil {
			return err
		}
	}
	if f.EndCause != "" && !slices.Contains(EndCauses, f.EndCause) {
		return fault(InvalidRequest, "cause", "no session ends with this cause")
	}
	return nil
}

// FindSession is a session as administrators see it; NotFound.
func (b *Broker) FindSession(ctx context.Context, id string) (UserSession, error) {
	s, u, err := b.cfg.Store.SessionByID(ctx, id)
	if err == nil && s.UpstreamID != "" {
		var on Session
		on, err = b.cfg.Store.UpstreamOf(ctx, id)
		s.Upstream = on.Upstream
	}
	return UserSession{Session: s, Username: u.Username}, err
}

// CountSessions counts the live sessions that a filter names, up to most, and says
// whether there may be more.
func (b *Broker) CountSessions(ctx context.Context, f SessionFilter, most int) (n int, more bool, err error) {
	return b.cfg.Store.CountSessions(ctx, f, b.now(), most)
}

// MaxEvents is the greatest Limit of a page of events.
const MaxEvents = 10_000

// PageEvents lists the audit log, newest first.
func (b *Broker) PageEvents(ctx context.Context, f EventFilter, p Page) (events []Event, next string, err error) {
	const list = "audit"
	limit := p.bound(MaxEvents)
	at, err := b.placeOf(list, p.Next)
	for field, text := range map[string]string{
		"user": f.UserID, "session": f.SessionID, "client": f.ClientID, "actor": f.Actor, "ip": f.IP, "name": f.Name + f.NamePrefix,
	} {
		err = cmp.Or(err, checkSearch(field, text))
	}
	if err != nil {
		return nil, "", err
	}
	f.BeforeAt, f.BeforeID, f.Limit = at.At, at.ID, limit+1
	events, err = b.cfg.Store.ListEvents(ctx, f)
	if err == nil && len(events) > limit {
		events = events[:limit]
		next = b.nextOf(list, place{ID: events[limit-1].ID, At: events[limit-1].At})
	}
	return events, next, err
}

// Events lists the audit log, newest first.
func (b *Broker) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	return b.cfg.Store.ListEvents(ctx, f)
}
