package storagetest

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

var authorizationTests = []test{
	{"pending: every field survives", pendingFields},
	{"what an earlier try has written stays", insertAgain},
	{"pending is found by its browser, while it is alive", pendingOfBrowser},
	{"pending is taken once, by who fits", takePendingOnce},
	{"pending: one of many at once takes it", takePendingParallel},
	{"code: every field survives", codeFields},
	{"code is redeemed once, by who fits", redeemCodeOnce},
	{"code that is bound to a key is redeemed with it alone", redeemCodeByKey},
	{"code: one of many at once redeems it", redeemCodeParallel},
	{"code whose session failed can be redeemed", redeemCodeRolledBack},
	{"code needs the transaction of its session", redeemCodeOutsideTx},
	{"consent is replaced, and goes with its user", consents},
	{"consent: of many at once one stands", consentParallel},
	{"used once", useOnce((*storage.Store).UseOnce)},
	{"used once, relaxed", useOnce((*storage.Store).UseOnceRelaxed)},
	{"used by one of many at once", useOnceParallel((*storage.Store).UseOnce)},
	{"used by one of many at once, relaxed", useOnceParallel((*storage.Store).UseOnceRelaxed)},
}

func newPending(id string) broker.PendingAuthorization {
	return broker.PendingAuthorization{
		ID: id, ClientID: "client", Browser: "browser", Request: broker.AuthorizationRequest{ClientID: "client", State: "s"},
		CreatedAt: t0, ExpiresAt: t0.Add(15 * time.Minute),
	}
}

func pendingFields(s *suite) {
	full := newPending("full")
	full.Request = broker.AuthorizationRequest{
		ClientID: "client", ResponseType: "code", ResponseMode: "form_post", RedirectURI: "https://app.example.test/?a=<b>&c", Scope: "openid 日本語",
		State: `st"a\te`, Nonce: "n", Prompt: "login", MaxAge: "0", LoginHint: "h", IDTokenHint: "i", ACRValues: "a", UILocales: "de", Claims: `{"a":null}`,
		CodeChallenge: "c", CodeChallengeMethod: "S256", DPoPThumbprint: "d", Resource: "r", IdPHint: "p", RequestURI: "u", Request: "jwt",
	}
	pushed := broker.PendingAuthorization{ID: "pushed", CreatedAt: t0, ExpiresAt: t0.Add(time.Minute)}
	s.ok(s.Store.InsertPending(ctx, full))
	s.ok(s.Store.InsertPending(ctx, pushed))
	same(s, must(s.Store.Pending(ctx, "full", "browser", t0))(s), full)
	same(s, must(s.Store.Pending(ctx, "pushed", "", t0))(s), pushed)
	same(s, must(s.Store.TakePending(ctx, "full", "browser", "client", t0))(s), full)
	same(s, must(s.Store.TakePending(ctx, "pushed", "", "", t0))(s), pushed)
}

// What an earlier try has written, whose answer was lost, is no trouble and stays as
// it is. That hides two owners of one ID, so each is made of a fresh secret.
func insertAgain(s *suite) {
	s.user("anna")
	for range 2 {
		s.ok(s.Store.InsertPending(ctx, newPending("p")))
		s.ok(s.Store.InsertCode(ctx, newCode("c")))
		s.ok(s.Store.InsertDeviceCode(ctx, newDevice("d")))
		s.ok(s.Store.InsertIdPLogin(ctx, newIdPLogin("l")))
		s.ok(s.Store.InsertGrant(ctx, newGrant("g", "r")))
		s.ok(s.Store.InsertPendingLogin(ctx, broker.PendingLogin{ID: "s", UserID: newUser("anna").ID, ExpiresAt: t0.Add(time.Minute)}))
		s.ok(s.Store.InsertChallenge(ctx, broker.PasskeyChallenge{ID: "h", ExpiresAt: t0.Add(time.Minute)}))
	}
	other := newCode("c")
	other.ClientID = "another"
	s.ok(s.Store.InsertCode(ctx, other))
	same(s, must(s.Store.CodeByID(ctx, "c"))(s), newCode("c"))
}

func pendingOfBrowser(s *suite) {
	p, pushed := newPending("p"), newPending("pushed")
	pushed.Browser = ""
	s.ok(s.Store.InsertPending(ctx, p))
	s.ok(s.Store.InsertPending(ctx, pushed))
	for _, wrong := range []struct {
		id, browser string
		at          time.Time
	}{
		{"p", "another", t0}, {"p", "", t0}, {"p", "BROWSER", t0}, {"p", "%", t0}, {"nobody's", "browser", t0}, {"", "", t0},
		{"pushed", "browser", t0}, {"p", "browser", p.ExpiresAt},
	} {
		_, err := s.Store.Pending(ctx, wrong.id, wrong.browser, wrong.at)
		s.code(err, broker.NotFound)
	}
	for range 2 { // looking at it takes nothing
		same(s, must(s.Store.Pending(ctx, "p", "browser", p.ExpiresAt.Add(-time.Millisecond)))(s), p)
	}
}

