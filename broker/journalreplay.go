package broker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
)

// replayAtOnce is how many lines are looked up in one statement, and done in one
// transaction.
const replayAtOnce = 200

// replay does once more what the database has forgotten: a line whose event is
// not in the audit log. It looks from the end on, and no further back than to a
// stretch that is all known, so that a start costs one statement.
func (b *Broker) replay(ctx context.Context, lines []JournalLine, report *JournalReport) error {
	behind, err := b.catchUpUptime(ctx, lines)
	if err != nil {
		return err
	}
	forgotten, err := b.forgotten(ctx, lines)
	if err != nil || len(forgotten) == 0 && !behind {
		return err
	}
	for chunk := range slices.Chunk(forgotten, replayAtOnce) {
		if err := b.replayChunk(ctx, chunk, report); err != nil {
			return err
		}
	}
	if report.By[EventKeyRevoked] > 0 {
		if err := b.refreshKeys(ctx); err != nil { // what was loaded has them still
			return err
		}
	}
	// An IdP may have replaced its refresh tokens since.
	if err := b.doubtUpstreams(ctx); err != nil {
		return err
	}
	b.cfg.Log.WarnContext(ctx, "the database is older than the journal of ends, as after a restore: what ended since then has ended again",
		"event", "journal.replayed", "lines", report.Replayed, "sessions", report.By[EventSessionEnded], "passwords", len(report.NewPasswords),
		"keys", report.By[EventKeyRevoked])
	return nil
}

// catchUpUptime moves the service's own time on to where the journal saw it, and
// reports whether the database was an older one. A crash alone loses some beats.
func (b *Broker) catchUpUptime(ctx context.Context, lines []JournalLine) (behind bool, err error) {
	const lostByCrash = 20 * BeatEvery
	furthest := time.Time{}
	for _, l := range lines {
		if ms, err := strconv.ParseInt(l.Detail[detailService], 10, 64); l.Name == journalMark && err == nil {
			furthest = later(furthest, time.UnixMilli(ms))
		}
	}
	if furthest.IsZero() || b.cfg.Uptime == nil {
		return false, nil
	}
	stands, err := b.cfg.Store.Uptime(ctx)
	if errors.Is(err, NotFound) {
		stands, err = time.Time{}, nil
	}
	if err != nil || !furthest.After(stands) {
		return false, err
	}
	// Beat begins at its last argument, where nothing stands.
	_, err = b.cfg.Store.Beat(ctx, furthest, furthest)
	return furthest.Sub(stands) > lostByCrash, err
}

// doubtUpstreams is for a database that is older than the IdPs: whoever replaces
// its refresh tokens may have done so since, and refuses then what is in the
// database. That ends no session.
func (b *Broker) doubtUpstreams(ctx context.Context) error {
	for _, p := range b.Providers() {
		if p.Recheck <= 0 || p.RecheckBy == RecheckByIntrospection {
			continue
		}
		n, err := b.cfg.Store.DoubtUpstreams(ctx, p.ID)
		if err != nil {
			return err
		}
		if n > 0 {
			b.cfg.Log.InfoContext(ctx, "the refresh tokens of an IdP may be older than its own: if it refuses one, no session ends", "event", "upstream.doubtful",
				"provider", p.ID, "logins", n)
		}
	}
	return nil
}

// forgotten are the lines whose event the database does not have, oldest first.
// What the audit log no longer reaches back to counts as known.
func (b *Broker) forgotten(ctx context.Context, lines []JournalLine) (out []JournalLine, err error) {
	oldest, err := b.cfg.Store.OldestEvent(ctx)
	if err != nil {
		return nil, err
	}
	since := later(oldest, b.journalHorizon(b.now())).UnixMilli()
	candidates, seen := []JournalLine{}, idSet{}
	for _, l := range lines {
		if l.Name != journalBegins && l.Name != journalMark && l.At >= since {
			candidates = append(candidates, l)
		}
	}
	for end := len(candidates); end > 0; {
		chunk := candidates[max(0, end-replayAtOnce):end]
		end -= len(chunk)
		ids := []string{}
		for _, l := range chunk {
			ids = append(ids, l.ID)
		}
		known, err := b.cfg.Store.KnownEvents(ctx, ids)
		if err != nil {
			return nil, err
		}
		seen.add(known...)
		missing := 0
		for _, l := range slices.Backward(chunk) {
			if !seen[l.ID] {
				out = append(out, l)
				seen.add(l.ID)
				missing++
			}
		}
		if missing == 0 {
			break
		}
	}
	slices.Reverse(out)
	return out, nil
}

type idSet map[string]bool

func (s idSet) add(ids ...string) {
	for _, id := range ids {
		s[id] = true
	}
}

