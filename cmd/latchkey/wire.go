package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oauth2"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/passkey"
	"github.com/latchkey-id/latchkey/providers/password"
	"github.com/latchkey-id/latchkey/providers/rp"
	"github.com/latchkey-id/latchkey/providers/totp"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/storage/journal"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/web"
)

// openStore opens the database and migrates it.
func (c *config) openStore(ctx context.Context, log *slog.Logger) (*storage.Store, error) {
	o := storage.Options{URL: c.databaseURL(), Version: version, Log: log}
	if u := c.serviceTime(); u != nil {
		o.Away = u.Away
	}
	return storage.Open(ctx, o)
}

// serviceTime is the one that store and broker share; nil by a clock of one's own,
// which moves idle ends as well.
func (c *config) serviceTime() *broker.Uptime {
	if c.now != nil {
		return nil
	}
	if c.uptime == nil {
		start := time.Now()
		c.uptime = broker.NewUptime(time.Now, func() time.Duration { return time.Since(start) }) // by the monotonic clock
	}
	return c.uptime
}

// startsWindow is about as long as a login that was begun waits for its person.
const startsWindow = 10 * time.Minute

// newBroker puts the broker together over a store. It is not loaded yet.
func (c *config) newBroker(ctx context.Context, store *storage.Store, log *slog.Logger) (*broker.Broker, error) {
	return c.brokerThat(ctx, false, store, log)
}

// brokerThat is newBroker; with replay it brings in what the journal of ends knows
// and the database does not.
func (c *config) brokerThat(ctx context.Context, replay bool, store *storage.Store, log *slog.Logger) (*broker.Broker, error) {
	secrets, err := c.secrets(ctx, store, log)
	if err != nil {
		return nil, err
	}
	hasher, err := password.New(password.Config{})
	if err != nil {
		return nil, err
	}
	var b *broker.Broker // signs for the providers, which are made before it
	sign := func(ctx context.Context, clientID, audience, algorithm string) (tokens.ClientAssertion, error) {
		return b.ClientAssertion(ctx, clientID, audience, algorithm)
	}
	cfg := broker.Config{
		Store: store, Secrets: secrets, Hasher: hasher, Judge: hasher, MinPassword: c.Passwords.MinLength, Providers: c.brokerProviders(store, sign),
		PublicURL: c.PublicURL, Algorithm: c.Tokens.Algorithm, LocalLogin: c.LocalLogin, MobileRedirectURIs: c.MobileRedirectURIs, MobileConfirm: c.MobileConfirm,
		Lifetimes: broker.Lifetimes{
			Access: c.Tokens.AccessTTL.Duration(), Refresh: c.Tokens.RefreshTTL.Duration(), MaxAge: c.Tokens.SessionMaxAge.Duration(),
			Grace: c.Tokens.RefreshGrace.Duration(), Retention: c.Tokens.SessionRetention.Duration(),
		},
		SessionLimit: c.Tokens.SessionLimit, AuditRetention: c.AuditRetention.Duration(),
		KeyRotation: c.Tokens.KeyRotation.Duration(), Command: c.running == nil,
		Clients: c.brokerClients(), RegistrationToken: c.RegistrationToken, HS256Secret: []byte(c.Tokens.HS256Secret),
		Forward: c.ForwardAuth.Rules,
		NewIdP: func(s broker.ProviderSettings, secret string, trusted bool) broker.IdP {
			return c.newIdP(s, secret, trusted, store, sign)
		},
		Journal: c.journal(), Replay: replay, Uptime: c.serviceTime(), ClientKeys: rp.NewKeys(nil), LogoutSender: rp.NewSender(),
		OneTimeCodes: totp.Codes{},
		Log:          log, Now: c.now,
	}
	if judge, err := passkey.New(c.PublicURL); err == nil { // an IP address has no passkeys
		cfg.Passkeys = judge
	}
	sender, err := c.mailSender()
	if err != nil {
		return nil, err
	}
	if sender != nil {
		cfg.MailSender = sender
		if cfg.LetterWriter, err = web.NewLetters(c.PublicURL); err != nil {
			return nil, err
		}
	}
	if cfg.Imported, err = c.Import.secret(); err != nil {
		return nil, err
	}
	if cfg.AcceptLegacyUntil, err = c.Import.legacyUntil(); err != nil {
		return nil, err
	}
	if cfg.Limiter, err = c.limiterOver(store, log); err != nil {
		return nil, fmt.Errorf("redis_url: %w", err)
	}
	cfg.Limits = c.limits()
	c.keep(&cfg)
	b, err = broker.New(cfg)
	return b, err
}

