package storagetest

import (
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var clientTests = []test{
	{"every field survives", clientFields},
	{"an id is taken once", clientExists},
	{"of many at once one takes an id", clientParallel},
	{"update writes all but id, creation and secret", updateClient},
	{"the secret is replaced alone", clientSecret},
	{"delete takes along what is the client's, and nothing else", deleteClient},
	{"list, page by page", listClients},
	{"the longest access TTL", longestAccessTTL},
	{"origins follow the client", clientOrigins},
	{"of many updates at once one stands, with its origins", updateClientParallel},
}

func newClient(id string) broker.Client {
	return broker.Client{
		ID: id, Name: "Name of " + id, RedirectURIs: []string{"https://" + "app.example.test/callback?a=<b>&c=d"}, ApplicationType: broker.ApplicationWeb,
		GrantTypes: []string{broker.GrantAuthorizationCode}, ResponseTypes: []string{"code"}, Scope: "openid", SecretHash: "hash of " + id,
		CreatedAt: t0, UpdatedAt: t0.Add(time.Millisecond),
	}
}

func fullClient(id string) broker.Client {
	return broker.Client{
		ID: id, Name: "日本語 \"\\ 'name'", URI: "https://example.test/", LogoURI: "https://example.test/logo", PolicyURI: "https://example.test/policy",
		TermsURI: "https://example.test/terms", Contacts: []string{"a@example.test", "<b@example.test>"}, SoftwareID: "example",
		RedirectURIs: []string{"https://one.example.test/cb", "app://cb"}, PostLogoutRedirectURIs: []string{"https://one.example.test/bye"},
		ApplicationType: broker.ApplicationNative, TokenEndpointAuthMethod: broker.AuthPrivateKeyJWT,
		GrantTypes: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken}, ResponseTypes: []string{"code"}, Scope: "openid profile",
		JWKS: broker.RawJSON(`{"keys":[{"kty":"EC","n":1.50}]}`), JWKSURI: "https://example.test/jwks", IDTokenAlg: "ES256",
		BackchannelLogoutURI: "https://example.test/logout", DPoPBound: true, RequirePAR: true, FirstParty: true, Providers: []string{"local", "p"},
		Resources: []string{"https://api.example.test"}, AllowedOrigins: []string{"https://two.example.test"}, AccessTTL: 60, RefreshTTL: 61, SessionMaxAge: 62,
		SecretHash: "hash", CreatedAt: t0, UpdatedAt: t0.Add(time.Millisecond), Registered: true,
	}
}

func clientFields(s *suite) {
	full, bare := fullClient("full"), broker.Client{ID: "bare", CreatedAt: t0, UpdatedAt: t0}
	given := full
	given.ReadOnly = true // it is not: it is in the database
	s.ok(s.Store.InsertClient(ctx, given))
	s.ok(s.Store.InsertClient(ctx, bare))
	same(s, must(s.Store.ClientByID(ctx, "full"))(s), full)
	same(s, must(s.Store.ClientByID(ctx, "bare"))(s), bare)
	for _, id := range []string{"nobody's", "", "FULL", "%"} {
		_, err := s.Store.ClientByID(ctx, id)
		s.code(err, broker.NotFound)
	}
}

func clientExists(s *suite) {
	first := newClient("c")
	s.ok(s.Store.InsertClient(ctx, first))
	second := fullClient("c")
	s.code(s.Store.InsertClient(ctx, second), broker.ClientExists)
	s.code(s.Store.Tx(ctx, func(tx broker.Store) error { return tx.InsertClient(ctx, second) }), broker.ClientExists)
	same(s, must(s.Store.ClientByID(ctx, "c"))(s), first)
	same(s, must(s.Store.OriginKnown(ctx, "https://two.example.test"))(s), false)
	s.ok(s.Store.InsertClient(ctx, newClient("C")))
}

