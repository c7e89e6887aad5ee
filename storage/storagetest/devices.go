package storagetest

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var deviceTests = []test{
	{"every field survives", deviceFields},
	{"a user code is taken once", userCodeTaken},
	{"of many at once one takes a user code", userCodeParallel},
	{"found by its user code while it is alive and undecided", deviceByUserCode},
	{"decided once", decideOnce},
	{"of many decisions at once one counts", decideParallel},
	{"a poll in time, and one too early", pollDevice},
	{"of many polls at once one is in time", pollParallel},
	{"redeemed once, by who fits", redeemDeviceOnce},
	{"one of many at once redeems it", redeemDeviceParallel},
	{"one whose session failed can be redeemed", redeemDeviceRolledBack},
	{"it needs the transaction of its session", redeemDeviceOutsideTx},
}

func newDevice(id string) broker.DeviceCode {
	return broker.DeviceCode{
		ID: id, UserCode: "USER-" + id, ClientID: "client", Scope: "openid 日本語",
		Request:  broker.SessionRequest{Resource: "https://api.example.test", UserinfoClaims: []string{"email"}},
		Interval: 5 * time.Second, NextPollAt: t0, ExpiresAt: t0.Add(10 * time.Minute),
	}
}

// allowed is a device that a person has said yes to.
func (s *suite) allowed(id string) broker.DeviceCode {
	s.Helper()
	d := newDevice(id)
	s.ok(s.Store.InsertDeviceCode(ctx, d))
	d.Decision, d.Authorization = broker.DeviceAllowed, newAuthorization()
	same(s, must(s.Store.DecideDevice(ctx, id, d.Decision, d.Authorization, t0))(s), true)
	return d
}

// deviceByID reads a device code as it is, which nothing but these tests does.
func deviceByID(store broker.Store, id string) (broker.DeviceCode, error) {
	return store.(interface {
		DeviceByID(ctx context.Context, id string) (broker.DeviceCode, error)
	}).DeviceByID(ctx, id)
}

func (s *suite) device(id string) broker.DeviceCode {
	s.Helper()
	return must(deviceByID(s.Store, id))(s)
}

func deviceFields(s *suite) {
	full, bare := newDevice("full"), broker.DeviceCode{ID: "bare", NextPollAt: t0, ExpiresAt: t0}
	s.ok(s.Store.InsertDeviceCode(ctx, full))
	s.ok(s.Store.InsertDeviceCode(ctx, bare))
	same(s, s.device("full"), full)
	same(s, s.device("bare"), bare)
	same(s, s.allowed("allowed"), s.device("allowed"))
	_, err := deviceByID(s.Store, "nobody's")
	s.code(err, broker.NotFound)
}

func userCodeTaken(s *suite) {
	first, second := newDevice("1"), newDevice("2")
	second.UserCode = first.UserCode
	s.ok(s.Store.InsertDeviceCode(ctx, first))
	s.code(s.Store.InsertDeviceCode(ctx, second), broker.UserCodeTaken)
	same(s, s.device("1"), first)
	_, err := deviceByID(s.Store, "2")
	s.code(err, broker.NotFound)
}

func userCodeParallel(s *suite) {
	winner := s.oneWinner(inParallel(takers, func(i int) error {
		d := newDevice(fmt.Sprint(i))
		d.UserCode = "CODE"
		return s.Store.InsertDeviceCode(ctx, d)
	}), broker.UserCodeTaken)
	same(s, must(s.Store.DeviceByUserCode(ctx, "CODE", t0))(s).ID, fmt.Sprint(winner))
}

func deviceByUserCode(s *suite) {
	d := newDevice("d")
	s.ok(s.Store.InsertDeviceCode(ctx, d))
	s.allowed("allowed")
	s.ok(s.Store.InsertDeviceCode(ctx, newDevice("denied")))
	same(s, must(s.Store.DecideDevice(ctx, "denied", broker.DeviceDenied, broker.Authorization{}, t0))(s), true)
	for _, code := range []string{"", "d", "user-d", "USER-%", "USER-allowed", "USER-denied"} {
		_, err := s.Store.DeviceByUserCode(ctx, code, t0)
		s.code(err, broker.NotFound)
	}
	same(s, must(s.Store.DeviceByUserCode(ctx, "USER-d", d.ExpiresAt.Add(-time.Millisecond)))(s), d)
	_, err := s.Store.DeviceByUserCode(ctx, "USER-d", d.ExpiresAt)
	s.code(err, broker.NotFound)
}