func (b *Broker) replayChunk(ctx context.Context, lines []JournalLine, report *JournalReport) error {
	var done JournalReport
	instead, err := b.makeInstead(ctx, lines)
	if err != nil {
		return err
	}
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		done = JournalReport{By: map[string]int{}}
		for _, l := range lines {
			if err := b.replayLine(ctx, store, l, instead, &done); err != nil {
				return err
			}
			if err := store.InsertEvent(ctx, l.event()); err != nil {
				return err
			}
			done.By[l.Name]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	report.Replayed += len(lines)
	report.NewPasswords = append(report.NewPasswords, done.NewPasswords...)
	for name, n := range done.By {
		report.By[name] += n
	}
	return nil
}

// makeInstead makes a key in the place of each that lines revoke and that is there,
// by the id of that: making one takes too long for a transaction.
func (b *Broker) makeInstead(ctx context.Context, lines []JournalLine) (map[string]StoredKey, error) {
	if !slices.ContainsFunc(lines, func(l JournalLine) bool { return l.Name == EventKeyRevoked }) {
		return nil, nil
	}
	stored, err := b.cfg.Store.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	instead := map[string]StoredKey{}
	for _, l := range lines {
		kid := l.Detail[detailKID]
		at := slices.IndexFunc(stored, func(k StoredKey) bool { return k.ID == kid })
		if l.Name != EventKeyRevoked || at < 0 {
			continue
		}
		// As [Broker.RevokeKey].
		if instead[kid], err = b.makeKey(stored[at].Algorithm, b.now().Add(-clockLeeway)); err != nil {
			return nil, err
		}
	}
	return instead, nil
}

// replayLine ends once more what a line says has ended. What is not in the
// database cannot come back. Nobody else is told of it but those who were told
// then: clients of a session's end.
func (b *Broker) replayLine(ctx context.Context, store Store, l JournalLine, instead map[string]StoredKey, done *JournalReport) (err error) {
	at := time.UnixMilli(l.At).UTC()
	switch l.Name {
	case EventSessionEnded:
		err = b.replayEnd(ctx, store, l, at)
	case EventUserDisabled, EventUserEnabled:
		err = b.replayDisabling(ctx, store, l, at)
	case EventUserDeleted:
		err = store.DeleteUser(ctx, l.UserID)
	case EventPasswordChanged:
		// The new password is lost with the database, and the old one must not come back.
		var was bool
		if was, err = store.SetPassword(ctx, l.UserID, nil, "", false, at); was {
			done.NewPasswords = append(done.NewPasswords, l.UserID)
			err = errors.Join(err, store.DeletePasswordLinks(ctx, l.UserID))
		}
	case EventAPIKeyDeleted:
		err = b.replayKeyDeletion(ctx, store, l, at)
	case EventAPIKeyUpdated:
		err = replayKeyChange(ctx, store, l, at)
	case EventIdentityUnlinked:
		err = replayUnlinking(ctx, store, l, at)
	case EventKeyRevoked:
		if key, there := instead[l.Detail[detailKID]]; there {
			_, err = store.RevokeSigningKey(ctx, l.Detail[detailKID], key)
		}
	case EventLegacyEnded:
		_, err = store.DeleteImportedTokens(ctx, l.UserID, ImportedLegacy)
	}
	switch {
	case errors.Is(err, NotFound):
		return nil
	case errors.Is(err, LastAdmin):
		b.cfg.Log.WarnContext(ctx, "the last administrator stays, whatever the journal of ends says", "event", "journal.last_admin", "name", l.Name, "user_id", l.UserID)
		return nil
	}
	return err
}

func (b *Broker) replayEnd(ctx context.Context, store Store, l JournalLine, at time.Time) error {
	e := b.end(EndCause(l.Detail[detailCause]), l.Detail[detailWipe] != "", at)
	ended, err := store.EndSessions(ctx, SessionFilter{ID: l.SessionID}, e)
	if err != nil {
		return err
	}
	return b.noteLogouts(ctx, store, ended)
}

func (b *Broker) replayDisabling(ctx context.Context, store Store, l JournalLine, at time.Time) error {
	if err := store.LockUser(ctx, l.UserID); err != nil {
		return err
	}
	u, err := store.UserByID(ctx, l.UserID)
	if err != nil {
		return err
	}
	if u.DisabledAt = (time.Time{}); l.Name == EventUserDisabled {
		u.DisabledAt = at
	}
	return store.UpdateUser(ctx, u)
}

func (b *Broker) replayKeyDeletion(ctx context.Context, store Store, l JournalLine, at time.Time) error {
	k, err := store.APIKeyByID(ctx, l.Detail[detailKeyID])
	if err != nil {
		return err
	}
	return deleteKey(ctx, store, k.APIKey, at)
}

// replayKeyChange is about one thing: whether the key is switched off.
func replayKeyChange(ctx context.Context, store Store, l JournalLine, at time.Time) error {
	k, err := store.APIKeyByID(ctx, l.Detail[detailKeyID])
	if err != nil {
		return err
	}
	off := l.Detail[detailDisabled] != ""
	if off != k.DisabledAt.IsZero() {
		return nil
	}
	if k.DisabledAt = (time.Time{}); off {
		k.DisabledAt = at
	}
	_, err = store.UpdateAPIKey(ctx, k.APIKey, k.UserID, MaxAPIKeys)
	return err
}

func replayUnlinking(ctx context.Context, store Store, l JournalLine, at time.Time) error {
	all, err := store.IdentitiesOfUser(ctx, l.UserID)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Subject != l.Detail[detailSubject] || i.ProviderID != l.Detail[detailProvider] {
			continue
		}
		if err := store.DeleteIdentity(ctx, i.Issuer, i.Subject, l.UserID); err != nil {
			return err
		}
		if err := store.InsertUndoneLink(ctx, i.Issuer, i.Subject, l.UserID, at); err != nil {
			return err
		}
	}
	return nil
}