func clientParallel(s *suite) {
	winner := s.oneWinner(inParallel(takers, func(i int) error {
		c := newClient("c")
		c.Name, c.AllowedOrigins = fmt.Sprint(i), []string{fmt.Sprint("https://", i)}
		return s.Store.InsertClient(ctx, c)
	}), broker.ClientExists)
	same(s, must(s.Store.ClientByID(ctx, "c"))(s).Name, fmt.Sprint(winner))
	for i := range takers {
		same(s, must(s.Store.OriginKnown(ctx, fmt.Sprint("https://", i)))(s), i == winner)
	}
}

func updateClient(s *suite) {
	other := newClient("other")
	s.ok(s.Store.InsertClient(ctx, newClient("c")))
	s.ok(s.Store.InsertClient(ctx, other))
	changed := fullClient("c")
	changed.UpdatedAt, changed.CreatedAt, changed.SecretHash = t0.Add(time.Hour), t0.Add(time.Hour), "never"
	s.ok(s.Store.UpdateClient(ctx, changed))
	changed.CreatedAt, changed.SecretHash = t0, "hash of c"
	same(s, must(s.Store.ClientByID(ctx, "c"))(s), changed)
	same(s, must(s.Store.ClientByID(ctx, "other"))(s), other)
	changed.ID = "nobody's"
	s.code(s.Store.UpdateClient(ctx, changed), broker.NotFound)
}

func clientSecret(s *suite) {
	want, other := fullClient("c"), newClient("other")
	s.ok(s.Store.InsertClient(ctx, want))
	s.ok(s.Store.InsertClient(ctx, other))
	s.ok(s.Store.SetClientSecret(ctx, "c", "new", t0.Add(time.Hour)))
	want.SecretHash, want.UpdatedAt = "new", t0.Add(time.Hour)
	same(s, must(s.Store.ClientByID(ctx, "c"))(s), want)
	same(s, must(s.Store.ClientByID(ctx, "other"))(s), other)
	s.code(s.Store.SetClientSecret(ctx, "nobody's", "new", t0), broker.NotFound)
}

func deleteClient(s *suite) {
	u := s.user("anna")
	fill := func(client string) {
		c := newClient(client)
		c.AllowedOrigins = []string{"https://" + client}
		pending, code, device, notice := newPending("p "+client), newCode("code "+client), newDevice("d "+client), newNotice("n "+client)
		pending.ClientID, code.ClientID, device.ClientID, notice.ClientID = client, client, client, client
		s.ok(s.Store.InsertClient(ctx, c))
		s.ok(s.Store.InsertPending(ctx, pending))
		s.ok(s.Store.InsertCode(ctx, code))
		s.ok(s.Store.InsertDeviceCode(ctx, device))
		s.ok(s.Store.SaveConsent(ctx, broker.Consent{UserID: u.ID, ClientID: client, Scope: "openid", GrantedAt: t0}))
		s.ok(s.Store.InsertLogoutNotices(ctx, []broker.LogoutNotice{notice}))
	}
	left := func(client string) (n int) {
		for _, err := range []error{
			second(s.Store.ClientByID(ctx, client)), second(s.Store.Pending(ctx, "p "+client, "browser", t0)),
			second(s.Store.CodeByID(ctx, "code "+client)), second(deviceByID(s.Store, "d "+client)), second(s.Store.ConsentOf(ctx, u.ID, client)),
		} {
			if err == nil {
				n++
			} else {
				s.code(err, broker.NotFound)
			}
		}
		if must(s.Store.OriginKnown(ctx, "https://"+client))(s) {
			n++
		}
		return n
	}
	fill("a")
	fill("b")
	same(s, []int{left("a"), left("b")}, []int{6, 6})
	s.code(s.Store.DeleteClient(ctx, "nobody's"), broker.NotFound)
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		s.ok(tx.DeleteClient(ctx, "a"))
		return errUndo
	}), errUndo)
	same(s, []int{left("a"), left("b")}, []int{6, 6})
	s.ok(s.Store.DeleteClient(ctx, "a"))
	same(s, []int{left("a"), left("b")}, []int{0, 6})
	same(s, noticeIDs(must(s.Store.DueLogoutNotices(ctx, t0, t0.Add(time.Hour), 10))(s)), []string{"n b"})
	s.code(s.Store.DeleteClient(ctx, "a"), broker.NotFound)
	fill("a") // a new one finds nothing of the old
}

