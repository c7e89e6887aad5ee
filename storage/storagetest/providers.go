package storagetest

import (
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var providerTests = []test{
	{"every field survives, oldest first", providerFields},
	{"an id is taken once", providerExists},
	{"of many updates at once one stands", updateProvider},
	{"the secret is sealed anew where it is still the same", resealProvider},
	{"delete", deleteProvider},
}

func newProvider(id string) broker.StoredProvider {
	return broker.StoredProvider{
		Settings:  broker.ProviderSettings{ID: id, Name: "Name of " + id, Issuer: "https://" + id + ".test"},
		CreatedAt: t0, UpdatedAt: t0.Add(time.Millisecond),
	}
}

func fullProvider(id string) broker.StoredProvider {
	return broker.StoredProvider{
		Settings: broker.ProviderSettings{
			ID: id, Name: "日本語 \"\\ 'name'", Type: broker.TypeOIDC, Issuer: "https://idp.test/a?b=<c>&d", ClientID: "client", TokenEndpointAuth: broker.AuthPost,
			Scopes: []string{"openid", "groups"}, Claims: broker.ClaimNames{Username: "upn", Email: "mail", Name: "n", Groups: "a.b", Permissions: "may"},
			Provision: broker.ProvisionMatch, LinkBy: broker.LinkVerifiedEmail, RequireVerifiedEmail: broker.EmailAlways,
			AllowedGroups: []string{"a b", "ü"}, AllowedDomains: []string{"x.test"}, RoleMap: map[string]broker.Role{"admins": broker.RoleAdmin}, DefaultRole: broker.RoleNone,
			ExchangeAudiences: []string{"sdk"}, Logout: true, InsecureHTTP: true, AllowPrivate: true,
		},
		Sealed: "sealed", CreatedAt: t0.Add(-time.Hour), UpdatedAt: t0,
	}
}

func (s *suite) providers() []broker.StoredProvider {
	s.Helper()
	return must(s.Store.ListProviders(ctx))(s)
}

func providerFields(s *suite) {
	same(s, len(s.providers()), 0)
	bare, full, second := newProvider("bare"), fullProvider("full"), newProvider("a")
	for _, p := range []broker.StoredProvider{bare, full, second} {
		s.ok(s.Store.InsertProvider(ctx, p))
	}
	same(s, s.providers(), []broker.StoredProvider{full, second, bare})
}

func providerExists(s *suite) {
	winner := s.oneWinner(inParallel(takers, func(i int) error {
		p := newProvider("p")
		p.Sealed = fmt.Sprint(i)
		return s.Store.InsertProvider(ctx, p)
	}), broker.ProviderExists)
	same(s, s.providers()[0].Sealed, fmt.Sprint(winner))
}

func updateProvider(s *suite) {
	old, other := newProvider("p"), newProvider("other")
	s.ok(s.Store.InsertProvider(ctx, old))
	s.ok(s.Store.InsertProvider(ctx, other))
	changed := func(i int) broker.StoredProvider {
		p := fullProvider("p")
		p.Sealed, p.UpdatedAt = fmt.Sprint(i), t0.Add(time.Hour)
		return p
	}
	winner := s.oneWinner(inParallel(takers, func(i int) error { return s.Store.UpdateProvider(ctx, changed(i), old.UpdatedAt) }), broker.NotFound)
	want := changed(winner)
	want.CreatedAt = old.CreatedAt
	same(s, s.providers(), []broker.StoredProvider{other, want})
	s.code(s.Store.UpdateProvider(ctx, newProvider("nobody's"), old.UpdatedAt), broker.NotFound)
}

func resealProvider(s *suite) {
	p, other := fullProvider("p"), fullProvider("q")
	s.ok(s.Store.InsertProvider(ctx, p))
	s.ok(s.Store.InsertProvider(ctx, other))
	s.ok(s.Store.ResealProvider(ctx, "p", "another", "lost"))
	same(s, s.providers(), []broker.StoredProvider{p, other})
	s.ok(s.Store.ResealProvider(ctx, "p", "sealed", "anew"))
	p.Sealed = "anew"
	same(s, s.providers(), []broker.StoredProvider{p, other})
}

func deleteProvider(s *suite) {
	other := newProvider("other")
	s.ok(s.Store.InsertProvider(ctx, newProvider("p")))
	s.ok(s.Store.InsertProvider(ctx, other))
	s.ok(s.Store.DeleteProvider(ctx, "p"))
	s.code(s.Store.DeleteProvider(ctx, "p"), broker.NotFound)
	same(s, s.providers(), []broker.StoredProvider{other})
}
