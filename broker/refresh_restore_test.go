package broker_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
)

// backup keeps the sessions as they are; what comes back restores them, and
// gives the broker that runs afterwards.
func (w *world) backup(t *testing.T) (restore func() *world) {
	t.Helper()
	switch w.kind {
	case "file":
		file := strings.TrimPrefix(w.url, "sqlite:")
		w.exec(t, "VACUUM INTO '"+file+".backup'")
		return func() *world {
			if err := w.Store.Close(); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{file, file + "-wal", file + "-shm"} {
				if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			if err := os.Rename(file+".backup", file); err != nil {
				t.Fatal(err)
			}
			return w.another(t)
		}
	case "postgres":
		w.exec(t, "CREATE TABLE backup AS SELECT * FROM sessions")
		return func() *world {
			w.exec(t, "DELETE FROM sessions; INSERT INTO sessions SELECT * FROM backup; DROP TABLE backup")
			return w
		}
	}
	then, _, err := w.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return func() *world {
		for _, s := range then {
			write := broker.RotationWrite{
				Touch: broker.Touch{ID: s.ID, Now: s.LastSeenAt, IdleExpiresAt: s.IdleExpiresAt, IP: s.LastIP},
				From:  w.row(t, s.ID).Rotation, Next: s.Rotation,
			}
			if ok, err := w.Store.WriteRotation(ctx, write); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		return w
	}
}

// After a restore every device goes on: its token is ahead of the row.
func TestRestoreLogsNobodyOut(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		a, b := w.login(t).RefreshToken, w.login(t).RefreshToken
		sidA, sidB := w.claims(t, a).SessionID, w.claims(t, b).SessionID
		w.wait(1)
		a = w.refreshed(t, a, broker.OutcomeAdvance, 1, 0)
		b1 := w.refreshed(t, b, broker.OutcomeAdvance, 1, 0)
		restore := w.backup(t)
		w.wait(1)
		older := w.refreshed(t, a, broker.OutcomeAdvance, 2, 0)
		w.refreshed(t, b, broker.OutcomeReissue, 1, 1)
		w.wait(1)
		b2 := w.refreshed(t, b, broker.OutcomeReissue, 1, 2)
		newest := w.refreshed(t, older, broker.OutcomeAdvance, 3, 0)
		w.wait(1)

		w = restore()
		if row := w.row(t, sidA); row.Generation != 1 {
			t.Fatalf("the row is at %d, it was not restored", row.Generation)
		}
		// By generation. Every token of the generation before is a parent now.
		w.refreshed(t, newest, broker.OutcomeAhead, 3, 0)
		w.refreshed(t, newest, broker.OutcomeSame, 3, 0)
		w.refreshed(t, older, broker.OutcomeConverge, 3, 0)
		w.wait(1)
		w.refreshed(t, newest, broker.OutcomeAdvance, 4, 0)
		// By branch. The losing branch goes on being one.
		w.refreshed(t, b2, broker.OutcomeAhead, 1, 2)
		w.wait(1)
		w.refreshed(t, b2, broker.OutcomeAdvance, 2, 0)
		w.refused(t, stranger, b1, broker.TokenReused)

		w.alive(t, sidA)
		for _, sid := range []string{sidA, sidB} {
			events := w.events(t, sid, "refresh.ahead")
			if len(events) != 1 || events[0].IP != phone.IP || events[0].Detail["generation"] == "" {
				t.Errorf("events of the ahead: %+v, want one with address and generation", events)
			}
		}
	})
}

// A restored row may be idle long since; the token says when it was used last.
func TestRestoredRowIsNotIdleWhereItsTokenIsYoung(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		const day = 24 * time.Hour
		young, old := w.login(t).RefreshToken, w.login(t).RefreshToken
		stale := w.login(t).RefreshToken // never refreshed: its row forgot nothing
		restore := w.backup(t)
		w.Clock.Advance(day)
		old = w.refreshed(t, old, broker.OutcomeAdvance, 1, 0)
		w.Clock.Advance(9 * day)
		young = w.refreshed(t, young, broker.OutcomeAdvance, 1, 0)
		w.Clock.Advance(22 * day) // the rows are 32 days old, the limit is 30
		w = restore()
		w.refreshed(t, young, broker.OutcomeAhead, 1, 0)
		w.refused(t, phone, old, broker.SessionExpired)
		w.refused(t, phone, stale, broker.SessionExpired)
	})
}

// What was made after the backup is gone, and says so; the event is written
// once, however often the app asks.
func TestSessionMadeAfterTheBackupIsUnknown(t *testing.T) {
	onEachKept(t, nil, func(t *testing.T, w *world) {
		restore := w.backup(t)
		rt := w.login(t).RefreshToken
		w = restore()
		for range 5 {
			w.refused(t, phone, rt, broker.SessionUnknown)
		}
		events := w.events(t, w.claims(t, rt).SessionID, "refresh.unknown")
		if len(events) != 1 || events[0].UserID != w.claims(t, rt).Subject || events[0].Detail["code"] != string(broker.SessionUnknown) {
			t.Errorf("events: %+v", events)
		}
	})
}

// Ended stays ended: no token, no other end and no clock wakes a session or
// changes its cause.
func TestEndedStaysEnded(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		if err := w.Broker.EndOwnSession(ctx, broker.Principal{User: broker.User{ID: w.claims(t, rt0).Subject}, Session: w.row(t, sid)}, sid, false, phone); err != nil {
			t.Fatal(err)
		}
		before := w.row(t, sid)
		w.ended(t, sid, broker.RevokedByUser)

		ahead := w.mint(t, rt1, func(c *tokens.RefreshClaims) { c.Generation += 7 })
		for _, wait := range []int{0, 1, 5} {
			w.wait(wait)
			for _, rt := range []tokens.RefreshToken{rt0, rt1, ahead} {
				w.refused(t, phone, rt, broker.RevokedByUser)
			}
		}
		if n, err := w.Broker.EndSessions(ctx, broker.SessionFilter{ID: sid}, broker.RevokedByAdmin, true, ""); n != 0 || err != nil {
			t.Errorf("ended again: %d, %v", n, err)
		}
		if _, err := w.Broker.Logout(ctx, rt1.Reveal(), true, phone); err != nil {
			t.Error(err)
		}
		w.Clock.Advance(40 * 24 * time.Hour) // now it would be idle as well
		w.refused(t, phone, rt1, broker.RevokedByUser)
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the ended row changed: %+v, was %+v", got, before)
		}
		if n := len(w.events(t, sid, broker.EventSessionEnded)); n != 1 {
			t.Errorf("%d events of the end, want 1", n)
		}
	})
}
