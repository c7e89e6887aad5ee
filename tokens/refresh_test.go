package tokens_test

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

const (
	secretText = "a root secret of a test, long enough"
	otherText  = "another root secret, long enough too"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func secrets(t testing.TB, texts ...string) (out tokens.Secrets) {
	t.Helper()
	for _, text := range texts {
		s, err := tokens.NewRootSecret([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func refreshClaims() tokens.RefreshClaims {
	return tokens.RefreshClaims{
		Issuer: "https://id.example.org", Audience: "https://id.example.org", Subject: "u", ClientID: "latchkey-app", SessionID: "s",
		Generation: 7, Branch: 2, IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Hour).Unix(), ID: "j",
	}
}

func mint(t testing.TB, s *tokens.RootSecret, c tokens.RefreshClaims) string {
	t.Helper()
	token, err := s.MintRefresh(c)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestRefreshRoundTrip(t *testing.T) {
	s := secrets(t, secretText)
	want := refreshClaims()
	got, err := s.ParseRefresh(mint(t, s[0], want), now)
	want.Type = "refresh"
	if err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
}

func TestRefreshUnderAnEarlierSecret(t *testing.T) {
	old, fresh := secrets(t, secretText), secrets(t, otherText)
	token := mint(t, old[0], refreshClaims())
	if _, err := fresh.ParseRefresh(token, now); !errors.Is(err, tokens.ErrMalformed) {
		t.Errorf("without the earlier secret: %v", err)
	}
	if _, err := secrets(t, otherText, secretText).ParseRefresh(token, now); err != nil {
		t.Errorf("with it: %v", err)
	}
	if old[0].ID() == fresh[0].ID() || strings.Contains(old[0].ID(), secretText) {
		t.Error("the fingerprints do not tell the secrets apart")
	}
}

func TestRefreshForged(t *testing.T) {
	s := secrets(t, secretText)
	good := mint(t, s[0], refreshClaims())
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	head := func(alg, typ string) string {
		return segment(fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":%q}`, alg, s[0].ID(), typ))
	}
	key, err := tokens.GenerateSigningKey("ES256", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	access, err := key.MintAccess(tokens.AccessClaims{Subject: "u"})
	if err != nil {
		t.Fatal(err)
	}
	refresh := segment(`{"type":"refresh","sid":"s","exp":99999999999}`)
	for name, tc := range map[string]struct {
		token string
		want  error
	}{
		"empty":               {"", tokens.ErrMalformed},
		"two parts":           {parts[0] + "." + parts[1], tokens.ErrMalformed},
		"four parts":          {good + ".x", tokens.ErrMalformed},
		"none":                {head("none", "rt+jwt") + "." + parts[1] + ".", tokens.ErrMalformed},
		"None":                {head("None", "rt+jwt") + "." + parts[1] + "." + parts[2], tokens.ErrMalformed},
		"HS512":               {head("HS512", "rt+jwt") + "." + parts[1] + "." + parts[2], tokens.ErrMalformed},
		"a later generation":  {parts[0] + "." + segment(strings.Replace(string(payload), `"g":7`, `"g":57`, 1)) + "." + parts[2], tokens.ErrMalformed},
		"another session":     {parts[0] + "." + segment(strings.Replace(string(payload), `"sid":"s"`, `"sid":"x"`, 1)) + "." + parts[2], tokens.ErrMalformed},
		"no signature":        {parts[0] + "." + parts[1] + ".", tokens.ErrMalformed},
		"zero signature":      {parts[0] + "." + parts[1] + "." + segment(strings.Repeat("\x00", 32)), tokens.ErrMalformed},
		"short signature":     {good[:len(good)-8], tokens.ErrMalformed},
		"padded":              {good + "=", tokens.ErrMalformed},
		"another typ":         {head("HS256", "JWT") + "." + refresh + "." + parts[2], tokens.ErrMalformed},
		"unknown kid":         {segment(`{"alg":"HS256","kid":"x","typ":"rt+jwt"}`) + "." + parts[1] + "." + parts[2], tokens.ErrMalformed},
		"kid of another type": {segment(`{"alg":"HS256","kid":["x"],"typ":"rt+jwt"}`) + "." + parts[1] + "." + parts[2], tokens.ErrMalformed},
		"crit":                {segment(`{"alg":"HS256","kid":"`+s[0].ID()+`","typ":"rt+jwt","crit":["x"]}`) + "." + parts[1] + "." + parts[2], tokens.ErrMalformed},
		"long":                {strings.Repeat("x", tokens.MaxTokenBytes+1), tokens.ErrMalformed},
		"an access token":     {access.Reveal(), tokens.ErrWrongType},
	} {
		if c, err := s.ParseRefresh(tc.token, now); !errors.Is(err, tc.want) || c != (tokens.RefreshClaims{}) {
			t.Errorf("%s: %+v %v, want %v and no claims", name, c, err, tc.want)
		}
	}
}

// A header that asks for more than we know is refused even under a good MAC
// (RFC 7515 section 4.1.11), and so is a good MAC under another alg.
func TestRefreshHeaderUnderAGoodMAC(t *testing.T) {
	s := secrets(t, secretText)
	key, err := hkdf.Key(sha256.New, []byte(secretText), nil, "latchkey refresh token", 32)
	if err != nil {
		t.Fatal(err)
	}
	payload := strings.Split(mint(t, s[0], refreshClaims()), ".")[1]
	sign := func(head string) string {
		text := segment(head) + "." + payload
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	id := s[0].ID()
	if _, err := s.ParseRefresh(sign(`{"alg":"HS256","kid":"`+id+`","typ":"rt+jwt"}`), now); err != nil {
		t.Fatalf("the plain header: %v", err)
	}
	for _, head := range []string{
		`{"alg":"HS256","kid":"` + id + `","typ":"rt+jwt","crit":["exp"]}`, `{"alg":"HS256","kid":"` + id + `","typ":"rt+jwt","crit":null}`,
		`{"alg":"none","kid":"` + id + `","typ":"rt+jwt"}`, `{"alg":"HS512","kid":"` + id + `","typ":"rt+jwt"}`, `{"kid":"` + id + `","typ":"rt+jwt"}`,
		`{"alg":"HS256","kid":"","typ":"rt+jwt"}`, `{"alg":"HS256","typ":"rt+jwt"}`,
	} {
		if c, err := s.ParseRefresh(sign(head), now); !errors.Is(err, tokens.ErrMalformed) || c != (tokens.RefreshClaims{}) {
			t.Errorf("%s: %+v %v", head, c, err)
		}
	}
}

// What is signed and yet unusable names no session.
func TestRefreshUnusableClaims(t *testing.T) {
	s := secrets(t, secretText)
	for name, change := range map[string]func(*tokens.RefreshClaims){
		"no session": func(c *tokens.RefreshClaims) { c.SessionID = "" }, "negative generation": func(c *tokens.RefreshClaims) { c.Generation = -1 },
		"negative branch": func(c *tokens.RefreshClaims) { c.Branch = -1 }, "no end": func(c *tokens.RefreshClaims) { c.ExpiresAt = 0 },
	} {
		c := refreshClaims()
		change(&c)
		if got, err := s.ParseRefresh(mint(t, s[0], c), now); !errors.Is(err, tokens.ErrMalformed) || got != (tokens.RefreshClaims{}) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

func TestRefreshAbsoluteEnd(t *testing.T) {
	s := secrets(t, secretText)
	token := mint(t, s[0], refreshClaims())
	if _, err := s.ParseRefresh(token, now.Add(time.Hour-time.Second)); err != nil {
		t.Errorf("a second before: %v", err)
	}
	c, err := s.ParseRefresh(token, now.Add(time.Hour))
	if !errors.Is(err, tokens.ErrPastMaxAge) || c.SessionID != "s" {
		t.Errorf("at the end: %+v %v, want the claims as well", c, err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	s := secrets(t, secretText)[0]
	token := tokens.RefreshToken("the token")
	access := tokens.AccessToken("the token")
	for _, text := range []string{
		fmt.Sprint(s, token, access), fmt.Sprintf("%v %+v %#v %s", s, s, s, s), fmt.Sprintf("%#v %+v %q", token, access, token), fmt.Sprintf("%#v", access),
	} {
		if strings.Contains(text, "the token") || strings.Contains(text, secretText) {
			t.Errorf("%s", text)
		}
	}
	if _, err := tokens.NewRootSecret([]byte("short secret")); err == nil || strings.Contains(err.Error(), "short secret") {
		t.Errorf("a short secret: %v", err)
	}
}

func TestSeal(t *testing.T) {
	s, other := secrets(t, secretText), secrets(t, otherText)
	sealed := s[0].Seal("here", []byte("plain"))
	if again := s[0].Seal("here", []byte("plain")); again == sealed || strings.Contains(sealed, "plain") {
		t.Error("a seal repeats or shows what is in it")
	}
	if plain, err := (tokens.Secrets{other[0], s[0]}).Open("here", sealed); err != nil || string(plain) != "plain" {
		t.Errorf("%q %v", plain, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another place":  func() ([]byte, error) { return s.Open("there", sealed) },
		"another secret": func() ([]byte, error) { return other.Open("here", sealed) },
		"altered":        func() ([]byte, error) { return s.Open("here", sealed[:len(sealed)-2]+"AA") },
		"empty":          func() ([]byte, error) { return s.Open("here", "") },
		"no text":        func() ([]byte, error) { return s.Open("here", s[0].ID()+".") },
	} {
		if plain, err := open(); !errors.Is(err, tokens.ErrUnknownSecret) || plain != nil {
			t.Errorf("%s: %q %v", name, plain, err)
		}
	}
}

func TestTag(t *testing.T) {
	s, other := secrets(t, secretText), secrets(t, otherText)
	tag := s[0].Tag("cookie", "a", "b")
	if !(tokens.Secrets{other[0], s[0]}).CheckTag(tag, "cookie", "a", "b") {
		t.Error("a tag of an earlier secret is refused")
	}
	if s.CheckTag(tag, "page", "a", "b") || s.CheckTag(tag, "cookie", "a") || s.CheckTag("", "cookie", "a", "b") || other.CheckTag(tag, "cookie", "a", "b") {
		t.Error("a tag is good for something else")
	}
}

// Whatever is presented, parsing ends, and what it accepts was made by us: the
// same text again, but for the slack that base64 has.
func FuzzParseRefresh(f *testing.F) {
	s := secrets(f, secretText)
	good := mint(f, s[0], refreshClaims())
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		good, "", ".", "..", "...", parts[0] + ".." + parts[2], parts[0] + "." + parts[1] + ".", good + "\n", good[1:], "." + good,
		segment(`{"alg":"none","typ":"rt+jwt"}`) + "." + parts[1] + ".", segment(`{"typ":"rt+jwt","kid":null}`) + "." + segment("null") + ".AA",
		segment(`[]`) + "." + segment(`{}`) + ".", segment(`{"alg":"HS256","typ":"at+jwt"}`) + "." + segment(`{"type":"access"}`) + ".x", strings.Repeat(".", 9000),
		"a.b.c", "\x00.\xff.\x80", parts[0] + "." + segment(`{"g":1e400}`) + "." + parts[2],
	} {
		f.Add(seed)
	}
	want := refreshClaims()
	want.Type = "refresh"
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := s.ParseRefresh(raw, now)
		if err == nil && c != want {
			t.Errorf("%q is accepted as %+v", raw, c)
		}
		if err != nil && c != (tokens.RefreshClaims{}) {
			t.Errorf("%q is refused with claims %+v", raw, c)
		}
	})
}
