package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

const (
	shortGrace = 30 * time.Second
	longAccess = 24 * time.Hour
)

// checkSettings looks at values that are allowed.
func checkSettings(_ context.Context, d *doctor) (out []finding, looked bool) {
	c := d.config
	add := func(bad bool, id, subject string, v values) {
		if bad {
			out = append(out, found(id, subject, v))
		}
	}
	u, _ := url.Parse(c.PublicURL) // checked with the configuration
	add(u.Scheme == "http" && !broker.LoopbackName(u.Hostname()), "public_url_http", "", values{"public_url": c.PublicURL})
	add(c.Tokens.RefreshGrace.Duration() < shortGrace, "grace_short", "", values{"grace": c.Tokens.RefreshGrace.String()})
	add(c.Tokens.AccessTTL.Duration() > longAccess, "access_ttl_long", "", values{"ttl": c.Tokens.AccessTTL.String()})
	add(c.Tokens.Algorithm == sharedAlgorithm, "algorithm_shared", "", nil)
	add(c.RateLimit.AuthMax == 0, "rate_limit_off", "", nil)
	_, embedded := storage.IsSQLite(c.databaseURL())
	add(embedded && strings.HasPrefix(c.databaseURL(), "sqlite::memory:"), "database_in_memory", "", nil)
	add(isPublic(c.Metrics.Listen, net.InterfaceAddrs), "metrics_public", "", values{"listen": c.Metrics.Listen})
	for _, prefix := range c.proxies() {
		add(tooWide(prefix), "trusted_proxies_wide", prefix.String(), values{"network": prefix.String()})
	}
	for _, origin := range c.CORSOrigins {
		add(strings.Contains(origin, "*"), "cors_origin_pattern", origin, values{"origin": origin})
		o, err := url.Parse(origin)
		add(err == nil && o.Scheme == "http" && !broker.LoopbackName(o.Hostname()), "cors_origin_http", origin, values{"origin": origin})
	}
	for _, x := range c.Providers {
		add(linksStrangers(x.ProviderSettings), "link_by_public", x.ID, values{"provider": x.Name, "id": x.ID})
	}
	named := func(x providerConfig) bool { return x.ID == c.AutoLaunch }
	known := slices.ContainsFunc(c.Providers, named) || c.AutoLaunch == broker.DefaultProviderID && len(c.Providers) > 0 || d.isStored(c.AutoLaunch)
	add(c.AutoLaunch != "" && !known, "auto_launch_unknown", c.AutoLaunch, values{"id": c.AutoLaunch})
	out = append(out, c.weakSecrets()...)
	return append(out, d.checkImport()...), true
}

// isStored reports whether the database has a provider of that id.
func (d *doctor) isStored(id string) bool {
	return d.broker != nil && slices.ContainsFunc(d.broker.Providers(), func(p broker.Provider) bool { return p.ID == id })
}

// isPublic reports whether something that listens there is reached from outside:
// at a public address of this machine, or at all of them.
func isPublic(listen string, own func() ([]net.Addr, error)) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false // off
	}
	ip := net.ParseIP(host)
	if host != "" && !(ip != nil && ip.IsUnspecified()) {
		return ip != nil && !inside(ip)
	}
	addresses, err := own()
	return err == nil && slices.ContainsFunc(addresses, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && !inside(network.IP)
	})
}

// inside reports whether nobody outside reaches an address.
func inside(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	return ok && slices.ContainsFunc(private, func(n netip.Prefix) bool { return n.Contains(addr.Unmap()) }) || ip.IsLoopback()
}

// proxies are the trusted ones.
func (c *config) proxies() []netip.Prefix {
	out, _ := c.trustedProxies() // checked with the configuration
	return out
}

// private are the networks that nobody reaches from outside.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// tooWide reports whether a network is one that strangers have addresses in: a
// large provider of proxies announces /12, and nobody more.
func tooWide(p netip.Prefix) bool {
	inPrivate := func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) }
	if slices.ContainsFunc(private, inPrivate) {
		return false
	}
	return p.Addr().Is4() && p.Bits() < 12 || p.Addr().Is6() && p.Bits() < 29
}

// openToAll are issuers where anybody can have an account.
var openToAll = []string{
	"accounts.google.com", "login.microsoftonline.com", "github.com", "gitlab.com", "discord.com", "appleid.apple.com", "www.facebook.com",
	"login.yahoo.com", "id.twitch.tv", "www.linkedin.com", "slack.com", "account.proton.me",
}

// linksStrangers reports whether an account here goes to whoever has its address
// at a provider that is open to everybody.
func linksStrangers(s broker.ProviderSettings) bool {
	u, err := url.Parse(s.Issuer)
	public := err == nil && slices.Contains(openToAll, u.Hostname()) || s.Type == broker.TypeGitHub && s.Issuer == "" || s.Type == broker.TypeDiscord
	return s.LinkBy == broker.LinkVerifiedEmail && public && len(s.AllowedDomains) == 0 && len(s.AllowedGroups) == 0
}

// placeholders are what examples have where a secret belongs.
var placeholders = []string{"changeme", "change-me", "change_me", "example", "replace", "your-", "your_", "placeholder", "topsecret", "password", "12345678"}

// leastDifferent is how many different characters a random secret of 32 has, and
// many more.
const leastDifferent = 10

// weakSecrets finds secrets that somebody could guess.
func (c *config) weakSecrets() (out []finding) {
	secrets := map[string]string{
		"secret_key": c.SecretKey, "tokens.hs256_secret": c.Tokens.HS256Secret, "registration_token": c.RegistrationToken,
	}
	for i, s := range c.PreviousSecretKeys {
		secrets[fmt.Sprintf("previous_secret_keys[%d]", i)] = s
	}
	for _, x := range c.Clients {
		secrets["clients."+x.ID+".client_secret"] = x.Secret
	}
	for key, secret := range secrets {
		if secret != "" && guessable(secret) {
			out = append(out, found("secret_weak", key, values{"key": key}))
		}
	}
	return out
}

func guessable(secret string) bool {
	different := map[rune]bool{}
	for _, r := range secret {
		different[r] = true
	}
	low := strings.ToLower(secret)
	return len(different) < leastDifferent || slices.ContainsFunc(placeholders, func(p string) bool { return strings.Contains(low, p) })
}

// checkImport looks at what is believed of the system before.
func (d *doctor) checkImport() (out []finding) {
	c := d.config
	if until, err := c.Import.legacyUntil(); err == nil && !until.IsZero() {
		id := "legacy_tokens_taken"
		if !d.now().Before(until) {
			id = "legacy_tokens_over"
		}
		out = append(out, found(id, "", values{"until": when(until)}))
	}
	const app = "audiobookshelf://oauth"
	if c.Import.AudiobookshelfSecret != "" && len(c.Providers) > 0 && !slices.Contains(c.MobileRedirectURIs, app) {
		out = append(out, found("app_scheme_missing", app, values{"uri": app}))
	}
	return out
}