func takePendingOnce(s *suite) {
	p, pushed := newPending("p"), newPending("pushed")
	pushed.Browser = ""
	s.ok(s.Store.InsertPending(ctx, p))
	s.ok(s.Store.InsertPending(ctx, pushed))
	for _, wrong := range []struct {
		id, browser, client string
		at                  time.Time
	}{
		{"p", "another", "client", t0}, {"p", "", "client", t0}, {"p", "browser", "another", t0}, {"p", "browser", "", t0},
		{"pushed", "browser", "client", t0}, {"nobody's", "browser", "client", t0}, {"p", "browser", "client", p.ExpiresAt},
	} {
		_, err := s.Store.TakePending(ctx, wrong.id, wrong.browser, wrong.client, wrong.at)
		s.code(err, broker.NotFound)
	}
	same(s, must(s.Store.Pending(ctx, "p", "browser", t0))(s), p) // none of them used it up
	same(s, must(s.Store.TakePending(ctx, "p", "browser", "client", p.ExpiresAt.Add(-time.Millisecond)))(s), p)
	_, err := s.Store.TakePending(ctx, "p", "browser", "client", t0)
	s.code(err, broker.NotFound)
	_, err = s.Store.Pending(ctx, "p", "browser", t0)
	s.code(err, broker.NotFound)
	same(s, must(s.Store.TakePending(ctx, "pushed", "", "client", t0))(s), pushed)
}

func takePendingParallel(s *suite) {
	for round := range 5 {
		id := fmt.Sprint("p", round)
		s.ok(s.Store.InsertPending(ctx, newPending(id)))
		s.oneWinner(inParallel(takers, func(int) error {
			return second(s.Store.TakePending(ctx, id, "browser", "client", t0))
		}), broker.NotFound)
	}
}

func newAuthorization() broker.Authorization {
	return broker.Authorization{
		UserID: "id of anna", ParentID: "parent", Scope: "openid 日本語", Request: broker.SessionRequest{Resource: "r", IDTokenClaims: []string{"email"}},
		Nonce: `n"`, ProviderID: "provider", IdPSubject: "subject", IdPSession: "sid", AMR: []string{"pwd", "mfa"}, AuthTime: t0, FollowsParent: true,
		DPoPThumbprint: "key",
	}
}

func newCode(id string) broker.AuthorizationCode {
	return broker.AuthorizationCode{
		ID: id, ClientID: "client", RedirectURI: "https://app.example.test/cb", Challenge: "challenge", Authorization: newAuthorization(),
		ExpiresAt: t0.Add(time.Minute),
	}
}

// redeemCode redeems in a transaction of its own.
func (s *suite) redeemCode(c broker.AuthorizationCode, key, session string, at time.Time) (got broker.AuthorizationCode, err error) {
	err = s.Store.Tx(ctx, func(tx broker.Store) (err error) {
		got, err = tx.RedeemCode(ctx, c, key, session, at)
		return err
	})
	return got, err
}

func codeFields(s *suite) {
	full, bare := newCode("full"), broker.AuthorizationCode{ID: "bare", ExpiresAt: t0}
	s.ok(s.Store.InsertCode(ctx, full))
	s.ok(s.Store.InsertCode(ctx, bare))
	same(s, must(s.Store.CodeByID(ctx, "full"))(s), full)
	same(s, must(s.Store.CodeByID(ctx, "bare"))(s), bare)
	_, err := s.Store.CodeByID(ctx, "nobody's")
	s.code(err, broker.NotFound)
}

