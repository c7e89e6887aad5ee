package tokens_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

func newAPIKey(t testing.TB) (tokens.APIKey, string) {
	t.Helper()
	k, id, err := tokens.NewAPIKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k, id
}

func TestAPIKeyForm(t *testing.T) {
	form := regexp.MustCompile(`^lk_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}$`)
	seen := map[string]bool{}
	for range 200 {
		k, id := newAPIKey(t)
		got, err := tokens.ParseAPIKey(k.Reveal())
		if err != nil || got != id || !form.MatchString(k.Reveal()) || !tokens.LooksLikeAPIKey(k.Reveal()) || seen[id] {
			t.Fatalf("%s: id %q, want %q, %v", k.Reveal(), got, id, err)
		}
		seen[id] = true
	}
}

// A key that is known for ever: the form may not change under keys in use.
func TestAPIKeyOfOldStillParses(t *testing.T) {
	const old = "lk_0123456789ABCDEF_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg4JWTub"
	if id, err := tokens.ParseAPIKey(old); err != nil || id != "0123456789ABCDEF" {
		t.Errorf("%q, %v", id, err)
	}
}

// Whatever one mistypes is seen without asking the database.
func TestAPIKeyTypos(t *testing.T) {
	k, _ := newAPIKey(t)
	raw := k.Reveal()
	for i := range raw {
		for _, other := range []string{"x", "0", "_", "-", "%", "", " ", "\x00", "é"} {
			typo := raw[:i] + other + raw[i+1:]
			if typo == raw {
				continue
			}
			if _, err := tokens.ParseAPIKey(typo); !errors.Is(err, tokens.ErrNotAPIKey) {
				t.Fatalf("%q was taken: %v", typo, err)
			}
		}
		if i+1 < len(raw) && raw[i] != raw[i+1] {
			swapped := raw[:i] + raw[i+1:i+2] + raw[i:i+1] + raw[i+2:]
			if _, err := tokens.ParseAPIKey(swapped); err == nil {
				t.Fatalf("%q was taken", swapped)
			}
		}
	}
	for _, wrong := range []string{"", "lk_", raw + "0", strings.ToUpper(raw), " " + raw, raw + "\n"} {
		if _, err := tokens.ParseAPIKey(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

func TestNoAPIKeyWithoutRandomness(t *testing.T) {
	for _, given := range []string{"", strings.Repeat("x", 20)} {
		if k, id, err := tokens.NewAPIKey(strings.NewReader(given)); err == nil || k != "" || id != "" {
			t.Errorf("of %d bytes: %q, %v", len(given), id, err)
		}
	}
}

func TestAPIKeyIsNotPrinted(t *testing.T) {
	k, _ := newAPIKey(t)
	log := &harness.Log{}
	slog.New(slog.NewTextHandler(log, nil)).Info("made", "key", k)
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q", k, k, k, k, k), log.String()} {
		if strings.Contains(text, k.Reveal()) {
			t.Error(text)
		}
	}
}

// FuzzParseAPIKey: what parses is exactly what was made so.
func FuzzParseAPIKey(f *testing.F) {
	k, _ := newAPIKey(f)
	for _, seed := range []string{
		k.Reveal(), k.Reveal()[1:], k.Reveal()[:len(k.Reveal())-1] + "_", "lk_", "lk__", "lk_" + strings.Repeat("%", 66), "lk_" + strings.Repeat("_", 66),
		"lk_0123456789ABCDEF_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg4JWTub", strings.Repeat("é", 35),
	} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^lk_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}$`)
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := tokens.ParseAPIKey(raw)
		if (err == nil) != (id != "") || err == nil && (!form.MatchString(raw) || raw[3:19] != id) {
			t.Errorf("%q: %q, %v", raw, id, err)
		}
	})
}
