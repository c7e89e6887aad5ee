package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// nativeKey names a login: one file each.
type nativeKey struct {
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
}

// nativeSession is what is kept of a login.
type nativeSession struct {
	nativeKey
	Subject      string    `json:"sub"`
	Username     string    `json:"username,omitempty"`
	Scope        string    `json:"scope,omitempty"`
	TokenType    string    `json:"token_type"`
	AccessToken  string    `json:"access_token"`
	ObtainedAt   time.Time `json:"obtained_at"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"` // of the access token; zero: the server did not say
	RefreshToken string    `json:"refresh_token,omitempty"`
	InsecureHTTP bool      `json:"insecure_http,omitempty"`
}

var errNotLoggedIn = errors.New("not logged in")

// nativeStore keeps logins in files that only their owner reads. Whoever writes
// a login holds its lock; readers need none, because files change as a whole.
type nativeStore struct {
	dir          string
	beforeRename func() // set by tests
}

const lastLogin = "last.json"

func (s *nativeStore) path(k nativeKey) string {
	sum := sha256.Sum256([]byte(k.Issuer + "\n" + k.ClientID))
	return filepath.Join(s.dir, "session-"+hex.EncodeToString(sum[:12])+".json")
}

// last is the login that was made last; empty if there was none.
func (s *nativeStore) last() (k nativeKey, err error) {
	return k, readJSON(filepath.Join(s.dir, lastLogin), &k)
}

func (s *nativeStore) load(k nativeKey) (nativeSession, error) {
	var kept nativeSession
	if err := readJSON(s.path(k), &kept); err != nil {
		return kept, err
	}
	if kept.AccessToken == "" || kept.nativeKey != k {
		return nativeSession{}, errNotLoggedIn
	}
	return kept, nil
}

// readJSON leaves into as it is where the file is not there.
func readJSON(name string, into any) error {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if err = json.Unmarshal(raw, into); err != nil {
			err = fmt.Errorf("%s is damaged: %w; remove it and log in again", name, err)
		}
	}
	return err
}

// save replaces what is kept of a login. When it returns, the new state has
// reached the disk; before, a crash leaves the old one.
func (s *nativeStore) save(kept nativeSession) error {
	return s.replace(s.path(kept.nativeKey), kept)
}

// begin keeps a login that was just made, and makes it the default.
func (s *nativeStore) begin(kept nativeSession) error {
	if err := s.save(kept); err != nil {
		return err
	}
	return s.replace(filepath.Join(s.dir, lastLogin), kept.nativeKey)
}

func (s *nativeStore) replace(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	part := name + ".new"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a crash
		return err
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if s.beforeRename != nil {
		s.beforeRename()
	}
	if err := os.Rename(part, name); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return s.syncDir()
}

// remove forgets a login.
func (s *nativeStore) remove(k nativeKey) error {
	for _, name := range []string{s.path(k) + ".new", s.path(k)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.syncDir()
}

// syncDir makes a rename last. Windows has no such call and needs none.
func (s *nativeStore) syncDir() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Waiting for another process that holds the lock.
const (
	lockPoll    = 20 * time.Millisecond
	lockTimeout = 45 * time.Second
)

var errLocked = errors.New("another latchkey has been busy with this login for long; try again later")

// lock waits until this process alone may change a login. The file stays: a
// lock on a file that was removed excludes nobody.
func (s *nativeStore) lock(ctx context.Context, k nativeKey) (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(k)+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, errLocked)
	defer cancel()
	for {
		held, err := tryLock(f)
		if held {
			return func() { _ = f.Close() }, nil // closing unlocks
		}
		if err == nil {
			err = pause(ctx, lockPoll)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return nil, errors.Join(err, f.Close())
		}
	}
}
