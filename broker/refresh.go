package broker

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// maxRefreshTries bounds how often a refresh starts again because others wrote
// the row in between; each round somebody else has made progress.
const maxRefreshTries = 64

// coarseIdle is the step in which the idle end moves where nothing else is
// written.
const coarseIdle = time.Hour

// Refresh exchanges a refresh token for a new access token and the refresh
// token of the pair that the rule names. It is safe to repeat: a lost answer is
// answered again. An error is a refusal that says why, or
// [TemporarilyUnavailable], which says nothing about the token.
func (b *Broker) Refresh(ctx context.Context, raw, clientID string, device Device) (*Login, error) {
	return b.refreshBy(ctx, raw, presenter{client: &Client{ID: clientID}, device: device})
}

// presenter is who presents a refresh token: an authenticated client, and the
// key that it proved, if any.
type presenter struct {
	client    *Client
	provenKey string
	device    Device
	// trustedUntil is the one of the session; see [Session].
	trustedUntil time.Time
}

func (b *Broker) refreshBy(ctx context.Context, raw string, by presenter) (login *Login, err error) {
	ctx, span := BeginSpan(ctx, SpanWork, "broker.Refresh")
	defer func() {
		b.countedRefresh(login, err)
		span.End(err)
	}()
	claims, err := b.parseRefresh(ctx, raw, by.device)
	if err != nil {
		return nil, err
	}
	if by.trustedUntil, err = b.trustedUntil(ctx, by.client, claims.SessionID); err != nil {
		return nil, b.truerCause(ctx, claims.SessionID, err)
	}
	err = b.retry(ctx, func() error {
		login, err = b.refresh(ctx, claims, by)
		return err
	})
	return login, err
}

func (b *Broker) parseRefresh(ctx context.Context, raw string, device Device) (tokens.RefreshClaims, error) {
	if raw == "" {
		return tokens.RefreshClaims{}, &Error{Code: NoToken}
	}
	claims, err := b.cfg.Secrets.ParseRefresh(raw, b.now())
	switch {
	case err == nil:
		return claims, nil
	case errors.Is(err, tokens.ErrUnknownSecret):
		// Another replica may have just brought a root secret with it, which this one
		// does not know: then it can say nothing about the token.
		if stale := b.CatchUp(ctx); stale != nil {
			return claims, Unavailable(stale)
		}
	case errors.Is(err, tokens.ErrMalformed) && b.cfg.Imported != nil:
		return b.importedRefresh(ctx, raw)
	case errors.Is(err, tokens.ErrWrongType):
		return claims, &Error{Code: WrongTokenType, Err: err}
	case errors.Is(err, tokens.ErrPastMaxAge):
		// The row may know a truer cause: logged out, password changed...
		if s, _, rowErr := b.cfg.Store.SessionByID(ctx, claims.SessionID); rowErr == nil && !s.EndedAt.IsZero() {
			return claims, &Error{Code: s.EndCause, Err: err, Wipe: s.Wipe}
		}
		return claims, b.refuseRefresh(ctx, nil, claims, device, Decision{Outcome: OutcomeExpired, Refusal: SessionMaxAge})
	}
	return claims, &Error{Code: InvalidToken, Err: err}
}

// refresh tries the hot statement first; where it writes nothing, the row is
// read, the rule decides, and its outcome is written under its own condition.
func (b *Broker) refresh(ctx context.Context, claims tokens.RefreshClaims, by presenter) (*Login, error) {
	p := Presented{
		Generation: claims.Generation, Branch: claims.Branch, IssuedAt: time.Unix(claims.IssuedAt, 0),
		ClientID: by.client.ID, ProvenKey: by.provenKey,
	}
	for range maxRefreshTries {
		now := b.now()
		s, u, ok, err := b.cfg.Store.AdvanceSession(ctx, Advance{
			Touch: b.touch(by, claims.SessionID, now), ClientID: by.client.ID,
			Generation: p.Generation, Branch: p.Branch, AdvancedBefore: now.Add(-b.cfg.Lifetimes.Grace),
		})
		if err != nil {
			return nil, err
		}
		if ok {
			return b.refreshed(by, OutcomeAdvance, u, s, s.Generation, s.Branch, now)
		}
		login, again, err := b.decideAndWrite(ctx, claims, p, by, now)
		if err != nil || !again {
			return login, err
		}
	}
	return nil, Unavailable(errors.New("refresh: the row kept changing"))
}

// decideAndWrite carries out every outcome but the hot one. again says that
// the row changed in between and everything starts over.
func (b *Broker) decideAndWrite(ctx context.Context, claims tokens.RefreshClaims, p Presented, by presenter, now time.Time) (login *Login, again bool, err error) {
	row, u, err := b.cfg.Store.SessionByID(ctx, claims.SessionID)
	s := &row
	if errors.Is(err, NotFound) {
		s, err = nil, nil
	}
	if err != nil {
		return nil, false, err
	}
	d := Decide(s, p, Policy{Grace: b.cfg.Lifetimes.Grace, Idle: b.lifetimes(by.client).Refresh}, now)
	if (d.Refusal == "" || d.Outcome == OutcomeReuse) && (u.ID == "" || !u.DisabledAt.IsZero()) {
		d = Decision{Outcome: OutcomeEnded, Refusal: UserDisabled, Next: d.Next}
		if u.ID == "" {
			d.Refusal = UserDeleted
		}
	}
	switch d.Outcome {
	case OutcomeAdvance:
		return nil, true, nil // it became possible between the two statements
	case OutcomeSame, OutcomeBound:
		return b.unchanged(ctx, d, u, s, by, now)
	case OutcomeConverge, OutcomeReissue, OutcomeAhead, OutcomeReuse:
		written, err := b.writeOutcome(ctx, d, s, by, now)
		if err != nil || !written {
			return nil, !written, err
		}
	}
	if d.Refusal != "" {
		return nil, false, b.refuseRefresh(ctx, s, claims, by.device, d)
	}
	s.IdleExpiresAt = b.lifetimes(by.client).slide(s, now)
	login, err = b.refreshed(by, d.Outcome, u, *s, d.Generation, d.Branch, now)
	return login, false, err
}

