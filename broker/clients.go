package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// cliClient is the built-in native client of `latchkey login`.
var cliClient = Client{
	ID: CLIClientID, Name: "Latchkey command line", RedirectURIs: []string{"http://127.0.0.1/callback", "http://[::1]/callback"},
	ApplicationType: ApplicationNative, TokenEndpointAuthMethod: AuthNone, ResponseTypes: []string{"code"},
	GrantTypes: []string{GrantAuthorizationCode, GrantRefreshToken, GrantDeviceCode},
	Scope:      strings.Join([]string{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeGroups, ScopeOfflineAccess, ScopeAPI, ScopeAdmin}, " "),
	ReadOnly:   true,
}

// appClient stands for the JSON API where a client is asked for.
var appClient = Client{ID: AppClientID, Name: "Latchkey", FirstParty: true, ReadOnly: true, Scope: AppScope}

// clientFresh is how long a client is used as it was read: so long a change
// takes to reach every replica, and so seldom a busy client costs a statement.
const clientFresh = time.Second

// maxCachedClients bounds the cache, for installations where clients register
// themselves.
const maxCachedClients = 4096

// clientCache remembers clients of the database for a moment. A client that is
// not there is not remembered.
type clientCache struct {
	mu      sync.Mutex
	clients map[string]cachedClient
}

type cachedClient struct {
	client Client
	readAt time.Time
}

func (c *clientCache) get(id string) (cachedClient, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.clients[id]
	return found, ok
}

func (c *clientCache) put(client Client, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients == nil || len(c.clients) >= maxCachedClients {
		c.clients = map[string]cachedClient{}
	}
	c.clients[client.ID] = cachedClient{client, now}
}

func (c *clientCache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, id)
}

// Client finds a client; ClientUnknown. The one of the JSON API is not one
// that anybody may name.
func (b *Broker) Client(ctx context.Context, id string) (Client, error) {
	unknown := refuse(ClientUnknown, "this client is not registered here")
	if c, ok := b.fixedClient(id); ok {
		return c, nil
	}
	if id == "" || id == AppClientID || len(id) > maxClientID {
		return Client{}, unknown
	}
	cached, ok := b.clients.get(id)
	if age := b.now().Sub(cached.readAt); ok && age >= 0 && age < clientFresh {
		return cached.client, nil
	}
	var c Client
	err := b.retry(ctx, func() (err error) {
		c, err = b.cfg.Store.ClientByID(ctx, id)
		return err
	})
	if errors.Is(err, NotFound) {
		b.clients.drop(id)
		return Client{}, unknown
	}
	if err == nil {
		b.clients.put(c, b.now())
	}
	return c, err
}

