package storagetest

import (
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var factorTests = []test{
	{"an app is begun, confirmed and counts", totpLife}, {"a step is taken by one of many", totpParallel}, {"recovery codes", recoveryLife},
	{"a recovery code is taken by one of many", recoveryParallel}, {"a login that waits is taken by one of many", pendingLoginParallel},
	{"what is asked for beside the password", secondFactorFollows}, {"passkeys", passkeyLife}, {"a passkey counts upwards", passkeyCount},
	{"a challenge is taken by one of many, and by whom it is for", challengeTaken}, {"logins under way and challenges are swept", factorsSwept},
}

// taken turns a report of having done something into an error of who has not.
func taken(done bool, err error) error {
	if err == nil && !done {
		return &broker.Error{Code: broker.NotFound}
	}
	return err
}

func (s *suite) totp(userID string) broker.TOTP {
	s.Helper()
	t := broker.TOTP{UserID: userID, Sealed: "sealed", SessionID: "session", CreatedAt: t0}
	s.ok(s.Store.BeginTOTP(ctx, t))
	t.LastStep, t.ConfirmedAt = 100, t0.Add(time.Minute)
	s.ok(taken(s.Store.ConfirmTOTP(ctx, t, t0.Add(-time.Minute))))
	return t
}

func totpLife(s *suite) {
	u := s.user("anna")
	_, err := s.Store.TOTPOf(ctx, u.ID)
	s.code(err, broker.NotFound)
	first := broker.TOTP{UserID: u.ID, Sealed: "first", SessionID: "one", CreatedAt: t0}
	second := broker.TOTP{UserID: u.ID, Sealed: "second", SessionID: "two", CreatedAt: t0.Add(time.Minute)}
	s.ok(s.Store.BeginTOTP(ctx, first))
	s.ok(s.Store.BeginTOTP(ctx, second))
	same(s, must(s.Store.TOTPOf(ctx, u.ID))(s), second)
	same(s, must(s.Store.UseTOTP(ctx, u.ID, 1))(s), false) // it does not count yet
	confirmed := second
	confirmed.LastStep, confirmed.ConfirmedAt = 7, t0.Add(2*time.Minute)
	for _, wrong := range []broker.TOTP{
		{UserID: u.ID, Sealed: "first", SessionID: "two", ConfirmedAt: t0}, {UserID: u.ID, Sealed: "second", SessionID: "one", ConfirmedAt: t0},
		{UserID: "nobody", Sealed: "second", SessionID: "two", ConfirmedAt: t0},
	} {
		same(s, must(s.Store.ConfirmTOTP(ctx, wrong, t0.Add(-time.Hour)))(s), false)
	}
	same(s, must(s.Store.ConfirmTOTP(ctx, confirmed, second.CreatedAt))(s), false) // too old
	same(s, must(s.Store.ConfirmTOTP(ctx, confirmed, t0))(s), true)
	same(s, must(s.Store.ConfirmTOTP(ctx, confirmed, t0))(s), false)
	same(s, must(s.Store.TOTPOf(ctx, u.ID))(s), confirmed)
	s.code(s.Store.BeginTOTP(ctx, first), broker.FactorExists)
	for _, step := range []int64{7, 6} {
		same(s, must(s.Store.UseTOTP(ctx, u.ID, step))(s), false)
	}
	same(s, must(s.Store.UseTOTP(ctx, u.ID, 8))(s), true)
	s.ok(s.Store.ResealTOTP(ctx, u.ID, "first", "x"))
	s.ok(s.Store.ResealTOTP(ctx, u.ID, "second", "anew"))
	confirmed.Sealed, confirmed.LastStep = "anew", 8
	same(s, must(s.Store.ListTOTPs(ctx, "", 10))(s), []broker.TOTP{confirmed})
	same(s, must(s.Store.ListTOTPs(ctx, u.ID, 10))(s), []broker.TOTP{})
	same(s, must(s.Store.DeleteTOTP(ctx, u.ID))(s), true)
	same(s, must(s.Store.DeleteTOTP(ctx, u.ID))(s), false)
	s.ok(s.Store.BeginTOTP(ctx, first))
	same(s, must(s.Store.DeleteTOTP(ctx, u.ID))(s), false) // it never counted, and is gone
	_, err = s.Store.TOTPOf(ctx, u.ID)
	s.code(err, broker.NotFound)
	s.ok(s.Store.BeginTOTP(ctx, first))
	s.ok(s.Store.DeleteUser(ctx, u.ID))
	_, err = s.Store.TOTPOf(ctx, u.ID)
	s.code(err, broker.NotFound)
}

func totpParallel(s *suite) {
	u := s.user("anna")
	s.totp(u.ID)
	s.oneWinner(inParallel(takers, func(int) error { return taken(s.Store.UseTOTP(ctx, u.ID, 101)) }), broker.NotFound)
}

func recoveryLife(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	s.ok(s.Store.SetRecoveryCodes(ctx, anna.ID, []string{"a1", "a2", "a3"}))
	s.ok(s.Store.SetRecoveryCodes(ctx, bob.ID, []string{"b1"}))
	same(s, must(s.Store.CountRecoveryCodes(ctx, anna.ID))(s), 3)
	same(s, must(s.Store.CountFactors(ctx, anna.ID))(s).RecoveryCodes, 3)
	same(s, must(s.Store.UseRecoveryCode(ctx, bob.ID, "a1"))(s), false)
	same(s, must(s.Store.UseRecoveryCode(ctx, anna.ID, "a1"))(s), true)
	same(s, must(s.Store.UseRecoveryCode(ctx, anna.ID, "a1"))(s), false)
	s.ok(s.Store.SetRecoveryCodes(ctx, anna.ID, []string{"a4"}))
	same(s, must(s.Store.CountRecoveryCodes(ctx, anna.ID))(s), 1)
	s.ok(s.Store.SetRecoveryCodes(ctx, anna.ID, nil))
	same(s, must(s.Store.CountRecoveryCodes(ctx, anna.ID))(s), 0)
	same(s, must(s.Store.CountRecoveryCodes(ctx, bob.ID))(s), 1)
	s.ok(s.Store.DeleteUser(ctx, bob.ID))
	same(s, must(s.Store.CountRecoveryCodes(ctx, bob.ID))(s), 0)
}

func recoveryParallel(s *suite) {
	u := s.user("anna")
	s.ok(s.Store.SetRecoveryCodes(ctx, u.ID, []string{"one", "two"}))
	s.oneWinner(inParallel(takers, func(int) error { return taken(s.Store.UseRecoveryCode(ctx, u.ID, "one")) }), broker.NotFound)
	same(s, must(s.Store.CountRecoveryCodes(ctx, u.ID))(s), 1)
}

func (s *suite) pendingLogin(id, userID string) broker.PendingLogin {
	s.Helper()
	p := broker.PendingLogin{ID: id, UserID: userID, Password: "hash", ExpiresAt: t0.Add(5 * time.Minute)}
	s.ok(s.Store.InsertPendingLogin(ctx, p))
	return p
}

func pendingLoginParallel(s *suite) {
	u := s.user("anna")
	p := s.pendingLogin("login", u.ID)
	same(s, must(s.Store.PendingLoginByID(ctx, "login", t0))(s), p)
	_, err := s.Store.PendingLoginByID(ctx, "login", p.ExpiresAt)
	s.code(err, broker.NotFound)
	s.code(s.Store.TakePendingLogin(ctx, "login", p.ExpiresAt), broker.NotFound)
	s.oneWinner(inParallel(takers, func(int) error { return s.Store.TakePendingLogin(ctx, "login", t0) }), broker.NotFound)
	_, err = s.Store.PendingLoginByID(ctx, "login", t0)
	s.code(err, broker.NotFound)
	s.pendingLogin("other", u.ID)
	s.ok(s.Store.DeleteUser(ctx, u.ID))
	_, err = s.Store.PendingLoginByID(ctx, "other", t0)
	s.code(err, broker.NotFound)
}

func secondFactorFollows(s *suite) {
	u := s.user("anna")
	is := func(want bool) {
		s.Helper()
		same(s, must(s.Store.SetSecondFactor(ctx, u.ID))(s), want)
		same(s, must(s.Store.UserByID(ctx, u.ID))(s).SecondFactor, want)
	}
	is(false)
	s.ok(s.Store.BeginTOTP(ctx, broker.TOTP{UserID: u.ID, Sealed: "sealed", SessionID: "session", CreatedAt: t0}))
	is(false)
	s.totp(u.ID)
	is(true)
	s.passkey("one", u.ID)
	s.ok(taken(s.Store.DeleteTOTP(ctx, u.ID)))
	is(true)
	same(s, must(s.Store.DeletePasskeys(ctx, u.ID))(s), 1)
	is(false)
	_, err := s.Store.SetSecondFactor(ctx, "nobody")
	s.code(err, broker.NotFound)
}

func (s *suite) passkey(id, userID string) broker.Passkey {
	s.Helper()
	k := broker.Passkey{
		ID: id, CredentialID: "credential " + id, UserID: userID, Name: "Phone ✓", PublicKey: "key", AAGUID: "00", Transports: []string{"internal", "hybrid"},
		SignCount: 5, Synced: true, CreatedAt: t0,
	}
	s.ok(taken(s.Store.InsertPasskey(ctx, k, 20)))
	return k
}

func passkeyLife(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	one, two := s.passkey("1", anna.ID), s.passkey("2", anna.ID)
	theirs := s.passkey("3", bob.ID)
	same(s, must(s.Store.PasskeysOf(ctx, anna.ID))(s), []broker.Passkey{one, two})
	same(s, must(s.Store.PasskeyByCredential(ctx, theirs.CredentialID))(s), theirs)
	_, err := s.Store.PasskeyByCredential(ctx, "credential")
	s.code(err, broker.NotFound)
	again := theirs
	again.ID, again.UserID = "4", anna.ID
	_, err = s.Store.InsertPasskey(ctx, again, 20)
	s.code(err, broker.PasskeyInvalid)
	again.CredentialID = "another"
	same(s, must(s.Store.InsertPasskey(ctx, again, 2))(s), false)
	s.code(s.Store.RenamePasskey(ctx, theirs.ID, anna.ID, "mine"), broker.NotFound)
	s.ok(s.Store.RenamePasskey(ctx, one.ID, anna.ID, "another name"))
	same(s, must(s.Store.PasskeysOf(ctx, anna.ID))(s)[0].Name, "another name")
	s.code(s.Store.DeletePasskey(ctx, theirs.ID, anna.ID), broker.NotFound)
	s.ok(s.Store.DeletePasskey(ctx, one.ID, anna.ID))
	same(s, must(s.Store.PasskeysOf(ctx, anna.ID))(s), []broker.Passkey{two})
	s.ok(s.Store.DeleteUser(ctx, bob.ID))
	same(s, must(s.Store.PasskeysOf(ctx, bob.ID))(s), []broker.Passkey{})
}

func passkeyCount(s *suite) {
	k := s.passkey("1", s.user("anna").ID)
	k.LastUsedAt, k.BackedUp = t0.Add(time.Minute), true
	for count, want := range map[int64]bool{5: false, 4: false, 0: false} {
		k.SignCount = count
		same(s, must(s.Store.UsePasskey(ctx, k))(s), want)
	}
	k.SignCount = 6
	s.oneWinner(inParallel(takers, func(int) error { return taken(s.Store.UsePasskey(ctx, k)) }), broker.NotFound)
	same(s, must(s.Store.PasskeyByCredential(ctx, k.CredentialID))(s), k)
	// One that does not count never will.
	none := broker.Passkey{ID: "2", CredentialID: "none", UserID: k.UserID, Name: "n", CreatedAt: t0}
	s.ok(taken(s.Store.InsertPasskey(ctx, none, 20)))
	none.LastUsedAt = t0
	same(s, must(s.Store.UsePasskey(ctx, none))(s), true)
	same(s, must(s.Store.UsePasskey(ctx, none))(s), true)
}

func challengeTaken(s *suite) {
	c := broker.PasskeyChallenge{ID: "challenge", Kind: "login", BoundTo: "browser", ExpiresAt: t0.Add(5 * time.Minute)}
	s.ok(s.Store.InsertChallenge(ctx, c))
	for _, wrong := range []broker.PasskeyChallenge{
		{ID: "challenge", Kind: "second", BoundTo: "browser"}, {ID: "challenge", Kind: "login", BoundTo: "another"}, {ID: "another", Kind: "login", BoundTo: "browser"},
	} {
		s.code(s.Store.TakeChallenge(ctx, wrong, t0), broker.NotFound)
	}
	s.code(s.Store.TakeChallenge(ctx, c, c.ExpiresAt), broker.NotFound)
	s.oneWinner(inParallel(takers, func(int) error { return s.Store.TakeChallenge(ctx, c, t0) }), broker.NotFound)
}

func factorsSwept(s *suite) {
	u := s.user("anna")
	p := s.pendingLogin("login", u.ID)
	c := broker.PasskeyChallenge{ID: "challenge", Kind: "login", BoundTo: "browser", ExpiresAt: p.ExpiresAt}
	s.ok(s.Store.InsertChallenge(ctx, c))
	sweep := func(before time.Time) {
		s.Helper()
		must(s.Store.Sweep(ctx, broker.Sweep{Now: t0, LoginsBefore: before, EventsBefore: t0.Add(-day), Limit: 10}))(s)
	}
	sweep(p.ExpiresAt.Add(-time.Millisecond))
	must(s.Store.PendingLoginByID(ctx, "login", t0))(s)
	sweep(p.ExpiresAt)
	if _, err := s.Store.PendingLoginByID(ctx, "login", t0); !errors.Is(err, broker.NotFound) {
		s.Errorf("the waiting login was kept: %v", err)
	}
	s.code(s.Store.TakeChallenge(ctx, c, t0), broker.NotFound)
}
