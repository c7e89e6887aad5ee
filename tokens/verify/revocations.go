package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// RevocationsConfig describes a list of ended sessions behind a URL. URL,
// Issuer and Keys are required.
type RevocationsConfig struct {
	URL    string
	Issuer string           // the iss that must stand in the list
	Keys   KeySet           // usually that of the Verifier
	Client *http.Client     // nil: a client with a 5 s limit that follows no redirect
	Now    func() time.Time // nil: time.Now

	// Interval is how often the list is asked for. 0: 5 s.
	Interval time.Duration
	// MaxStale is how old the last list may be while no newer one can be fetched;
	// then nobody is let in until one can. 0: the last list counts for as long as
	// it takes, so that an outage of the issuer stops no API.
	MaxStale time.Duration
}

// idleAfter is how long the list is fetched on for when nobody asks.
const idleAfter = 10 * time.Minute

// RemoteRevocations is a list of ended sessions behind a URL
// ([tokens.ParseRevocations]). From the first question on it is fetched in the
// background, with If-None-Match, and answers come from memory.
//
// A question waits for the network only where there is no list that somebody
// has kept fresh: the first question, and the first after ten minutes without
// any. Without a first list the answer is an error, and the Verifier refuses
// with [ErrUnavailable]: it fails closed. After that it fails open: when the
// issuer is down, answers wrongly or is impersonated, the last good list counts,
// up to MaxStale. It is safe for concurrent use.
type RemoteRevocations struct {
	cfg  RevocationsConfig
	gate chan struct{} // held over the network

	mu      sync.Mutex
	list    tokens.RevocationList
	etag    string
	fetched time.Time // last success; zero: there is no list
	tried   time.Time // end of the last attempt
	lastErr error
	asked   time.Time // last question
	awake   bool      // the list is being kept fresh
}

// NewRemoteRevocations fetches nothing yet.
func NewRemoteRevocations(cfg RevocationsConfig) *RemoteRevocations {
	if cfg.Client == nil {
		cfg.Client = defaultClient()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Interval <= 0 {
		cfg.Interval = 5 * time.Second
	}
	return &RemoteRevocations{cfg: cfg, gate: make(chan struct{}, 1)}
}

// Revoked implements [Revocations].
func (r *RemoteRevocations) Revoked(ctx context.Context, sid string) (bool, error) {
	list, awake, err := r.current()
	if !awake {
		if err := r.wake(ctx); err != nil {
			return false, err
		}
		list, _, err = r.current()
	}
	if err != nil {
		return false, err
	}
	return list.Has(sid), nil
}

var errStale = errors.New("list of ended sessions: too old")

// current is the list, unless there is none or it is too old.
func (r *RemoteRevocations) current() (list tokens.RevocationList, awake bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	r.asked = now
	switch {
	case r.fetched.IsZero() && r.lastErr != nil:
		err = r.lastErr
	case r.fetched.IsZero() || r.cfg.MaxStale > 0 && now.Sub(r.fetched) > r.cfg.MaxStale:
		err = errStale
	}
	return r.list, r.awake, err
}

// wake fetches the list and has it kept fresh. Many at once make one fetch. It
// fails only when the caller goes away first.
func (r *RemoteRevocations) wake(ctx context.Context) error {
	select {
	case r.gate <- struct{}{}:
		defer func() { <-r.gate }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	done := r.awake || !r.tried.IsZero() && r.lastErr != nil && r.cfg.Now().Sub(r.tried) < retryInterval
	r.mu.Unlock()
	if done {
		return nil
	}
	r.refresh(ctx) // the caller may go away; what is fetched serves all
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fetched.IsZero() && !r.awake {
		r.awake = true
		// #nosec G118 -- it goes on when the request is over, until Close
		go r.keepFresh()
	}
	return nil
}

// keepFresh fetches at each interval until nobody asks any more.
func (r *RemoteRevocations) keepFresh() {
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	for range tick.C {
		r.mu.Lock()
		r.awake = r.cfg.Now().Sub(r.asked) < idleAfter
		awake := r.awake
		r.mu.Unlock()
		if !awake {
			return
		}
		r.gate <- struct{}{}
		r.refresh(context.Background())
		<-r.gate
	}
}

// refresh fetches once. The caller holds the gate.
func (r *RemoteRevocations) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	started := r.cfg.Now()
	list, etag, err := r.get(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried, r.lastErr = r.cfg.Now(), err
	if err != nil {
		r.lastErr = fmt.Errorf("list of ended sessions: %w", err)
		return
	}
	r.fetched = started
	if list != nil {
		r.list, r.etag = *list, etag
	}
}

// get returns no list where the one that is held still counts.
func (r *RemoteRevocations) get(ctx context.Context) (*tokens.RevocationList, string, error) {
	r.mu.Lock()
	etag, held := r.etag, r.list
	r.mu.Unlock()
	expired := !r.cfg.Now().Before(held.ExpiresAt)
	if expired {
		etag = "" // the issuer must vouch for it anew
	}
	res, err := fetch(ctx, r.cfg.Client, r.cfg.URL, etag, tokens.MaxRevocationBytes)
	if err != nil || res.notModified {
		return nil, "", err
	}
	list, err := tokens.ParseRevocations(ctx, string(res.body), r.cfg.Issuer, r.cfg.Keys, r.cfg.Now())
	if err != nil {
		return nil, "", err
	}
	if list.IssuedAt.Before(held.IssuedAt) && !expired {
		return nil, "", nil // an older one, from a cache or a slow replica
	}
	return &list, res.etag, nil
}
