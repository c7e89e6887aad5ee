package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/tokens"
)

// config is the configuration as people write it. The tags are the YAML keys;
// the table in config_env.go has the environment's names and the defaults.
type config struct {
	PublicURL          string           `yaml:"public_url"`
	Listen             string           `yaml:"listen"`
	DataDir            string           `yaml:"data_dir"`
	DatabaseURL        string           `yaml:"database_url"`
	JournalFile        string           `yaml:"journal_file"`
	TLS                tlsConfig        `yaml:"tls"`
	DrainDelay         duration         `yaml:"drain_delay"`
	CORSOrigins        []string         `yaml:"cors_origins"`
	TrustedProxies     []string         `yaml:"trusted_proxies"`
	SecretKey          string           `yaml:"secret_key"`
	PreviousSecretKeys []string         `yaml:"previous_secret_keys"`
	Tokens             tokensConfig     `yaml:"tokens"`
	RateLimit          rateLimitConfig  `yaml:"rate_limit"`
	RedisURL           string           `yaml:"redis_url"`
	Passwords          passwordsConfig  `yaml:"passwords"`
	LocalLogin         bool             `yaml:"local_login"`
	AutoLaunch         string           `yaml:"auto_launch"`
	Providers          []providerConfig `yaml:"providers"`
	Clients            []clientConfig   `yaml:"clients"`
	ForwardAuth        forwardConfig    `yaml:"forward_auth"`
	RegistrationToken  string           `yaml:"registration_token"`
	MobileRedirectURIs []string         `yaml:"mobile_redirect_uris"`
	MobileConfirm      bool             `yaml:"mobile_confirm"`
	Import             importConfig     `yaml:"import"`
	SMTP               smtpConfig       `yaml:"smtp"`
	AuditRetention     duration         `yaml:"audit_retention"`
	Log                logConfig        `yaml:"log"`
	Metrics            metricsConfig    `yaml:"metrics"`
	Tracing            tracingConfig    `yaml:"tracing"`

	uptime *broker.Uptime   // see serviceTime
	now    func() time.Time // nil: the real clock

	// From the environment alone.
	adminUsername string
	adminPassword string

	running   *running                // the process that serves by it; nil: none
	lostLines func() int64            // of the log; nil: none is
	readAgain func() (*config, error) // what a reload reads; nil: there is none
	level     *slog.LevelVar          // of the log; nil: it is another one's
	bounds    bounds                  // of the HTTP server
}

type tlsConfig struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

type tokensConfig struct {
	Algorithm        string   `yaml:"algorithm"`
	HS256Secret      string   `yaml:"hs256_secret"`
	AccessTTL        duration `yaml:"access_ttl"`
	RefreshTTL       duration `yaml:"refresh_ttl"`
	SessionMaxAge    duration `yaml:"session_max_age"`
	RefreshGrace     duration `yaml:"refresh_grace"`
	SessionRetention duration `yaml:"session_retention"`
	SessionLimit     int      `yaml:"session_limit"`
	KeyRotation      duration `yaml:"key_rotation"`
}

type rateLimitConfig struct {
	AuthWindow duration `yaml:"auth_window"`
	AuthMax    int      `yaml:"auth_max"`
	StartsMax  int      `yaml:"starts_max"`
}

type passwordsConfig struct {
	MinLength int `yaml:"min_length"`
}

// forwardConfig says who may open what of the apps behind reverse proxies.
type forwardConfig struct {
	Rules broker.ForwardRules `yaml:"rules,omitempty"`
}

type logConfig struct {
	Format string `yaml:"format"`
	Level  string `yaml:"level"`
}

type metricsConfig struct {
	Listen string `yaml:"listen"`
}

// providerConfig is a provider as the file names it.
type providerConfig struct {
	broker.ProviderSettings `yaml:",inline"`
	ClientSecret            string `yaml:"client_secret"`
	ClientSecretFile        string `yaml:"client_secret_file"`
}

// problems collects everything that is wrong, so that one start tells all.
type problems []problem

type problem struct {
	key, text string
	unknown   bool // the key itself
}

func (p problem) String() string { return p.key + ": " + p.text }

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, problem{key: plain(key), text: fmt.Sprintf(format, args...)})
}

// addUnknown is add for a key that there is not.
func (p *problems) addUnknown(key, format string, args ...any) {
	*p = append(*p, problem{key: plain(key), text: fmt.Sprintf(format, args...), unknown: true})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	lines := make([]string, 0, len(p))
	for _, one := range p {
		lines = append(lines, one.String())
	}
	return fmt.Errorf("configuration: %s", strings.Join(lines, "\n  "))
}

// warnings are what is allowed and unwise.
func (c *config) warnings() (out []string) {
	if c.Tokens.RefreshGrace.Duration() < 30*time.Second {
		out = append(out, "tokens.refresh_grace is under 30s: an app that takes longer to store an answer can be logged out")
	}
	named := func(x providerConfig) bool { return x.ID == c.AutoLaunch }
	if c.AutoLaunch != "" && !slices.ContainsFunc(c.Providers, named) && (c.AutoLaunch != broker.DefaultProviderID || len(c.Providers) == 0) {
		out = append(out, fmt.Sprintf("auto_launch: %s is no provider of the configuration; nothing is launched until one of that id has been added", c.AutoLaunch))
	}
	out = append(out, c.SMTP.warnings()...)
	return append(out, c.Import.warnings(time.Now())...)
}

