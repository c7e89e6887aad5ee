package broker

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Names of audit events. Those of refreshes are made by [EventOfRefresh].
const (
	EventSessionStarted   = "session.started"
	EventSessionEnded     = "session.ended"
	EventLoginRefused     = "login.refused" // several that are alike; see [Broker.WriteFigures]
	EventUserCreated      = "user.created"
	EventUserUpdated      = "user.updated"
	EventUserDisabled     = "user.disabled"
	EventUserEnabled      = "user.enabled"
	EventUserDeleted      = "user.deleted"
	EventPasswordChanged  = "user.password_changed"
	EventPasswordLinkMade = "password_link.made"
	EventIdentityLinked   = "identity.linked"
	EventIdentityUnlinked = "identity.unlinked"
	EventClientCreated    = "client.created"
	EventClientUpdated    = "client.updated"
	EventClientSecret     = "client.secret_changed"
	EventClientDeleted    = "client.deleted"
	EventConsentGiven     = "consent.given"
	EventConsentWithdrawn = "consent.withdrawn"
	EventTokenExchanged   = "token.exchanged"
	EventAPIKeyCreated    = "apikey.created"
	EventAPIKeyUpdated    = "apikey.updated"
	EventAPIKeyDeleted    = "apikey.deleted"
	EventProviderCreated  = "provider.created"
	EventProviderUpdated  = "provider.updated"
	EventProviderDeleted  = "provider.deleted"
	EventKeyPublished     = "key.published" // it waits for its turn to sign
	EventKeyActivated     = "key.activated" // it signs, and those before it do no longer
	EventKeyRevoked       = "key.revoked"
	EventIdPUnknown       = "idp.unknown"      // whether logins still stand at an IdP cannot be known
	EventIdPAnswers       = "idp.answers"      // it can be known again
	EventUpstreamUnknown  = "upstream.unknown" // whether one login still stands cannot be known
	EventLegacyUsed       = "legacy_token.used"
	EventLegacyEnded      = "legacy_token.ended"
	EventDatabaseRestored = "database.restored"
	EventFactorAdded      = "factor.added"
	EventFactorRemoved    = "factor.removed"
	EventFactorRenamed    = "factor.renamed"
	EventFactorsReset     = "factor.reset" // all of a user, by an administrator
	EventRecoveryMade     = "recovery_codes.made"
	EventRecoveryUsed     = "recovery_code.used"
	EventPasskeyCloned    = "passkey.clone_suspected"
)

// EventOfRefresh is the name of the event of a refresh with an outcome.
func EventOfRefresh(o Outcome) string { return "refresh." + string(o) }

// EventNames lists every audit event, for tables that must be complete. Of the
// outcomes of a refresh, those that happen all the time are written nowhere.
var EventNames = []string{
	EventSessionStarted, EventSessionEnded, EventLoginRefused, EventUserCreated, EventUserUpdated, EventUserDisabled, EventUserEnabled, EventUserDeleted,
	EventPasswordChanged, EventPasswordLinkMade, EventIdentityLinked, EventIdentityUnlinked, EventClientCreated, EventClientUpdated,
	EventClientSecret, EventClientDeleted, EventConsentGiven, EventConsentWithdrawn, EventTokenExchanged, EventAPIKeyCreated, EventAPIKeyUpdated, EventAPIKeyDeleted,
	EventProviderCreated, EventProviderUpdated, EventProviderDeleted, EventKeyPublished, EventKeyActivated, EventKeyRevoked, EventIdPUnknown, EventIdPAnswers, EventUpstreamUnknown,
	EventLegacyUsed, EventLegacyEnded, EventFactorAdded, EventFactorRemoved, EventFactorRenamed, EventFactorsReset, EventRecoveryMade,
	EventRecoveryUsed, EventPasskeyCloned, EventDatabaseRestored,
	EventOfRefresh(OutcomeConverge), EventOfRefresh(OutcomeReissue), EventOfRefresh(OutcomeAhead), EventOfRefresh(OutcomeReuse),
	EventOfRefresh(OutcomeUnknown), EventOfRefresh(OutcomeEnded), EventOfRefresh(OutcomeExpired),
	EventOfRefresh(OutcomeClientMismatch), EventOfRefresh(OutcomeKeyMismatch),
}

