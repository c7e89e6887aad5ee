package broker_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

// factorRig has alice with an authenticator app.
func factorRig(t *testing.T, failures int) (*harness.Rig, *harness.Authenticator, broker.Principal) {
	t.Helper()
	rig := harness.New(t, "", func(c *broker.Config) {
		if failures == 0 {
			return
		}
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits.Failures = limiter, broker.Quota{Max: failures, Window: 10 * time.Minute}
	})
	rig.User(t, "alice", broker.RoleUser)
	app, p := rig.Enrol(t, "alice")
	return rig, app, p
}

// with logs alice in with her password and a code.
func with(rig *harness.Rig, code string) (*broker.Login, error) {
	in := broker.PasswordLogin{Username: "alice", Password: harness.PasswordOf("alice"), Code: &code}
	return rig.Broker.LoginWith(context.Background(), in, here)
}

// pending logs alice in on a page, as far as the password goes.
func pending(t *testing.T, rig *harness.Rig) (secret string) {
	t.Helper()
	in := broker.PasswordLogin{Username: "alice", Password: harness.PasswordOf("alice"), Wait: true}
	_, err := rig.Broker.LoginWith(context.Background(), in, here)
	return ticketIn(t, err, broker.SecondFactorRequired)
}

func ticketIn(t *testing.T, err error, want broker.Code) string {
	t.Helper()
	e, ok := err.(*broker.Error)
	if !ok || e.Code != want || e.Ticket == "" {
		t.Fatalf("%v, want %s with a ticket", err, want)
	}
	return e.Ticket
}

func TestSecondFactorStandsBesideThePassword(t *testing.T) {
	rig, app, p := factorRig(t, 0)
	ctx := context.Background()
	if !p.User.SecondFactor || len(app.Recovery) != 10 {
		t.Fatalf("%+v, %d codes", p.User, len(app.Recovery))
	}
	_, err := rig.Broker.LoginPassword(ctx, "alice", harness.PasswordOf("alice"), here)
	wantCode(t, "the password alone", err, broker.SecondFactorRequired)
	_, err = rig.Broker.LoginPassword(ctx, "alice", "wrong", here)
	wantCode(t, "a wrong password", err, broker.InvalidCredentials)
	code := app.Next(t)
	wrong := broker.PasswordLogin{Username: "alice", Password: "wrong", Code: &code}
	_, err = rig.Broker.LoginWith(ctx, wrong, here)
	wantCode(t, "a wrong password with a right code", err, broker.InvalidCredentials)
	l, err := with(rig, code)
	if err != nil || !slices.Equal(l.Session.AMR, []string{"pwd", "otp", "mfa"}) || broker.ACR(l.Session.AMR) != "2" {
		t.Fatalf("%v %+v", err, l)
	}
	if _, err := rig.Broker.Refresh(ctx, l.RefreshToken.Reveal(), broker.AppClientID, here); err != nil {
		t.Errorf("a refresh asks for more: %v", err)
	}
	// The session of before goes on, and so do its refreshes.
	if _, err := rig.Broker.Authenticate(ctx, p.Session.ID); err != nil {
		t.Errorf("the session of before ended: %v", err)
	}
	if strings.Contains(rig.Log.String(), code) || p.User.Notice.Code != broker.EventFactorAdded {
		t.Errorf("log %s, notice %+v", rig.Log, p.User.Notice)
	}
	// A step to either side is taken, and no further one; spaces are forgiven.
	rig.Clock.Advance(5 * time.Minute)
	for steps, want := range map[int64]broker.Code{-2: broker.SecondFactorInvalid, 2: broker.SecondFactorInvalid} {
		_, err := with(rig, app.At(t, steps))
		wantCode(t, "a code too far away", err, want)
	}
	for _, steps := range []int64{-1, 0, 1} {
		code := app.At(t, steps)
		if _, err := with(rig, code[:3]+" "+code[3:]); err != nil {
			t.Errorf("step %d: %v", steps, err)
		}
	}
}

