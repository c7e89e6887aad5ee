package broker_test

import (
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// An ended session says why for as long as the list of devices says that it is kept,
// from its end on, whether somebody ended it or nobody used it.
func TestEndedSessionsAreKeptForAsLongAsIsSaid(t *testing.T) {
	retention := func(c *broker.Config) { c.Lifetimes.Retention, c.Lifetimes.Refresh = 10*day, 5*day }
	onEach(t, retention, func(t *testing.T, w *world) {
		out, unused := w.login(t).RefreshToken, w.login(t).RefreshToken
		begun := w.Clock.Now()
		_, err := w.Broker.Logout(ctx, out.Reveal(), false, phone)
		must(t, err)
		kept := w.Broker.Retention()
		sweep := func(at time.Duration) {
			t.Helper()
			w.Clock.Set(begun.Add(at).Sub(w.Clock.Now()))
			must(t, w.Broker.Sweep(ctx))
		}
		sweep(6*day + time.Second) // it is seen that one expired
		sweep(kept - time.Minute)
		w.refused(t, phone, out, broker.LoggedOut)
		sweep(kept + time.Minute)
		w.refused(t, phone, out, broker.SessionUnknown)
		w.refused(t, phone, unused, broker.SessionExpired)
		sweep(5*day + kept - time.Minute)
		w.refused(t, phone, unused, broker.SessionExpired)
		sweep(5*day + kept + time.Minute)
		w.refused(t, phone, unused, broker.SessionUnknown)
	})
}
