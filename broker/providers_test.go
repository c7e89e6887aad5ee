package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// added is a provider that nothing is wrong with.
func added(id string, change ...func(*broker.ProviderSettings)) broker.ProviderSettings {
	s := broker.ProviderSettings{ID: id, Issuer: "https://" + id + ".test", ClientID: "latchkey"}
	for _, f := range change {
		f(&s)
	}
	return s
}

// madeIdP remembers what it was made of.
type madeIdP struct {
	sayingIdP
	settings broker.ProviderSettings
	secret   string
	trusted  bool
}

func makingIdPs(c *broker.Config) {
	c.NewIdP = func(s broker.ProviderSettings, secret string, trusted bool) broker.IdP {
		return &madeIdP{sayingIdP: sayingIdP{issuer: s.Issuer}, settings: s, secret: secret, trusted: trusted}
	}
}

func providerIDs(list []broker.Provider) (out []string) {
	for _, p := range list {
		out = append(out, p.ID)
	}
	return out
}

func (h *house) idp(id string) *madeIdP {
	h.t.Helper()
	for _, p := range h.Broker.Providers() {
		if p.ID == id {
			return p.IdP.(*madeIdP)
		}
	}
	h.t.Fatalf("there is no provider %s", id)
	return nil
}

func TestAddedProviderLogsPeopleInAtOnceAndElsewhereAfterALoad(t *testing.T) {
	database := "sqlite:" + filepath.Join(t.TempDir(), "l.db")
	h, replica := newHouse(t, database, nil, makingIdPs), newHouse(t, database, nil, makingIdPs)
	if _, err := h.enter("r", says("anna")); broker.CodeOf(err) != broker.ProviderUnknown {
		t.Fatal(err)
	}
	made, err := h.Broker.CreateProvider(ctx, added("r"), "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	if made.Name != "r" || made.Provision != broker.ProvisionCreate || !made.HasSecret || made.ReadOnly || made.IdP == nil {
		t.Errorf("%+v", made)
	}
	if idp := h.idp("r"); idp.secret != "s3cret" || idp.trusted || idp.settings.TokenEndpointAuth != broker.AuthAuto {
		t.Errorf("%+v", idp)
	}
	if _, _, err := h.Broker.BeginWeb(ctx, "r", "/", broker.IdPAsk{}, broker.Device{}); err != nil {
		t.Error(err)
	}
	if _, _, err := replica.Broker.BeginWeb(ctx, "r", "/", broker.IdPAsk{}, broker.Device{}); broker.CodeOf(err) != broker.ProviderUnknown {
		t.Error(err)
	}
	replica.load()
	if ids := providerIDs(replica.Broker.Providers()); !slices.Equal(ids, []string{"p", "q", "r"}) {
		t.Errorf("%v", ids)
	}
	if err := h.Broker.DeleteProvider(ctx, "r"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Broker.BeginWeb(ctx, "r", "/", broker.IdPAsk{}, broker.Device{}); broker.CodeOf(err) != broker.ProviderUnknown {
		t.Error(err)
	}
	replica.load()
	if ids := providerIDs(replica.Broker.Providers()); !slices.Equal(ids, []string{"p", "q"}) {
		t.Errorf("%v", ids)
	}
}

func (h *house) load() {
	h.t.Helper()
	if err := h.Broker.Load(ctx); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) add(s broker.ProviderSettings, secret string) broker.Provider {
	h.t.Helper()
	p, err := h.Broker.CreateProvider(ctx, s, secret)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func TestOnlyAChangedProviderGetsANewIdP(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	h.add(added("a"), "one")
	h.add(added("b"), "")
	a, b := h.idp("a"), h.idp("b")
	h.load()
	if h.idp("a") != a || h.idp("b") != b {
		t.Error("a load alone made a new IdP")
	}
	if _, err := h.Broker.UpdateProvider(ctx, added("a", func(s *broker.ProviderSettings) { s.Name = "A"; s.AllowPrivate = true }), nil); err != nil {
		t.Fatal(err)
	}
	if idp := h.idp("a"); idp == a || idp.secret != "one" || idp.settings.Name != "A" || !idp.trusted || h.idp("b") != b {
		t.Errorf("%+v", idp)
	}
	a = h.idp("a")
	for _, secret := range []string{"two", ""} { // a new one, and none any more
		p, err := h.Broker.UpdateProvider(ctx, a.settings, &secret)
		if err != nil || p.HasSecret != (secret != "") || h.idp("a").secret != secret {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

// Whoever may change the address, but does not know the secret, must not be
// sent it.
func TestSecretDoesNotGoToAnotherIssuer(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	h.add(added("a"), "s3cret")
	elsewhere := added("a", func(s *broker.ProviderSettings) { s.Issuer = "https://evil.test" })
	if _, err := h.Broker.UpdateProvider(ctx, elsewhere, nil); !faulty(err, "client_secret") {
		t.Error(err)
	}
	if _, err := h.Broker.UpdateProvider(ctx, elsewhere, new("another")); err != nil || h.idp("a").secret != "another" {
		t.Error(err)
	}
}

// faulty reports whether an error names exactly these fields.
func faulty(err error, fields ...string) bool {
	faults, _ := errors.AsType[broker.Faults](err)
	named := []string{}
	for _, f := range faults {
		named = append(named, f.Field)
	}
	slices.Sort(named)
	slices.Sort(fields)
	return broker.CodeOf(err) == broker.InvalidRequest && slices.Equal(named, fields)
}

func TestProviderSecretIsSealedAndSealedAnew(t *testing.T) {
	database := "sqlite:" + filepath.Join(t.TempDir(), "l.db")
	h := newHouse(t, database, nil, makingIdPs)
	h.add(added("a"), "a secret of the IdP")
	sealed := func() string {
		rows, err := h.Store.ListProviders(ctx)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(rows)
		if err != nil || bytes.Contains(text, []byte("a secret of the IdP")) {
			t.Fatalf("%s, %v", text, err)
		}
		return rows[0].Sealed
	}
	first := sealed()
	changed := append(harness.Secrets(t, "another root secret, long enough as well"), harness.Secrets(t, harness.Secret)...)
	later := newHouse(t, database, nil, func(c *broker.Config) { makingIdPs(c); c.Secrets = changed })
	if later.idp("a").secret != "a secret of the IdP" || sealed() == first || !strings.HasPrefix(sealed(), changed.Current().ID()+".") {
		t.Error("not sealed under the root secret in use")
	}
	if _, err := (tokens.Secrets{changed.Current()}).Open("providers.secret.b", sealed()); err == nil {
		t.Error("it opens in another row's place")
	}
}

// One that cannot be used any more takes no other with it, and an administrator
// still sees it.
func TestUnusableProviderIsLeftOut(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	h.add(added("a"), "one")
	h.add(added("b"), "two")
	if err := h.Store.ResealProvider(ctx, "a", h.sealedOf("a"), "damaged"); err != nil {
		t.Fatal(err)
	}
	h.load()
	h.load()
	if ids := providerIDs(h.Broker.Providers()); !slices.Equal(ids, []string{"p", "q", "b"}) {
		t.Errorf("%v", ids)
	}
	if n := strings.Count(h.Log.String(), "provider.failed"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	if a, err := h.Broker.FindProvider(ctx, "a"); err != nil || a.IdP != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := h.Broker.UpdateProvider(ctx, added("a"), new("three")); err != nil || h.idp("a").secret != "three" {
		t.Error(err)
	}
}

func (h *house) sealedOf(id string) string {
	h.t.Helper()
	rows, err := h.Store.ListProviders(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	i := slices.IndexFunc(rows, func(r broker.StoredProvider) bool { return r.Settings.ID == id })
	return rows[i].Sealed
}

func TestConfiguredProvidersAreReadOnly(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	if _, err := h.Broker.CreateProvider(ctx, added("p"), ""); broker.CodeOf(err) != broker.ProviderExists {
		t.Error(err)
	}
	if _, err := h.Broker.UpdateProvider(ctx, added("p"), nil); broker.CodeOf(err) != broker.ReadOnlyProvider {
		t.Error(err)
	}
	if err := h.Broker.DeleteProvider(ctx, "p"); broker.CodeOf(err) != broker.ReadOnlyProvider {
		t.Error(err)
	}
	h.add(added("a"), "")
	if _, err := h.Broker.CreateProvider(ctx, added("a"), ""); broker.CodeOf(err) != broker.ProviderExists {
		t.Error(err)
	}
	for _, id := range []string{"", "nobody", "openid", "A"} {
		if _, err := h.Broker.UpdateProvider(ctx, added(id), nil); broker.CodeOf(err) != broker.ProviderUnknown {
			t.Errorf("%q: %v", id, err)
		}
		if err := h.Broker.DeleteProvider(ctx, id); broker.CodeOf(err) != broker.ProviderUnknown {
			t.Errorf("%q: %v", id, err)
		}
		if _, err := h.Broker.FindProvider(ctx, id); broker.CodeOf(err) != broker.ProviderUnknown {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// A provider that the configuration names later is the configuration's.
func TestConfigurationWinsOverAddedProvider(t *testing.T) {
	database := "sqlite:" + filepath.Join(t.TempDir(), "l.db")
	before := harness.New(t, database, makingIdPs)
	if _, err := before.Broker.CreateProvider(ctx, added("p"), ""); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, database, nil, makingIdPs)
	if ids := providerIDs(h.Broker.Providers()); !slices.Equal(ids, []string{"p", "q"}) || !h.Broker.Providers()[0].ReadOnly {
		t.Errorf("%v", ids)
	}
}

func TestAddedProviderFollowsThoseOfTheConfiguration(t *testing.T) {
	rig := harness.New(t, "", makingIdPs)
	for _, id := range []string{"z", "a"} { // the alias openid must not move to another
		if _, err := rig.Broker.CreateProvider(ctx, added(id), ""); err != nil {
			t.Fatal(err)
		}
		rig.Clock.Advance(1e9)
	}
	request := broker.AppRequest{
		ProviderID: "openid", ResponseType: "code", RedirectURI: "audiobookshelf://oauth", CodeChallenge: strings.Repeat("c", 43), CodeChallengeMethod: "S256",
	}
	if r, err := rig.Broker.BeginApp(ctx, request); err != nil || r.ProviderID != "z" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestProvidersHaveABound(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	for i := range 100 {
		h.add(added(fmt.Sprint("a", i)), "")
	}
	if _, err := h.Broker.CreateProvider(ctx, added("more"), ""); broker.CodeOf(err) != broker.InvalidRequest {
		t.Error(err)
	}
}

func TestProviderChangesAreInTheAuditLog(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	if _, err := h.Broker.CreateProvider(ctx, added("a"), "s3cret"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Broker.UpdateProvider(ctx, added("a"), nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Broker.DeleteProvider(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{broker.EventProviderCreated, broker.EventProviderUpdated, broker.EventProviderDeleted} {
		events, err := h.Store.ListEvents(ctx, broker.EventFilter{Name: name, Limit: 10})
		if err != nil || len(events) != 1 || events[0].Detail["provider"] != "a" {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
}

// An administrator who has a client of his own at the IdP by which root logs in
// would get ID tokens of root for it.
func TestAdministratorSetsUpTheIssuerOfRoot(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	h.add(added("r"), "s3cret")
	u := h.User(t, "root", broker.RoleRoot)
	i := broker.Identity{Issuer: "https://r.test", Subject: "root", ProviderID: "r", UserID: u.ID, CreatedAt: h.Clock.Now(), LastUsedAt: h.Clock.Now()}
	if err := h.Store.InsertIdentity(ctx, i); err != nil {
		t.Fatal(err)
	}
	same := func(id string) broker.ProviderSettings {
		return added(id, func(s *broker.ProviderSettings) {
			s.Issuer, s.ExchangeAudiences = "https://r.test", []string{"an app of mine"}
		})
	}
	as := func(role broker.Role) context.Context {
		return broker.WithActor(ctx, broker.Actor{ID: "somebody", Role: role})
	}
	if _, err := h.Broker.CreateProvider(as(broker.RoleAdmin), same("mine"), "s3cret"); broker.CodeOf(err) != broker.Forbidden {
		t.Errorf("added: %v", err)
	}
	if _, err := h.Broker.UpdateProvider(as(broker.RoleAdmin), same("r"), new("s3cret")); broker.CodeOf(err) != broker.Forbidden {
		t.Errorf("changed: %v", err)
	}
	if _, err := h.Broker.CreateProvider(as(broker.RoleAdmin), added("other"), "s3cret"); err != nil {
		t.Errorf("another issuer: %v", err)
	}
	for _, by := range []context.Context{as(broker.RoleRoot), ctx} {
		if _, err := h.Broker.UpdateProvider(by, same("r"), new("s3cret")); err != nil {
			t.Error(err)
		}
	}
}