// check finds every problem of the values themselves. It opens nothing.
func (c *config) check(p *problems) {
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	if u, err := url.Parse(c.PublicURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		p.add("public_url", "must be http(s)://host[/path], such as https://id.example.org")
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		p.add("listen", "must be [address]:port, such as :8080")
	}
	if err := storage.CheckURL(c.databaseURL()); err != nil {
		p.add("database_url", "%v", err)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		p.add("tls", "cert_file and key_file belong together")
	}
	for _, origin := range c.CORSOrigins {
		if u, err := url.Parse(origin); err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" {
			p.add("cors_origins", "%q is not an origin, such as https://app.example.org", origin)
		}
	}
	if _, err := c.trustedProxies(); err != nil {
		p.add("trusted_proxies", "%v", err)
	}
	c.checkSecrets(p)
	c.checkTokens(p)
	if n := c.Passwords.MinLength; n < broker.MinPassword || n > broker.MaxMinPassword {
		p.add("passwords.min_length", "must be %d to %d", broker.MinPassword, broker.MaxMinPassword)
	}
	if c.RateLimit.AuthMax < 0 || c.RateLimit.AuthMax > 1_000_000 {
		p.add("rate_limit.auth_max", "must be 0 (off) to 1000000")
	}
	if n := c.RateLimit.StartsMax; n < 0 || n > 1_000_000 {
		p.add("rate_limit.starts_max", "must be 0 (off) to 1000000")
	}
	if c.RedisURL != "" {
		if err := storage.CheckRedisURL(c.RedisURL); err != nil {
			p.add("redis_url", "%v", err)
		}
	}
	if w := c.RateLimit.AuthWindow.Duration(); w < time.Second || w > 24*time.Hour {
		p.add("rate_limit.auth_window", "must be 1s to 24h")
	}
	if !slices.Contains([]string{"", "text", "json"}, c.Log.Format) {
		p.add("log.format", "must be text or json")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		p.add("log.level", "must be debug, info, warn or error")
	}
	c.checkMetrics(p)
	c.checkTracing(p)
	for _, uri := range c.MobileRedirectURIs {
		checkRedirectURI(p, uri)
	}
	c.checkProviders(p)
	c.checkClients(p)
	c.checkForward(p)
	c.SMTP.check(p)
	c.Import.check(p, time.Now())
	if (c.adminUsername == "") != (c.adminPassword == "") {
		p.add("LATCHKEY_ADMIN_USERNAME", "and LATCHKEY_ADMIN_PASSWORD belong together")
	}
}

func checkRedirectURI(p *problems, uri string) {
	u, err := url.Parse(uri)
	bad := err != nil || u.Scheme == "" || u.Fragment != "" || u.User != nil || u.Host == "" && u.Path == "" && u.Opaque == "" || strings.Contains(uri, "*")
	if !bad {
		bad = slices.Contains([]string{"javascript", "data", "vbscript", "file", "about", "blob"}, strings.ToLower(u.Scheme))
	}
	if bad {
		p.add("mobile_redirect_uris", "%q is not a redirect URI of an app, such as myapp://oauth", uri)
	}
}

func (c *config) checkSecrets(p *problems) {
	if c.SecretKey != "" && len(c.SecretKey) < tokens.MinSecretBytes {
		p.add("secret_key", "(JWT_SECRET_KEY) has %d bytes, at least %d are needed; make one with: openssl rand -base64 48", len(c.SecretKey), tokens.MinSecretBytes)
	}
	for _, s := range c.PreviousSecretKeys {
		if len(s) < tokens.MinSecretBytes {
			p.add("previous_secret_keys", "(JWT_SECRET_KEY_PREVIOUS) has an entry of %d bytes, at least %d are needed", len(s), tokens.MinSecretBytes)
		}
	}
	if t := c.RegistrationToken; t != "" && len(t) < tokens.MinSecretBytes {
		p.add("registration_token", "(LATCHKEY_REGISTRATION_TOKEN) has %d bytes, at least %d are needed; make one with: openssl rand -base64 48", len(t), tokens.MinSecretBytes)
	}
	if _, embedded := storage.IsSQLite(c.databaseURL()); !embedded && c.SecretKey == "" {
		p.add("secret_key", "(JWT_SECRET_KEY) is needed with PostgreSQL, because replicas and new containers must share it; make one with: openssl rand -base64 48")
	}
}

