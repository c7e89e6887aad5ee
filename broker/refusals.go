package broker

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// Bounds of the events [EventLoginRefused]. Half of each is left to accounts that
// are known: whoever guesses at names that do not exist hides no guess at one that
// does. Of that half, half is left to events that say no more than the account:
// whoever guesses at one from everywhere hides no guess at another. What is beyond
// is counted in a single event that names nobody.
const (
	maxRefusals     = 200   // that wait to be written
	maxRefusalsHour = 1_000 // that one process writes in an hour
)

// attempt is a login under way, for what is said of it if it is refused.
type attempt struct {
	method   string // as a tally of [TallyLogins] says it
	provider string
	clientID string
	device   Device
	// userID is whose account it is for, once that is known. What was typed is not
	// kept: people type passwords where names belong.
	userID string
	why    Code // where the answer does not tell the cause; empty: it does
}

func attemptBy(method string, device Device) *attempt {
	return &attempt{method: method, clientID: AppClientID, device: device}
}

// at says at which provider the browser is.
func (a *attempt) at(p *Provider) { a.method, a.provider = p.ID, p.ID }

// loginEnded counts a login with its end, and keeps a refusal for the audit log,
// where it is written in the background: no answer waits for that, whoever it is
// about.
func (b *Broker) loginEnded(a *attempt, err error) {
	b.loggedIn(a.method, err)
	if err == nil {
		return
	}
	code := CodeOf(err)
	switch code {
	case SecondFactorRequired, PasswordChangeRequired, WeakPassword: // steps of a login
		return
	}
	now := b.now()
	b.meter.count(FigureLoginRefused, string(code), now)
	if code == TemporarilyUnavailable { // trouble of ours refuses nobody
		return
	}
	if a.why != "" {
		code = a.why
	}
	b.refusals.add(refusal{
		refusalKey: refusalKey{a.method, a.provider, a.clientID, a.userID, AddressOf(a.device.IP), code}, ip: a.device.IP, at: now, n: 1,
	}, now)
}

// refusalKey is what refused logins of one event have in common; see [refusals.cut].
type refusalKey struct {
	method, provider, clientID, userID, address string
	code                                        Code
}

// refusal is how often logins were refused, with address and time of the latest.
type refusal struct {
	refusalKey
	ip string
	at time.Time
	n  int64
}

func (r refusal) event() Event {
	e := Event{At: r.at, Name: EventLoginRefused, UserID: r.userID, ClientID: r.clientID, IP: r.ip, Detail: map[string]string{"count": strconv.FormatInt(r.n, 10)}}
	for name, value := range map[string]string{"method": r.method, "provider": r.provider, "code": string(r.code)} {
		if value != "" {
			e.Detail[name] = value
		}
	}
	return e
}

// refusals are the refused logins that wait to be written.
type refusals struct {
	mu      sync.Mutex
	waiting map[refusalKey]refusal
	hour    time.Time
	written int // in that hour
}

func newRefusals() *refusals { return &refusals{waiting: map[refusalKey]refusal{}} }

func (w *refusals) add(r refusal, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(now)
	w.put(r)
}

// turn begins another hour where one has begun.
func (w *refusals) turn(now time.Time) {
	if hour := now.Truncate(time.Hour); !hour.Equal(w.hour) {
		w.hour, w.written = hour, 0
	}
}

func (w *refusals) put(r refusal) {
	if _, known := w.waiting[r.refusalKey]; !known {
		r = w.cut(r)
	}
	was := w.waiting[r.refusalKey]
	if r.n += was.n; r.at.Before(was.at) {
		r.at, r.ip = was.at, was.ip
	}
	w.waiting[r.refusalKey] = r
}

// cut leaves of a refusal what there is room for: everything, whose account it was
// about, or only that it was.
func (w *refusals) cut(r refusal) refusal {
	known, account := r.userID != "", refusalKey{userID: r.userID}
	switch _, counted := w.waiting[account]; {
	case w.room(2) || known && w.room(3):
		return r
	case known && (counted || w.room(4)):
		r.refusalKey = account
	default:
		r.refusalKey = refusalKey{}
	}
	r.ip = ""
	return r
}

// room reports whether one more may wait within so many quarters of the bounds.
func (w *refusals) room(quarters int) bool {
	return len(w.waiting) < maxRefusals*quarters/4 && w.written+len(w.waiting) < maxRefusalsHour*quarters/4
}

// take gives what was refused since the last time; it counts as written.
func (w *refusals) take(now time.Time) []refusal {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(now)
	list := make([]refusal, 0, len(w.waiting))
	for _, r := range w.waiting {
		list = append(list, r)
	}
	clear(w.waiting)
	w.written += len(list)
	return list
}

// putBack keeps what could not be written for the next time, within the bounds.
func (w *refusals) putBack(list []refusal, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(now)
	w.written = max(w.written-len(list), 0)
	for _, r := range list {
		w.put(r)
	}
}

// writeRefusals writes the refused logins down, all or none. What cannot be
// written is kept for the next time.
func (b *Broker) writeRefusals(ctx context.Context) error {
	list := b.refusals.take(b.now())
	if len(list) == 0 {
		return nil
	}
	events := make([]Event, len(list))
	for i, r := range list {
		events[i] = r.event()
		events[i].ID = b.newID(r.at)
	}
	err := b.retryTx(ctx, func(store Store) error { return store.InsertEvents(ctx, events) })
	if err != nil {
		b.refusals.putBack(list, b.now())
	}
	return err
}