// fixedClient finds a client that is not in the database: the one of `latchkey
// login`, or one of the configuration.
func (b *Broker) fixedClient(id string) (Client, bool) {
	if id == CLIClientID {
		return cliClient, true
	}
	i := slices.IndexFunc(b.cfg.Clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return b.cfg.Clients[i], true
}

// clientIn finds the client of a session inside a transaction; a client that is
// gone comes with an empty ID.
func (b *Broker) clientIn(ctx context.Context, store Store, id string) (Client, error) {
	if c, ok := b.fixedClient(id); ok {
		return c, nil
	}
	if c, ok := clientOfForward(id); ok {
		return c, nil
	}
	c, err := store.ClientByID(ctx, id)
	if errors.Is(err, NotFound) {
		return Client{}, nil
	}
	return c, err
}

// sessionClient is the client of a session, for its lifetimes.
func (b *Broker) sessionClient(ctx context.Context, s Session) (Client, error) {
	if s.ClientID == AppClientID {
		return appClient, nil
	}
	if c, ok := clientOfForward(s.ClientID); ok {
		return c, nil
	}
	return b.Client(ctx, s.ClientID)
}

// HashClientSecret is how a client's secret is stored. Secrets are made by us,
// with 256 random bits, or stand in the configuration; a plain hash is enough
// (NIST SP 800-63B-4 section 3.1.2.2 asks for stretching only of less).
func HashClientSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const clientSecretPrefix = "lks_"

// CreateClient registers a client. The secret of a confidential one comes back
// this once; only its hash is kept.
func (b *Broker) CreateClient(ctx context.Context, c Client) (created Client, secret string, err error) {
	if c.ID == "" {
		c.ID = b.newSecret(12)
	}
	if c, err = CheckClient(c); err != nil {
		return Client{}, "", err
	}
	if err := cmp.Or(b.checkProviders(c), b.actor(ctx).mayHold(c)); err != nil {
		return Client{}, "", err
	}
	if b.configured(c.ID) {
		return Client{}, "", refuse(ClientExists, "a client of this id stands in the configuration")
	}
	if !c.Public() && c.TokenEndpointAuthMethod != AuthPrivateKeyJWT {
		secret = clientSecretPrefix + b.newSecret(32)
		c.SecretHash = HashClientSecret(secret)
	}
	c.CreatedAt = b.now()
	c.UpdatedAt = c.CreatedAt
	err = b.stepUpFor(ctx, func(given proof) error { return b.insertClient(ctx, c, given) }) // tokens of everybody who logs in to it are its own
	if err == nil && c.AccessTTL > 0 {
		err = b.loadLongestAccess(ctx)
	}
	return c, secret, err
}

func (b *Broker) insertClient(ctx context.Context, c Client, given proof) error {
	return b.retryTx(ctx, func(store Store) error {
		if err := given.take(ctx, store); err != nil {
			return err
		}
		if err := store.InsertClient(ctx, c); err != nil {
			return err
		}
		return b.audit(ctx, store, Event{Name: EventClientCreated, ClientID: c.ID, Detail: map[string]string{"name": c.Name}})
	})
}

// UpdateClient replaces a client's metadata. Its secret, and who it is, stay.
func (b *Broker) UpdateClient(ctx context.Context, c Client) (Client, error) {
	c, err := CheckClient(c)
	if err != nil {
		return Client{}, err
	}
	if err := b.checkProviders(c); err != nil {
		return Client{}, err
	}
	old, err := b.changeable(ctx, c.ID)
	if err != nil {
		return Client{}, err
	}
	if err := b.actor(ctx).mayHold(c, old); err != nil {
		return Client{}, err
	}
	if (old.SecretHash == "") != (c.Public() || c.TokenEndpointAuthMethod == AuthPrivateKeyJWT) {
		return Client{}, refuse(InvalidClientMetadata, "token_endpoint_auth_method: a client with a secret stays one; make a new client")
	}
	c.SecretHash, c.CreatedAt, c.UpdatedAt, c.Registered = old.SecretHash, old.CreatedAt, b.now(), old.Registered
	err = b.changeClient(ctx, c.ID, EventClientUpdated, func(store Store) error { return store.UpdateClient(ctx, c) })
	return c, err
}

// RotateClientSecret gives a confidential client a new secret; the old one ends
// at once. ticket, if it is not empty, is that of the form of whoever asks
// ([Broker.FormTicket]): sent twice, it makes one.
func (b *Broker) RotateClientSecret(ctx context.Context, id, ticket string) (secret string, err error) {
	c, err := b.changeable(ctx, id)
	if err != nil {
		return "", err
	}
	if err := b.actor(ctx).mayHold(c); err != nil {
		return "", err
	}
	if c.SecretHash == "" {
		return "", refuse(InvalidClientMetadata, "this client has no secret")
	}
	secret = clientSecretPrefix + b.newSecret(32)
	err = b.changeClient(ctx, id, EventClientSecret, func(store Store) error {
		if ticket != "" {
			if err := b.takeTicket(ctx, store, b.actor(ctx).ID, ticket); err != nil {
				return err
			}
		}
		return store.SetClientSecret(ctx, id, HashClientSecret(secret), b.now())
	})
	return secret, err
}

// DeleteClient deletes a client; its sessions end with ClientRemoved.
func (b *Broker) DeleteClient(ctx context.Context, id string) error {
	if _, err := b.changeable(ctx, id); err != nil {
		return err
	}
	return b.changeClient(ctx, id, EventClientDeleted, func(store Store) error {
		// It is not told of them any more: where to has gone with it.
		if _, err := b.endSessions(ctx, store, SessionFilter{ClientID: id}, ClientRemoved, false, ""); err != nil {
			return err
		}
		return store.DeleteClient(ctx, id)
	})
}

// changeClient changes or deletes a client, for whoever proves to be there.
func (b *Broker) changeClient(ctx context.Context, id, event string, change func(Store) error) error {
	return b.stepUpFor(ctx, func(given proof) error {
		defer b.clients.drop(id)
		return b.retryTx(ctx, func(store Store) error {
			if err := given.take(ctx, store); err != nil {
				return err
			}
			if err := change(store); err != nil {
				return err
			}
			return b.audit(ctx, store, Event{Name: event, ClientID: id})
		})
	})
}

// checkProviders refuses ways to log in that there are not.
func (b *Broker) checkProviders(c Client) error {
	for _, id := range c.Providers {
		known := slices.ContainsFunc(b.Providers(), func(p Provider) bool { return p.ID == id })
		if id != localProvider && !known {
			return badMetadata("providers: " + strconvQuote(id) + " is none of the identity providers here, nor local")
		}
	}
	return nil
}

func (b *Broker) configured(id string) bool {
	_, fixed := b.fixedClient(id)
	return fixed || id == AppClientID
}

func (b *Broker) changeable(ctx context.Context, id string) (Client, error) {
	if b.configured(id) {
		return Client{}, refuse(ReadOnlyClient, "this client is built in or stands in the configuration")
	}
	c, err := b.cfg.Store.ClientByID(ctx, id)
	if errors.Is(err, NotFound) {
		return Client{}, refuse(NotFound, "there is no client of this id")
	}
	return c, err
}

// FindClient is a client as administrators see it, read now; NotFound.
func (b *Broker) FindClient(ctx context.Context, id string) (Client, error) {
	if c, ok := clientOfForward(id); ok && len(b.cfg.Forward.of(c.Name)) > 0 {
		return c, nil
	}
	if c, ok := b.fixedClient(id); ok {
		return c, nil
	}
	return b.cfg.Store.ClientByID(ctx, id)
}

// Clients lists clients by id: on the first page those of the configuration,
// then those of the database, at most limit of them after afterID.
func (b *Broker) Clients(ctx context.Context, afterID string, limit int) ([]Client, error) {
	stored, err := b.cfg.Store.ListClients(ctx, afterID, limit)
	if err != nil || afterID != "" {
		return stored, err
	}
	return append(append([]Client{cliClient}, b.cfg.Clients...), stored...), nil
}

// ClientOrigins are the web origins that a client's pages may come from: those
// of its https and http redirect URIs, and the ones that it names.
func ClientOrigins(c Client) (out []string) {
	add := func(origin string) {
		if origin != "" && !slices.Contains(out, origin) {
			out = append(out, origin)
		}
	}
	for _, uri := range c.RedirectURIs {
		if u, err := url.Parse(uri); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
			add(u.Scheme + "://" + u.Host)
		}
	}
	for _, origin := range c.AllowedOrigins {
		add(origin)
	}
	return out
}

// OriginAllowed reports whether a page of this origin may read the answers of
// the endpoints that single-page apps call.
func (b *Broker) OriginAllowed(ctx context.Context, origin string) bool {
	if origin == "" || origin == "null" || len(origin) > 256 {
		return false
	}
	for _, c := range b.cfg.Clients {
		if slices.Contains(ClientOrigins(c), origin) {
			return true
		}
	}
	known, err := b.cfg.Store.OriginKnown(ctx, origin)
	return err == nil && known
}
