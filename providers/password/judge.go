package password

import (
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn"
	"github.com/trustelem/zxcvbn/match"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	// maxJudged bounds the work, in bytes, which grows faster than the length. Whoever
	// types more is judged by the beginning.
	maxJudged = 64
	// symbols are those that zxcvbn reads as letters too, every combination of
	// readings anew. With many of them a password is judged in parts.
	symbols     = "4@8({[<369!1|705$+%2"
	manySymbols = 5
	partJudged  = 16
	// fewCharacters are too few to choose a password from. zxcvbn sees repetition
	// in ASCII alone.
	fewCharacters = 3
	// enoughScore is 10^8 guesses and more: out of reach online, and years of
	// one core against argon2id.
	enoughScore = 3
)

// Weakness implements broker.PasswordJudge with zxcvbn, which counts how many
// guesses an informed guesser needs. It takes its turn as a hash does: weak
// passwords may be tried again and again, and none of them is ever hashed.
func (h *Hasher) Weakness(ctx context.Context, password string, known []string) error {
	return h.run(ctx, func() error {
		if weakness := judge(password, known); weakness != "" {
			return &broker.Error{Code: broker.WeakPassword, Message: weakness}
		}
		return nil
	})
}

// judge takes some 10 ms at the most. A password is at least as good as its best part.
func judge(password string, known []string) (weakness string) {
	runes := []rune(beginning(password))
	characters, ambiguous := count(runes)
	if characters <= fewCharacters {
		return advise("the password repeats itself")
	}
	part := maxJudged
	if ambiguous > manySymbols {
		part = partJudged
	}
	for some := range slices.Chunk(runes, part) {
		result := zxcvbn.PasswordStrength(string(some), known)
		if result.Score >= enoughScore {
			return ""
		}
		if weakness == "" {
			weakness = advise(describe(longest(result.Sequence)))
		}
	}
	return weakness
}

// beginning is what is judged of a password.
func beginning(password string) string {
	if len(password) <= maxJudged {
		return password
	}
	end := maxJudged
	for !utf8.RuneStart(password[end]) {
		end--
	}
	return password[:end]
}

// count counts the different characters, whatever their case, and the symbols
// among them.
func count(runes []rune) (characters, ambiguous int) {
	seen := map[rune]bool{}
	for _, r := range runes {
		if r = unicode.ToLower(r); seen[r] {
			continue
		}
		if seen[r] = true; strings.ContainsRune(symbols, r) {
			ambiguous++
		}
	}
	return len(seen), ambiguous
}

func advise(weakness string) string {
	return weakness + "; take several words that have nothing to do with each other"
}

// longest is the part of a password that says most about it.
func longest(sequence []*match.Match) *match.Match {
	out := &match.Match{}
	for _, m := range sequence {
		if m.Pattern != "bruteforce" && len(m.Token) > len(out.Token) {
			out = m
		}
	}
	return out
}

func describe(m *match.Match) string {
	switch m.Pattern {
	case "dictionary":
		switch m.DictionaryName {
		case "user_inputs":
			return "the password is made of your name, your address or the name of this service"
		case "passwords":
			return "the password is among those that are guessed first"
		}
		return "the password is a word or a name with little else"
	case "repeat":
		return "the password repeats itself"
	case "sequence":
		return "the password is a sequence such as abcdef or 123456"
	case "spatial":
		return "the keys of the password lie beside each other"
	case "date", "regex":
		return "the password is a date with little else"
	}
	return "the password would be guessed soon"
}
