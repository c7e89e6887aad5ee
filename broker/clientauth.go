package broker

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"

	"github.com/latchkey-id/latchkey/tokens"
)

// AssertionTypeJWT is the client_assertion_type of private_key_jwt (RFC 7523
// section 2.2).
const AssertionTypeJWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ClientCredentials are what a client presented, in whichever way. Method is
// the way: one of the Auth constants.
type ClientCredentials struct {
	Method    string
	ID        string
	Secret    string
	Assertion string
}

// AuthenticateClient finds out which client calls (RFC 6749 section 2.3).
// Whatever is wrong, the answer is the same InvalidClient: nobody learns which
// clients there are. A client that is registered for one way uses that way.
// Secrets that are guessed count against the client at the address they come
// from.
func (b *Broker) AuthenticateClient(ctx context.Context, given ClientCredentials, device Device) (Client, error) {
	if given.Method == AuthPrivateKeyJWT && given.ID == "" {
		given.ID = tokens.AssertionSubject(given.Assertion)
	}
	c, err := b.Client(ctx, given.ID)
	known := err == nil
	if err != nil && CodeOf(err) != ClientUnknown {
		return Client{}, err
	}
	switch given.Method {
	case AuthNone:
		if known && c.Public() {
			return c, nil
		}
	case AuthBasic, AuthPost:
		if err := b.checkClientSecret(ctx, &c, given, device); err != nil {
			return Client{}, err
		}
		return c, nil
	case AuthPrivateKeyJWT:
		if known && c.TokenEndpointAuthMethod == AuthPrivateKeyJWT {
			return c, b.checkAssertion(ctx, &c, given.Assertion)
		}
	}
	return Client{}, notTheClient()
}

func notTheClient() *Error {
	return refuse(InvalidClient, "the client is not known, or did not prove that it is the one")
}

// checkClientSecret compares a secret, of a client that is not known too: c is
// then zero. A secret that was good here within the day is not kept out by
// neighbours who guess.
func (b *Broker) checkClientSecret(ctx context.Context, c *Client, given ClientCredentials, device Device) error {
	digest, now := HashClientSecret(given.Secret), b.now()
	tried := hash("client secret", given.ID, digest)
	quota, key := b.cfg.Limits.Failures, "client "+given.ID+" from "+AddressOf(device.IP)
	quota.Own = quota.Own || c.SecretHash == "" // a stranger's invention is no row
	if !b.goodKeys.has(tried, now) {
		if err := b.mayFailBy(ctx, quota, key); err != nil {
			return err
		}
	}
	same := constantEqual(digest, c.SecretHash)
	switch fits := c.TokenEndpointAuthMethod == "" || c.TokenEndpointAuthMethod == given.Method; {
	case same && fits:
		b.goodKeys.again(tried, now)
		return nil
	case same || given.Secret == "" || !b.badKeys.first(tried+" "+device.IP, now):
		return notTheClient() // nothing was guessed, or the same again: a client that was not told of its new secret
	}
	return b.failedBy(ctx, quota, guessedSecret, notTheClient(), []string{key}, device, "client_id", cleanText(given.ID, MaxUsername))
}

// checkAssertion checks a private_key_jwt and uses it up.
func (b *Broker) checkAssertion(ctx context.Context, c *Client, raw string) error {
	keys, err := b.clientKeys(c)
	if err != nil {
		return err
	}
	now := b.now()
	a, err := tokens.ParseAssertion(ctx, raw, c.ID, b.cfg.PublicURL, keys, now)
	switch {
	case errors.Is(err, tokens.ErrKeys):
		return Unavailable(err)
	case err != nil:
		return &Error{Code: InvalidClient, Message: "the client assertion is not valid", Err: err}
	}
	fresh, err := b.useOnce(ctx, b.cfg.Store.UseOnce, a.ExpiresAt.Add(clockLeeway), "client assertion", c.ID, a.ID)
	if err == nil && !fresh {
		err = refuse(InvalidClient, "the client assertion was used before")
	}
	return err
}

func (b *Broker) clientKeys(c *Client) (tokens.KeySource, error) {
	if len(c.JWKS) > 0 {
		keys, err := tokens.ParseKeySet(c.JWKS)
		if err != nil {
			return nil, Unavailable(err) // it was checked when it was stored
		}
		return keys, nil
	}
	if b.cfg.ClientKeys == nil || c.JWKSURI == "" {
		return nil, refuse(InvalidClient, "this client's keys cannot be had")
	}
	return b.cfg.ClientKeys.KeySource(c.JWKSURI, c.Registered), nil
}

// RegistrationAllowed compares an initial access token (RFC 7591 section 3). Guesses
// are counted per address; the right token is never held up by them.
func (b *Broker) RegistrationAllowed(ctx context.Context, token string, device Device) error {
	want := b.cfg.RegistrationToken
	if want == "" {
		return refuse(NotFound, "clients do not register themselves here")
	}
	if token == "" {
		return &Error{Code: NoToken, Message: "an initial access token is needed"}
	}
	if subtle.ConstantTimeCompare([]byte(HashClientSecret(token)), []byte(HashClientSecret(want))) != 1 {
		key := "registration of " + AddressOf(device.IP)
		if err := b.mayFail(ctx, key); err != nil {
			return err
		}
		return b.failed(ctx, guessedRegistration, refuse(InvalidToken, "the initial access token is not valid"), []string{key}, device)
	}
	return nil
}

// RegistersClients reports whether dynamic registration is on.
func (b *Broker) RegistersClients() bool { return b.cfg.RegistrationToken != "" }

// RegisterClient is [Broker.CreateClient] for a client that registers itself: it
// chooses neither its id nor what an administrator decides. An address registers so
// many.
func (b *Broker) RegisterClient(ctx context.Context, c Client, device Device) (Client, string, error) {
	if err := b.within(ctx, b.cfg.Limits.Registrations, "registrations of "+AddressOf(device.IP), "too many clients were registered from this address"); err != nil {
		return Client{}, "", err
	}
	c.ID, c.FirstParty, c.Registered = "", false, true
	c.AccessTTL, c.RefreshTTL, c.SessionMaxAge, c.MaxUpstreamAge, c.Resources, c.Providers, c.AllowedOrigins = 0, 0, 0, 0, nil, nil, nil
	scope := []string{}
	for _, s := range strings.Fields(c.Scope) {
		if hasScope(defaultScope, s) {
			scope = append(scope, s)
		}
	}
	c.Scope = strings.Join(scope, " ")
	for _, grant := range []string{GrantClientCredentials, GrantTokenExchange} {
		if c.MayUse(grant) {
			return Client{}, "", badMetadata("grant_types: " + grant + " is for clients that an administrator makes")
		}
	}
	return b.CreateClient(ctx, c)
}
