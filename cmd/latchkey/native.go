package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

// native is the program as an app of its own: a public client that logs in
// through the system browser (RFC 8252) and keeps its tokens in a file. It
// needs no configuration of a server and no database.
type native struct {
	p        *program
	issuer   string
	clientID string
	profile  string
	insecure bool
	now      func() time.Time
}

func (p *program) newNative(c *cobra.Command) *native {
	n := &native{p: p, now: time.Now}
	c.Flags().StringVar(&n.issuer, "issuer", "", "the server, such as https://id.example.org; else that of the last login")
	c.Flags().StringVar(&n.clientID, "client-id", "", "the client to be; else that of the last login, or "+broker.CLIClientID)
	c.Flags().StringVar(&n.profile, "profile", "", "keeps logins apart, such as those of two people at one server")
	return n
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// store is where this profile's logins are.
func (n *native) store() (*nativeStore, error) {
	if n.profile != "" && !profileName.MatchString(n.profile) {
		return nil, usageError{errors.New("--profile is a word of letters, digits, dots, dashes and underscores")}
	}
	dir := n.p.getenv("LATCHKEY_CLIENT_DIR")
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("no folder for the tokens: %w; name one with LATCHKEY_CLIENT_DIR", err)
		}
		dir = filepath.Join(base, "latchkey")
	}
	if n.profile != "" {
		dir = filepath.Join(dir, "profiles", n.profile)
	}
	return &nativeStore{dir: dir}, nil
}

// key says which login is meant: what the flags name, else the last one.
func (n *native) key(s *nativeStore) (nativeKey, error) {
	last, err := s.last()
	if err != nil {
		return nativeKey{}, err
	}
	k := nativeKey{Issuer: n.issuer, ClientID: n.clientID}
	if k.Issuer == "" {
		k.Issuer = last.Issuer
	}
	if k.ClientID == "" && k.Issuer == last.Issuer {
		k.ClientID = last.ClientID
	}
	if k.ClientID == "" {
		k.ClientID = broker.CLIClientID
	}
	return k, nil
}

// again is the command that makes a login good again.
func (n *native) again(k nativeKey) string {
	text := "latchkey login --issuer " + k.Issuer
	if k.ClientID != broker.CLIClientID {
		text += " --client-id " + k.ClientID
	}
	if n.profile != "" {
		text += " --profile " + n.profile
	}
	return text
}

// opened is the store, the login that is meant, and what is kept of it.
func (n *native) opened() (s *nativeStore, k nativeKey, kept nativeSession, err error) {
	if s, err = n.store(); err != nil {
		return nil, k, kept, err
	}
	if k, err = n.key(s); err != nil {
		return nil, k, kept, err
	}
	if k.Issuer == "" {
		return nil, k, kept, errors.New("nobody is logged in; begin with: latchkey login --issuer https://id.example.org")
	}
	kept, err = s.load(k)
	if errors.Is(err, errNotLoggedIn) {
		err = fmt.Errorf("not logged in at %s; log in with: %s", k.Issuer, n.again(k))
	}
	return s, k, kept, err
}

// checkServerURL refuses to send tokens in the clear, but for this machine.
func checkServerURL(what, text string, insecure bool) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%s %q is not a URL, such as https://id.example.org", what, plain(text))
	}
	if u.Scheme == "http" && !insecure && !broker.LoopbackName(u.Hostname()) {
		return fmt.Errorf("%s %s is plain http: passwords and tokens would travel in the clear; use https, or --insecure-http if you know the way", what, plain(text))
	}
	return nil
}

// plain makes text of others fit for a terminal.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "..."
	}
	return text
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
