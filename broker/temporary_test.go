package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

const given = "given by root"

func temporaryUser(t *testing.T, rig *harness.Rig) broker.User {
	t.Helper()
	u, err := rig.Broker.CreateUser(context.Background(), broker.NewUser{Username: "alice", Password: given, Temporary: true})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func ticketOf(t *testing.T, rig *harness.Rig) string {
	t.Helper()
	_, err := rig.Broker.LoginPassword(context.Background(), "alice", given, here)
	e, ok := errors.AsType[*broker.Error](err)
	if !ok || e.Code != broker.PasswordChangeRequired || e.Ticket == "" {
		t.Fatal(err)
	}
	if strings.Contains(e.Error(), e.Ticket) {
		t.Error("the ticket is in the text of the error")
	}
	return e.Ticket
}

func liveSessions(t *testing.T, rig *harness.Rig, userID string) int {
	t.Helper()
	_, n, err := rig.Broker.SessionsBy(context.Background(), broker.SessionFilter{UserID: userID, LiveAt: rig.Broker.Now()}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTemporaryPasswordIsGoodForChoosingAnotherAndNothingElse(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	u := temporaryUser(t, rig)
	ticketOf(t, rig)
	if n := liveSessions(t, rig, u.ID); n != 0 {
		t.Fatalf("%d sessions", n)
	}
	for password, want := range map[string]broker.Code{"short": broker.WeakPassword, given: broker.WeakPassword, "alice": broker.WeakPassword} {
		_, err := rig.Broker.LoginChoosingPassword(ctx, "alice", given, password, here)
		wantCode(t, password, err, want)
	}
	_, err := rig.Broker.LoginChoosingPassword(ctx, "alice", "a wrong password", "chosen by alice", here)
	wantCode(t, "a wrong password", err, broker.InvalidCredentials)
	login, err := rig.Broker.LoginChoosingPassword(ctx, "alice", given, "chosen by alice", here)
	if err != nil || len(login.Session.AMR) != 1 || login.Session.AMR[0] != "pwd" {
		t.Fatal(login, err)
	}
	if _, err := rig.Broker.LoginPassword(ctx, "alice", "chosen by alice", here); err != nil {
		t.Fatal(err)
	}
	_, err = rig.Broker.LoginPassword(ctx, "alice", given, here)
	wantCode(t, "the temporary password afterwards", err, broker.InvalidCredentials)
	_, err = rig.Broker.LoginChoosingPassword(ctx, "alice", "chosen by alice", "another by alice", here)
	wantCode(t, "one's own password", err, broker.InvalidRequest)
}

func TestTicketForATemporaryPasswordIsGoodOnceAndForTenMinutes(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	u := temporaryUser(t, rig)
	ticket := ticketOf(t, rig)
	bob, err := rig.Broker.CreateUser(ctx, broker.NewUser{Username: "bob", Password: given + " too", Temporary: true})
	if err != nil {
		t.Fatal(err)
	}
	for what, forged := range map[string]string{
		"empty": "", "cut short": ticket[:len(ticket)-1], "for somebody else": strings.Replace(ticket, u.ID, bob.ID, 1),
		"for longer": strings.Replace(ticket, ".1", ".2", 1), "dots": "...", "NUL": "\x00.99999999999.x",
	} {
		_, err := rig.Broker.RedeemTicket(ctx, forged, "chosen by a thief", here)
		wantCode(t, what, err, broker.InvalidState)
	}
	rig.Clock.Advance(10 * time.Minute)
	_, err = rig.Broker.RedeemTicket(ctx, ticket, "chosen by alice", here)
	wantCode(t, "ten minutes later", err, broker.InvalidState)
	ticket = ticketOf(t, rig)
	if _, err := rig.Broker.RedeemTicket(ctx, ticket, "chosen by alice", here); err != nil {
		t.Fatal(err)
	}
	_, err = rig.Broker.RedeemTicket(ctx, ticket, "chosen by a thief", here)
	wantCode(t, "again", err, broker.InvalidState)
}

func TestTicketDiesWithTheAccountItIsFor(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	u := temporaryUser(t, rig)
	ticket := ticketOf(t, rig)
	if err := rig.Broker.SetDisabled(ctx, u.ID, true); err != nil {
		t.Fatal(err)
	}
	_, err := rig.Broker.RedeemTicket(ctx, ticket, "chosen by alice", here)
	wantCode(t, "a disabled user", err, broker.InvalidState)
}

// What an administrator gives again is temporary again; what the user sets is not.
func TestResetWithATemporaryPasswordEndsSessionsAndAsksAgain(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	u := rig.User(t, "alice", broker.RoleUser)
	rig.Login(t, "alice")
	if err := rig.Broker.ResetPassword(ctx, u.ID, given, true); err != nil {
		t.Fatal(err)
	}
	if n := liveSessions(t, rig, u.ID); n != 0 {
		t.Fatalf("%d sessions", n)
	}
	if _, err := rig.Broker.RedeemTicket(ctx, ticketOf(t, rig), "chosen by alice", here); err != nil {
		t.Fatal(err)
	}
	if u, err := rig.Store.UserByID(ctx, u.ID); err != nil || u.PasswordTemporary {
		t.Fatal(u.PasswordTemporary, err)
	}
}

// A hash that is brought up to date is still of a password that somebody else knows.
func TestTemporaryPasswordFromElsewhereStaysTemporaryWhenItsHashIsReplaced(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	const bcrypt = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW" // U*U
	u := temporaryUser(t, rig)
	if _, err := rig.Store.SetPassword(ctx, u.ID, nil, bcrypt, true, rig.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	_, err := rig.Broker.LoginPassword(ctx, "alice", "U*V", here)
	wantCode(t, "a wrong password", err, broker.InvalidCredentials)
	if u, _ := rig.Store.UserByID(ctx, u.ID); u.PasswordHash != bcrypt {
		t.Error("a wrong password replaced the hash")
	}
	_, err = rig.Broker.LoginPassword(ctx, "alice", "U*U", here)
	wantCode(t, "the right one", err, broker.PasswordChangeRequired)
	if u, _ := rig.Store.UserByID(ctx, u.ID); u.PasswordHash == bcrypt || !u.PasswordTemporary {
		t.Errorf("hash replaced: %v, temporary: %v", u.PasswordHash != bcrypt, u.PasswordTemporary)
	}
}

// The refusal that a right temporary password gets must not be found by guessing.
func TestGuessingATemporaryPasswordMeetsTheSameLimits(t *testing.T) {
	rig, ctx := harness.New(t, "", func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits.Failures = limiter, broker.Quota{Max: 5, Window: 10 * time.Minute}
	}), context.Background()
	temporaryUser(t, rig)
	for range 5 {
		_, err := rig.Broker.LoginChoosingPassword(ctx, "alice", "a guess", "chosen by a thief", here)
		wantCode(t, "a guess", err, broker.InvalidCredentials)
	}
	_, err := rig.Broker.LoginChoosingPassword(ctx, "alice", given, "chosen by a thief", here)
	wantCode(t, "the right one, too late", err, broker.RateLimited)
	_, err = rig.Broker.LoginPassword(ctx, "alice", given, here)
	wantCode(t, "the right one, too late", err, broker.RateLimited)
}
