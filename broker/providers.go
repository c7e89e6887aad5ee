package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// DefaultProviderID is the id that apps of the JSON contract know; it is an
// alias of the first provider if no provider bears it.
const DefaultProviderID = "openid"

// maxStoredProviders bounds how many are added while running.
const maxStoredProviders = 100

// Providers lists the providers: those of the configuration in their order,
// then those that were added while running, oldest first.
func (b *Broker) Providers() []Provider { return *b.providers.Load() }

func (b *Broker) provider(id string) (*Provider, error) {
	all := b.Providers()
	i := slices.IndexFunc(all, func(p Provider) bool { return p.ID == id })
	if i < 0 && id == DefaultProviderID && len(all) > 0 {
		i = 0
	}
	if i < 0 {
		return nil, refuse(ProviderUnknown, "there is no identity provider of that name")
	}
	return &all[i], nil
}

func (b *Broker) configuredProviders() []Provider {
	out := slices.Clone(b.cfg.Providers)
	for i := range out {
		out[i].ReadOnly = true
	}
	return out
}

// loadProviders reads the providers of the database and puts a new list in the
// place of the old one. A provider that has not changed keeps its IdP, with
// what that remembers; one that cannot be used is left out and logged, so that
// it takes no other with it.
func (b *Broker) loadProviders(ctx context.Context) error {
	b.loadingProviders.Lock() // an older list must not take the place of a newer one
	defer b.loadingProviders.Unlock()
	rows, err := b.cfg.Store.ListProviders(ctx)
	if err != nil {
		return err
	}
	before, next := b.Providers(), b.configuredProviders()
	for _, row := range rows {
		p, err := b.openProvider(ctx, row, before)
		if errors.Is(err, TemporarilyUnavailable) {
			return err
		}
		if err == nil && b.configuredProvider(p.ID) {
			err = errors.New("the configuration has a provider of the same id, which is used")
		}
		if err == nil {
			next = append(next, p)
		} else if b.refused.first("provider "+row.Settings.ID, b.now()) {
			b.cfg.Log.ErrorContext(ctx, "a provider cannot be used", "event", "provider.failed", "provider", row.Settings.ID, "error", err)
		}
	}
	b.providers.Store(&next)
	return nil
}

func providerPlace(id string) string { return "providers.secret." + id }

// openProvider makes the provider of a row, or takes it from the list before.
func (b *Broker) openProvider(ctx context.Context, row StoredProvider, before []Provider) (Provider, error) {
	secret, err := b.openProviderSecret(ctx, row)
	if err != nil {
		return Provider{}, err
	}
	text, err := json.Marshal(row.Settings)
	if err != nil {
		return Provider{}, err
	}
	p := Provider{
		ProviderSettings: row.Settings, HasSecret: secret != "", CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, madeOf: hash(string(text), secret),
	}
	if i := slices.IndexFunc(before, func(o Provider) bool { return o.ID == p.ID && o.madeOf == p.madeOf }); i >= 0 {
		p.IdP = before[i].IdP
		return p, nil
	}
	p.IdP, err = b.newIdP(p.ProviderSettings, secret)
	return p, err
}

func (b *Broker) newIdP(s ProviderSettings, secret string) (IdP, error) {
	if b.cfg.NewIdP == nil {
		return nil, refuse(InvalidRequest, "no identity provider can be added here")
	}
	return b.cfg.NewIdP(s, secret, s.AllowPrivate), nil
}

// openProviderSecret opens a client secret; one that was sealed under an
// earlier root secret is sealed anew.
func (b *Broker) openProviderSecret(ctx context.Context, row StoredProvider) (string, error) {
	if row.Sealed == "" {
		return "", nil
	}
	place := providerPlace(row.Settings.ID)
	plain, err := b.cfg.Secrets.Open(place, row.Sealed)
	if err != nil {
		return "", err
	}
	if sealed, again := b.reseal(place, row.Sealed, plain); again {
		err = b.cfg.Store.ResealProvider(ctx, row.Settings.ID, row.Sealed, sealed)
	}
	return string(plain), err
}

