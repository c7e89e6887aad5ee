package verify_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

const issuer = "https://id.example.org"

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// ring is a key set that counts how often it is asked.
type ring struct {
	*tokens.KeyRing
	err   error
	asked atomic.Int64
}

func (r *ring) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	r.asked.Add(1)
	if r.err != nil {
		return nil, r.err
	}
	return r.PublicKeys(kid), nil
}

// rig signs as an issuer and verifies as its reader.
type rig struct {
	t    testing.TB
	key  *tokens.SigningKey
	keys *ring
	*verify.Verifier
	at *time.Time
}

func newRig(t testing.TB, algorithm string, change func(*verify.Config)) *rig {
	t.Helper()
	key, err := tokens.GenerateSigningKey(algorithm, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return rigOf(t, key, change)
}

func rigOf(t testing.TB, key *tokens.SigningKey, change func(*verify.Config)) *rig {
	t.Helper()
	keys, err := tokens.NewKeyRing([]*tokens.SigningKey{key})
	if err != nil {
		t.Fatal(err)
	}
	at := now
	r := &rig{t: t, key: key, keys: &ring{KeyRing: keys}, at: &at}
	cfg := verify.Config{Issuer: issuer, Keys: r.keys, Now: func() time.Time { return *r.at }}
	if change != nil {
		change(&cfg)
	}
	if r.Verifier, err = verify.New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) cfgNow() func() time.Time { return func() time.Time { return *r.at } }

func claims() tokens.AccessClaims {
	return tokens.AccessClaims{
		Issuer: issuer, Audience: issuer, Subject: "u", ClientID: "c", SessionID: "s", ID: "j",
		IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Hour).Unix(),
	}
}

