package broker

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Kept names a request that is kept for one browser: the ID in URLs, the Secret in
// a cookie. What the request said is in neither.
type Kept struct {
	ID     string
	Secret string
	Life   time.Duration
}

// keep keeps a request for one browser. It is counted by whoever calls.
func (b *Broker) keep(ctx context.Context, kind string, p PendingAuthorization, life time.Duration) (Kept, error) {
	kept, now := Kept{b.newSecret(24), b.newSecret(32), life}, b.now()
	p.ID, p.Browser, p.CreatedAt, p.ExpiresAt = hash(kind, kept.ID), hash("browser", kept.Secret), now, now.Add(life)
	return kept, b.retry(ctx, func() error { return b.cfg.Store.InsertPending(ctx, p) })
}

// KeepAuthorization keeps an authorization request that came without the browser's
// cookies, until that browser brings them: its ID is a request_uri for
// [Broker.Authorize], which is good once and in this browser alone. Errors and
// answers are as those of Authorize; with an answer nothing is kept. From a browser
// that never brings them (cookieless), prompt=none is answered as where nobody is
// logged in (OpenID Connect Core section 3.1.2.6).
func (b *Broker) KeepAuthorization(ctx context.Context, r AuthorizationRequest, cookieless bool) (Kept, *Answer, error) {
	asked, step, err := b.understand(ctx, r)
	if err != nil || step.Answer != nil {
		return Kept{}, step.Answer, err
	}
	if cookieless && slices.Contains(asked.prompt, "none") {
		step, err = b.decide(ctx, &asked, nil)
		return Kept{}, step.Answer, err
	}
	if err := b.begins(ctx, r.Device, asked.request); err != nil {
		return Kept{}, nil, err
	}
	kept, err := b.keep(ctx, "pushed", PendingAuthorization{ClientID: asked.client.ID, Request: asked.request}, pushedLife)
	if errors.Is(err, TemporarilyUnavailable) {
		step, err = b.answerTrouble(ctx, &asked, err)
		return Kept{}, step.Answer, err
	}
	kept.ID = requestURIPrefix + kept.ID
	return kept, nil, err
}