// TOTP replay: a code works once, also beside itself, and none of an earlier step
// works after it.
func TestTOTPReplay(t *testing.T) {
	rig, app, _ := factorRig(t, 0)
	rig.Clock.Advance(time.Minute)
	code, earlier := app.At(t, 0), app.At(t, -1)
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch _, err := with(rig, code); broker.CodeOf(err) {
			case broker.SecondFactorInvalid:
			default:
				if err != nil {
					t.Error(err)
				}
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("a code let %d in", won.Load())
	}
	for what, code := range map[string]string{"again": code, "the one before": earlier} {
		_, err := with(rig, code)
		wantCode(t, what, err, broker.SecondFactorInvalid)
	}
	if _, err := with(rig, app.Next(t)); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// The code that finished the enrolment was seen then: it logs nobody in.
func TestCodeOfTheEnrolmentIsUsed(t *testing.T) {
	rig, app, _ := factorRig(t, 0)
	_, err := with(rig, app.At(t, 0))
	wantCode(t, "the code of the enrolment", err, broker.SecondFactorInvalid)
}

// Brute force of codes: wrong codes count as failed logins do, for the account
// and the address, and the log says so. Asking for the code is no failure.
func TestBruteForceOfCodes(t *testing.T) {
	rig, app, _ := factorRig(t, 5)
	ctx := context.Background()
	for range 20 {
		_, err := rig.Broker.LoginPassword(ctx, "alice", harness.PasswordOf("alice"), here)
		wantCode(t, "no code", err, broker.SecondFactorRequired)
	}
	if strings.Contains(rig.Log.String(), "Failed login attempt") {
		t.Fatalf("asking for the code is a failed login: %s", rig.Log)
	}
	stranger := broker.Device{IP: "198.51.100.7"}
	secret := pending(t, rig)
	tries := 0
	for ; tries < 20; tries++ {
		_, err := rig.Broker.CompleteLogin(ctx, secret, "000000", stranger)
		if broker.CodeOf(err) == broker.RateLimited {
			break
		}
		wantCode(t, "a guess", err, broker.SecondFactorInvalid)
	}
	if tries == 0 || tries > 5 {
		t.Errorf("%d guesses", tries)
	}
	if n := strings.Count(rig.Log.String(), "Failed login attempt from 198.51.100.7"); n != tries {
		t.Errorf("%d of %d failures in the log", n, tries)
	}
	_, err := rig.Broker.CompleteLogin(ctx, secret, app.Next(t), stranger)
	wantCode(t, "the right code beyond the limit", err, broker.RateLimited)
	// The account is limited wherever the guesses come from, but for its own addresses.
	_, err = rig.Broker.CompleteLogin(ctx, secret, app.At(t, 0), broker.Device{IP: "203.0.113.9"})
	wantCode(t, "from elsewhere", err, broker.RateLimited)
	if _, err := rig.Broker.CompleteLogin(ctx, secret, app.At(t, 0), here); err != nil {
		t.Errorf("from where alice is logged in: %v", err)
	}
}

// A recovery code twice, by two at once: one gets in.
func TestRecoveryCodeTwiceByTwoAtOnce(t *testing.T) {
	rig, app, p := factorRig(t, 0)
	ctx := context.Background()
	one, two := pending(t, rig), pending(t, rig)
	code := strings.ToUpper(app.Recovery[3])
	errs := make(chan error, 2)
	for _, secret := range []string{one, two} {
		go func() {
			_, err := rig.Broker.CompleteLogin(ctx, secret, code, here)
			errs <- err
		}()
	}
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) {
		t.Fatalf("%v and %v", a, b)
	}
	for _, err := range []error{a, b} {
		if err != nil {
			wantCode(t, "the other one", err, broker.SecondFactorInvalid)
		}
	}
	f, err := rig.Broker.Factors(ctx, p.User.ID)
	if err != nil || f.RecoveryCodes != 9 {
		t.Errorf("%d codes are left, %v", f.RecoveryCodes, err)
	}
	if names := eventNames(t, rig, p.User.ID); !slices.Contains(names, broker.EventRecoveryUsed) {
		t.Errorf("events %v", names)
	}
	events, err := rig.Broker.Events(ctx, broker.EventFilter{Name: broker.EventRecoveryUsed, Limit: 5})
	if err != nil || len(events) != 1 || events[0].IP != here.IP {
		t.Errorf("the event says not from where: %+v, %v", events, err)
	}
	u, err := rig.Broker.UserByID(ctx, p.User.ID)
	if err != nil || u.Notice.Code != broker.EventRecoveryUsed {
		t.Errorf("notice %+v, %v", u.Notice, err)
	}
}

