package broker

import (
	"context"
	"time"
)

// UpstreamState is what is known of a login at an IdP.
type UpstreamState string

// What a login at an IdP is. Only ended ends sessions; it takes an IdP that says
// so. No answer, and an answer that proves nothing, is unknown.
const (
	UpstreamAlive   UpstreamState = "alive"
	UpstreamEnded   UpstreamState = "ended"
	UpstreamUnknown UpstreamState = "unknown"
)

// RecheckBy is how a login is checked again; empty: by refresh.
type RecheckBy string

// Ways to check a login again.
const (
	RecheckByRefresh       RecheckBy = "refresh"       // the refresh token is used (RFC 6749 section 6)
	RecheckByIntrospection RecheckBy = "introspection" // the IdP is asked about it (RFC 7662)
)

// UpstreamToken is an IdP's refresh token. It prints as a placeholder, in JSON
// too; Reveal gives the text for the IdP that it is of.
type UpstreamToken string

const shownUpstreamToken = "[refresh token of an IdP]"

// String keeps the token out of logs and errors.
func (UpstreamToken) String() string { return shownUpstreamToken }

// GoString keeps the token out of %#v.
func (UpstreamToken) GoString() string { return shownUpstreamToken }

// MarshalText keeps the token out of JSON.
func (UpstreamToken) MarshalText() ([]byte, error) { return []byte(shownUpstreamToken), nil }

// Reveal returns the token itself.
func (t UpstreamToken) Reveal() string { return string(t) }

// maxUpstreamToken bounds an IdP's refresh token, in bytes.
const maxUpstreamToken = 16 << 10

// RecheckResult is what an IdP says of a login.
type RecheckResult struct {
	State   UpstreamState // alive or ended
	Subject string        // whom the answer names; empty: nobody
	// Token takes the place of the one that was used; empty: that one stays. It
	// counts beside an error too.
	Token UpstreamToken
	// Untouched says beside an error that the token is certainly as it was: it
	// was not sent, or was refused before it was looked at.
	Untouched bool
}

// Upstream is a login at an IdP that is checked again. Every session that came
// of it stands on it: the browser's, and those that clients were given in it.
type Upstream struct {
	ID         string
	ProviderID string
	IssuedBy   string // the issuer and the client that the token is of
	UserID     string
	Subject    string
	Sealed     string // the IdP's refresh token, sealed; empty: lost, or of no more use
	State      UpstreamState
	// Doubtful counts the checks that may have used the token up since its last
	// answer: an IdP that replaces its refresh tokens may have done so before the
	// answer was lost.
	Doubtful    int64
	CreatedAt   time.Time
	AliveAt     time.Time // when it was last known to be alive
	NextCheckAt time.Time
}

// upstreamOverdue is how late a check may be before nothing is known any more:
// nobody checks while the IdP is dark, or after its settings were taken away.
const upstreamOverdue = 2 * time.Minute

// StateAt is what is known at a moment.
func (u *Upstream) StateAt(now time.Time) UpstreamState {
	if u.State == UpstreamAlive && now.After(u.NextCheckAt.Add(upstreamOverdue)) {
		return UpstreamUnknown
	}
	return u.State
}

// standOn makes a session stand on a login that is stored with it.
func (s *Session) standOn(u *Upstream) {
	if u != nil {
		s.UpstreamID, s.Upstream = u.ID, u
	}
}

// issuedBy names the issuer and the client that the provider's refresh tokens
// are of. Where the settings have others, a token is sent to nobody: it would be
// handed to a stranger, or refused as another client's.
func (p *Provider) issuedBy() string { return hash("upstream", p.Issuer, p.ClientID) }

func upstreamPlace(id string) string { return "upstreams.token." + id }

func (b *Broker) sealUpstream(id string, token UpstreamToken) string {
	return b.sealer().Seal(upstreamPlace(id), []byte(token.Reveal()))
}

// newUpstream is a login that is going to be checked again; nil where it is not.
func (b *Broker) newUpstream(ctx context.Context, p *Provider, u User, c IdPClaims) *Upstream {
	if p.Recheck <= 0 {
		return nil
	}
	if c.RefreshToken == "" || len(c.RefreshToken) > maxUpstreamToken {
		if b.refused.first("no refresh token of "+p.ID, b.now()) {
			b.cfg.Log.WarnContext(ctx, "the IdP gave no refresh token that can be kept, so that this login is not checked again; let it give Latchkey refresh tokens, or remove recheck",
				"event", "idp.no_refresh_token", "provider", p.ID)
		}
		return nil
	}
	now := b.now()
	id := b.newID(now)
	return &Upstream{
		ID: id, ProviderID: p.ID, IssuedBy: p.issuedBy(), UserID: u.ID, Subject: c.Subject, Sealed: b.sealUpstream(id, c.RefreshToken), State: UpstreamAlive,
		CreatedAt: now, AliveAt: now, NextCheckAt: now.Add(b.nextCheck(time.Duration(p.Recheck))),
	}
}

// nextCheck is an interval, a little shorter and not the same for all: what
// logged in together is not checked together, and never later than promised.
func (b *Broker) nextCheck(interval time.Duration) time.Duration {
	var one [1]byte
	b.random(one[:])
	return interval - interval/20 - interval/10*time.Duration(one[0])/256
}
