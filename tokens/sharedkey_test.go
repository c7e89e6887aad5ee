package tokens_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
)

const sharedText = "a shared secret of a test, long enough"

func base64Decode(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

func sharedKey(t testing.TB) *tokens.SigningKey {
	t.Helper()
	k, err := tokens.NewSharedKey([]byte(sharedText))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSharedKeySignsAccessTokens(t *testing.T) {
	k := sharedKey(t)
	token, err := k.MintAccess(tokens.AccessClaims{Issuer: issuer, Subject: "u"})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSignedCompact(token.Reveal(), []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Verify([]byte(sharedText)); err != nil {
		t.Error(err)
	}
	if head := parsed.Signatures[0].Protected; head.KeyID != k.ID || head.ExtraHeaders["typ"] != "at+jwt" {
		t.Errorf("%+v", head)
	}
	if again := sharedKey(t); again.ID != k.ID || k.ID == "" || k.Algorithm != "HS256" {
		t.Errorf("%v %v", again, k)
	}
	other, err := tokens.NewSharedKey([]byte(sharedText + "!"))
	if err != nil || other.ID == k.ID {
		t.Errorf("%v %v", other, err)
	}
	if _, err := tokens.NewSharedKey([]byte("thirty-one bytes are not enough")); err == nil || strings.Contains(err.Error(), "thirty-one bytes") {
		t.Errorf("31 bytes: %v", err)
	}
}

// Who can check its tokens can make them: it signs nothing that others trust.
func TestSharedKeySignsNothingElse(t *testing.T) {
	k := sharedKey(t)
	if token, err := k.MintID(idClaims()); err == nil || token != "" {
		t.Error("an ID token")
	}
	if token, err := k.MintLogout(logoutClaims()); err == nil || token != "" {
		t.Error("a logout token")
	}
	if raw, err := k.MintRevocations(revocationClaims("s")); err == nil || raw != "" {
		t.Error("a list of ended sessions")
	}
	if _, err := (&tokens.SigningKey{}).MintID(idClaims()); err == nil {
		t.Error("a key that is none")
	}
}

// The secret leaves through nothing that is printed, stored or published.
func TestSharedKeyIsNotPublished(t *testing.T) {
	k, es := sharedKey(t), key(t, "ES256", 0, 0)
	if stored, err := k.Private(); err == nil || stored != nil {
		t.Error("it is handed out to be stored")
	}
	if public := k.Public(); public.Key != nil || public.Valid() {
		t.Errorf("public %v", public)
	}
	if raw, err := json.Marshal(k.Public()); err == nil {
		t.Errorf("marshalled: %s", raw)
	}
	encoded := base64.RawURLEncoding.EncodeToString([]byte(sharedText))
	raw, _ := json.Marshal(k)
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q %x", k, *k, k, k, k, k), string(raw)} {
		if strings.Contains(text, sharedText) || strings.Contains(text, encoded) || strings.Contains(text, fmt.Sprintf("%x", sharedText)) || strings.Contains(text, "97, 32") || strings.Contains(text, "97 32") {
			t.Error(text)
		}
	}
	for _, keys := range [][]*tokens.SigningKey{{k}, {k, es}, {es, k}} {
		r := ring(t, keys...)
		if bytes.Contains(r.JWKS(), []byte(k.ID)) || bytes.Contains(r.JWKS(), []byte("oct")) || bytes.Contains(r.JWKS(), []byte(encoded)) {
			t.Errorf("published: %s", r.JWKS())
		}
		if found := r.PublicKeys(k.ID); found != nil {
			t.Errorf("public: %v", found)
		}
		found := r.VerificationKeys(k.ID)
		if len(found) != 1 || found[0].Algorithm != "HS256" || !bytes.Equal(found[0].Key.([]byte), []byte(sharedText)) {
			t.Errorf("for our own checks: %v", found)
		}
		if len(keys) == 2 {
			if found := r.VerificationKeys(es.ID); len(found) != 1 || !found[0].IsPublic() {
				t.Errorf("%v", found)
			}
		}
		if r.VerificationKeys("") != nil || r.VerificationKeys("unknown") != nil {
			t.Error("an unknown kid finds a key")
		}
	}
	if got := ring(t, k).JWKS(); string(got) != `{"keys":[]}` {
		t.Errorf("%s", got)
	}
}

// HS256 signs only where it was asked for, and then it does.
func TestSignerAndTheSharedKey(t *testing.T) {
	shared, es, ed := sharedKey(t), key(t, "ES256", -time.Hour, 0), key(t, "EdDSA", time.Hour, 0)
	shared.ActiveAt = now.Add(-time.Minute) // newer than the other
	late := sharedKey(t)
	late.ActiveAt = now.Add(time.Minute)
	for name, tc := range map[string]struct {
		ring []*tokens.SigningKey
		alg  string
		want *tokens.SigningKey
	}{
		"asked for":                      {[]*tokens.SigningKey{es, shared}, "HS256", shared},
		"not asked for":                  {[]*tokens.SigningKey{shared, es}, "ES256", es},
		"another that is not active yet": {[]*tokens.SigningKey{shared, es, ed}, "EdDSA", es},
		"nothing else there":             {[]*tokens.SigningKey{shared}, "ES256", nil},
		"nothing asked for":              {[]*tokens.SigningKey{shared}, "", nil},
		"not active yet":                 {[]*tokens.SigningKey{late, es}, "HS256", es},
	} {
		if got := ring(t, tc.ring...).Signer(tc.alg, now); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestIDSigner(t *testing.T) {
	shared := sharedKey(t)
	old, es, next := key(t, "ES256", -2*time.Hour, 0), key(t, "ES256", -time.Hour, 0), key(t, "ES256", time.Hour, 0)
	rs, retired := key(t, "RS256", -time.Hour, 0), key(t, "EdDSA", -time.Hour, -time.Second)
	r := ring(t, old, es, next, rs, retired, shared)
	for algorithm, want := range map[string]*tokens.SigningKey{"ES256": es, "RS256": rs, "EdDSA": nil, "HS256": nil, "": nil, "none": nil} {
		if got := r.IDSigner(algorithm, now); got != want {
			t.Errorf("%s: %v", algorithm, got)
		}
	}
	if got := ring(t, next, shared, retired).IDSigner("ES256", now); got != next {
		t.Errorf("none active: %v", got)
	}
	if got := (&tokens.KeyRing{}).IDSigner("ES256", now); got != nil {
		t.Error(got)
	}
}

// A client_credentials token has no person, and says nothing of one.
func TestAccessClaimsAreClean(t *testing.T) {
	k := key(t, "ES256", 0, 0)
	mint := func(c tokens.AccessClaims) string {
		token, err := k.MintAccess(c)
		if err != nil {
			t.Fatal(err)
		}
		return payloadText(t, token.Reveal())
	}
	c := tokens.AccessClaims{Issuer: "i", Subject: "c", Audience: "a", ClientID: "c", ID: "j", IssuedAt: 1, ExpiresAt: 2, Scope: "x", Algorithm: "none"}
	if got := mint(c); got != `{"iss":"i","sub":"c","aud":"a","client_id":"c","jti":"j","iat":1,"exp":2,"scope":"x","type":"access"}` {
		t.Error(got)
	}
	c.Groups, c.Confirmation = []string{}, &tokens.Confirmation{Thumbprint: "t"}
	if got := mint(c); !strings.Contains(got, `"groups":[]`) || !strings.Contains(got, `"cnf":{"jkt":"t"}`) {
		t.Error(got)
	}
}
