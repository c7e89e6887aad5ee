package providertest

import (
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// assertionLife is the longest that an assertion may live.
	assertionLife = time.Minute
)

// assertionAlgs are what a client may sign an assertion with; metadata lists them.
var assertionAlgs = []string{AlgRS256, AlgES256, "EdDSA"}

// proves judges an assertion of private_key_jwt (OIDC Core section 9, RFC 7523
// section 3). It is taken once, and its audience is the issuer alone.
func (p *IdP) proves(client Client, form url.Values) bool {
	if form.Get("client_assertion_type") != assertionType || form.Has("client_secret") || client.Keys == nil {
		return false
	}
	raw := form.Get("client_assertion")
	algs := []jose.SignatureAlgorithm{}
	for _, alg := range assertionAlgs {
		algs = append(algs, jose.SignatureAlgorithm(alg))
	}
	signed, err := jose.ParseSignedCompact(raw, algs)
	var set jose.JSONWebKeySet
	if err != nil || json.Unmarshal(client.Keys(), &set) != nil {
		return false
	}
	header := signed.Signatures[0].Header
	keys := slices.DeleteFunc(set.Key(header.KeyID), func(k jose.JSONWebKey) bool { return k.Algorithm != header.Algorithm || !k.IsPublic() })
	if len(keys) != 1 || header.ExtraHeaders["typ"] != "JWT" {
		return false
	}
	payload, err := signed.Verify(keys[0])
	var claims struct {
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		Audience  string `json:"aud"`
		ID        string `json:"jti"`
		IssuedAt  int64  `json:"iat"`
		ExpiresAt int64  `json:"exp"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return false
	}
	now := p.now()
	issued, expires := time.Unix(claims.IssuedAt, 0), time.Unix(claims.ExpiresAt, 0)
	fits := claims.Issuer == client.ID && claims.Subject == client.ID && claims.Audience == p.issuer && claims.ID != "" &&
		!issued.After(now) && expires.After(now) && expires.Sub(issued) <= assertionLife
	return fits && p.firstSeen(claims.ID)
}

// firstSeen spends the jti of an assertion.
func (p *IdP) firstSeen(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.assertions[id] {
		return false
	}
	p.assertions[id] = true
	return true
}
