package harness

import (
	"context"
	"encoding/base32"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/totp"
)

// Authenticator is an authenticator app on the clock of a rig.
type Authenticator struct {
	Typed    string // the secret as people type it
	Secret   []byte
	Recovery []string // codes
	clock    *Clock
}

// NewAuthenticator reads the secret of an enrolment, as a person types it.
func (r *Rig) NewAuthenticator(tb testing.TB, typed string) *Authenticator {
	tb.Helper()
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(typed)
	if err != nil {
		tb.Fatal(err)
	}
	return &Authenticator{Typed: typed, Secret: secret, clock: r.Clock}
}

// At is the code that it shows so many time steps from now.
func (a *Authenticator) At(tb testing.TB, steps int64) string {
	tb.Helper()
	code, err := totp.Codes{}.Code(a.Secret, a.clock.Now().Unix()/30+steps)
	if err != nil {
		tb.Fatal(err)
	}
	return code
}

// Next waits for the next code and shows it.
func (a *Authenticator) Next(tb testing.TB) string {
	tb.Helper()
	a.clock.Advance(30 * time.Second)
	return a.At(tb, 0)
}

// Principal logs a user of [Rig.User] in by the password.
func (r *Rig) Principal(tb testing.TB, name string) broker.Principal {
	tb.Helper()
	p, err := r.Broker.Authenticate(context.Background(), r.Login(tb, name).Session.ID)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// Enrol sets up an authenticator app for a user of [Rig.User], and returns it with
// who is logged in.
func (r *Rig) Enrol(tb testing.TB, name string) (*Authenticator, broker.Principal) {
	tb.Helper()
	ctx, p, from := context.Background(), r.Principal(tb, name), broker.Device{IP: "192.0.2.1"}
	e, err := r.Broker.BeginTOTP(ctx, p, PasswordOf(name), from)
	if err != nil {
		tb.Fatal(err)
	}
	a := r.NewAuthenticator(tb, e.Secret)
	if a.Recovery, err = r.Broker.ConfirmTOTP(ctx, p, a.At(tb, 0), from); err != nil {
		tb.Fatal(err)
	}
	if p, err = r.Broker.Authenticate(ctx, p.Session.ID); err != nil {
		tb.Fatal(err)
	}
	return a, p
}
