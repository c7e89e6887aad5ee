package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var textTests = []test{
	{"strange text survives", strangeText},
	{"strange text finds itself and nothing else", strangeLookups},
	{"text that no database holds is not found, and no trouble", impossibleText},
	{"times survive to the millisecond", times},
}

var strange = []string{
	`'`, `''`, `"`, "`", `\`, `\\`, `%`, `_`, `?`, `$1`, `:name`, `@name`, `--`, `/* */`, `;`, `'; DROP TABLE users; --`, `{}`, `[]`, `null`, `NULL`,
	" leading and trailing ", "tab\tnew\nline\r", "é", "e\u0301", "😀", "👩‍👩‍👧", "日本語", "עברית", "\u202eright", "\u00a0", "\ufeffbom", "\U0010ffff", "0", "true",
	strings.Repeat("long ", 2000),
}

func strangeText(s *suite) {
	u := s.user("anna")
	for i, text := range strange {
		id := fmt.Sprint(i, " ", text)
		stranger := broker.User{
			ID: id, Username: fmt.Sprint(i, text), Name: text, Email: text, Role: broker.RoleUser, Groups: []string{text, text}, PasswordHash: broker.PasswordHash(text),
			CreatedAt: t0, UpdatedAt: t0,
		}
		s.ok(s.Store.InsertUser(ctx, stranger))
		same(s, must(s.Store.UserByID(ctx, id))(s), stranger)
		session := s.session(id, u.ID, func(n *broker.Session) {
			n.UserAgent, n.CreatedIP, n.LastIP, n.Scope, n.IdPSubject, n.IdPSession, n.ProviderID, n.ClientID = text, text, text, text, text, text, text, text
			n.AMR = []string{text}
			n.Request = broker.SessionRequest{Resource: text, UserinfoClaims: []string{text}, IDTokenClaims: []string{text}}
		})
		same(s, s.row(id), session)
		// A user is read in three ways, and is the same by each.
		s.session("of "+id, stranger.ID)
		stranger.LastSeenAt = t0
		same(s, must(s.Store.UserByID(ctx, id))(s), stranger)
		_, joined, err := s.Store.SessionByID(ctx, "of "+id)
		s.ok(err)
		same(s, joined, stranger)
		_, joined, ok, err := s.Store.AdvanceSession(ctx, advance("of "+id))
		s.ok(err)
		same(s, ok, true)
		same(s, joined, stranger)
		event := broker.Event{ID: id, At: t0, Name: text, UserID: id, IP: text, Detail: map[string]string{text: text}}
		s.ok(s.Store.InsertEvent(ctx, event))
		same(s, must(s.Store.ListEvents(ctx, broker.EventFilter{UserID: id, Limit: 2}))(s), []broker.Event{event})
		same(s, must(s.Store.InitFact(ctx, text, text))(s), text)
	}
}

func strangeLookups(s *suite) {
	for i, text := range strange {
		u := s.user(fmt.Sprint(i))
		identity := newIdentity(text, u.ID)
		s.ok(s.Store.InsertIdentity(ctx, identity))
		request := newAuthRequest(text)
		request.State, request.Challenge, request.RedirectURI = text, text, text
		must(s.Store.InsertAuthRequest(ctx, request, t0))(s)
		login := newIdPLogin(text)
		login.ReturnTo, login.ProviderID = text, text
		s.ok(s.Store.InsertIdPLogin(ctx, login))
		s.ok(s.Store.InsertClient(ctx, strangeClient(text)))
		s.ok(s.Store.InsertPending(ctx, strangePending(text)))
		s.ok(s.Store.InsertCode(ctx, strangeCode(text)))
		s.ok(s.Store.InsertDeviceCode(ctx, strangeDevice(text)))
		s.ok(s.Store.SaveConsent(ctx, broker.Consent{UserID: u.ID, ClientID: text, Scope: text, GrantedAt: t0}))
		same(s, must(s.Store.UseOnce(ctx, text, t0))(s), true)
	}
	for i, text := range strange {
		same(s, must(s.Store.IdentityBySubject(ctx, issuer, text))(s).UserID, fmt.Sprint("id of ", i))
		same(s, must(s.Store.AuthRequestByID(ctx, text, t0))(s).State, text)
		same(s, must(s.Store.TakeIdPLogin(ctx, text, text, t0))(s).ReturnTo, text)
		same(s, must(s.Store.ClientByID(ctx, text))(s), strangeClient(text))
		same(s, must(s.Store.OriginKnown(ctx, text))(s), true)
		same(s, must(s.Store.Pending(ctx, text, text, t0))(s), strangePending(text))
		same(s, must(s.Store.TakePending(ctx, text, text, text, t0))(s), strangePending(text))
		code := strangeCode(text)
		s.tx(func(tx broker.Store) (err error) {
			code, err = tx.RedeemCode(ctx, code, text, text, t0)
			return err
		})
		want := strangeCode(text)
		want.RedeemedAt, want.SessionID = t0, text
		same(s, code, want)
		same(s, must(s.Store.CodeByID(ctx, text))(s), want)
		same(s, must(s.Store.DeviceByUserCode(ctx, text, t0))(s), strangeDevice(text))
		same(s, must(s.Store.ConsentOf(ctx, fmt.Sprint("id of ", i), text))(s).Scope, text)
		same(s, must(s.Store.UseOnce(ctx, text, t0))(s), false)
		if _, n, err := s.Store.ListSessions(ctx, broker.SessionFilter{UserID: text, IP: text}, 0, 1); err != nil || n != 0 {
			s.Errorf("sessions of %q: %d %v", text, n, err)
		}
	}
}

