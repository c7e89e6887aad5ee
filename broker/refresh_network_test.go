package broker_test

import (
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// R05: ten answers in a row are lost, each longer after the last than the grace; the
// eleventh arrives.
func TestTenAnswersAreLost(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		replica := w.another(t)
		lost := w.login(t).RefreshToken
		sid := w.claims(t, lost).SessionID
		w.wait(1)
		w.refreshed(t, lost, broker.OutcomeAdvance, 1, 0)
		for n := range int64(9) {
			w.wait(1)
			[]*world{w, replica}[n%2].refreshed(t, lost, broker.OutcomeReissue, 1, n+1)
		}
		w.wait(1)
		last := w.refreshed(t, lost, broker.OutcomeReissue, 1, 10)
		w.wait(1)
		replica.refreshed(t, last, broker.OutcomeAdvance, 2, 0)
		w.alive(t, sid)
		if n := w.rows(t); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// R07: an answer that was overtaken is stored last, over the newer one.
func TestOldAnswerIsStoredLast(t *testing.T) {
	for name, late := range map[string]time.Duration{"at once": 0, "a minute later": time.Minute} {
		t.Run(name, func(t *testing.T) {
			onEach(t, nil, func(t *testing.T, w *world) {
				rt0 := w.login(t).RefreshToken
				sid := w.claims(t, rt0).SessionID
				w.wait(1)
				first := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
				w.refreshed(t, rt0, broker.OutcomeConverge, 1, 0) // the answer that is on its way until the end
				w.wait(1)
				w.refreshed(t, first, broker.OutcomeAdvance, 2, 0) // stored, and then overwritten
				w.Clock.Advance(late)
				next := w.refreshed(t, first, broker.OutcomeConverge, 2, 0)
				w.wait(1)
				w.refreshed(t, next, broker.OutcomeAdvance, 3, 0)
				w.alive(t, sid)
			})
		})
	}
}

// R08: a request is on its way for a minute, and its client has gone on by a
// generation: it is answered, and ends nothing.
func TestRequestArrivesAMinuteLate(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		replica := w.another(t)
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.Clock.Advance(time.Minute)
		replica.refreshed(t, rt0, broker.OutcomeConverge, 1, 0)
		w.wait(1)
		rt2 := w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0)
		w.Clock.Advance(time.Minute)
		replica.refreshed(t, rt1, broker.OutcomeConverge, 2, 0)
		replica.refreshed(t, rt0, broker.OutcomeConverge, 2, 0) // two generations, within the grace
		w.alive(t, sid)
		w.wait(1)
		w.refreshed(t, rt2, broker.OutcomeAdvance, 3, 0)
	})
}