func (c *config) checkTokens(p *problems) {
	if known := append(slices.Clone(tokens.Algorithms), sharedAlgorithm); !slices.Contains(known, c.Tokens.Algorithm) {
		p.add("tokens.algorithm", "must be one of %s", strings.Join(known, ", "))
	}
	c.checkSharedSecret(p)
	if n := c.Tokens.SessionLimit; n < 0 || n > 1_000_000 {
		p.add("tokens.session_limit", "must be 0 (no limit) to 1000000")
	}
	for _, d := range []struct {
		key         string
		value       duration
		least, most time.Duration
		zero        bool
	}{
		{"tokens.access_ttl", c.Tokens.AccessTTL, time.Second, 30 * 24 * time.Hour, false},
		{"tokens.refresh_ttl", c.Tokens.RefreshTTL, time.Second, 3650 * 24 * time.Hour, false},
		{"tokens.session_max_age", c.Tokens.SessionMaxAge, time.Second, 3650 * 24 * time.Hour, true},
		{"tokens.refresh_grace", c.Tokens.RefreshGrace, time.Second, time.Hour, false},
		{"audit_retention", c.AuditRetention, 24 * time.Hour, 3650 * 24 * time.Hour, false},
		{"tokens.key_rotation", c.Tokens.KeyRotation, 24 * time.Hour, 3650 * 24 * time.Hour, true},
		{"drain_delay", c.DrainDelay, time.Second, 10 * time.Minute, true},
		{"tokens.session_retention", c.Tokens.SessionRetention, time.Hour, 3650 * 24 * time.Hour, false},
	} {
		if v := d.value.Duration(); (v < d.least || v > d.most) && !(d.zero && v == 0) {
			p.add(d.key, "is %s, must be %s to %s", d.value, duration(d.least), duration(d.most))
		}
	}
}

// sharedAlgorithm signs with a secret that API servers have too.
const sharedAlgorithm = "HS256"

func (c *config) checkSharedSecret(p *problems) {
	const key = "tokens.hs256_secret"
	secret := c.Tokens.HS256Secret
	switch shared := c.Tokens.Algorithm == sharedAlgorithm; {
	case shared && secret == "":
		p.add(key, "(LATCHKEY_HS256_SECRET) is needed for tokens.algorithm HS256; make one with: openssl rand -base64 48")
	case !shared && secret != "":
		p.add(key, "(LATCHKEY_HS256_SECRET) is set, and tokens.algorithm is %s: remove it, or set tokens.algorithm: HS256", c.Tokens.Algorithm)
	case shared && len(secret) < tokens.MinSecretBytes:
		p.add(key, "(LATCHKEY_HS256_SECRET) has %d bytes, at least %d are needed; make one with: openssl rand -base64 48", len(secret), tokens.MinSecretBytes)
	case shared && (secret == c.SecretKey || slices.Contains(c.PreviousSecretKeys, secret)):
		p.add(key, "(LATCHKEY_HS256_SECRET) is the root secret, which nobody else may have; make another one with: openssl rand -base64 48")
	}
}

func (c *config) checkProviders(p *problems) {
	seen := map[string]bool{}
	for i := range c.Providers {
		x := &c.Providers[i]
		key := fmt.Sprintf("providers[%d]", i)
		if x.ID != "" {
			key = "providers." + x.ID
		}
		if seen[x.ID] {
			p.add(key+".id", "is used twice")
		}
		seen[x.ID] = true
		checked, err := broker.CheckProvider(x.ProviderSettings)
		x.ProviderSettings = checked
		p.addFaults(key, err)
		p.addFaults(key, broker.CheckProviderSecret(checked, x.ClientSecret))
	}
}

func (c *config) checkForward(p *problems) {
	public, err := url.Parse(c.PublicURL)
	if err != nil {
		return // which is said already
	}
	rules, err := broker.CheckForwardRules(c.ForwardAuth.Rules, public.Host)
	c.ForwardAuth.Rules = rules
	p.addFaults("forward_auth", err)
	if len(rules) > 0 && len(c.TrustedProxies) == 0 {
		p.add("trusted_proxies", "is empty, and forward_auth.rules are for requests that proxies tell of: name the addresses of your proxies, such as [127.0.0.1]")
	}
}

// addFaults takes over what the broker found wrong.
func (p *problems) addFaults(key string, err error) {
	faults, _ := errors.AsType[broker.Faults](err)
	for _, f := range faults {
		p.add(key+"."+f.Field, "%s", f.Problem)
	}
}

func (c *config) databaseURL() string {
	if c.DatabaseURL != "" {
		return c.DatabaseURL
	}
	return "sqlite:" + strings.TrimSuffix(c.DataDir, "/") + "/latchkey.db"
}

// journalFile is where the journal of ends is kept; empty: nowhere.
func (c *config) journalFile() string {
	file, embedded := storage.IsSQLite(c.databaseURL())
	if c.JournalFile == "" && embedded && file != "" {
		return strings.TrimSuffix(c.DataDir, "/") + "/ends.journal"
	}
	return c.JournalFile
}

func (c *config) trustedProxies() (out []netip.Prefix, err error) {
	for _, text := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an address nor a network, such as 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Bits() == 0 {
			return nil, fmt.Errorf("%q would believe everybody", text)
		}
		out = append(out, prefix)
	}
	return out, nil
}