func strangeClient(text string) broker.Client {
	c := newClient(text)
	c.Name, c.Scope, c.SecretHash, c.RedirectURIs, c.Contacts, c.AllowedOrigins = text, text, text, []string{text}, []string{text}, []string{text}
	return c
}

func strangePending(text string) broker.PendingAuthorization {
	p := newPending(text)
	p.ClientID, p.Browser = text, text
	p.Request = broker.AuthorizationRequest{ClientID: text, State: text, Nonce: text, Claims: text, LoginHint: text}
	return p
}

func strangeCode(text string) broker.AuthorizationCode {
	c := newCode(text)
	c.ClientID, c.RedirectURI, c.Challenge = text, text, text
	a := &c.Authorization
	a.UserID, a.Scope, a.Nonce, a.IdPSubject, a.IdPSession, a.AMR, a.DPoPThumbprint = text, text, text, text, text, []string{text}, text
	return c
}

func strangeDevice(text string) broker.DeviceCode {
	d := newDevice(text)
	d.UserCode, d.ClientID, d.Scope, d.Request.Resource = text, text, text, text
	return d
}

// PostgreSQL holds neither NUL nor bytes that are not UTF-8. Whoever sends them
// asks for something that cannot be there: that is "not found" on every
// database, and not trouble of ours, which the broker would retry for seconds.
func impossibleText(s *suite) {
	s.user("anna")
	for _, text := range []string{"a\x00b", "\x00", "\xff", "anna\x00", "\xc3", "a\xed\xa0\x80"} {
		_, err := s.Store.UserByUsername(ctx, text)
		s.code(err, broker.NotFound)
		_, err = s.Store.UserByID(ctx, text)
		s.code(err, broker.NotFound)
		err = s.Store.Tx(ctx, func(tx broker.Store) error {
			_, err := tx.RedeemGrant(ctx, broker.Grant{ID: "g", ProviderID: "p", State: text, Challenge: "c"}, "s", t0)
			return err
		})
		s.code(err, broker.NotFound)
		// Everything that a browser or a client says, wherever it goes.
		for name, ask := range map[string]func(broker.Store) error{
			"client":            func(x broker.Store) error { return second(x.ClientByID(ctx, text)) },
			"pending":           func(x broker.Store) error { return second(x.Pending(ctx, text, "browser", t0)) },
			"its browser":       func(x broker.Store) error { return second(x.Pending(ctx, "p", text, t0)) },
			"taken":             func(x broker.Store) error { return second(x.TakePending(ctx, "p", "browser", text, t0)) },
			"taken, by browser": func(x broker.Store) error { return second(x.TakePending(ctx, "p", text, "client", t0)) },
			"code":              func(x broker.Store) error { return second(x.CodeByID(ctx, text)) },
			"redirect URI": func(x broker.Store) error {
				return second(x.RedeemCode(ctx, broker.AuthorizationCode{ID: "c", RedirectURI: text}, "", "s", t0))
			},
			"key": func(x broker.Store) error {
				return second(x.RedeemCode(ctx, broker.AuthorizationCode{ID: "c"}, text, "s", t0))
			},
			"device code": func(x broker.Store) error {
				_, _, err := x.PollDevice(ctx, text, "client", t0)
				return err
			},
			"user code": func(x broker.Store) error { return second(x.DeviceByUserCode(ctx, text, t0)) },
			"poll": func(x broker.Store) error {
				_, _, err := x.PollDevice(ctx, "d", text, t0)
				return err
			},
			"device":  func(x broker.Store) error { return second(x.RedeemDevice(ctx, "d", text, "s", t0)) },
			"consent": func(x broker.Store) error { return second(x.ConsentOf(ctx, "id of anna", text)) },
		} {
			if err := s.Store.Tx(ctx, ask); broker.CodeOf(err) != broker.NotFound {
				s.Errorf("%s %q: %v", name, text, err)
			}
		}
		same(s, must(s.Store.OriginKnown(ctx, text))(s), false)
		must(s.Store.ListClients(ctx, text, 10))(s)
	}
}

func times(s *suite) {
	for i, at := range []time.Time{
		t0, t0.Add(time.Millisecond), t0.Truncate(time.Second), time.UnixMilli(1).UTC(), time.UnixMilli(-1).UTC(),
		time.Date(1969, 7, 20, 20, 17, 40, 123_000_000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC),
	} {
		u := newUser(fmt.Sprint("user ", i))
		u.CreatedAt, u.UpdatedAt, u.DisabledAt = at, at, at
		s.ok(s.Store.InsertUser(ctx, u))
		same(s, must(s.Store.UserByID(ctx, u.ID))(s), u)
	}
	// Another zone is the same instant; what is finer than a millisecond goes.
	u := newUser("zone")
	u.CreatedAt = t0.Add(999 * time.Microsecond).In(time.FixedZone("east", 5*3600+1800))
	s.ok(s.Store.InsertUser(ctx, u))
	same(s, must(s.Store.UserByID(ctx, u.ID))(s).CreatedAt, t0)
}