func (b *Broker) sealProviderSecret(id, secret string) string {
	if secret == "" {
		return ""
	}
	return b.sealer().Seal(providerPlace(id), []byte(secret))
}

func (b *Broker) configuredProvider(id string) bool {
	return slices.ContainsFunc(b.cfg.Providers, func(p Provider) bool { return p.ID == id })
}

// ProvidersNow is [Broker.Providers] as the database has it now, for
// administrators: one that cannot be used comes without an IdP.
func (b *Broker) ProvidersNow(ctx context.Context) ([]Provider, error) {
	rows, err := b.cfg.Store.ListProviders(ctx)
	if err != nil {
		return nil, err
	}
	out := b.configuredProviders()
	for _, row := range rows {
		out = append(out, b.shown(row))
	}
	return out, nil
}

// shown is the provider of a row, with the IdP that is in use, if one is.
func (b *Broker) shown(row StoredProvider) Provider {
	p := Provider{ProviderSettings: row.Settings, HasSecret: row.Sealed != "", CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt}
	loaded := b.Providers()
	if i := slices.IndexFunc(loaded, func(o Provider) bool { return o.ID == p.ID && !o.ReadOnly }); i >= 0 {
		p.IdP = loaded[i].IdP
	}
	return p
}

// FindProvider is one of [Broker.ProvidersNow], by its own id; ProviderUnknown.
func (b *Broker) FindProvider(ctx context.Context, id string) (Provider, error) {
	all, err := b.ProvidersNow(ctx)
	if err != nil {
		return Provider{}, err
	}
	i := slices.IndexFunc(all, func(p Provider) bool { return p.ID == id })
	if i < 0 {
		return Provider{}, refuse(ProviderUnknown, "there is no identity provider of that name")
	}
	return all[i], nil
}

// CreateProvider adds a provider, which can be used at once on this replica and
// after its next [Broker.Load] on the others.
func (b *Broker) CreateProvider(ctx context.Context, s ProviderSettings, secret string) (Provider, error) {
	var row StoredProvider
	err := b.stepUpFor(ctx, func(given proof) (err error) { // its rules can let anybody in as anything
		row, err = b.createProvider(ctx, s, secret, given)
		return err
	})
	if err != nil {
		return Provider{}, err
	}
	return b.shown(row), nil
}

func (b *Broker) createProvider(ctx context.Context, s ProviderSettings, secret string, given proof) (StoredProvider, error) {
	s, err := b.checkNewProvider(ctx, s, secret, nil)
	if err != nil {
		return StoredProvider{}, err
	}
	if b.configuredProvider(s.ID) {
		return StoredProvider{}, refuse(ProviderExists, "id: a provider of this id stands in the configuration")
	}
	now := b.now()
	row := StoredProvider{Settings: s, Sealed: b.sealProviderSecret(s.ID, secret), CreatedAt: now, UpdatedAt: now}
	return row, b.changeProvider(ctx, b.retryTx, EventProviderCreated, s.ID, given, func(store Store) error {
		rows, err := store.ListProviders(ctx)
		if err == nil && len(rows) >= maxStoredProviders {
			err = refuse(InvalidRequest, "there are 100 added providers, which is the most")
		}
		if err != nil {
			return err
		}
		return store.InsertProvider(ctx, row)
	})
}

// UpdateProvider replaces a provider's settings. A secret of nil leaves the one
// that it has, but not for another issuer: that would hand it to whoever is
// there.
func (b *Broker) UpdateProvider(ctx context.Context, s ProviderSettings, secret *string) (p Provider, err error) {
	err = b.stepUpFor(ctx, func(given proof) error {
		tx := b.onceTx() // over all tries, each of which reads what stands
		return b.retry(ctx, func() error {
			p, err = b.updateProvider(ctx, tx, s, secret, given)
			return err
		})
	})
	return p, err
}

