package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// denied fails to log in.
func denied(t *testing.T, rig *harness.Rig, name, password, ip string, want broker.Code) {
	t.Helper()
	_, err := rig.Broker.LoginPassword(ctx, name, password, broker.Device{IP: ip})
	wantCode(t, name+" from "+ip, err, want)
}

// Refused logins that are alike are one event, written in the background: whose
// account it was, where that is known, and never what was typed.
func TestRefusedLoginsAreEvents(t *testing.T) {
	const typed = "correct horse battery"
	for name, url := range map[string]string{
		"sqlite": "sqlite:" + t.TempDir() + "/latchkey.db", "postgresql": pgtest.Shared(t).NewDatabase(t),
	} {
		t.Run(name, func(t *testing.T) {
			rig := harness.New(t, url, nil)
			rig.User(t, "alice", broker.RoleUser)
			gone := rig.User(t, "bert", broker.RoleUser)
			if err := rig.Broker.SetDisabled(ctx, gone.ID, true); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				denied(t, rig, "Alice", "wrong", "192.0.2.1", broker.InvalidCredentials)
				denied(t, rig, typed, "wrong", "192.0.2.1", broker.InvalidCredentials)
			}
			denied(t, rig, "another", "wrong", "192.0.2.1", broker.InvalidCredentials)
			for _, ip := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "198.51.100.1"} {
				denied(t, rig, "alice", "wrong", ip, broker.InvalidCredentials)
			}
			denied(t, rig, "bert", harness.PasswordOf("bert"), "192.0.2.1", broker.InvalidCredentials)
			denied(t, rig, "bert", "wrong", "192.0.2.1", broker.InvalidCredentials)
			if list, err := rig.Broker.Events(ctx, broker.EventFilter{Name: broker.EventLoginRefused, Limit: 9}); err != nil || len(list) != 0 {
				t.Errorf("an answer waited for %v, %v", list, err)
			}
			want := []string{
				"invalid_credentials 3 password - latchkey-app alice 192.0.2.1", "invalid_credentials 4 password - latchkey-app - 192.0.2.1",
				"invalid_credentials 2 password - latchkey-app alice 2001:db8::2", "invalid_credentials 1 password - latchkey-app alice 2001:db8:0:1::1",
				"invalid_credentials 1 password - latchkey-app alice 198.51.100.1",
				"user_disabled 1 password - latchkey-app bert 192.0.2.1", "invalid_credentials 1 password - latchkey-app bert 192.0.2.1",
			}
			rig.WantRefused(t, want...)
			rig.WantRefused(t, want...) // each was written once
			if n := tallyOf(rig.Broker, broker.TallyEvents, broker.EventLoginRefused, ""); n != uint64(len(want)) {
				t.Errorf("%d events are counted", n)
			}
			if bytes.Contains(harness.Dump(t, url), []byte(typed)) {
				t.Error("what was typed as a name is in the database")
			}
			first := rig.Clock.Now()
			rig.Clock.Advance(20 * time.Second)
			denied(t, rig, "alice", "wrong", "192.0.2.1", broker.InvalidCredentials)
			rig.Clock.Advance(20 * time.Second)
			rig.RefusedLogins(t)
			list, err := rig.Broker.Events(ctx, broker.EventFilter{Name: broker.EventLoginRefused, Limit: 1})
			if err != nil || len(list) != 1 || !list[0].At.Equal(first.Add(20*time.Second)) {
				t.Errorf("%v, %+v: not when it happened", err, list)
			}
		})
	}
}

// Every way to log in leaves its event, and the steps of a login leave none.
func TestEveryWayOfARefusedLogin(t *testing.T) {
	rig, _, _ := factorRig(t, 0)
	for range 2 {
		_, err := rig.Broker.CompleteLogin(ctx, pending(t, rig), "000000", here)
		wantCode(t, "a guess", err, broker.SecondFactorInvalid)
	}
	_, err := rig.Broker.CompleteLogin(ctx, "a guess", "000000", here)
	wantCode(t, "no such login", err, broker.InvalidState)
	_, err = rig.Broker.CompletePasskeyLogin(ctx, "", []byte("{}"), here)
	wantCode(t, "no passkey", err, broker.PasskeyInvalid)
	_, err = rig.Broker.RedeemTicket(ctx, "none", "a new password of alice", here)
	wantCode(t, "no ticket", err, broker.InvalidState)
	rig.WantRefused(t,
		"second_factor_invalid 2 password - latchkey-app alice 192.0.2.1", "invalid_state 2 password - latchkey-app - 192.0.2.1",
		"passkey_invalid 1 passkey - latchkey-app - 192.0.2.1",
	)
}

