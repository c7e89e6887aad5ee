package storage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// mostScanned is how many sessions a page looks at where no index has all of what
// it is narrowed by: a page costs the same in a table of any size, and says where
// it stopped.
var mostScanned = 10_000 // tests look at fewer

// PageSessions implements broker.SessionStore.
func (s *Store) PageSessions(ctx context.Context, f broker.SessionFilter, afterID string, limit int) (out []broker.UserSession, lookedTo string, err error) {
	page, args := s.pageOfSessions(f, afterID, limit)
	var rows []struct {
		sessionRow
		Username sql.NullString `db:"username"`
	}
	if err := s.list(ctx, &rows, pageSessions+page, args...); err != nil {
		return nil, "", err
	}
	list := make([]*broker.Session, len(rows))
	for _, r := range rows {
		out = append(out, broker.UserSession{Session: s.session(r.sessionRow), Username: r.Username.String})
	}
	for i := range out {
		list[i] = &out[i].Session
	}
	if err := s.addUpstreams(ctx, list); err != nil || len(out) >= limit {
		return out, "", err
	}
	lookedTo, err = s.scannedTo(ctx, f, afterID)
	return out, lookedTo, err
}

const pageSessions = `SELECT ` + sessionColumns + `, (SELECT u.username FROM users u WHERE u.id = user_id) AS username FROM `

// pageOfSessions writes a page as what stands behind FROM.
func (s *Store) pageOfSessions(f broker.SessionFilter, afterID string, limit int) (string, []any) {
	by, rest := s.byIndex(f)
	if rest == everySession {
		condition, args := s.after(by, afterID)
		return "sessions WHERE " + condition + " ORDER BY id DESC LIMIT ?", append(args, limit)
	}
	newest, args := s.newestOf(by, afterID)
	condition, restArgs := s.where(rest)
	return newest + ` WHERE ` + condition + ` ORDER BY id DESC LIMIT ?`, append(append(args, restArgs...), limit)
}

var everySession = broker.SessionFilter{All: true}

// byIndex splits a filter into what one index has, in the order of ids, and the
// rest of it.
func (s *Store) byIndex(f broker.SessionFilter) (by, rest broker.SessionFilter) {
	if condition, _ := s.where(f); condition == nobody || f.ID+f.UserID+f.ParentID+f.IdPSession+f.IdPSubject+f.UpstreamID != "" { // few rows
		return f, everySession
	}
	by, rest = everySession, f
	rest.All = true
	switch {
	case f.IP != "":
		by.IP, rest.IP = f.IP, ""
	case f.EndCause != "":
		by.EndCause, rest.EndCause = f.EndCause, ""
	case f.ClientID != "" && f.ClientID != broker.AppClientID:
		by.ClientID, rest.ClientID = f.ClientID, ""
	case f.ProviderID != "":
		by.ProviderID, rest.ProviderID = f.ProviderID, ""
	}
	return by, rest
}

func (s *Store) after(f broker.SessionFilter, id string) (string, []any) {
	condition, args := s.where(f)
	if id != "" {
		condition, args = condition+" AND id < ?", append(args, id)
	}
	return condition, args
}

// newestOf are the sessions that a page looks at, as a table.
func (s *Store) newestOf(by broker.SessionFilter, afterID string) (string, []any) {
	condition, args := s.after(by, afterID)
	return `(SELECT * FROM sessions WHERE ` + condition + ` ORDER BY id DESC LIMIT ?) AS newest`, append(args, mostScanned)
}

// scannedTo is the last session that a page looked at, where it stopped before
// the end of the list.
func (s *Store) scannedTo(ctx context.Context, f broker.SessionFilter, afterID string) (id string, err error) {
	by, rest := s.byIndex(f)
	if rest == everySession {
		return "", nil
	}
	condition, args := s.after(by, afterID)
	err = s.get(ctx, &id, `SELECT id FROM sessions WHERE `+condition+` ORDER BY id DESC LIMIT 1 OFFSET ?`, append(args, mostScanned-1)...)
	if errors.Is(err, broker.NotFound) {
		err = nil
	}
	return id, err
}

// CountSessions implements broker.SessionStore.
func (s *Store) CountSessions(ctx context.Context, f broker.SessionFilter, now time.Time, most int) (n int, more bool, err error) {
	f.LiveAt = now
	by, rest := s.byIndex(f)
	newest, args := s.newestOf(by, "")
	condition, restArgs := s.where(rest)
	err = s.get(ctx, &n, `SELECT COUNT(*) FROM (SELECT id FROM `+newest+` WHERE `+condition+` LIMIT ?) AS live`, append(append(args, restArgs...), most+1)...)
	if err != nil || n > most {
		return min(n, most), true, err
	}
	last, err := s.scannedTo(ctx, f, "")
	return n, last != "", err
}

// SessionsOfUser implements broker.SessionStore, in one statement for both.
func (s *Store) SessionsOfUser(ctx context.Context, userID string, now time.Time, live, over int) (alive, past []broker.Session, err error) {
	alivePage, args := s.pageOfSessions(broker.SessionFilter{UserID: userID, LiveAt: now}, "", live)
	pastPage, pastArgs := s.pageOfSessions(broker.SessionFilter{UserID: userID, OverAt: now}, "", over)
	const some = `SELECT ` + sessionColumns + ` FROM (SELECT ` + sessionColumns + ` FROM `
	var rows []sessionRow
	err = s.list(ctx, &rows, some+alivePage+`) AS alive UNION ALL `+some+pastPage+`) AS past`, append(args, pastArgs...)...)
	if err != nil {
		return nil, nil, err
	}
	all := s.sessions(rows)
	if err := s.addUpstreams(ctx, pointers(all)); err != nil {
		return nil, nil, err
	}
	for _, one := range all {
		if one.Ended(now) == "" {
			alive = append(alive, one)
		} else {
			past = append(past, one)
		}
	}
	return alive, past, nil
}

// AddressesOfUser implements broker.SessionStore.
func (s *Store) AddressesOfUser(ctx context.Context, userID string) (addresses []string, err error) {
	const newest = ` FROM (SELECT created_ip, last_ip FROM sessions WHERE user_id = ? ORDER BY id DESC LIMIT 200) AS newest WHERE `
	err = s.list(ctx, &addresses, `SELECT created_ip`+newest+`created_ip <> '' UNION SELECT last_ip`+newest+`last_ip <> ''`, userID, userID)
	return addresses, err
}