// limits are the quotas by the configuration. Starts and codes are many, and in the
// database each would write twice, on the one row of its address or browser: there each
// process counts its own, and so it does the exports, which take its own time. Redis
// counts those of all.
func (c *config) limits() broker.Limits {
	l := broker.Limits{
		Failures: broker.Quota{Max: c.RateLimit.AuthMax, Window: c.RateLimit.AuthWindow.Duration()},
		Starts:   broker.Quota{Max: c.RateLimit.StartsMax, Window: startsWindow},
		Codes:    broker.DefaultCodes, Exports: broker.DefaultExports, Trials: broker.DefaultTrials, Registrations: broker.DefaultRegistrations,
	}
	for _, own := range []*broker.Quota{&l.Starts, &l.Codes, &l.Exports} {
		own.Own = c.RedisURL == ""
	}
	return l
}

// limiterOver is the limiter of the process: a reload does not make it anew.
func (c *config) limiterOver(store *storage.Store, log *slog.Logger) (broker.Limiter, error) {
	if c.running != nil && c.running.limiter != nil {
		return c.running.limiter, nil
	}
	l, err := storage.NewLimiter(storage.LimiterOptions{Store: store, RedisURL: c.RedisURL, Log: log})
	if c.running != nil && err == nil {
		c.running.limiter = l
	}
	return l, err
}

// journal is that of ends; nil: there is none.
func (c *config) journal() broker.Journal {
	if name := c.journalFile(); name != "" {
		return journal.New(name)
	}
	return nil
}

func (c *config) brokerProviders(cache oidc.Cache, sign oidc.Signer) []broker.Provider {
	out := []broker.Provider{}
	for _, x := range c.Providers {
		out = append(out, broker.Provider{
			ProviderSettings: x.ProviderSettings, HasSecret: x.ClientSecret != "", IdP: c.newIdP(x.ProviderSettings, x.ClientSecret, true, cache, sign),
		})
	}
	return out
}

// newIdP makes what asks an IdP. Whoever is not trusted with our own network
// reaches public addresses alone.
func (c *config) newIdP(s broker.ProviderSettings, secret string, trusted bool, cache oidc.Cache, sign oidc.Signer) broker.IdP {
	if make, ok := plainOAuth[s.Type]; ok {
		return make(oauth2Config(s, secret, trusted))
	}
	cfg := oidc.Config{
		Issuer: s.Issuer, ClientID: s.ClientID, ClientSecret: secret, Scopes: s.Scopes, TokenEndpointAuth: s.TokenEndpointAuth,
		Claims: oidc.ClaimNames(s.Claims), Logout: s.Logout, Offline: s.Recheck > 0, ExchangeAudiences: s.ExchangeAudiences, Cache: cache,
		Assertion: sign, Now: c.now,
	}
	if !trusted {
		cfg.HTTPClient = oidc.NewPublicHTTPClient()
	}
	return oidc.New(cfg)
}

// plainOAuth are the types of providers that do not speak OpenID.
var plainOAuth = map[string]func(oauth2.Config) *oauth2.Provider{
	broker.TypeGitHub: oauth2.GitHub, broker.TypeDiscord: oauth2.Discord, broker.TypeOAuth2: oauth2.New,
}