func (r *rig) mint(c tokens.AccessClaims) string {
	r.t.Helper()
	token, err := r.key.MintAccess(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return token.Reveal()
}

func seg(v any) string {
	text, ok := v.(string)
	if !ok {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		text = string(raw)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// honest is the header and the claims of a good token, to be changed.
func (r *rig) honest() (head, body map[string]any) {
	head = map[string]any{"alg": r.key.Algorithm, "kid": r.key.ID, "typ": "at+jwt"}
	raw, _ := json.Marshal(claims())
	_ = json.Unmarshal(raw, &body)
	body["iat"], body["exp"] = now.Unix(), now.Add(time.Hour).Unix()
	return head, body
}

// signed signs any header and claims with the ring's own key.
func (r *rig) signed(head, body any) string {
	r.t.Helper()
	private, err := r.key.Private()
	if err != nil {
		r.t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		r.t.Fatal(err)
	}
	text := seg(head) + "." + seg(body)
	signature, err := jwt.GetSigningMethod(r.key.Algorithm).Sign(text, parsed)
	if err != nil {
		r.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func with(m map[string]any, pairs ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == nil {
			delete(m, pairs[i].(string))
		}
	}
	return m
}

func (r *rig) want(name, token string, want error) {
	r.t.Helper()
	c, err := r.Verify(context.Background(), token)
	if !errors.Is(err, want) || want == nil && err != nil {
		r.t.Errorf("%s: %v, want %v", name, err, want)
	}
	if err != nil && (c.Subject != "" || c.SessionID != "") {
		r.t.Errorf("%s: refused, and yet claims %+v", name, c)
	}
}

func TestAccepted(t *testing.T) {
	for _, algorithm := range tokens.Algorithms {
		r := newRig(t, algorithm, nil)
		c := claims()
		got, err := r.Verify(context.Background(), r.mint(c))
		if err != nil || got.Subject != "u" || got.SessionID != "s" || got.Type != "access" {
			t.Errorf("%s: %+v %v", algorithm, got, err)
		}
		head, body := r.honest()
		r.want("typ in capitals", r.signed(with(head, "typ", "AT+JWT"), body), nil)
	}
}

func hs256(key []byte, head, body any) string {
	text := seg(head) + "." + seg(body)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// T01: unsigned and re-keyed tokens.
func TestForgedSignature(t *testing.T) {
	for _, algorithm := range tokens.Algorithms {
		r := newRig(t, algorithm, nil)
		head, body := r.honest()
		good := r.signed(head, body)
		parts := strings.Split(good, ".")
		for _, alg := range []string{"none", "None", "nOnE", "", "ES384", "RS512", "PS256", "HS384", "ES256 ", "es256"} {
			for how, signature := range map[string]string{"": "", "good": parts[2]} {
				r.want(alg+" "+how, seg(with(head, "alg", alg))+"."+parts[1]+"."+signature, verify.ErrMalformed)
			}
		}
		for _, other := range tokens.Algorithms {
			if other != algorithm {
				r.want("header says "+other, seg(with(head, "alg", other))+"."+parts[1]+"."+parts[2], verify.ErrMalformed)
			}
		}
		jwk, _ := json.Marshal(r.key.Public())
		der, err := x509.MarshalPKIXPublicKey(r.key.Public().Key)
		if err != nil {
			t.Fatal(err)
		}
		for how, secret := range map[string][]byte{
			"JWK": jwk, "DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "kid": []byte(r.key.ID), "nothing": nil,
		} {
			r.want("HS256 with "+how, hs256(secret, with(head, "alg", "HS256"), body), verify.ErrMalformed)
		}
		stranger := newRig(t, algorithm, nil)
		r.want("another key", stranger.signed(head, body), verify.ErrMalformed)
		r.want("another key and its kid", stranger.signed(with(head, "kid", stranger.key.ID), body), verify.ErrMalformed)
		r.want("the key in the header", stranger.signed(with(head, "jwk", stranger.key.Public()), body), verify.ErrMalformed)
		r.want("zero signature", parts[0]+"."+parts[1]+"."+seg(strings.Repeat("\x00", 64)), verify.ErrMalformed)
		r.want("no signature", parts[0]+"."+parts[1]+".", verify.ErrMalformed)
		r.want("other claims", parts[0]+"."+seg(with(body, "sub", "root"))+"."+parts[2], verify.ErrMalformed)
	}
	// Psychic signatures: r and s of zero, in DER too.
	r := newRig(t, "ES256", nil)
	head, body := r.honest()
	r.want("DER", seg(head)+"."+seg(body)+"."+seg("\x30\x06\x02\x01\x00\x02\x01\x00"), verify.ErrMalformed)
}

// T02: the header does not choose the key.
func TestKeyIDGames(t *testing.T) {
	r := newRig(t, "ES256", nil)
	head, body := r.honest()
	for _, kid := range []any{
		"../../../../dev/null", "/etc/hostname", "' OR '1'='1", "http://evil.example/k", "", nil, r.key.ID + "\x00", strings.ToUpper(r.key.ID), 7, []string{r.key.ID}, map[string]any{"x": 1},
	} {
		r.want(fmt.Sprintf("kid %v", kid), r.signed(with(head, "kid", kid), body), verify.ErrMalformed)
	}
	asked := r.keys.asked.Load()
	r.want("64 KB", r.signed(with(head, "kid", strings.Repeat("k", 64<<10)), body), verify.ErrMalformed)
	if r.keys.asked.Load() != asked {
		t.Error("a token that is too long reaches the keys")
	}
	for name, crit := range map[string]any{"crit": []string{"zz"}, "b64": []string{"b64"}, "empty": []string{}, "text": "exp", "exp": []string{"exp"}} {
		r.want("crit "+name, r.signed(with(head, "crit", crit, "b64", false), body), verify.ErrMalformed)
	}
	r.want("crit null", r.signed(json.RawMessage(`{"alg":"ES256","typ":"at+jwt","kid":"`+r.key.ID+`","crit":null}`), body), verify.ErrMalformed)
}

func TestType(t *testing.T) {
	r := newRig(t, "ES256", nil)
	head, body := r.honest()
	for _, typ := range []any{"JWT", "rt+jwt", "logout+jwt", "", nil, "at+jwt "} {
		r.want(fmt.Sprintf("typ %v", typ), r.signed(with(head, "typ", typ), body), verify.ErrWrongType)
	}
	r.want("typ 7", r.signed(with(head, "typ", 7), body), verify.ErrMalformed)
	root, err := tokens.NewRootSecret([]byte("a root secret of a test, long enough"))
	if err != nil {
		t.Fatal(err)
	}
	refresh, err := root.MintRefresh(tokens.RefreshClaims{Subject: "u", SessionID: "s", ExpiresAt: now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	r.want("refresh token", refresh.Reveal(), verify.ErrWrongType)
}

// T04: whose token, and for whom.
func TestIssuerAndAudience(t *testing.T) {
	r := newRig(t, "ES256", nil)
	head, body := r.honest()
	for _, iss := range []any{"https://id.example.org/", "https://ID.example.org", "http://id.example.org", "https://id.example.org.evil.example", "", nil, 7, []string{issuer}} {
		r.want(fmt.Sprintf("iss %v", iss), r.signed(head, with(body, "iss", iss)), verify.ErrMalformed)
	}
	for _, aud := range []any{"https://api.example.org", "", nil, issuer + "/"} {
		r.want(fmt.Sprintf("aud %v", aud), r.signed(head, with(body, "aud", aud)), verify.ErrAudience)
	}
	r.want("aud 7", r.signed(head, with(body, "aud", 7)), verify.ErrMalformed)
	r.want("no sub", r.signed(head, with(body, "sub", nil)), verify.ErrMalformed)

	api := newRig(t, "ES256", func(c *verify.Config) { c.Audience = "https://api.example.org" })
	head, body = api.honest()
	api.want("the issuer's own", api.signed(head, body), verify.ErrAudience)
	api.want("the API's", api.signed(head, with(body, "aud", "https://api.example.org")), nil)
}

// T05: times, to the second.
func TestTimes(t *testing.T) {
	r := newRig(t, "ES256", nil)
	head, body := r.honest()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, tc := range map[string]struct {
		claims map[string]any
		want   error
	}{
		"expired, within the leeway": {with(body, "exp", at(-59*time.Second)), nil},
		"expired":                    {with(body, "exp", at(-60*time.Second)), verify.ErrExpired},
		"long expired":               {with(body, "exp", at(-time.Hour)), verify.ErrExpired},
		"no exp":                     {with(body, "exp", nil), verify.ErrMalformed},
		"exp zero":                   {with(body, "exp", 0), verify.ErrMalformed},
		"exp negative":               {with(body, "exp", -1), verify.ErrMalformed},
		"exp text":                   {with(body, "exp", "123"), verify.ErrMalformed},
		"exp 1e400":                  {with(body, "exp", json.RawMessage("1e400")), verify.ErrMalformed},
		"exp fraction":               {with(body, "exp", json.RawMessage("9999999999.5")), verify.ErrMalformed},
		"exp 2^63-1":                 {with(body, "exp", json.RawMessage("9223372036854775807")), verify.ErrMalformed},
		"exp 2^53":                   {with(body, "exp", json.RawMessage("9007199254740992")), verify.ErrMalformed},
		"nbf in the future":          {with(body, "nbf", at(61*time.Second)), verify.ErrFuture},
		"nbf soon":                   {with(body, "nbf", at(59*time.Second)), nil},
		"no iat":                     {with(body, "iat", nil), verify.ErrMalformed},
		"iat soon":                   {with(body, "iat", at(time.Minute)), nil},
		"iat in the future":          {with(body, "iat", at(61*time.Second)), verify.ErrFuture},
		"iat in an hour":             {with(body, "iat", at(time.Hour), "exp", at(2*time.Hour)), verify.ErrFuture},
	} {
		r.want(name, r.signed(head, tc.claims), tc.want)
	}
	strict := newRig(t, "ES256", func(c *verify.Config) { c.Leeway = -1 })
	head, body = strict.honest()
	strict.want("no leeway", strict.signed(head, with(body, "exp", at(0))), verify.ErrExpired)
	strict.want("no leeway, a second", strict.signed(head, with(body, "exp", at(time.Second))), nil)
}

func TestMalformed(t *testing.T) {
	r := newRig(t, "ES256", nil)
	head, body := r.honest()
	good := r.signed(head, body)
	parts := strings.Split(good, ".")
	r.want("none", "", verify.ErrNoToken)
	for _, token := range []string{
		".", "..", "...", "x", "a.b.c", good + ".", good + ".x", "." + good, good[1:], parts[0] + "." + parts[1], parts[0] + "==." + parts[1] + "." + parts[2],
		good + "=", seg("null") + "." + parts[1] + "." + parts[2] + "x", seg("[]") + "." + parts[1] + "." + parts[2], strings.Repeat("x", tokens.MaxTokenBytes+1), strings.Repeat(".", 8000),
	} {
		if c, err := r.Verify(context.Background(), token); err == nil || c.Subject != "" {
			t.Errorf("%.40q: %+v %v", token, c, err)
		}
	}
	for _, payload := range []string{"null", "[]", "7", `"x"`, "{", `{"sub":"u"}`, strings.Repeat(`{"x":`, 500)} {
		r.want("payload "+payload, r.signed(head, payload), verify.ErrMalformed)
	}
}

// Trouble with the keys is never the token's.
func TestKeysUnavailable(t *testing.T) {
	r := newRig(t, "ES256", nil)
	r.keys.err = errors.New("the issuer is down")
	r.want("down", r.mint(claims()), verify.ErrUnavailable)
	r.keys.err = nil
	r.want("up", r.mint(claims()), nil)
}

// A token that is used often is computed once, and its times are still looked at.
func TestCache(t *testing.T) {
	r := newRig(t, "ES256", nil)
	token := r.mint(claims())
	for range 5 {
		r.want("again", token, nil)
	}
	before := r.keys.KeyRing
	r.keys.KeyRing = another(t, r.key.ID)
	r.want("its signature is not looked at again", token, nil)
	r.keys.KeyRing = before
	*r.at = now.Add(2 * time.Hour)
	r.want("expired in the cache", token, verify.ErrExpired)
	*r.at = now.Add(-time.Hour)
	r.want("not issued yet", token, verify.ErrFuture)
	*r.at = now
	forged := token[:len(token)-4] + "AAAA"
	for range 2 {
		r.want("a neighbour of a cached token", forged, verify.ErrMalformed)
	}
	// It is bounded, and without it nothing is remembered.
	small := newRig(t, "ES256", func(c *verify.Config) { c.CacheSize = 4 })
	first := small.mint(claims())
	small.want("first", first, nil)
	for range 10 {
		small.want("more", small.mint(claims()), nil)
	}
	small.keys.KeyRing = another(t, small.key.ID)
	small.want("forgotten", first, verify.ErrMalformed)
	none := newRig(t, "ES256", func(c *verify.Config) { c.CacheSize = -1 })
	token = none.mint(claims())
	none.want("none", token, nil)
	none.keys.KeyRing = another(t, none.key.ID)
	none.want("none", token, verify.ErrMalformed)
}

// another is a ring with some other key of that kid.
func another(t *testing.T, kid string) *tokens.KeyRing {
	t.Helper()
	key, err := tokens.GenerateSigningKey("ES256", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key.ID = kid
	keys, err := tokens.NewKeyRing([]*tokens.SigningKey{key})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestStolenKeyIsTakenBack (R27): what a key signed dies with it, also where its
// signature was found good before.
func TestStolenKeyIsTakenBack(t *testing.T) {
	r := newRig(t, "ES256", nil)
	token := r.mint(claims())
	r.want("before", token, nil)
	empty, err := tokens.NewKeyRing(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.keys.KeyRing = empty
	r.want("once the key is gone", token, verify.ErrUnknownKey)
	r.want("which is a malformed one", token, verify.ErrMalformed)
	r.keys.err = errors.New("the issuer is down")
	r.want("while nobody can say", token, verify.ErrUnavailable)
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	for _, c := range []verify.Config{{}, {Issuer: issuer}, {Keys: &ring{}}} {
		if _, err := verify.New(c); err == nil {
			t.Errorf("%+v is enough", c)
		}
	}
}

// A name of bytes that are no text costs nobody a token.
func TestNameThatIsNoText(t *testing.T) {
	r, c := newRig(t, "ES256", nil), claims()
	c.Username = "A\xffB"
	if got, err := r.Verify(context.Background(), r.mint(c)); err != nil || got.Username != "A\uFFFDB" {
		t.Errorf("%q, %v", got.Username, err)
	}
}