// unchanged answers the same pair. The idle end moves in coarse steps.
func (b *Broker) unchanged(ctx context.Context, d Decision, u User, s *Session, by presenter, now time.Time) (*Login, bool, error) {
	if err := b.slideCoarsely(ctx, s, by, now); err != nil {
		return nil, false, err
	}
	login, err := b.refreshed(by, d.Outcome, u, *s, d.Generation, d.Branch, now)
	return login, false, err
}

// slideCoarsely moves the idle end, and when the session was last seen, where nothing
// else is written, once it has something to move. Near its greatest age the idle end
// moves no more; which session was unused for longest is asked all the same.
func (b *Broker) slideCoarsely(ctx context.Context, s *Session, by presenter, now time.Time) error {
	l := b.lifetimes(by.client)
	idle := l.slide(s, now)
	if step := min(coarseIdle, l.Refresh/24); idle.Sub(s.IdleExpiresAt) < step && now.Sub(s.LastSeenAt) < step {
		return nil
	}
	touch := b.touch(by, s.ID, now)
	touch.IdleExpiresAt = idle
	if err := b.cfg.Store.TouchSession(ctx, touch); err != nil {
		return err
	}
	s.IdleExpiresAt, s.LastSeenAt = idle, now
	return nil
}

// writeOutcome writes a rare outcome and its audit event, durably.
func (b *Broker) writeOutcome(ctx context.Context, d Decision, s *Session, by presenter, now time.Time) (written bool, err error) {
	touch := b.touch(by, s.ID, now)
	touch.IdleExpiresAt = b.lifetimes(by.client).slide(s, now)
	w := RotationWrite{Touch: touch, From: s.Rotation, Next: d.Next, KeepLaterIssue: d.Outcome == OutcomeConverge}
	switch d.Outcome {
	case OutcomeReissue:
		w.IssuedBefore = now.Add(-b.cfg.Lifetimes.Grace)
	case OutcomeReuse:
		w.End = b.end(TokenReused, false, now)
	}
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		if written, err = store.WriteRotation(ctx, w); err != nil || !written {
			return err
		}
		if d.Outcome == OutcomeReuse {
			ended := *s
			ended.EndedAt, ended.EndCause = w.End.At, w.End.Cause
			if err := b.afterEnd(ctx, store, []Session{ended}, w.End, by.device.IP); err != nil {
				return err
			}
			if err := b.tell(ctx, store, s.UserID, s.ID, Letter{Kind: MailTokenReused}); err != nil {
				return err
			}
		}
		return b.audit(ctx, store, b.refreshEvent(d, s, by.device))
	})
	return written, err
}

func (b *Broker) refreshEvent(d Decision, s *Session, device Device) Event {
	e := Event{
		Name: EventOfRefresh(d.Outcome), UserID: s.UserID, SessionID: s.ID, ClientID: s.ClientID, IP: device.IP,
		Detail: map[string]string{"generation": itoa(d.Next.Generation), "branch": itoa(d.Next.Branch)},
	}
	if d.Outcome == OutcomeReuse {
		// Both holders, for the person who has to tell which was theirs.
		e.Detail["cause"] = string(TokenReused)
		e.Detail["user_agent"] = cleanText(device.UserAgent, maxUserAgent)
		e.Detail["other_ip"], e.Detail["other_user_agent"] = s.LastIP, s.UserAgent
		e.Detail["other_at"] = s.LastSeenAt.Format(time.RFC3339)
	}
	return e
}

func (b *Broker) refreshed(by presenter, o Outcome, u User, s Session, generation, branch int64, now time.Time) (*Login, error) {
	s.trustedUntil = by.trustedUntil
	login, err := b.mint(by.client, u, s, generation, branch, now)
	if err == nil {
		login.Outcome = o
	}
	return login, err
}

// refuseRefresh logs a refusal, writes its event once a day, and makes the error.
func (b *Broker) refuseRefresh(ctx context.Context, s *Session, claims tokens.RefreshClaims, device Device, d Decision) error {
	refusal := &Error{Code: d.Refusal}
	if s != nil {
		refusal.Wipe = s.Wipe
	}
	if !b.refused.first(claims.SessionID+" "+string(d.Outcome), b.now()) {
		return refusal
	}
	b.cfg.Log.InfoContext(ctx, "refresh refused", "event", EventOfRefresh(d.Outcome), "sid", claims.SessionID,
		"user_id", claims.Subject, "code", string(d.Refusal), "remote_ip", device.IP)
	if d.Outcome == OutcomeReuse {
		return refusal // its event was written with the end of the session
	}
	err := b.audit(ctx, b.cfg.Store, Event{
		Name: EventOfRefresh(d.Outcome), UserID: claims.Subject, SessionID: claims.SessionID, ClientID: claims.ClientID,
		IP: device.IP, Detail: map[string]string{"code": string(d.Refusal)},
	})
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "audit event not written", "error", err)
	}
	return refusal
}

func (b *Broker) touch(by presenter, id string, now time.Time) Touch {
	return Touch{ID: id, Now: now, IdleExpiresAt: now.Add(b.lifetimes(by.client).Refresh), IP: by.device.IP}
}