func oauth2Config(s broker.ProviderSettings, secret string, trusted bool) oauth2.Config {
	cfg := oauth2.Config{
		Issuer: s.Issuer, ClientID: s.ClientID, ClientSecret: secret, Scopes: s.Scopes, Groups: s.WantsGroups(),
		TokenEndpointAuth: s.TokenEndpointAuth, Claims: oauth2.ClaimNames(s.Claims),
		Endpoints: oauth2.Endpoints{
			Authorization: s.AuthorizationEndpoint, Token: s.TokenEndpoint, Userinfo: s.UserinfoEndpoint, Emails: s.EmailsEndpoint,
		},
	}
	if !trusted {
		cfg.HTTPClient = oidc.NewPublicHTTPClient()
	}
	return cfg
}

// secrets derives the root secrets. On SQLite the first start makes one beside
// the database, never in it: a copy of the database alone gives no tokens.
func (c *config) secrets(ctx context.Context, store *storage.Store, log *slog.Logger) (tokens.Secrets, error) {
	current := []byte(c.SecretKey)
	if len(current) == 0 {
		used, err := broker.UsedWithSecret(ctx, store)
		if err != nil {
			return nil, err
		}
		if current, err = c.secretFile(used, log); err != nil {
			return nil, err
		}
	}
	out := tokens.Secrets{}
	for _, raw := range append([][]byte{current}, asBytes(c.PreviousSecretKeys)...) {
		if string(raw) == c.Tokens.HS256Secret {
			return nil, errors.New("tokens.hs256_secret (LATCHKEY_HS256_SECRET) is the root secret, which nobody else may have; make another one with: openssl rand -base64 48")
		}
		s, err := tokens.NewRootSecret(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func asBytes(list []string) (out [][]byte) {
	for _, s := range list {
		out = append(out, []byte(s))
	}
	return out
}

// secretFile reads <data dir>/secret.key, or makes it. Of two processes that
// start at once, one makes it and both read it: the file appears whole. For a
// database that was used with a secret, none is made: it would fit nothing.
func (c *config) secretFile(used bool, log *slog.Logger) ([]byte, error) {
	name := filepath.Join(c.DataDir, "secret.key")
	if raw, err := os.ReadFile(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		if err == nil && len(raw) < tokens.MinSecretBytes {
			err = fmt.Errorf("%s is damaged: it has %d bytes", name, len(raw))
		}
		return raw, err
	}
	if used {
		return nil, fmt.Errorf("%s is gone, and the database was used with it: restore it, or give the secret as JWT_SECRET_KEY", name)
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, err
	}
	fresh := make([]byte, 48)
	_, _ = rand.Read(fresh) // never fails
	part, err := os.CreateTemp(c.DataDir, ".secret-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(part.Name())
	_, err = part.WriteString(base64.StdEncoding.EncodeToString(fresh))
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(part.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	log.Info("root secret made; keep a copy apart from the database", "event", "secret.made", "file", name)
	return os.ReadFile(name)
}

// logger writes text to a terminal and JSON elsewhere, unless told otherwise.
func (c *config) logger(w io.Writer) *slog.Logger {
	c.level = &slog.LevelVar{}
	_ = c.level.UnmarshalText([]byte(c.Log.Level)) // checked with the configuration
	options := &slog.HandlerOptions{Level: c.level}
	if c.Log.Format == "text" || c.Log.Format == "" && isTerminal(w) {
		return slog.New(newQuiet(slog.NewTextHandler(w, options)))
	}
	return slog.New(newQuiet(slog.NewJSONHandler(w, options)))
}

// withBroker is for commands that work on the database directly, also while
// the server runs.
func (p *program) withBroker(ctx context.Context, f func(*broker.Broker) error) error {
	c, err := p.loadConfig()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := c.openStore(ctx, log)
	if err != nil {
		return err
	}
	defer store.Close()
	b, err := c.newBroker(ctx, store, log)
	if err != nil {
		return err
	}
	if err := b.Load(ctx); err != nil {
		return err
	}
	b.ActAs(broker.Actor{ID: broker.ActorCommand})
	return f(b)
}
