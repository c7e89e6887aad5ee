package broker

import (
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// Session is what every login ends in: one row per device, however often it
// refreshes. The ID is the OIDC sid.
type Session struct {
	ID         string
	UserID     string
	ClientID   string
	ParentID   string // the browser session it was authorized from, or empty
	ProviderID string // the IdP behind the login; empty: a password
	IdPSubject string
	IdPSession string // the IdP's own sid, for its back-channel logout
	AMR        []string
	AuthTime   time.Time
	Scope      string
	Request    SessionRequest
	// FollowsParent: it ends when its parent is ended, though not when that expires.
	FollowsParent bool
	// UpstreamID is the login at an IdP that it stands on; empty: none that is
	// checked again.
	UpstreamID string
	VouchedAt  time.Time // when the IdP let the person in; zero: a password
	// Upstream is that login, where it was read with the session, or is made with
	// it; nil elsewhere.
	Upstream *Upstream

	Rotation
	IdleExpiresAt time.Time
	// Absent is how long the service has not been there, or by how much the clock has
	// jumped, since the idle end was written; that is counted in already.
	Absent         time.Duration
	AbsExpiresAt   time.Time // always set; ten years where there is no limit
	DPoPThumbprint string    // RFC 9449; empty: a bearer session
	// CookieHash finds the session of an app behind a proxy by its cookie; empty
	// elsewhere.
	CookieHash string

	CreatedAt  time.Time
	LastSeenAt time.Time
	CreatedIP  string
	LastIP     string
	UserAgent  string
	// DeviceName is what its app or its owner calls the device; empty: nothing.
	DeviceName string

	// trustedUntil is when its client's max_upstream_age is reached; zero: it has
	// none. No access token lives longer.
	trustedUntil time.Time

	EndedAt  time.Time // zero: not ended
	EndCause EndCause
	Wipe     bool // the client is asked to remove local data
}

// Ended gives the cause that the session is over at now, or "".
func (s *Session) Ended(now time.Time) EndCause {
	switch {
	case !s.EndedAt.IsZero():
		return s.EndCause
	case !now.Before(s.AbsExpiresAt):
		return SessionMaxAge
	case !now.Before(s.IdleExpiresAt):
		return SessionExpired
	}
	return ""
}

// OverAt is when a session that is over ended, or expired.
func (s *Session) OverAt() time.Time {
	if !s.EndedAt.IsZero() {
		return s.EndedAt
	}
	return earlier(s.IdleExpiresAt, s.AbsExpiresAt)
}

// Lifetimes of what is handed out.
type Lifetimes struct {
	Access    time.Duration // of an access token
	Refresh   time.Duration // a session lives so long unused
	MaxAge    time.Duration // a session lives so long at all; 0: no limit
	Grace     time.Duration // W and R of the refresh rule
	Retention time.Duration // an ended session is kept so long, to say why
}

// noMaxAge stands for "no absolute end": every session has one, so that every
// comparison is plain.
const noMaxAge = 10 * 365 * 24 * time.Hour

// Device is what a request says of where it comes from.
type Device struct {
	IP        string
	UserAgent string
	// Name is what an app calls the device that it runs on; empty: it says nothing.
	Name string
	// Replaces is the session that a browser had before it logged in again.
	Replaces string
	// Language is that of the page on which somebody logs in (BCP 47); empty: none.
	Language string
	// Program: a program that logs in by itself, and keeps no cookies.
	Program bool
}

// maxUserAgent bounds what is kept of a User-Agent, in code points.
const maxUserAgent = 256

// MaxDeviceName bounds the name of a device, in code points.
const MaxDeviceName = 64

// Login is the end of every successful login and refresh.
type Login struct {
	User             User
	Session          Session
	Scope            string  // of the access token
	Outcome          Outcome // of a refresh; empty after a login
	AccessToken      tokens.AccessToken
	RefreshToken     tokens.RefreshToken // empty for a client that may have none
	IDToken          tokens.IDToken      // where the scope has openid, and the client is not the JSON API's
	ExpiresIn        time.Duration       // of the access token
	RefreshExpiresIn time.Duration       // the nearer of idle and absolute end
}

// SessionLimit is how many live sessions a user may have; 0: any number.
func (b *Broker) SessionLimit() int { return b.cfg.SessionLimit }

// Retention is how long an ended session is kept, to say why: what is configured, and
// what [Broker.Sweep] leaves to a clock that is ahead.
func (b *Broker) Retention() time.Duration { return b.cfg.Lifetimes.Retention + sweepMargin }

// newSession starts generation 0, branch 0.
func (b *Broker) newSession(c *Client, userID string, device Device, now time.Time) Session {
	l := b.lifetimes(c)
	abs := l.MaxAge
	if abs == 0 {
		abs = noMaxAge
	}
	s := Session{
		ID: b.newID(now), UserID: userID, ClientID: c.ID, AuthTime: now,
		Rotation:     Rotation{AdvancedAt: now, IssuedAt: now},
		AbsExpiresAt: now.Add(abs), CreatedAt: now, LastSeenAt: now,
		CreatedIP: device.IP, LastIP: device.IP, UserAgent: cleanText(device.UserAgent, maxUserAgent),
		DeviceName: cleanText(device.Name, MaxDeviceName), Request: SessionRequest{Program: device.Program},
	}
	s.IdleExpiresAt = l.slide(&s, now)
	return s
}

// sameLogin makes s stand on the login that another session stands on: nobody
// logged in once more.
func (s *Session) sameLogin(from Session) {
	s.ProviderID, s.IdPSubject, s.IdPSession, s.AMR, s.AuthTime = from.ProviderID, from.IdPSubject, from.IdPSession, from.AMR, from.AuthTime
	s.UpstreamID, s.VouchedAt = from.UpstreamID, from.VouchedAt
}

// slide is where the idle end moves to when a session is used at now.
func (l Lifetimes) slide(s *Session, now time.Time) time.Time {
	return earlier(now.Add(l.Refresh), s.AbsExpiresAt)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// mint makes the tokens of a session at a generation and branch: an access
// token and a refresh token, always.
func (b *Broker) mint(c *Client, u User, s Session, generation, branch int64, now time.Time) (*Login, error) {
	end := b.accessEnd(c, s, now)
	access, err := b.mintAccess(b.accessClaims(u, s, now, end))
	if err != nil {
		return nil, err
	}
	refresh, err := b.cfg.Secrets.Current().MintRefresh(tokens.RefreshClaims{
		Issuer: b.cfg.PublicURL, Audience: b.cfg.PublicURL, Subject: u.ID, ClientID: s.ClientID, SessionID: s.ID,
		Generation: generation, Branch: branch, IssuedAt: now.Unix(), ExpiresAt: s.AbsExpiresAt.Unix(), ID: b.newSecret(16),
	})
	if err != nil {
		return nil, Unavailable(err)
	}
	return &Login{
		User: u, Session: s, Scope: s.Scope, AccessToken: access, RefreshToken: refresh,
		ExpiresIn:        end.Sub(now),
		RefreshExpiresIn: earlier(s.IdleExpiresAt, s.AbsExpiresAt).Sub(now),
	}, nil
}

// mintAccess signs an access token with the key of the moment.
func (b *Broker) mintAccess(claims tokens.AccessClaims) (tokens.AccessToken, error) {
	signer := b.Signer()
	if signer == nil {
		return "", Unavailable(errNoSigningKey)
	}
	access, err := signer.MintAccess(claims)
	if err != nil {
		return "", Unavailable(err)
	}
	return access, nil
}

// accessEnd is when an access token expires: never after its session, nor after
// its login is trusted, for those who check tokens on their own.
func (b *Broker) accessEnd(c *Client, s Session, now time.Time) time.Time {
	end := earlier(now.Add(b.lifetimes(c).Access), earlier(s.IdleExpiresAt, s.AbsExpiresAt))
	if !s.trustedUntil.IsZero() {
		end = earlier(end, s.trustedUntil)
	}
	return end
}

func (b *Broker) accessClaims(u User, s Session, now, end time.Time) tokens.AccessClaims {
	groups := u.Groups
	if groups == nil {
		groups = []string{}
	}
	claims := tokens.AccessClaims{
		Issuer: b.cfg.PublicURL, Subject: u.ID, Audience: b.cfg.PublicURL, ClientID: s.ClientID, SessionID: s.ID,
		ID: b.newSecret(16), IssuedAt: now.Unix(), ExpiresAt: end.Unix(),
		AuthTime: s.AuthTime.Unix(), AMR: s.AMR, Scope: s.Scope,
		PreferredUsername: u.Username, Role: string(u.Role), Groups: groups, UserID: u.ID, Username: u.Username,
	}
	if s.Request.Resource != "" {
		claims.Audience = s.Request.Resource
	}
	if s.DPoPThumbprint != "" {
		claims.Confirmation = &tokens.Confirmation{Thumbprint: s.DPoPThumbprint}
	}
	return claims
}
