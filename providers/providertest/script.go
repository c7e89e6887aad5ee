package providertest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What [Script].SignAlg may be, besides any spelling of "none".
const (
	AlgRS256 = "RS256"
	AlgES256 = "ES256"
	// The provider's public key, which everybody has, used as if it were a
	// shared secret: as PEM, as DER, and as the text of the JWK.
	AlgHS256PublicPEM = "HS256-with-public-key"
	AlgHS256PublicDER = "HS256-with-public-key-der"
	AlgHS256PublicJWK = "HS256-with-public-key-jwk"
	// The secret of the client that the token is for.
	AlgHS256ClientSecret = "HS256-with-client-secret"
)

// Script is how the provider lies and fails. The zero value is honest. The
// functions run while a request is answered, perhaps several at once.
type Script struct {
	// SignAlg is how tokens are signed; "": RS256. An ES256 provider is an
	// honest one: it publishes that key and the alg, to whoever asks from now.
	SignAlg string
	// SignWithUnknownKey signs with a key that was never published, under the
	// kid of the one that was. See also [IdP.UnknownJWK].
	SignWithUnknownKey bool
	// OmitKid leaves the kid out of what is signed. The JWKS keeps it.
	OmitKid bool
	// IDTokenHeader wins over the honest header, alg and kid included. It
	// changes what the header says, not how the token is signed.
	IDTokenHeader map[string]any

	// EditIDToken changes the claims of an ID token before it is signed. Times
	// are int64, aud is a string; a json.RawMessage goes out as it is, if it
	// is JSON.
	EditIDToken func(claims map[string]any)
	// OmitIDToken answers as plain OAuth would.
	OmitIDToken bool
	// EditTokenAnswer changes the JSON with which the token endpoint succeeds.
	EditTokenAnswer func(answer map[string]any)
	// RotateRefreshTokens answers each refresh with another refresh token, and
	// takes the one that was used no more.
	RotateRefreshTokens bool
	// RefreshNeedsConsent gives refresh tokens only after prompt=consent (OIDC
	// Core section 11).
	RefreshNeedsConsent bool
	// EditUserinfo changes what the userinfo endpoint says.
	EditUserinfo func(claims map[string]any)
	// EditDiscovery changes the provider's metadata. The endpoints stay where
	// they really are.
	EditDiscovery func(metadata map[string]any)
	// ExtraJWKS are published after the provider's own keys.
	ExtraJWKS []any
	// EditJWKS changes the whole key set, after ExtraJWKS.
	EditJWKS func(jwks map[string]any)
	// KeepOldKeys goes on publishing the keys of before [IdP.RotateKey].
	KeepOldKeys bool
	// EditCallback changes what comes back to the redirect_uri, be it a code
	// or an error. It may send both.
	EditCallback func(params url.Values)
	// SessionAge is how long ago everybody has logged in at the provider, which
	// then says so (auth_time) instead of asking again. prompt=login, and a
	// max_age that is less, make it ask.
	SessionAge time.Duration
	// IgnoreReauth does not heed prompt and max_age.
	IgnoreReauth bool
	// IgnorePKCE neither asks for a code challenge nor looks at the verifier.
	IgnorePKCE bool

	// Respond takes over endpoints. One that only looks on returns false, and
	// the honest answer follows.
	Respond map[string]Responder
}

// Responder answers in place of an endpoint, or returns false to leave that to
// the endpoint.
type Responder = func(w http.ResponseWriter, r *http.Request) (answered bool)

// Script changes the script for the requests to come: set fields, or assign
// Script{} to be honest again. The maps are never nil. It panics on an alg or
// an endpoint that does not exist, because a lie that is not told makes a test
// pass.
func (p *IdP) Script(change func(*Script)) {
	p.scriptMu.Lock()
	defer p.scriptMu.Unlock()
	s := p.script.clone()
	change(&s)
	s.check(p.Count)
	p.script = s.clone()
}

func (p *IdP) currentScript() Script {
	p.scriptMu.Lock()
	defer p.scriptMu.Unlock()
	return p.script
}

// clone shares nothing that could be changed. What is in p.script is never
// changed, only replaced.
func (s Script) clone() Script {
	s.IDTokenHeader = maps.Clone(s.IDTokenHeader)
	s.Respond = maps.Clone(s.Respond)
	s.ExtraJWKS = slices.Clone(s.ExtraJWKS)
	if s.IDTokenHeader == nil {
		s.IDTokenHeader = map[string]any{}
	}
	if s.Respond == nil {
		s.Respond = map[string]Responder{}
	}
	return s
}

func (s Script) check(count func(endpoint string) int) {
	algs := []string{"", AlgRS256, AlgES256, AlgHS256PublicPEM, AlgHS256PublicDER, AlgHS256PublicJWK, AlgHS256ClientSecret}
	if !slices.Contains(algs, s.SignAlg) && !isNone(s.SignAlg) {
		panic("providertest: cannot sign with " + s.SignAlg)
	}
	for name := range s.Respond {
		count(name) // panics
	}
}

func isNone(alg string) bool { return strings.EqualFold(alg, "none") }

func edit[T any](change func(T), v T) {
	if change != nil {
		change(v)
	}
}