func decideOnce(s *suite) {
	d, other := newDevice("d"), newDevice("other")
	s.ok(s.Store.InsertDeviceCode(ctx, d))
	s.ok(s.Store.InsertDeviceCode(ctx, other))
	decide := func(want bool, id string, decision broker.DeviceDecision, at time.Time) {
		s.Helper()
		a := newAuthorization()
		if decision == broker.DeviceDenied {
			a = broker.Authorization{}
		}
		same(s, must(s.Store.DecideDevice(ctx, id, decision, a, at))(s), want)
	}
	decide(false, "nobody's", broker.DeviceAllowed, t0)
	decide(false, "d", broker.DeviceAllowed, d.ExpiresAt)
	same(s, s.device("d"), d)
	decide(true, "d", broker.DeviceAllowed, d.ExpiresAt.Add(-time.Millisecond))
	decide(false, "d", broker.DeviceDenied, t0)
	decide(false, "d", broker.DeviceAllowed, t0)
	d.Decision, d.Authorization = broker.DeviceAllowed, newAuthorization()
	same(s, s.device("d"), d)
	same(s, s.device("other"), other)
	decide(true, "other", broker.DeviceDenied, t0)
	decide(false, "other", broker.DeviceAllowed, t0)
	other.Decision = broker.DeviceDenied
	same(s, s.device("other"), other)
}

func decideParallel(s *suite) {
	for round := range 5 {
		id := fmt.Sprint("d", round)
		s.ok(s.Store.InsertDeviceCode(ctx, newDevice(id)))
		winner := s.oneWinner(inParallel(takers, func(i int) error {
			a := newAuthorization()
			a.UserID = fmt.Sprint(i)
			did, err := s.Store.DecideDevice(ctx, id, []broker.DeviceDecision{broker.DeviceAllowed, broker.DeviceDenied}[i%2], a, t0)
			if err == nil && !did {
				return &broker.Error{Code: broker.InvalidRequest}
			}
			return err
		}), broker.InvalidRequest)
		same(s, s.device(id).Authorization.UserID, fmt.Sprint(winner))
	}
}

func pollDevice(s *suite) {
	want, other := newDevice("d"), newDevice("other")
	s.ok(s.Store.InsertDeviceCode(ctx, want))
	s.ok(s.Store.InsertDeviceCode(ctx, other))
	poll := func(at time.Duration, early bool) {
		s.Helper()
		d, slow, err := s.Store.PollDevice(ctx, "d", "client", t0.Add(at))
		s.ok(err)
		same(s, slow, early)
		if early {
			want.Interval += 5 * time.Second
		}
		want.NextPollAt = t0.Add(at).Add(want.Interval)
		same(s, d, want)
		same(s, s.device("d"), want)
	}
	poll(0, false)
	poll(5*time.Second, false)                    // on the dot
	poll(10*time.Second-time.Millisecond, true)   // a moment too early: 10 s from here
	poll(15*time.Second, true)                    // 15 s from here
	poll(30*time.Second, false)                   // what was early once is not so for ever
	poll(45*time.Second-time.Millisecond, true)   // 20 s from here
	poll(100*time.Second, false)                  // and the interval does not shrink
	poll(want.ExpiresAt.Sub(t0)+time.Hour, false) // it is the broker's to say that it is over
	for _, wrong := range [][2]string{{"nobody's", "client"}, {"d", "another"}, {"d", ""}} {
		_, slow, err := s.Store.PollDevice(ctx, wrong[0], wrong[1], t0)
		s.code(err, broker.NotFound)
		same(s, slow, false)
	}
	same(s, s.device("d"), want)
	same(s, s.device("other"), other)
}