// A refusal at a provider names the account that was there before, and none that
// the login would have made.
func TestRefusedLoginsAtAProviderAreEvents(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) {
		p.RoleMap, p.DefaultRole = map[string]broker.Role{"people": broker.RoleUser}, broker.RoleNone
	}, nil)
	anna := h.enters("p", says("anna", groups("people")))
	h.refused("p", says("anna"), broker.GroupNotAllowed)
	h.refused("p", says("eve"), broker.GroupNotAllowed)
	if err := h.Broker.SetDisabled(ctx, anna.ID, true); err != nil {
		t.Fatal(err)
	}
	h.refused("p", says("anna", groups("people")), broker.UserDisabled)
	for _, id := range []string{"p", "a guess"} {
		_, _ = h.Broker.CompleteIdPLogin(ctx, id, broker.IdPResponse{State: "guess", Code: "c"}, func(string) bool { return true }, phone)
		_, _ = h.Broker.RedeemGrant(ctx, id, "guess", "guess", rightVerifier, phone)
	}
	h.WantRefused(t,
		"group_not_allowed 1 p p latchkey-app anna 192.0.2.10", "group_not_allowed 1 p p latchkey-app - 192.0.2.10", "user_disabled 1 p p latchkey-app anna 192.0.2.10",
		"invalid_state 1 p p latchkey-app - 192.0.2.10", "code_invalid 1 p p latchkey-app - 192.0.2.10", "provider_unknown 2 unknown - latchkey-app - 192.0.2.10",
	)
}

// refusedLogins are what a minute of them left: events, those that say no more than
// the account, and how many logins each of these stands for.
type refusedLogins struct {
	rows     int
	accounts map[string]int
	beyond   int
}

