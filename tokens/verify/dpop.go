package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// Why a token that is bound to a key (DPoP, RFC 9449), or its proof, was
// refused.
var (
	ErrBound   = errors.New("the access token is bound to a key; present it with its proof")
	ErrUnbound = errors.New("the access token is not bound to a key; present it as a bearer token")
	ErrBinding = errors.New("the access token is bound to another key than that of the proof")
	ErrProof   = tokens.ErrProof
)

// dpopError marks a refusal of a request with the scheme DPoP, so that the
// answer is in that scheme too.
type dpopError struct{ error }

func (e dpopError) Unwrap() error { return e.error }

// proofError is a refusal of the proof. Its reason is safe to show.
type proofError struct{ reason error }

func (e proofError) Error() string { return e.reason.Error() }

func (e proofError) Unwrap() error { return e.reason }

var errReplayed = fmt.Errorf("%w: it has been used before", tokens.ErrProof)

// VerifyRequest checks the access token of a request: a bearer token (RFC 6750
// section 2.1) as [Verifier.Verify] does, and a token of the scheme DPoP with
// its proof (RFC 9449 section 7.1), which must be by the key that the token is
// bound to, for this token, this method and this URL, and never seen before. A
// bound token is not taken as a bearer token, nor the other way round.
//
// absoluteURL is what the client called; its query does not count. Empty: the path of the
// request under Config.BaseURL, or else under what Host and TLS say.
//
// Proofs are remembered in memory, in each process for itself.
func (v *Verifier) VerifyRequest(r *http.Request, absoluteURL string) (Claims, error) {
	scheme, raw, err := authorization(r)
	if err != nil {
		return Claims{}, err
	}
	if !strings.EqualFold(scheme, "DPoP") {
		return v.Verify(r.Context(), raw)
	}
	claims, err := v.verifyBound(r, raw, absoluteURL)
	if err != nil {
		return Claims{}, dpopError{err}
	}
	return claims, nil
}

// authorization is the one token of a request and the scheme it came in.
func authorization(r *http.Request) (scheme, raw string, err error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", "", ErrMalformed
	}
	if scheme, raw, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "DPoP") {
		return scheme, strings.TrimSpace(raw), nil
	}
	return "Bearer", Bearer(r), nil
}

func (v *Verifier) verifyBound(r *http.Request, raw, absoluteURL string) (Claims, error) {
	claims, err := v.Inspect(r.Context(), raw)
	if err != nil {
		return Claims{}, err
	}
	if claims.Confirmation == nil {
		return Claims{}, ErrUnbound
	}
	if absoluteURL == "" {
		absoluteURL = v.requestURL(r)
	}
	now := v.cfg.Now()
	proof, err := tokens.ParseProof(r.Header.Values("DPoP"), tokens.ProofRequest{Method: r.Method, URL: absoluteURL, AccessToken: raw, Now: now})
	if err != nil {
		return Claims{}, proofError{err}
	}
	if claims.Confirmation.Thumbprint != proof.Thumbprint {
		return Claims{}, ErrBinding
	}
	// Only who has a good token and its key gets to be remembered.
	if !v.proofs.first(proof, now) {
		return Claims{}, proofError{errReplayed}
	}
	return claims, nil
}

// requestURL is the absolute URL of the request, without its query. It is empty
// where the Host is none, and then no proof is for it.
func (v *Verifier) requestURL(r *http.Request) string {
	base := strings.TrimSuffix(v.cfg.BaseURL, "/")
	if base == "" {
		if r.Host == "" || strings.ContainsAny(r.Host, `/?#@%\`) { // a Host that brings a path of its own
			return ""
		}
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		base = scheme + "://" + r.Host
	}
	// As the client wrote it, whatever http.StripPrefix has done since.
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil {
		return base + asked.EscapedPath()
	}
	return base + r.URL.EscapedPath()
}

// replays remembers proofs for as long as they could be presented again: iat
// may be one window ahead and is good for one window after. It keeps two
// generations, as cache does, and drops the older when the younger is full or
// old enough.
type replays struct {
	mu         sync.Mutex
	size       int
	since      time.Time // when young began
	young, old map[[sha256.Size]byte]struct{}
}

func newReplays(size int) *replays {
	return &replays{size: max(size/2, 1), young: map[[sha256.Size]byte]struct{}{}}
}

// first reports whether the proof is new, and remembers it.
func (s *replays) first(p tokens.Proof, now time.Time) bool {
	key := sha256.Sum256([]byte(p.Thumbprint + "\x00" + p.ID)) // nobody's jti is in another's way
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, seen := s.young[key]; seen {
		return false
	}
	if _, seen := s.old[key]; seen {
		return false
	}
	if len(s.young) >= s.size || now.Sub(s.since) > 2*tokens.ProofWindow {
		s.old, s.young, s.since = s.young, map[[sha256.Size]byte]struct{}{}, now
	}
	s.young[key] = struct{}{}
	return true
}