func redeemCodeOnce(s *suite) {
	c, other := newCode("c"), newCode("other")
	s.ok(s.Store.InsertCode(ctx, c))
	s.ok(s.Store.InsertCode(ctx, other))
	for _, change := range []func(*broker.AuthorizationCode){
		func(c *broker.AuthorizationCode) { c.ID = "nobody's" }, func(c *broker.AuthorizationCode) { c.ClientID = "another" },
		func(c *broker.AuthorizationCode) { c.ClientID = "" }, func(c *broker.AuthorizationCode) { c.RedirectURI += "/" },
		func(c *broker.AuthorizationCode) { c.RedirectURI = "" }, func(c *broker.AuthorizationCode) { c.Challenge = "" },
		func(c *broker.AuthorizationCode) { c.Challenge = "CHALLENGE" }, func(c *broker.AuthorizationCode) { c.Challenge = "%" },
	} {
		wrong := c
		change(&wrong)
		_, err := s.redeemCode(wrong, "key", "of a thief", t0)
		s.code(err, broker.NotFound)
	}
	_, err := s.redeemCode(c, "key", "too late", c.ExpiresAt)
	s.code(err, broker.NotFound)
	same(s, must(s.Store.CodeByID(ctx, "c"))(s), c) // none of them used it up

	at := c.ExpiresAt.Add(-time.Millisecond)
	redeemed := c
	redeemed.RedeemedAt, redeemed.SessionID = at, "s"
	// What it was given for is read, not said by who redeems it.
	got, err := s.redeemCode(broker.AuthorizationCode{ID: "c", ClientID: c.ClientID, RedirectURI: c.RedirectURI, Challenge: c.Challenge}, "key", "s", at)
	s.ok(err)
	same(s, got, redeemed)
	_, err = s.redeemCode(c, "key", "of a thief", at)
	s.code(err, broker.NotFound)
	same(s, must(s.Store.CodeByID(ctx, "c"))(s), redeemed) // it names the session that a replay ends
	same(s, must(s.Store.CodeByID(ctx, "other"))(s), other)

	none := newCode("no challenge")
	none.Challenge = ""
	s.ok(s.Store.InsertCode(ctx, none))
	guessed := none
	guessed.Challenge = "challenge"
	_, err = s.redeemCode(guessed, "key", "s", t0)
	s.code(err, broker.NotFound)
	must(s.redeemCode(none, "key", "s", t0))(s)
}

func redeemCodeByKey(s *suite) {
	bound, free := newCode("bound"), newCode("free")
	free.Authorization.DPoPThumbprint = ""
	s.ok(s.Store.InsertCode(ctx, bound))
	s.ok(s.Store.InsertCode(ctx, free))
	for _, key := range []string{"", "KEY", "another", "%", "key "} {
		claimed := bound
		claimed.Authorization.DPoPThumbprint = key // what the caller says of the code is no proof
		_, err := s.redeemCode(claimed, key, "of a thief", t0)
		s.code(err, broker.NotFound)
	}
	same(s, must(s.Store.CodeByID(ctx, "bound"))(s), bound)
	must(s.redeemCode(bound, "key", "s", t0))(s)
	must(s.redeemCode(free, "any key", "s", t0))(s)
	free.ID = "free too"
	s.ok(s.Store.InsertCode(ctx, free))
	must(s.redeemCode(free, "", "s", t0))(s)
}

func redeemCodeParallel(s *suite) {
	u := s.user("anna")
	for round := range 5 {
		c := newCode(fmt.Sprint("c", round))
		s.ok(s.Store.InsertCode(ctx, c))
		winner := s.oneWinner(inParallel(takers, func(i int) error {
			return s.Store.Tx(ctx, func(tx broker.Store) error {
				id := fmt.Sprint(c.ID, " session ", i)
				if _, err := tx.RedeemCode(ctx, c, "key", id, t0); err != nil {
					return err
				}
				return second(tx.InsertSession(ctx, newSession(id, u.ID), ""))
			})
		}), broker.NotFound)
		same(s, must(s.Store.CodeByID(ctx, c.ID))(s).SessionID, fmt.Sprint(c.ID, " session ", winner))
	}
	_, n, err := s.Store.ListSessions(ctx, broker.SessionFilter{UserID: u.ID}, 0, 1)
	s.ok(err)
	same(s, n, 5)
}

func redeemCodeRolledBack(s *suite) {
	u := s.user("anna")
	c := newCode("c")
	s.ok(s.Store.InsertCode(ctx, c))
	s.disable(u, t0)
	redeem := func() error {
		return s.Store.Tx(ctx, func(tx broker.Store) error {
			if _, err := tx.RedeemCode(ctx, c, "key", "s", t0); err != nil {
				return err
			}
			return second(tx.InsertSession(ctx, newSession("s", u.ID), ""))
		})
	}
	s.code(redeem(), broker.UserDisabled)
	same(s, must(s.Store.CodeByID(ctx, "c"))(s), c)
	s.disable(u, time.Time{})
	s.ok(redeem())
}

func redeemCodeOutsideTx(s *suite) {
	c := newCode("c")
	s.ok(s.Store.InsertCode(ctx, c))
	if _, err := s.Store.RedeemCode(ctx, c, "key", "s", t0); err == nil {
		s.Error("a code was redeemed without the session that it is for")
	}
	same(s, must(s.Store.CodeByID(ctx, "c"))(s), c)
}