// A recovery code of one person is worth nothing to another.
func TestRecoveryCodeOfAnotherUser(t *testing.T) {
	rig, _, _ := factorRig(t, 0)
	rig.User(t, "mallory", broker.RoleUser)
	theirs, _ := rig.Enrol(t, "mallory")
	_, err := with(rig, theirs.Recovery[0])
	wantCode(t, "mallory's recovery code", err, broker.SecondFactorInvalid)
	_, err = with(rig, theirs.Next(t))
	wantCode(t, "mallory's app", err, broker.SecondFactorInvalid)
}

// The waiting login is good once, for five minutes, and for the password that it
// began with.
func TestPendingLoginEnds(t *testing.T) {
	rig, app, p := factorRig(t, 0)
	ctx := context.Background()
	secret := pending(t, rig)
	for _, other := range []string{"", secret + "x", secret[1:], pending(t, rig) + "."} {
		_, err := rig.Broker.CompleteLogin(ctx, other, app.Next(t), here)
		wantCode(t, "another secret", err, broker.InvalidState)
	}
	if _, err := rig.Broker.CompleteLogin(ctx, secret, app.Next(t), here); err != nil {
		t.Fatal(err)
	}
	_, err := rig.Broker.CompleteLogin(ctx, secret, app.Next(t), here)
	wantCode(t, "a second time", err, broker.InvalidState)

	late := pending(t, rig)
	rig.Clock.Advance(5 * time.Minute)
	_, err = rig.Broker.CompleteLogin(ctx, late, app.At(t, 0), here)
	wantCode(t, "after five minutes", err, broker.InvalidState)

	old := pending(t, rig)
	if err := rig.Broker.ResetPassword(ctx, p.User.ID, "another password by far", false); err != nil {
		t.Fatal(err)
	}
	_, err = rig.Broker.CompleteLogin(ctx, old, app.Next(t), here)
	wantCode(t, "after another password", err, broker.InvalidState)
}

