package broker

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"
)

// How logins at IdPs are checked.
const (
	recheckAtOnce  = 8  // calls to one IdP
	recheckRounds  = 16 // of them, before the others are looked at again
	recheckTimeout = 15 * time.Second
	recheckLease   = time.Minute // longer than a check and the writing of its answer take
	recheckRetry   = 30 * time.Second
)

// Why one login, and not its whole IdP, is unknown.
const (
	whyTokenLost    = "token_lost"    // it may have been replaced when an answer was lost, and is not accepted now
	whyOtherSubject = "other_subject" // the answer names somebody else
	whySecretGone   = "secret_gone"   // it is sealed by a root secret that is not held
)

var errSecretGone = errors.New("sealed by a root secret that is not among secret_key and previous_secret_keys")

// RecheckUpstreams checks the logins that are due, at all IdPs at once and at
// each a few at a time, and returns how many. It is for the background: no
// request waits for it. When the context ends it begins nothing more, and
// finishes what it began, because an answer that is lost may be a token.
func (b *Broker) RecheckUpstreams(ctx context.Context) (int, error) {
	if b.Ready() != nil {
		return 0, nil
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	n, errs := 0, []error{}
	for _, p := range b.Providers() {
		if p.Recheck <= 0 {
			continue
		}
		all.Go(func() {
			checked, err := b.recheckProvider(ctx, &p)
			mu.Lock()
			defer mu.Unlock()
			n, errs = n+checked, append(errs, err)
		})
	}
	all.Wait()
	return n, errors.Join(errs...)
}

func (b *Broker) recheckProvider(ctx context.Context, p *Provider) (n int, err error) {
	for range recheckRounds {
		some, err := b.recheckSome(ctx, p)
		if n += some; err != nil || some == 0 || ctx.Err() != nil {
			return n, err
		}
	}
	return n, nil
}

// recheckSome leases and checks a few. The lease is written before the IdP is
// called: whatever happens then, it is known that a check was under way.
func (b *Broker) recheckSome(ctx context.Context, p *Provider) (int, error) {
	now := b.now()
	limit := b.circuits.allowed(p.ID, now)
	if limit == 0 {
		return 0, nil
	}
	d := DueUpstreams{ProviderID: p.ID, IssuedBy: p.issuedBy(), Now: now, LeaseUntil: now.Add(recheckLease), Limit: limit}
	// Later than any is planned: the interval was longer, or a clock was ahead.
	d.NotAfter = now.Add(time.Duration(p.Recheck) + upstreamOverdue)
	if p.RecheckBy != RecheckByIntrospection {
		d.Doubt = 1
	}
	due, err := b.cfg.Store.DueUpstreams(ctx, d)
	if err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	done := make(chan error, len(due))
	for _, u := range due {
		go func() { done <- b.recheck(ctx, p, u, d.Doubt) }()
	}
	for range due {
		err = errors.Join(err, <-done)
	}
	return len(due), err
}

// recheck checks one login. doubt is what its lease added to Doubtful.
func (b *Broker) recheck(ctx context.Context, p *Provider, leased Upstream, doubt int64) error {
	ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	asked := b.now()
	token, r, err := b.askAgain(ctx, p, leased)
	next, why := leased.judge(r, err, leased.Doubtful-doubt, asked)
	failures := 0
	if why != whySecretGone {
		failures = b.circuits.note(p.ID, err != nil, asked, time.Duration(p.Recheck))
	}
	wait := b.nextCheck(time.Duration(p.Recheck))
	if err != nil {
		wait = min(wait, longestDarkness, recheckRetry<<min(max(failures, int(min(next.Doubtful, 10)), 1)-1, 10))
	}
	if next.NextCheckAt = b.now().Add(wait); next.Sealed != "" && token != "" {
		next.Sealed = b.sealUpstream(next.ID, token)
	}
	if failed := b.recordCheck(context.WithoutCancel(ctx), leased, next, why); failed != nil {
		return failed
	}
	return b.tellIdP(context.WithoutCancel(ctx), p, failures, err)
}

// askAgain opens the token and asks the IdP. The token that is to be kept comes
// back: empty where it stays sealed as it is.
func (b *Broker) askAgain(ctx context.Context, p *Provider, u Upstream) (UpstreamToken, RecheckResult, error) {
	raw, err := b.cfg.Secrets.Open(upstreamPlace(u.ID), u.Sealed)
	if err != nil {
		return "", RecheckResult{Untouched: true}, errSecretGone
	}
	begun := b.cfg.Now()
	r, err := p.IdP.Recheck(ctx, UpstreamToken(raw), p.RecheckBy)
	b.heard(ctx, p, begun, err)
	if len(r.Token) > maxUpstreamToken {
		r.Token = ""
	}
	return cmp.Or(r.Token, UpstreamToken(raw)), r, err
}

// judge says what a leased login is after a check; why is set where that is
// about this login alone. before is how many checks were doubtful before this
// one: after one of them, that the token is not accepted proves nothing. Nothing
// but an IdP's own word ends a login.
func (u Upstream) judge(r RecheckResult, err error, before int64, asked time.Time) (next Upstream, why string) {
	next = u
	next.State = UpstreamUnknown
	switch {
	case errors.Is(err, errSecretGone):
		next.Doubtful, why = before, whySecretGone
	case err != nil && r.Token != "":
		next.Doubtful = 0
	case err != nil && r.Untouched:
		next.Doubtful = before
	case err != nil: // the token may be used up
	case r.State == UpstreamEnded && before > 0:
		next.Sealed, why = "", whyTokenLost
	case r.State == UpstreamEnded:
		next.State, next.Sealed = UpstreamEnded, ""
	case r.Subject != "" && r.Subject != u.Subject:
		next.Doubtful, why = 0, whyOtherSubject
	case r.State == UpstreamAlive:
		next.State, next.Doubtful, next.AliveAt = UpstreamAlive, 0, asked
	}
	return next, why
}

// recordCheck writes what a check came to, with all that follows. Where the
// lease is over, somebody else has checked since, and this answer is dropped.
func (b *Broker) recordCheck(ctx context.Context, leased, next Upstream, why string) error {
	tell := why != "" && b.refused.first("upstream "+next.ID+" "+why, b.now())
	err := b.retryTx(ctx, func(store Store) error {
		written, err := store.RecordUpstream(ctx, leased, next)
		if err != nil || !written {
			return err
		}
		if next.State == UpstreamEnded {
			_, err = b.endSessions(ctx, store, SessionFilter{UpstreamID: next.ID}, IdPRevoked, false, "")
			return err
		}
		if !tell {
			return nil
		}
		return b.audit(ctx, store, Event{
			Name: EventUpstreamUnknown, UserID: next.UserID, Detail: map[string]string{"provider": next.ProviderID, "why": why},
		})
	})
	if err == nil && tell {
		b.cfg.Log.WarnContext(ctx, "whether a login at an IdP still stands cannot be known; its sessions go on", "event", EventUpstreamUnknown,
			"provider", next.ProviderID, "user_id", next.UserID, "why", why)
	}
	return err
}

// tellIdP tells the operator that an IdP does not say whether its logins stand,
// or that it does again: once per change, on all replicas together, by a fact in
// the database.
func (b *Broker) tellIdP(ctx context.Context, p *Provider, failures int, trouble error) error {
	const well = "answers"
	said := well
	if trouble != nil {
		if failures < circuitOpens {
			return nil // it may be about this login
		}
		said = string(CodeOf(trouble))
	}
	if b.circuits.told(p.ID, said) {
		return nil
	}
	changed := false
	err := b.cfg.Store.Tx(ctx, func(store Store) error {
		key := "logins at " + p.ID
		stands, err := store.InitFact(ctx, key, well)
		if err == nil && stands != said {
			changed, err = store.SwapFact(ctx, key, stands, said)
		}
		if err != nil || !changed {
			return err
		}
		e := Event{Name: EventIdPAnswers, Detail: map[string]string{"provider": p.ID}}
		if trouble != nil {
			e.Name, e.Detail["code"] = EventIdPUnknown, said
		}
		return b.audit(ctx, store, e)
	})
	switch {
	case err != nil:
		return err
	case changed && trouble != nil:
		b.cfg.Log.ErrorContext(ctx, "an IdP does not say whether its logins still stand; sessions go on", "event", EventIdPUnknown,
			"provider", p.ID, "code", said, "error", trouble)
	case changed:
		b.cfg.Log.InfoContext(ctx, "an IdP says again whether its logins stand", "event", EventIdPAnswers, "provider", p.ID)
	}
	b.circuits.tell(p.ID, said)
	return nil
}
