package password

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// known is what broker passes for alice of example.org.
var known = []string{"latchkey", "id", "example", "org", "id.example.org", "alice", "alice example", "alice@example.org"}

func TestPasswordsThatAreGuessedSoonAreNamedAsWhatTheyAre(t *testing.T) {
	for password, want := range map[string]string{
		"passwordpassword":      "repeats itself",
		"aaaaaaaaaaaaaaaaaa":    "repeats itself",
		"abcdefghijklmnopqr":    "sequence",
		"qwertyuiop[]asdfgh":    "beside each other",
		"alice@example.org1":    "name of this service",
		"latchkeylatchkey":      "name of this service",
		"id.example.org2026":    "name of this service",
		"24.12.1987":            "date",
		"trustno1":              "guessed first",
		"xkqvbzp":               "guessed soon",
		"P@ssw0rd":              "guessed first",
		strings.Repeat("z", 90): "repeats itself",
	} {
		got := judge(password, known)
		if !strings.Contains(got, want) || !strings.Contains(got, "several words") {
			t.Errorf("%s: %q, want %q", password, got, want)
		}
		if strings.Contains(got, password) {
			t.Errorf("%s: the answer holds the password", password)
		}
	}
}

func TestSeveralWordsAreGoodInAnyLanguage(t *testing.T) {
	for _, password := range []string{
		"a long password", "correct horse battery", "kitchen lamp orange", "ich mag käse sehr", "нет дыма без огня", "猿も木から落ちるという話だ", "🔑🐎🔋🧷🍋🦉🎺🧊🪁",
		strings.Repeat("many words make a long sentence and ", 20),
	} {
		if got := judge(password, known); got != "" {
			t.Errorf("%s: %s", password, got)
		}
	}
}

func TestRepetitionIsSeenInAnyScript(t *testing.T) {
	for _, password := range []string{"пппппппппп", "\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0", "ПпПпПпПпПп", "😀😀😀😀😀😀😀😀"} {
		if got := judge(password, known); !strings.Contains(got, "repeats itself") {
			t.Errorf("%s: %q", password, got)
		}
	}
}

// Each symbol that may stand for a letter multiplies the work: 64 characters of
// them once kept a core busy for a second.
func TestPasswordOfSymbolsCostsNoMoreThanAnother(t *testing.T) {
	const worst = "c@9(0{-369!1|-0[$+%ß4@8( 2{!İ9!1|705$9%24!8+{0<369!1bb00|382{@8("
	began := time.Now()
	for range 5 {
		_ = judge(worst, known)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("five judgements took %v", took)
	}
	// What is weak in its first part only is not weak.
	if got := judge("4@8(4@8(4@8(4@8( kitchen lamp orange ({[<1!|", known); got != "" {
		t.Error(got)
	}
}

// The estimate takes more than twice as long for twice the length.
func TestLongPasswordIsJudgedInBoundedTime(t *testing.T) {
	for _, part := range []string{"a", "p4ssw0rd", "1234567890", "@4$!0p", "19870101", "\U0001f511\U0001f40e\U0001f50b\U0001f9f7", "\ufdfa"} {
		began := time.Now()
		_ = judge(strings.Repeat(part, 1024/len(part)), known)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: %v", part, took)
		}
	}
}

// Weak passwords may be tried again and again for one link, and none is hashed.
func TestP06WeakPasswordsAtOnceAreBounded(t *testing.T) {
	h := hasher(t, Config{Parallel: 1, Waiting: 1})
	weak := func(ctx context.Context) error { return h.Weakness(ctx, "trustno1", known) }
	h.running <- struct{}{} // somebody's hash
	ctx, cancel := context.WithCancel(context.Background())
	var first sync.WaitGroup
	first.Go(func() {
		if err := weak(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	for len(h.waiting) == 0 {
		runtime.Gosched()
	}
	if err := weak(context.Background()); broker.CodeOf(err) != broker.TemporarilyUnavailable {
		t.Error(err)
	}
	cancel()
	first.Wait()
	<-h.running
	if err := weak(context.Background()); broker.CodeOf(err) != broker.WeakPassword || h.Load().Done != 0 {
		t.Errorf("%v, %d hashes", err, h.Load().Done)
	}
	if err := h.Weakness(context.Background(), "correct horse battery", known); err != nil {
		t.Error(err)
	}
}
