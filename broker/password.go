package broker

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// PasswordJudge says how soon a password would be guessed.
type PasswordJudge interface {
	// Weakness is a WeakPassword that says why a password would be guessed soon and
	// what to do about it, in words for whoever chose it and without the password; nil
	// where it would not be. known are words that a guesser would try first. The work
	// has a bound, and so has how many are judged at once: beyond that it is trouble of
	// ours.
	Weakness(ctx context.Context, password string, known []string) error
}

// Bounds of a new password: MinPassword to MaxMinPassword is what [Config]'s
// MinPassword may be, in code points; MaxPasswordBytes bounds the hashing.
const (
	MinPassword      = 8
	MaxMinPassword   = 64
	MaxPasswordBytes = 1024
)

// serviceName is what every guesser tries here.
const serviceName = "latchkey"

// MinPassword is how many characters (code points) a new password has at least.
func (b *Broker) MinPassword() int { return b.cfg.MinPassword }

// checkPassword judges a new password of a user by NIST SP 800-63B-4 section
// 3.1.1.2: by its length and by how soon it would be guessed, without rules on
// what it is composed of. The refusal says what is wrong with it.
func (b *Broker) checkPassword(ctx context.Context, password string, u User) error {
	known := b.knownWords(u)
	switch {
	case len(password) > MaxPasswordBytes:
		return refuse(WeakPassword, fmt.Sprintf("a password has at most %d bytes", MaxPasswordBytes))
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return refuse(WeakPassword, "the password is not valid text")
	case utf8.RuneCountInString(norm.NFC.String(password)) < b.cfg.MinPassword:
		return refuse(WeakPassword, fmt.Sprintf("a password has at least %d characters", b.cfg.MinPassword))
	case FoldUsername(password) == FoldUsername(u.Username):
		return refuse(WeakPassword, "the password must not be the username")
	case slices.Contains(known, FoldUsername(password)):
		return refuse(WeakPassword, "the password must not be your name, your e-mail address or the name of this service")
	case b.cfg.Judge == nil:
		return nil
	}
	return b.cfg.Judge.Weakness(ctx, password, known)
}

// knownWords are what stands in the account and on the door, folded, whole and
// in parts.
func (b *Broker) knownWords(u User) (words []string) {
	host := ""
	if public, err := url.Parse(b.cfg.PublicURL); err == nil {
		host = public.Hostname()
	}
	for _, text := range []string{serviceName, host, u.Username, u.Name, u.Email} {
		text = FoldUsername(text)
		for _, word := range append(strings.FieldsFunc(text, between), text) {
			if word != "" && !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
	}
	return words
}

func between(r rune) bool { return strings.ContainsRune(" .,@-_+'", r) }