// audit writes one event, with who acts in ctx. It is a store call, for use inside a transaction.
func (b *Broker) audit(ctx context.Context, store Store, e Event) error {
	return store.InsertEvent(ctx, b.event(ctx, e))
}

// event is an event of now, with who acts in ctx.
func (b *Broker) event(ctx context.Context, e Event) Event {
	e.At = b.now()
	e.ID = b.newID(e.At)
	if a := b.actor(ctx); a.ID != "" {
		e.Actor = a.ID
		if e.IP == "" {
			e.IP = a.IP
		}
	}
	return e
}

// endSessions ends sessions and writes an event for each, in one transaction
// of the caller.
func (b *Broker) endSessions(ctx context.Context, store Store, f SessionFilter, cause EndCause, wipe bool, ip string) (int, error) {
	e := b.end(cause, wipe, b.now())
	ended, err := store.EndSessions(ctx, f, e)
	if err != nil {
		return 0, err
	}
	return len(ended), b.afterEnd(ctx, store, ended, e, ip)
}

// afterEnd is what follows from the end of sessions, in the same transaction:
// an event for each, the sessions that follow a browser session end with it, and
// every client that wants to hear of an end is going to be told.
func (b *Broker) afterEnd(ctx context.Context, store Store, ended []Session, e End, ip string) error {
	if err := b.auditEnds(ctx, store, ended, ip); err != nil {
		return err
	}
	parents := []string{}
	for _, s := range ended {
		if s.ClientID == AppClientID {
			parents = append(parents, s.ID)
		}
	}
	if len(parents) > 0 {
		followers, err := store.EndFollowers(ctx, parents, e)
		if err != nil {
			return err
		}
		if err := b.auditEnds(ctx, store, followers, ip); err != nil {
			return err
		}
		ended = append(slices.Clip(ended), followers...)
	}
	return b.noteLogouts(ctx, store, ended)
}

// end is an end with the time that its rows are kept.
func (b *Broker) end(cause EndCause, wipe bool, now time.Time) End {
	return End{Cause: cause, Wipe: wipe, At: now, KeepUntil: now.Add(b.cfg.Lifetimes.Retention)}
}

// auditEnds writes the event of each session that ended, some hundred in a statement:
// everything that somebody has may end in this transaction, and others wait for it.
func (b *Broker) auditEnds(ctx context.Context, store Store, ended []Session, ip string) error {
	events := make([]Event, 0, len(ended))
	for _, s := range ended {
		event := Event{
			Name: EventSessionEnded, UserID: s.UserID, SessionID: s.ID, ClientID: s.ClientID, IP: ip,
			Detail: map[string]string{detailCause: string(s.EndCause)},
		}
		if s.Wipe {
			event.Detail[detailWipe] = "yes"
		}
		events = append(events, b.event(ctx, event))
	}
	if len(events) == 0 {
		return nil
	}
	if err := store.InsertEvents(ctx, events); err != nil {
		return err
	}
	for _, s := range ended {
		b.cfg.Log.InfoContext(ctx, "session ended", "event", EventSessionEnded, "sid", s.ID, "user_id", s.UserID, "cause", string(s.EndCause))
	}
	return nil
}

// onceADay remembers for a day what has been seen: which refusals were written
// to the audit log, so that a client that repeats a dead token for ever fills
// neither log nor disk, and which API keys and secrets of clients were good.
type onceADay struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

const onceADaySize = 10_000

func newOnceADay() *onceADay { return &onceADay{seen: map[string]time.Time{}} }

func (o *onceADay) first(key string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.within(key, now) {
		return false
	}
	o.set(key, now)
	return true
}

// again notes that something was seen, so that its day begins anew.
func (o *onceADay) again(key string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.set(key, now)
}

func (o *onceADay) set(key string, now time.Time) {
	if _, known := o.seen[key]; !known && len(o.seen) >= onceADaySize {
		o.seen = map[string]time.Time{}
	}
	o.seen[key] = now
}

func (o *onceADay) has(key string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.within(key, now)
}

func (o *onceADay) within(key string, now time.Time) bool {
	at, ok := o.seen[key]
	return ok && now.Sub(at) < 24*time.Hour
}
