// Package rules plays one trace of refreshes against several published rules of
// refresh tokens, Latchkey's own among them, and counts who loses the session.
//
// The trace says when each exchange was sent, handled and stored, and which
// answers never arrived; it says nothing of tokens. So the same phones, the same
// lost answers and the same thefts meet every rule.
package rules

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Never is the time of what did not happen.
const Never = time.Duration(-1)

// Delta is the longest exchange of a trace, from sending to storing: the grace
// of ten minutes is more than three times as long.
const Delta = time.Minute

// Exchange is one attempt to refresh. Times are counted from the start.
type Exchange struct {
	Device  int           // whose session it is
	Thief   bool          // by the thief's copy, and not by the owner's store
	Sent    time.Duration // when the stored token was read and sent
	Handled time.Duration // when the server judged it; Never: the request was lost
	Again   time.Duration // when the network delivered it once more; Never: it did not
	Stored  time.Duration // when the answer was stored; Never: it was lost, or the app was killed with it
}

// Trace is what happened to the devices of a service.
type Trace struct {
	Devices   int
	Exchanges []Exchange
	// Copied is when a device's store was copied by a thief.
	Copied map[int]time.Duration
	Length time.Duration
	// Backup is the age of the state to which the service was restored at Restored.
	Backup, Restored time.Duration

	order []happening
}

// Habits are the rates of what goes wrong. No rate is a certainty.
type Habits struct {
	LostRequest  float64 // requests that do not reach the server
	LostAnswer   float64 // answers that do not reach the store, in everyday exchanges
	Parallel     float64 // exchanges that two tabs or processes begin with one token
	Burst        float64 // exchanges that are followed by others within a minute: app, widget and watch of one store
	Slow         float64 // answers that are stored late, after those of later exchanges
	Redelivered  float64 // requests that the network delivers twice
	Stolen       float64 // devices whose store is copied once
	InStep       bool    // the thief calls once after each call of the owner
	RestoredFrom time.Duration
}

// Everyday are the habits of phones: about one in twenty loses an answer on a
// day. Lost answers are asked for again at once, after a back-off, or when the
// phone is next looked at.
var Everyday = Habits{LostRequest: 0.01, LostAnswer: 0.006, Parallel: 0.05, Burst: 0.01, Slow: 0.01, Redelivered: 0.002}

// device is one phone or browser in the making.
type device struct {
	*rand.Rand
	Habits
	id  int
	out []Exchange
}

// Record makes the trace of so many devices over so long. The same seed makes
// the same trace.
func Record(seed uint64, devices int, length time.Duration, h Habits) Trace {
	t := Trace{Devices: devices, Length: length, Copied: map[int]time.Duration{}, Backup: h.RestoredFrom, Restored: Never}
	if h.RestoredFrom > 0 {
		t.Restored = length / 2
	}
	for i := range devices {
		d := &device{Rand: rand.New(rand.NewPCG(seed, uint64(i))), Habits: h, id: i}
		d.live(length)
		if d.chance(h.Stolen) {
			t.Copied[i] = d.between(length/4, length/2)
			d.steal(t.Copied[i], length)
		}
		t.Exchanges = append(t.Exchanges, d.out...)
	}
	slices.SortStableFunc(t.Exchanges, func(a, b Exchange) int { return cmp.Compare(a.Sent, b.Sent) })
	t.order = happenings(t)
	return t
}

func (d *device) chance(p float64) bool { return d.Float64() < p }

func (d *device) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.Int64N(int64(most-least)+1))
}

// live refreshes by day, about every hour while the device is used.
func (d *device) live(length time.Duration) {
	for at := d.between(0, 24*time.Hour); at < length; {
		lost := d.refresh(at)
		if d.chance(d.Burst) {
			for range 4 {
				at += d.between(3*time.Second, 15*time.Second)
				lost = d.refresh(at)
			}
		}
		switch {
		case lost:
			at += d.retry()
		case d.chance(0.7):
			at += d.between(55*time.Minute, 65*time.Minute)
		default:
			at += d.between(3*time.Hour, 20*time.Hour)
		}
	}
}

// retry is how long a device waits that got no answer.
func (d *device) retry() time.Duration {
	switch p := d.Float64(); {
	case p < 0.4:
		return d.between(time.Second, 5*time.Second) + Delta
	case p < 0.65:
		return d.between(39*time.Second, 70*time.Second) + Delta
	case p < 0.85:
		return d.between(11*time.Minute, time.Hour)
	}
	return d.between(3*time.Hour, 26*time.Hour)
}

// refresh is one everyday exchange, or two at once; lost reports whether any
// answer was.
func (d *device) refresh(at time.Duration) (lost bool) {
	workers := 1
	if d.chance(d.Parallel) {
		workers = 2
	}
	for range workers {
		e := Exchange{Device: d.id, Sent: at + d.between(0, 300*time.Millisecond), Handled: Never, Again: Never, Stored: Never}
		if !d.chance(d.LostRequest) {
			d.answer(&e)
		}
		lost = lost || e.Stored == Never
		d.out = append(d.out, e)
	}
	return lost
}

// answer is the second half of an exchange that reached the server.
func (d *device) answer(e *Exchange) {
	e.Handled = e.Sent + d.between(20*time.Millisecond, 2*time.Second)
	if d.chance(d.Redelivered) {
		e.Again = e.Handled + d.between(time.Second, Delta/2)
	}
	switch {
	case d.chance(d.LostAnswer):
	case d.chance(d.Slow):
		e.Stored = e.Sent + d.between(30*time.Second, Delta)
	default:
		e.Stored = e.Handled + d.between(20*time.Millisecond, 2*time.Second)
	}
}

// apart is more than the grace: calls of owner and thief are further apart.
const apart = 15 * time.Minute

// steal has a thief use a copy, in step with the owner or a few times a day.
func (d *device) steal(from, length time.Duration) {
	owner := make([]time.Duration, 0, len(d.out))
	for _, e := range d.out {
		owner = append(owner, e.Sent)
	}
	raid := func(at time.Duration) {
		if !slices.ContainsFunc(owner, func(o time.Duration) bool { return o-at < apart && at-o < apart }) {
			handled := at + 50*time.Millisecond
			d.out = append(d.out, Exchange{Device: d.id, Thief: true, Sent: at, Handled: handled, Again: Never, Stored: handled + 50*time.Millisecond})
		}
	}
	if d.InStep {
		for _, o := range owner {
			if o > from {
				raid(o + 2*apart)
			}
		}
		return
	}
	for at := from + d.between(time.Hour, 12*time.Hour); at < length; at += d.between(2*time.Hour, 9*time.Hour) {
		raid(at)
	}
}