func listClients(s *suite) {
	same(s, len(must(s.Store.ListClients(ctx, "", 10))(s)), 0)
	want := []broker.Client{}
	for i := range 7 {
		c := fullClient(fmt.Sprint("c", i))
		s.ok(s.Store.InsertClient(ctx, c))
		want = append(want, c)
	}
	same(s, must(s.Store.ListClients(ctx, "", 100))(s), want)
	same(s, must(s.Store.ListClients(ctx, "", 3))(s), want[:3])
	same(s, must(s.Store.ListClients(ctx, "c2", 3))(s), want[3:6])
	same(s, must(s.Store.ListClients(ctx, "c5", 3))(s), want[6:])
	same(s, len(must(s.Store.ListClients(ctx, "c6", 3))(s)), 0)
}

func longestAccessTTL(s *suite) {
	longest := func(want int64) {
		s.Helper()
		same(s, must(s.Store.LongestAccessTTL(ctx))(s), want)
	}
	longest(0)
	a, b := newClient("a"), newClient("b")
	s.ok(s.Store.InsertClient(ctx, a))
	longest(0)
	b.AccessTTL = 7200
	s.ok(s.Store.InsertClient(ctx, b))
	longest(7200)
	a.AccessTTL = 10_000_000_000
	s.ok(s.Store.UpdateClient(ctx, a))
	longest(10_000_000_000)
	s.ok(s.Store.DeleteClient(ctx, "a"))
	longest(7200)
}

func clientOrigins(s *suite) {
	known := func(want bool, origins ...string) {
		s.Helper()
		for _, o := range origins {
			same(s, [2]any{o, must(s.Store.OriginKnown(ctx, o))(s)}, [2]any{o, want})
		}
	}
	one, two := newClient("one"), newClient("two")
	one.RedirectURIs = []string{"https://app.example.test/cb", "https://app.example.test/cb2", "app://cb"}
	one.AllowedOrigins = []string{"https://app.example.test", "http://127.0.0.1:8080"}
	two.RedirectURIs = []string{"https://app.example.test/other"}
	s.ok(s.Store.InsertClient(ctx, one))
	s.ok(s.Store.InsertClient(ctx, two))
	known(true, "https://app.example.test", "http://127.0.0.1:8080")
	known(false, "", "null", "app://cb", "https://app.example.test/", "http://app.example.test", "https://APP.example.test", "%", "https://two.example.test")
	one.RedirectURIs, one.AllowedOrigins = []string{"app://cb"}, []string{"https://two.example.test"}
	s.ok(s.Store.UpdateClient(ctx, one))
	known(true, "https://app.example.test", "https://two.example.test") // the first is still the other client's
	known(false, "http://127.0.0.1:8080")
	one.ID = "nobody's"
	one.AllowedOrigins = []string{"https://nobody.example.test"}
	s.code(s.Store.UpdateClient(ctx, one), broker.NotFound)
	known(false, "https://nobody.example.test")
	s.ok(s.Store.DeleteClient(ctx, "two"))
	known(false, "https://app.example.test")
}

func updateClientParallel(s *suite) {
	s.ok(s.Store.InsertClient(ctx, newClient("c")))
	for _, err := range inParallel(takers, func(i int) error {
		c := newClient("c")
		c.Name, c.AllowedOrigins = fmt.Sprint(i), []string{fmt.Sprint("https://", i)}
		return s.Store.UpdateClient(ctx, c)
	}) {
		s.ok(err)
	}
	stands := must(s.Store.ClientByID(ctx, "c"))(s)
	for i := range takers {
		same(s, must(s.Store.OriginKnown(ctx, fmt.Sprint("https://", i)))(s), stands.Name == fmt.Sprint(i))
	}
}
