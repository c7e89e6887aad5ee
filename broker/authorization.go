package broker

import "time"

// Lifetimes of an authorization under way.
const (
	pendingLife = 15 * time.Minute // a person may take so long to log in and consent
	pushedLife  = 90 * time.Second // RFC 9126 section 2.2
	codeLife    = 60 * time.Second // RFC 6749 section 4.1.2 has ten minutes at most; RFC 9700 wants it short
	deviceLife  = 10 * time.Minute // RFC 8628 section 3.2
)

// Authorization is what a person's yes gives a client. It becomes a session
// when it is redeemed.
type Authorization struct {
	UserID         string         `json:"user_id"`
	ParentID       string         `json:"parent_id,omitempty"` // the browser session that it was given in
	Scope          string         `json:"scope"`
	Request        SessionRequest `json:"request,omitzero"`
	Nonce          string         `json:"nonce,omitempty"` // for the first ID token
	ProviderID     string         `json:"provider_id,omitempty"`
	IdPSubject     string         `json:"idp_subject,omitempty"`
	IdPSession     string         `json:"idp_session,omitempty"`
	UpstreamID     string         `json:"upstream_id,omitempty"`
	VouchedAt      time.Time      `json:"vouched_at,omitzero"`
	AMR            []string       `json:"amr,omitempty"`
	AuthTime       time.Time      `json:"auth_time"`
	FollowsParent  bool           `json:"follows_parent,omitempty"`
	DPoPThumbprint string         `json:"dpop_jkt,omitempty"` // the only key that may redeem it; empty: any
}

// authorization is of the user, and by the login, that somebody is there with.
func (p *Principal) authorization() Authorization {
	s := p.Session
	return Authorization{
		UserID: p.User.ID, ParentID: s.ID,
		ProviderID: s.ProviderID, IdPSubject: s.IdPSubject, IdPSession: s.IdPSession, AMR: s.AMR, AuthTime: s.AuthTime,
		UpstreamID: s.UpstreamID, VouchedAt: s.VouchedAt,
	}
}

// SessionRequest is what a client asked for beyond the scope. It is kept with
// the session, because refreshed tokens have it as well.
type SessionRequest struct {
	Resource       string   `json:"resource,omitempty"` // RFC 8707: the aud of access tokens; empty: the issuer
	UserinfoClaims []string `json:"userinfo,omitempty"` // of the claims parameter (OIDC Core section 5.5)
	IDTokenClaims  []string `json:"id_token,omitempty"`
	// Silent: the IdP did not say when the person logged in there, and was not
	// asked for a login anew. It may have been any time ago.
	Silent bool `json:"silent,omitempty"`
	// Program: a program made the session by a login of its own, so that whoever has
	// a browser does not have it. What is not marked counts as a browser's.
	Program bool `json:"program,omitempty"`
}

// PendingAuthorization is an authorization request that waits: for the person
// in one browser, whose secret it knows by its hash, or, with an empty Browser,
// for the browser of the client that pushed it (RFC 9126). With a Logout it is a
// logout request, and has no Request.
type PendingAuthorization struct {
	ID        string // hash of what names it outside
	ClientID  string
	Browser   string
	Request   AuthorizationRequest
	Logout    *AskedLogout
	CreatedAt time.Time
	ExpiresAt time.Time
}

// AuthorizationCode is a code (RFC 6749 section 4.1.2), found by its hash.
type AuthorizationCode struct {
	ID            string
	ClientID      string
	RedirectURI   string
	Challenge     string // S256; empty: none was sent
	Authorization Authorization
	ExpiresAt     time.Time
	RedeemedAt    time.Time
	SessionID     string // what the redemption made
}

// DeviceDecision is what the person said on the device page.
type DeviceDecision string

// Decisions on a device. Empty: none yet.
const (
	DeviceAllowed DeviceDecision = "allowed"
	DeviceDenied  DeviceDecision = "denied"
)

// DeviceCode is a device that waits for a person elsewhere (RFC 8628), found by
// the hash of its code, or of the code that the person types.
type DeviceCode struct {
	ID            string
	UserCode      string
	ClientID      string
	Scope         string
	Request       SessionRequest
	Decision      DeviceDecision
	Authorization Authorization
	Interval      time.Duration
	NextPollAt    time.Time
	ExpiresAt     time.Time
	RedeemedAt    time.Time
	SessionID     string
}

// Consent is a person's remembered yes to a client.
type Consent struct {
	UserID    string
	ClientID  string
	Scope     string
	GrantedAt time.Time
}

// LogoutNotice is a back-channel logout (OIDC Back-Channel Logout section 2.5)
// that a client has not acknowledged yet.
type LogoutNotice struct {
	ID        string
	ClientID  string
	UserID    string
	SessionID string
	Attempts  int
	NextAt    time.Time
	ExpiresAt time.Time
}

// AuthorizationRequest is an authorization request as it came (RFC 6749 section
// 4.1.1, OIDC Core section 3.1.2.1), every parameter at most once.
type AuthorizationRequest struct {
	ClientID            string `json:"client_id"`
	ResponseType        string `json:"response_type,omitempty"`
	ResponseMode        string `json:"response_mode,omitempty"`
	RedirectURI         string `json:"redirect_uri,omitempty"`
	Scope               string `json:"scope,omitempty"`
	State               string `json:"state,omitempty"`
	Nonce               string `json:"nonce,omitempty"`
	Prompt              string `json:"prompt,omitempty"`
	MaxAge              string `json:"max_age,omitempty"`
	LoginHint           string `json:"login_hint,omitempty"`
	IDTokenHint         string `json:"id_token_hint,omitempty"`
	ACRValues           string `json:"acr_values,omitempty"`
	UILocales           string `json:"ui_locales,omitempty"`
	Claims              string `json:"claims,omitempty"`
	CodeChallenge       string `json:"code_challenge,omitempty"`
	CodeChallengeMethod string `json:"code_challenge_method,omitempty"`
	DPoPThumbprint      string `json:"dpop_jkt,omitempty"`
	Resource            string `json:"resource,omitempty"`
	IdPHint             string `json:"idp_hint,omitempty"`
	RequestURI          string `json:"request_uri,omitempty"`
	Request             string `json:"request,omitempty"`

	// SeenSession is the browser's session when the request came: a login that
	// was asked for is one that made another. It is ours, not the client's.
	SeenSession string `json:"seen_session,omitempty"`
	// HintSubject is whom the id_token_hint names; it is ours as well.
	HintSubject string `json:"hint_subject,omitempty"`
	// Device is where the request comes from.
	Device Device `json:"-"`
	// Browser is the browser's secret for a RequestURI that was kept for it; empty:
	// it has none.
	Browser string `json:"-"`

	begun bool // it is counted as a start
}