func consents(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	of := func(user, client, scope string, at time.Time) broker.Consent {
		c := broker.Consent{UserID: user, ClientID: client, Scope: scope, GrantedAt: at}
		s.ok(s.Store.SaveConsent(ctx, c))
		return c
	}
	first, others := of(anna.ID, "client", "openid", t0), of(bob.ID, "client", "openid email", t0)
	another := of(anna.ID, "another", "", t0)
	same(s, must(s.Store.ConsentOf(ctx, anna.ID, "client"))(s), first)
	second := of(anna.ID, "client", "openid profile", t0.Add(time.Hour))
	same(s, must(s.Store.ConsentOf(ctx, anna.ID, "client"))(s), second)
	same(s, must(s.Store.ConsentOf(ctx, bob.ID, "client"))(s), others)
	same(s, must(s.Store.ConsentOf(ctx, anna.ID, "another"))(s), another)
	for _, wrong := range [][2]string{{"nobody", "client"}, {anna.ID, "nobody's"}, {bob.ID, "another"}, {anna.ID, ""}} {
		_, err := s.Store.ConsentOf(ctx, wrong[0], wrong[1])
		s.code(err, broker.NotFound)
	}
	known := broker.Client{ID: "client", Name: "Shelf", CreatedAt: t0, UpdatedAt: t0}
	s.ok(s.Store.InsertClient(ctx, known))
	listed := must(s.Store.ListConsents(ctx, anna.ID, "", 10))(s)
	same(s, len(listed), 2)
	same(s, []broker.Consent{listed[0].Consent, listed[1].Consent}, []broker.Consent{another, second})
	same(s, []string{listed[0].Client.ID, listed[1].Client.ID, listed[1].Client.Name}, []string{"", "client", "Shelf"})
	same(s, must(s.Store.ListConsents(ctx, anna.ID, "", 1))(s)[0].Consent, another)
	same(s, must(s.Store.ListConsents(ctx, anna.ID, "another", 10))(s)[0].Consent, second)
	same(s, len(must(s.Store.ListConsents(ctx, "nobody", "", 10))(s)), 0)
	s.ok(s.Store.DeleteConsent(ctx, anna.ID, "another"))
	s.code(s.Store.DeleteConsent(ctx, anna.ID, "another"), broker.NotFound)
	s.code(s.Store.DeleteConsent(ctx, anna.ID, "nobody's"), broker.NotFound)
	same(s, len(must(s.Store.ListConsents(ctx, anna.ID, "", 10))(s)), 1)
	s.ok(s.Store.DeleteUser(ctx, anna.ID))
	_, err := s.Store.ConsentOf(ctx, anna.ID, "client")
	s.code(err, broker.NotFound)
	same(s, must(s.Store.ConsentOf(ctx, bob.ID, "client"))(s), others)
}

func consentParallel(s *suite) {
	u := s.user("anna")
	for _, err := range inParallel(takers, func(i int) error {
		return s.Store.SaveConsent(ctx, broker.Consent{UserID: u.ID, ClientID: "client", Scope: fmt.Sprint(i), GrantedAt: t0.Add(time.Duration(i))})
	}) {
		s.ok(err)
	}
	must(s.Store.ConsentOf(ctx, u.ID, "client"))(s)
}

// using is a way to note what is used once.
type using func(s *storage.Store, ctx context.Context, id string, expiresAt time.Time) (bool, error)

func useOnce(use using) func(s *suite) {
	return func(s *suite) {
		same(s, must(use(s.Store, ctx, "id", t0.Add(time.Hour)))(s), true)
		same(s, must(use(s.Store, ctx, "id", t0.Add(time.Hour)))(s), false)
		same(s, must(use(s.Store, ctx, "ID", t0.Add(time.Hour)))(s), true)
		// A second use does not shorten the memory of the first.
		same(s, must(use(s.Store, ctx, "id", t0))(s), false)
		s.sweep(t0.Add(time.Hour-time.Millisecond), 10)
		same(s, must(use(s.Store, ctx, "id", t0))(s), false)
		s.sweep(t0.Add(time.Hour), 10)
		same(s, must(use(s.Store, ctx, "id", t0))(s), true)
	}
}

func useOnceParallel(use using) func(s *suite) {
	return func(s *suite) {
		for round := range 5 {
			s.oneWinner(inParallel(takers, func(int) error {
				first, err := use(s.Store, ctx, fmt.Sprint("id", round), t0)
				if err == nil && !first {
					return &broker.Error{Code: broker.InvalidRequest}
				}
				return err
			}), broker.InvalidRequest)
		}
	}
}