// Skipping the second step: neither a temporary password, nor its ticket, nor a
// password that is changed with a session of before, leads past it.
func TestSkippingTheSecondStep(t *testing.T) {
	rig, app, p := factorRig(t, 0)
	ctx := context.Background()
	current, fresh := harness.PasswordOf("alice"), "three quiet words more"
	stale := p
	rig.Clock.Advance(6 * time.Minute)
	_, err := rig.Broker.ChangePassword(ctx, stale, broker.PasswordChange{Current: &current, Fresh: fresh}, here)
	wantCode(t, "a change without a code", err, broker.WrongCode)
	guess := "000000"
	_, err = rig.Broker.ChangePassword(ctx, stale, broker.PasswordChange{Current: &current, Code: &guess, Fresh: fresh}, here)
	wantCode(t, "a change with a wrong code", err, broker.WrongCode)
	code := app.Next(t)
	l, err := rig.Broker.ChangePassword(ctx, stale, broker.PasswordChange{Current: &current, Code: &code, Fresh: fresh}, here)
	if err != nil || !slices.Contains(l.Session.AMR, "mfa") {
		t.Fatalf("with a code: %v %+v", err, l)
	}
	// A login with the factor a moment ago stands for it.
	recent, err := rig.Broker.Authenticate(ctx, l.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	l, err = rig.Broker.ChangePassword(ctx, recent, broker.PasswordChange{Current: &fresh, Fresh: current}, here)
	if err != nil || !slices.Contains(l.Session.AMR, "mfa") {
		t.Fatalf("after a recent login: %v %+v", err, l)
	}

	if err := rig.Broker.ResetPassword(ctx, p.User.ID, "temporary-password-1", true); err != nil {
		t.Fatal(err)
	}
	_, err = rig.Broker.LoginChoosingPassword(ctx, "alice", "temporary-password-1", fresh, here)
	wantCode(t, "choosing a password without a code", err, broker.SecondFactorRequired)
	in := broker.PasswordLogin{Username: "alice", Password: "temporary-password-1", Wait: true}
	_, err = rig.Broker.LoginWith(ctx, in, here)
	secret := ticketIn(t, err, broker.SecondFactorRequired)
	if _, err := rig.Broker.RedeemTicket(ctx, secret, fresh, here); err == nil {
		t.Error("the secret of the waiting login is a ticket")
	}
	_, err = rig.Broker.CompleteLogin(ctx, secret, app.Next(t), here)
	ticket := ticketIn(t, err, broker.PasswordChangeRequired)
	if _, err := rig.Broker.RedeemTicket(ctx, strings.Replace(ticket, "pwd+otp+mfa", "pwd", 1), fresh, here); err == nil {
		t.Error("a ticket was changed")
	}
	l, err = rig.Broker.RedeemTicket(ctx, ticket, fresh, here)
	if err != nil || !slices.Equal(l.Session.AMR, []string{"pwd", "otp", "mfa"}) {
		t.Fatalf("the ticket: %v %+v", err, l)
	}
}

// A login by password alone that is under way when the factor is set up makes no
// session, and its ticket for another password neither.
func TestFactorSetUpDuringALogin(t *testing.T) {
	rig := harness.New(t, "", nil)
	ctx, u := context.Background(), rig.User(t, "alice", broker.RoleUser)
	if err := rig.Broker.ResetPassword(ctx, u.ID, "temporary-password-1", true); err != nil {
		t.Fatal(err)
	}
	_, err := rig.Broker.LoginPassword(ctx, "alice", "temporary-password-1", here)
	ticket := ticketIn(t, err, broker.PasswordChangeRequired)
	if err := rig.Store.BeginTOTP(ctx, broker.TOTP{UserID: u.ID, Sealed: "x", SessionID: "s", CreatedAt: rig.Clock.Now()}); err != nil {
		t.Fatal(err)
	}
	done, err := rig.Store.ConfirmTOTP(ctx, broker.TOTP{UserID: u.ID, Sealed: "x", SessionID: "s", ConfirmedAt: rig.Clock.Now()}, rig.Clock.Now().Add(-time.Minute))
	if err != nil || !done {
		t.Fatal(done, err)
	}
	if is, err := rig.Store.SetSecondFactor(ctx, u.ID); err != nil || !is {
		t.Fatal(is, err)
	}
	_, err = rig.Broker.RedeemTicket(ctx, ticket, "three quiet words more", here)
	wantCode(t, "the ticket of before", err, broker.SecondFactorRequired)
	_, n, err := rig.Broker.Sessions(ctx, u.ID, 0, 10)
	if err != nil || n != 0 {
		t.Errorf("%d sessions, %v", n, err)
	}
}

// Beside a second factor a stolen password takes none away and adds none, in a
// session that did not prove the factor a moment ago; with one that did, nothing
// more is asked.
func TestStolenPasswordChangesNoFactor(t *testing.T) {
	rig, app, p := factorRig(t, 0)
	ctx, password := context.Background(), harness.PasswordOf("alice")
	wantCode(t, "a removal by password", rig.Broker.RemoveTOTP(ctx, p, password, here), broker.WrongPassword)
	_, err := rig.Broker.MakeRecoveryCodes(ctx, p, password, rig.Broker.FormTicket(p.User.ID), here)
	wantCode(t, "recovery codes by password", err, broker.WrongPassword)
	l, err := with(rig, app.Next(t))
	if err != nil {
		t.Fatal(err)
	}
	proven, err := rig.Broker.Authenticate(ctx, l.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	rig.Clock.Advance(6 * time.Minute)
	wantCode(t, "later", rig.Broker.RemoveTOTP(ctx, proven, password, here), broker.WrongPassword)
	if l, err = with(rig, app.Next(t)); err != nil {
		t.Fatal(err)
	}
	if proven, err = rig.Broker.Authenticate(ctx, l.Session.ID); err != nil {
		t.Fatal(err)
	}
	if err := rig.Broker.RemoveTOTP(ctx, proven, "", here); err != nil {
		t.Errorf("after a login with the factor: %v", err)
	}
}

// A password that looks like a recovery code is a password where there is no factor
// yet.
func TestPasswordThatLooksLikeARecoveryCode(t *testing.T) {
	rig := harness.New(t, "", nil)
	u, ctx, password := rig.User(t, "alice", broker.RoleUser), context.Background(), "bananegittersump"
	if err := rig.Broker.ResetPassword(ctx, u.ID, password, false); err != nil {
		t.Fatal(err)
	}
	l, err := rig.Broker.LoginPassword(ctx, "alice", password, here)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rig.Broker.Authenticate(ctx, l.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Broker.BeginTOTP(ctx, p, password, here); err != nil {
		t.Error(err)
	}
	if strings.Contains(rig.Log.String(), "Failed login attempt") {
		t.Errorf("it is counted: %s", rig.Log)
	}
}

func TestRemovingFactors(t *testing.T) {
	rig, app, p := factorRig(t, 0)
	ctx := context.Background()
	for what, proof := range map[string]string{"nothing": "", "a wrong password": "wrong", "a wrong code": "000000", "a used code": app.At(t, 0)} {
		wantCode(t, what, rig.Broker.RemoveTOTP(ctx, p, proof, here), broker.WrongPassword)
	}
	if _, err := rig.Broker.MakeRecoveryCodes(ctx, p, "wrong", rig.Broker.FormTicket(p.User.ID), here); err == nil {
		t.Error("recovery codes for a wrong password")
	}
	ticket := rig.Broker.FormTicket(p.User.ID)
	fresh, err := rig.Broker.MakeRecoveryCodes(ctx, p, app.Recovery[1], ticket, here)
	if err != nil || len(fresh) != 10 {
		t.Fatal(fresh, err)
	}
	_, err = rig.Broker.MakeRecoveryCodes(ctx, p, fresh[1], ticket, here)
	wantCode(t, "the form once more", err, broker.FormUsed)
	_, err = with(rig, app.Recovery[0])
	wantCode(t, "a code of before", err, broker.SecondFactorInvalid)
	if _, err := with(rig, fresh[0]); err != nil {
		t.Errorf("a new code: %v", err)
	}
	if err := rig.Broker.RemoveTOTP(ctx, p, app.Next(t), here); err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Broker.Authenticate(ctx, p.Session.ID); err != nil {
		t.Errorf("the removal ended a session: %v", err)
	}
	if l, err := rig.Broker.LoginPassword(ctx, "alice", harness.PasswordOf("alice"), here); err != nil || l.User.Notice.Code != broker.EventFactorRemoved {
		t.Errorf("afterwards: %v", err)
	}
	if f, err := rig.Broker.Factors(ctx, p.User.ID); err != nil || f.Any() || f.RecoveryCodes != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	names := eventNames(t, rig, p.User.ID)
	for _, want := range []string{broker.EventFactorAdded, broker.EventRecoveryMade, broker.EventRecoveryUsed, broker.EventFactorRemoved} {
		if !slices.Contains(names, want) {
			t.Errorf("no event %s in %v", want, names)
		}
	}
}

// Only whom it is about, root, and administrators over users take factors away; no
// administrator takes the own ones without proof.
func TestWhoResetsFactors(t *testing.T) {
	rig := harness.New(t, "", nil)
	users := map[string]broker.User{}
	for name, role := range map[string]broker.Role{"root": broker.RoleRoot, "admin": broker.RoleAdmin, "other": broker.RoleAdmin, "alice": broker.RoleUser} {
		users[name] = rig.User(t, name, role)
	}
	for _, c := range []struct {
		by, whose string
		want      broker.Code
	}{
		{"admin", "alice", ""}, {"root", "admin", ""}, {"", "root", ""}, {"admin", "other", broker.Forbidden}, {"admin", "root", broker.Forbidden},
		{"admin", "admin", broker.Forbidden}, {"root", "root", broker.Forbidden},
	} {
		ctx := context.Background()
		if u, _ := rig.Broker.UserByID(ctx, users[c.whose].ID); !u.SecondFactor {
			rig.Enrol(t, c.whose)
		}
		actor := broker.Actor{ID: broker.ActorCommand}
		if c.by != "" {
			actor = broker.Actor{ID: users[c.by].ID, Role: users[c.by].Role, IP: "192.0.2.9"}
		}
		had, err := rig.Broker.ResetFactors(broker.WithActor(ctx, actor), users[c.whose].ID)
		if broker.Code("") == c.want && (err != nil || !had) || c.want != "" && broker.CodeOf(err) != c.want {
			t.Errorf("%q resets %s: %v %v, want %q", c.by, c.whose, had, err, c.want)
		}
		u, err := rig.Broker.UserByID(ctx, users[c.whose].ID)
		if err != nil || u.SecondFactor != (c.want != "") || c.want == "" && u.Notice.Code != broker.EventFactorsReset {
			t.Errorf("%s afterwards: %+v %v", c.whose, u, err)
		}
	}
	events, err := rig.Broker.Events(context.Background(), broker.EventFilter{Name: broker.EventFactorsReset, UserID: users["alice"].ID, Limit: 10})
	if err != nil || len(events) != 1 || events[0].Actor != users["admin"].ID {
		t.Errorf("%+v, %v", events, err)
	}
}

// An enrolment belongs to the session that began it, and ends after a while; a
// second app takes no first one's place.
func TestEnrolmentOfAnotherSession(t *testing.T) {
	rig := harness.New(t, "", nil)
	rig.User(t, "alice", broker.RoleUser)
	rig.User(t, "kiosk", broker.RoleGuest)
	ctx, p, other := context.Background(), rig.Principal(t, "alice"), rig.Principal(t, "alice")
	e, err := rig.Broker.BeginTOTP(ctx, p, harness.PasswordOf("alice"), here)
	if err != nil {
		t.Fatal(err)
	}
	app := rig.NewAuthenticator(t, e.Secret)
	_, err = rig.Broker.ConfirmTOTP(ctx, other, app.At(t, 0), here)
	wantCode(t, "another session", err, broker.InvalidState)
	_, err = rig.Broker.ConfirmTOTP(ctx, p, "000000", here)
	wantCode(t, "a wrong code", err, broker.WrongCode)
	rig.Clock.Advance(15 * time.Minute)
	_, err = rig.Broker.ConfirmTOTP(ctx, p, app.At(t, 0), here)
	wantCode(t, "too late", err, broker.InvalidState)
	rig.Enrol(t, "alice")
	_, err = rig.Broker.BeginTOTP(ctx, p, harness.PasswordOf("alice"), here)
	wantCode(t, "a second app", err, broker.FactorExists)
	_, err = rig.Broker.BeginTOTP(ctx, rig.Principal(t, "kiosk"), harness.PasswordOf("kiosk"), here)
	wantCode(t, "a guest", err, broker.Forbidden)
}

// The secret of the app is sealed in the database, survives a change of the root
// secret, and is then sealed anew. Recovery codes are there as hashes.
func TestFactorsAtRest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "latchkey.db")
	url := "sqlite:" + file
	const newer = "another root secret of a test, long enough"
	rig := harness.New(t, url, nil)
	rig.User(t, "alice", broker.RoleUser)
	app, p := rig.Enrol(t, "alice")
	before, err := rig.Store.TOTPOf(context.Background(), p.User.ID)
	if err != nil || strings.Contains(before.Sealed, string(app.Secret)) {
		t.Fatal(before, err)
	}
	rig.Store.Close()
	changed := harness.New(t, url, func(c *broker.Config) { c.Secrets = harness.Secrets(t, newer, harness.Secret) })
	after, err := changed.Store.TOTPOf(context.Background(), p.User.ID)
	if err != nil || after.Sealed == before.Sealed {
		t.Errorf("it is sealed as before: %v", err)
	}
	changed.Store.Close()
	last := harness.New(t, url, func(c *broker.Config) { c.Secrets = harness.Secrets(t, newer) })
	last.Clock.Advance(time.Minute)
	if _, err := with(last, last.NewAuthenticator(t, app.Typed).At(t, 0)); err != nil {
		t.Errorf("with the newer secret alone: %v", err)
	}
	last.Store.Close()
	dump, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(app.Recovery, app.Typed, string(app.Secret)) {
		if bytes.Contains(dump, []byte(secret)) || bytes.Contains(dump, []byte(strings.ReplaceAll(secret, "-", ""))) {
			t.Errorf("%q is in the database", secret)
		}
	}
}
