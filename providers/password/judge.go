package password

import (
	"github.com/trustelem/zxcvbn"
	"github.com/trustelem/zxcvbn/match"
)

// Judge implements broker.PasswordJudge with zxcvbn, which counts how many
// guesses an informed guesser needs.
type Judge struct{}

const (
	// maxJudged bounds the work, which grows faster than the length: about 25 ms.
	// Whoever types more is judged by the beginning.
	maxJudged = 64
	// enoughScore is 10^8 guesses and more: out of reach online, and years of
	// one core against argon2id.
	enoughScore = 3
)

// Weakness implements broker.PasswordJudge.
func (Judge) Weakness(password string, known []string) string {
	if runes := []rune(password); len(runes) > maxJudged {
		password = string(runes[:maxJudged])
	}
	result := zxcvbn.PasswordStrength(password, known)
	if result.Score >= enoughScore {
		return ""
	}
	return describe(longest(result.Sequence)) + "; take several words that have nothing to do with each other"
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