// refusedLogins writes the minute down, reads it, and begins the next.
func (h *house) refusedLogins(t *testing.T) (l refusedLogins) {
	t.Helper()
	h.RefusedLogins(t)
	list, err := h.Broker.Events(ctx, broker.EventFilter{Name: broker.EventLoginRefused, Limit: broker.MaxEvents, From: h.Clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	l.accounts = map[string]int{}
	for _, e := range list {
		count, err := strconv.Atoi(e.Detail["count"])
		switch {
		case err != nil || e.Detail["code"] == "" && (e.IP+e.ClientID != "" || len(e.Detail) != 1):
			t.Errorf("%+v", e)
		case e.Detail["code"] != "":
			l.rows++
		case e.UserID != "":
			l.accounts[e.UserID] += count
		default:
			l.beyond += count
		}
	}
	h.Clock.Advance(time.Minute)
	return l
}

// Whoever guesses does not fill the log: what is beyond the bounds is a number,
// guesses at no account hide none at one that there is, and guesses at one from
// everywhere hide none at another.
func TestEventsOfRefusedLoginsAreBounded(t *testing.T) {
	h := newHouse(t, "", nil, nil)
	alice, bert := h.User(t, "alice", broker.RoleUser).ID, h.User(t, "bert", broker.RoleUser).ID
	address := 0
	from := func() broker.Device {
		address++
		return broker.Device{IP: fmt.Sprintf("10.0.%d.%d", address/250, address%250)}
	}
	strangers := func(n int) {
		for range n {
			_, _ = h.Broker.CompleteIdPLogin(ctx, "p", broker.IdPResponse{State: "guess", Code: "c"}, func(string) bool { return true }, from())
		}
	}
	guesses := func(name string, n int) {
		for range n {
			_, _ = h.Broker.LoginPassword(ctx, name, "wrong", from())
		}
	}
	want := func(rows, alices, berts, beyond int) {
		t.Helper()
		got := h.refusedLogins(t)
		if got.rows != rows || got.accounts[alice] != alices || got.accounts[bert] != berts || got.beyond != beyond {
			t.Errorf("%+v, want %d events, %d and %d, %d beyond", got, rows, alices, berts, beyond)
		}
	}
	strangers(150)
	guesses("alice", 130)
	guesses("bert", 2)
	want(149, 81, 2, 50) // 100, and of the next quarter 49 beside the one that counts
	for range 3 {
		strangers(100)
		want(100, 0, 0, 0)
	}
	guesses("alice", 10)
	strangers(100)
	want(48, 0, 0, 62) // 500 in this hour, with those that count
	guesses("alice", 150)
	guesses("bert", 1)
	want(150, 0, 1, 0)
	guesses("alice", 150)
	guesses("bert", 1)
	want(98, 52, 1, 0) // 750
	guesses("alice", 10)
	guesses("bert", 1)
	strangers(1)
	want(0, 10, 1, 1)
	h.Clock.Advance(time.Hour)
	guesses("alice", 10)
	strangers(10)
	want(20, 0, 0, 0)
}

// brittle is a store whose transactions fail after some events.
type brittle struct {
	broker.Store
	gone bool
}

func (s *brittle) Tx(ctx context.Context, f func(broker.Store) error) error {
	return s.Store.Tx(ctx, func(tx broker.Store) error {
		err := f(tx)
		if s.gone && err == nil {
			err = broker.Unavailable(errors.New("gone"))
		}
		return err
	})
}

// Trouble of the database changes no answer. What could not be written is written
// later, once, also by the broker of another configuration.
func TestRefusedLoginsOutliveAnOutage(t *testing.T) {
	s := &brittle{}
	rig := harness.New(t, "", func(c *broker.Config) { s.Store, c.Store = c.Store, s })
	rig.User(t, "alice", broker.RoleUser)
	s.gone = true
	for minute := range 3 {
		denied(t, rig, "alice", "wrong", "192.0.2.1", broker.InvalidCredentials)
		denied(t, rig, "alice", "wrong", fmt.Sprint("192.0.2.", 10+minute), broker.InvalidCredentials)
		denied(t, rig, "alice", harness.PasswordOf("alice"), "192.0.2.1", broker.TemporarilyUnavailable) // which is no refusal
		if err := rig.Broker.WriteFigures(ctx); !errors.Is(err, broker.TemporarilyUnavailable) {
			t.Fatal(err)
		}
		rig.Clock.Advance(time.Minute)
	}
	s.gone = false
	next, err := broker.New(broker.Config{
		Store: s, Secrets: harness.Secrets(t, harness.Secret), Hasher: harness.Hasher(t), PublicURL: rig.Broker.PublicURL(), Now: rig.Clock.Now, Before: rig.Broker,
	})
	if err != nil {
		t.Fatal(err)
	}
	rig.Broker = next
	for range 2 {
		rig.WantRefused(t,
			"invalid_credentials 3 password - latchkey-app alice 192.0.2.1", "invalid_credentials 1 password - latchkey-app alice 192.0.2.10",
			"invalid_credentials 1 password - latchkey-app alice 192.0.2.11", "invalid_credentials 1 password - latchkey-app alice 192.0.2.12",
		)
	}
}

// stuck is a store whose next transaction, once it is armed, waits and is lost then.
type stuck struct {
	broker.Store
	armed      atomic.Bool
	begun, let chan struct{}
}

func (s *stuck) Tx(ctx context.Context, f func(broker.Store) error) error {
	if !s.armed.CompareAndSwap(true, false) {
		return s.Store.Tx(ctx, f)
	}
	close(s.begun)
	<-s.let
	return broker.Unavailable(ctx.Err())
}

// A process that ends while the background writes: what that could not write is
// written at the end.
func TestRefusedLoginsAreWrittenAtTheEnd(t *testing.T) {
	s := &stuck{begun: make(chan struct{}), let: make(chan struct{})}
	rig := harness.New(t, "", func(c *broker.Config) { s.Store, c.Store = c.Store, s })
	rig.User(t, "alice", broker.RoleUser)
	denied(t, rig, "alice", "wrong", "192.0.2.1", broker.InvalidCredentials)
	s.armed.Store(true)
	work, end := context.WithCancel(ctx)
	var minute sync.WaitGroup
	minute.Go(func() { _ = rig.Broker.WriteFigures(work) })
	<-s.begun
	end()
	last := make(chan error, 1)
	go func() { last <- rig.Broker.WriteFigures(ctx) }()
	time.Sleep(100 * time.Millisecond)
	if len(last) > 0 {
		t.Error("the end waited for nobody")
	}
	close(s.let)
	minute.Wait()
	if err := <-last; err != nil {
		t.Error(err)
	}
	if list, err := rig.Broker.Events(ctx, broker.EventFilter{Name: broker.EventLoginRefused, Limit: 9}); err != nil || len(list) != 1 {
		t.Errorf("%v, %+v", err, list)
	}
}
