package broker

import "time"

// Lifetimes of a login under way.
const (
	authRequestLife = 10 * time.Minute
	idpLoginLife    = 10 * time.Minute
	grantLife       = 5 * time.Minute
)

// AuthRequest is a login that an app began: its own PKCE challenge, state and
// redirect URI. It is found by a hash over state and challenge.
type AuthRequest struct {
	ID          string
	ProviderID  string
	RedirectURI string
	State       string
	Challenge   string
	ExpiresAt   time.Time
	RedeemedAt  time.Time
}

// IdPLogin is one trip of a browser to an IdP. It is found by the hash of our
// state, which is used once. RequestID is empty for a browser's own login,
// whose ReturnTo says where to land. With a LinkUserID it is no login: what it
// brings is linked to that user, in the page session in which it was begun.
type IdPLogin struct {
	ID         string
	RequestID  string
	ProviderID string
	ReturnTo   string
	ExpiresAt  time.Time

	LinkUserID    string
	LinkSessionID string
}

// Grant is a finished login that waits for its app to redeem it, once, with
// the verifier of the challenge. It is found by the hash of its code.
type Grant struct {
	ID         string
	RequestID  string
	ProviderID string
	UserID     string
	State      string
	Challenge  string
	Claims     IdPClaims // Subject, SessionID, AMR, AuthTime only
	UpstreamID string    // what its session is going to stand on
	ExpiresAt  time.Time
	RedeemedAt time.Time
	SessionID  string // what the redemption made
}