func pollParallel(s *suite) {
	s.ok(s.Store.InsertDeviceCode(ctx, newDevice("d")))
	for round := range 3 {
		before := s.device("d")
		intervals := make([]time.Duration, takers)
		winner := s.oneWinner(inParallel(takers, func(i int) error {
			d, slow, err := s.Store.PollDevice(ctx, "d", "client", before.NextPollAt)
			intervals[i] = d.Interval - before.Interval
			if slow {
				return &broker.Error{Code: broker.SlowDown}
			}
			return err
		}), broker.SlowDown)
		same(s, intervals[winner], 0)
		seen := map[time.Duration]int{}
		for _, d := range intervals {
			seen[d]++
		}
		if len(seen) != takers || s.device("d").Interval != before.Interval+(takers-1)*5*time.Second {
			s.Errorf("round %d: the interval grew to %v, by steps of %v", round, s.device("d").Interval, seen)
		}
	}
}

func (s *suite) redeemDevice(id, client, session string, at time.Time) (got broker.DeviceCode, err error) {
	err = s.Store.Tx(ctx, func(tx broker.Store) (err error) {
		got, err = tx.RedeemDevice(ctx, id, client, session, at)
		return err
	})
	return got, err
}

func redeemDeviceOnce(s *suite) {
	d, other := s.allowed("d"), s.allowed("other")
	s.ok(s.Store.InsertDeviceCode(ctx, newDevice("undecided")))
	s.ok(s.Store.InsertDeviceCode(ctx, newDevice("denied")))
	same(s, must(s.Store.DecideDevice(ctx, "denied", broker.DeviceDenied, broker.Authorization{}, t0))(s), true)
	for _, wrong := range []struct {
		id, client string
		at         time.Time
	}{
		{"nobody's", "client", t0}, {"d", "another", t0}, {"d", "", t0}, {"undecided", "client", t0}, {"denied", "client", t0}, {"d", "client", d.ExpiresAt},
	} {
		_, err := s.redeemDevice(wrong.id, wrong.client, "of a thief", wrong.at)
		s.code(err, broker.NotFound)
	}
	same(s, s.device("d"), d) // none of them used it up
	at := d.ExpiresAt.Add(-time.Millisecond)
	d.RedeemedAt, d.SessionID = at, "s"
	same(s, must(s.redeemDevice("d", "client", "s", at))(s), d)
	_, err := s.redeemDevice("d", "client", "of a thief", at)
	s.code(err, broker.NotFound)
	same(s, s.device("d"), d)
	same(s, s.device("other"), other)
}

func redeemDeviceParallel(s *suite) {
	u := s.user("anna")
	for round := range 5 {
		id := s.allowed(fmt.Sprint("d", round)).ID
		winner := s.oneWinner(inParallel(takers, func(i int) error {
			return s.Store.Tx(ctx, func(tx broker.Store) error {
				session := fmt.Sprint(id, " session ", i)
				if _, err := tx.RedeemDevice(ctx, id, "client", session, t0); err != nil {
					return err
				}
				return second(tx.InsertSession(ctx, newSession(session, u.ID), ""))
			})
		}), broker.NotFound)
		same(s, s.device(id).SessionID, fmt.Sprint(id, " session ", winner))
	}
	_, n, err := s.Store.ListSessions(ctx, broker.SessionFilter{UserID: u.ID}, 0, 1)
	s.ok(err)
	same(s, n, 5)
}

func redeemDeviceRolledBack(s *suite) {
	d := s.allowed("d")
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		must(tx.RedeemDevice(ctx, "d", "client", "s", t0))(s)
		return errUndo
	}), errUndo)
	same(s, s.device("d"), d)
	must(s.redeemDevice("d", "client", "s", t0))(s)
}

func redeemDeviceOutsideTx(s *suite) {
	d := s.allowed("d")
	if _, err := s.Store.RedeemDevice(ctx, "d", "client", "s", t0); err == nil {
		s.Error("a device code was redeemed without the session that it is for")
	}
	same(s, s.device("d"), d)
}
