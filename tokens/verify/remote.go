package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// MaxJWKSBytes bounds a fetched key set.
const MaxJWKSBytes = 256 << 10

// retryInterval is the least time between two fetches after a failure.
const retryInterval = time.Second

// RemoteConfig describes a key set behind a URL. URL is required.
type RemoteConfig struct {
	URL    string
	Client *http.Client     // nil: a client with a 5 s limit that follows no redirect
	Now    func() time.Time // nil: time.Now

	// MaxAge is how long a fetched set is used without asking again. 0: 10 min.
	MaxAge time.Duration
	// MinInterval is the least time between two fetches, whatever tokens are
	// presented: a forged kid must not become a request to the issuer. 0: 30 s.
	MinInterval time.Duration
	// Initial is a set that was good earlier (a JWKS document), used until a
	// fetch succeeds.
	Initial []byte
	// Fetched is called with each new good document, for those who keep it.
	Fetched func(jwks []byte)
}

// RemoteKeySet is a JWKS behind a URL. It reads with a size limit, keeps the
// last good set when the issuer is down, and fetches at most once per
// MinInterval. It is safe for concurrent use.
type RemoteKeySet struct {
	cfg     RemoteConfig
	fetch   sync.Mutex // held over the network; readers do not wait for it unless they need it
	mu      sync.RWMutex
	set     jose.JSONWebKeySet
	fetched time.Time // last success
	failing bool      // the last attempt brought nothing
	tried   time.Time // last attempt
	lastErr error
}

// NewRemoteKeySet fetches nothing yet.
func NewRemoteKeySet(cfg RemoteConfig) *RemoteKeySet {
	if cfg.Client == nil {
		cfg.Client = defaultClient()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 10 * time.Minute
	}
	if cfg.MinInterval == 0 {
		cfg.MinInterval = 30 * time.Second
	}
	s := &RemoteKeySet{cfg: cfg}
	if len(cfg.Initial) > 0 {
		s.set, _ = parseKeys(cfg.Initial)
	}
	return s
}

// Keys returns the keys with that kid; with an empty kid, all keys. It asks
// the issuer when the set is old or lacks the kid, within MinInterval.
func (s *RemoteKeySet) Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	keys, fresh := s.find(kid)
	if len(keys) > 0 && !s.forgotten() {
		if !fresh && s.fetch.TryLock() {
			// Old, but good until the issuer says otherwise: nobody waits for that.
			go func() {
				defer s.fetch.Unlock()
				_ = s.refresh(context.WithoutCancel(ctx), kid)
			}()
		}
		return keys, nil
	}
	s.fetch.Lock()
	defer s.fetch.Unlock()
	err := s.refresh(ctx, kid)
	if keys, _ = s.find(kid); len(keys) > 0 {
		return keys, nil
	}
	return nil, err
}

// forgotten reports whether nobody has asked for the keys for so long that the
// issuer may have taken some back: that is asked before they are used. An issuer
// that does not answer is not waited for again.
func (s *RemoteKeySet) forgotten() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.fetched.IsZero() && !s.failing && s.cfg.Now().Sub(s.fetched) >= 2*s.cfg.MaxAge
}

func (s *RemoteKeySet) find(kid string) (keys []jose.JSONWebKey, fresh bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if kid == "" {
		keys = s.set.Keys
	} else {
		keys = s.set.Key(kid)
	}
	age := s.cfg.Now().Sub(s.fetched)
	return keys, !s.fetched.IsZero() && age < s.cfg.MaxAge
}

// refresh fetches the set, unless somebody just has. The caller holds fetch.
func (s *RemoteKeySet) refresh(ctx context.Context, kid string) error {
	if keys, fresh := s.find(kid); len(keys) > 0 && fresh {
		return nil // somebody else has just fetched it
	}
	now := s.cfg.Now()
	wait := s.cfg.MinInterval
	if s.lastErr != nil {
		wait = min(wait, retryInterval) // an issuer that is back is used at once
	}
	if !s.tried.IsZero() && now.Sub(s.tried) < wait {
		if s.lastErr == nil {
			return nil
		}
		return fmt.Errorf("key set: %w", s.lastErr)
	}
	s.tried = now
	// The caller may go away; what is fetched serves all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	res, err := fetch(ctx, s.cfg.Client, s.cfg.URL, "", MaxJWKSBytes)
	var set jose.JSONWebKeySet
	if err == nil {
		set, err = parseKeys(res.body)
	}
	s.lastErr = err
	if err != nil {
		s.tried = s.cfg.Now() // those who waited for it do not each wait again
		s.mu.Lock()
		s.failing = true
		s.mu.Unlock()
		return fmt.Errorf("key set: %w", err)
	}
	s.mu.Lock()
	s.set, s.fetched, s.failing = set, now, false
	s.mu.Unlock()
	if s.cfg.Fetched != nil {
		s.cfg.Fetched(res.body)
	}
	return nil
}

// parseKeys keeps the public keys that can verify; one unusable key does not
// spoil the set.
func parseKeys(body []byte) (jose.JSONWebKeySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &raw); err != nil {
		return set, errors.New("not JSON")
	}
	for _, r := range raw.Keys {
		if key, err := jws.PublicKey(r); err == nil && key.Use != "enc" {
			set.Keys = append(set.Keys, key)
		}
	}
	if len(set.Keys) == 0 {
		return set, errors.New("no usable public key")
	}
	return set, nil
}