func (b *Broker) updateProvider(ctx context.Context, tx transaction, s ProviderSettings, secret *string, given proof) (Provider, error) {
	old, err := b.storedProvider(ctx, s.ID)
	if err != nil {
		return Provider{}, err
	}
	var bad Faults
	if secret == nil {
		kept, err := b.openProviderSecret(ctx, old)
		if err != nil {
			return Provider{}, err
		}
		if asked := s.withDefaults(); kept != "" && !asked.sameSecretHolder(&old.Settings) {
			bad.add("client_secret", "is needed again where type, issuer, token_endpoint or emails_endpoint changes")
		}
		secret = &kept
	}
	if s, err = b.checkNewProvider(ctx, s, *secret, bad); err != nil {
		return Provider{}, err
	}
	row := StoredProvider{
		Settings: s, Sealed: b.sealProviderSecret(s.ID, *secret), CreatedAt: old.CreatedAt,
		UpdatedAt: later(b.now(), old.UpdatedAt.Add(time.Millisecond)),
	}
	err = b.changeProvider(ctx, tx, EventProviderUpdated, s.ID, given, func(store Store) error {
		return orAgain(store.UpdateProvider(ctx, row, old.UpdatedAt), NotFound) // somebody else was quicker
	})
	return b.shown(row), err
}

// DeleteProvider deletes a provider. Nobody logs in through it any more; the
// sessions that it led to go on, and the identities stay, for the day when a
// provider of that issuer is back.
func (b *Broker) DeleteProvider(ctx context.Context, id string) error {
	if _, err := b.storedProvider(ctx, id); err != nil {
		return err
	}
	return b.stepUpFor(ctx, func(given proof) error {
		return b.changeProvider(ctx, b.retryTx, EventProviderDeleted, id, given, func(store Store) error { return store.DeleteProvider(ctx, id) })
	})
}

// checkNewProvider is [CheckProvider] for what comes over the API; bad is what is
// wrong already.
func (b *Broker) checkNewProvider(ctx context.Context, s ProviderSettings, secret string, bad Faults) (ProviderSettings, error) {
	s, err := CheckProvider(s)
	faults, _ := errors.AsType[Faults](err)
	bad = append(bad, faults...)
	s.checkSecret(&bad, secret)
	s.checkAdded(&bad)
	if err := bad.refusal(); err != nil {
		return s, err
	}
	idp, err := b.newIdP(s, secret)
	if err != nil {
		return s, err
	}
	return s, b.mayVouchForRoot(ctx, idp.Issuer())
}

// mayVouchForRoot keeps the issuer by which root logs in from other
// administrators: with a client of their own there, or an audience of their own
// choice, they would need only that root logs in to it once.
func (b *Broker) mayVouchForRoot(ctx context.Context, issuer string) error {
	if a := b.actor(ctx); a.unbound() || a.Role == RoleRoot {
		return nil
	}
	roots, err := b.cfg.Store.RootHasIdentityAt(ctx, issuer)
	if err == nil && roots {
		err = fault(Forbidden, "issuer", "root logs in by this issuer, so only root sets up providers of it")
	}
	return err
}

func (b *Broker) storedProvider(ctx context.Context, id string) (StoredProvider, error) {
	if b.configuredProvider(id) {
		return StoredProvider{}, refuse(ReadOnlyProvider, "this provider stands in the configuration, and is changed there")
	}
	rows, err := b.cfg.Store.ListProviders(ctx)
	if err != nil {
		return StoredProvider{}, err
	}
	i := slices.IndexFunc(rows, func(r StoredProvider) bool { return r.Settings.ID == id })
	if i < 0 {
		return StoredProvider{}, refuse(ProviderUnknown, "there is no identity provider of that name")
	}
	return rows[i], nil
}

// changeProvider changes the database and then the list of this process.
func (b *Broker) changeProvider(ctx context.Context, tx transaction, event, id string, given proof, change func(Store) error) error {
	err := tx(ctx, func(store Store) error {
		if err := given.take(ctx, store); err != nil {
			return err
		}
		if err := change(store); err != nil {
			return err
		}
		return b.audit(ctx, store, Event{Name: event, Detail: map[string]string{"provider": id}})
	})
	if err != nil {
		return err
	}
	// It is done, whoever has gone away meanwhile.
	if err := b.loadProviders(context.WithoutCancel(ctx)); err != nil {
		b.cfg.Log.WarnContext(ctx, "providers will be read again later", "event", "provider.failed", "error", err)
	}
	return nil
}
