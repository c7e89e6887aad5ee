package rules

import (
	"cmp"
	"slices"
	"time"
)

// Losses are what a trace cost under a rule.
type Losses struct {
	Devices int
	// Lost are the owners who were refused, without any theft, and had to log in
	// again.
	Lost int
	// Stolen are the devices whose store was copied while the owner was in. What came
	// of them is one of the next five.
	Stolen int
	// Ended is a session that ended: both are out, and it is known why.
	Ended int
	// Repelled is a thief who was refused, while the owner stayed in.
	Repelled int
	// Shared is a session that both still had when the trace ended.
	Shared int
	// Swapped is a session that the thief kept while the owner was refused.
	Swapped int
	// Dead is a session from which both were refused, though it did not end.
	Dead int
}

// life is one device and, perhaps, its thief, under a rule.
type life struct {
	session, backup Session
	owner, thief    holder
	copied          bool // while the owner was still in
}

// holder is somebody with a store.
type holder struct {
	stored Token
	out    bool // refused for good
}

// kind of what happens at a moment; in the order of one moment.
type kind int

const (
	backup kind = iota
	restore
	theft
	store
	send
	handle
)

type happening struct {
	at       time.Duration
	kind     kind
	exchange int
	device   int
}

// flight is an exchange under way.
type flight struct {
	carried, answer Token
	good, judged    bool
}

// Play plays the trace against a rule.
func Play(t Trace, rule Rule) Losses {
	lives := make([]life, t.Devices)
	for i := range lives {
		lives[i].session = rule.New()
		lives[i].owner.stored = lives[i].session.First()
	}
	flights := make([]flight, len(t.Exchanges))
	for _, h := range t.order {
		l := &lives[h.device]
		switch h.kind {
		case backup:
			l.backup = l.session.Copy()
		case restore:
			l.session = l.backup
		case theft:
			l.copied, l.thief = !l.owner.out, l.owner
		default:
			l.step(h, t.Exchanges[h.exchange], &flights[h.exchange])
		}
	}
	return count(t, lives)
}

// step is one moment of an exchange.
func (l *life) step(h happening, e Exchange, f *flight) {
	who := &l.owner
	if e.Thief {
		who = &l.thief
	}
	switch {
	case who.out:
	case h.kind == send:
		f.carried = who.stored
	case h.kind == handle:
		answer, good := l.session.Present(f.carried, h.at)
		if !f.judged { // of two deliveries the caller hears of the first
			f.answer, f.good, f.judged = answer, good, true
		}
	case f.good:
		who.stored = f.answer
	default: // a refusal; whoever has stored another token meanwhile tries that
		who.out = f.carried == who.stored
	}
}

func count(t Trace, lives []life) Losses {
	out := Losses{Devices: t.Devices}
	for _, l := range lives {
		switch {
		case !l.copied:
			if l.owner.out {
				out.Lost++
			}
			continue
		case l.session.Ended():
			out.Ended++
		case !l.owner.out && !l.thief.out:
			out.Shared++
		case !l.owner.out:
			out.Repelled++
		case !l.thief.out:
			out.Swapped++
		default:
			out.Dead++
		}
		out.Stolen++
	}
	return out
}

// happenings are all moments of a trace, in order.
func happenings(t Trace) []happening {
	var out []happening
	for i, e := range t.Exchanges {
		out = append(out, happening{e.Sent, send, i, e.Device})
		for _, at := range []time.Duration{e.Handled, e.Again} {
			if at != Never {
				out = append(out, happening{at, handle, i, e.Device})
			}
		}
		if e.Stored != Never {
			out = append(out, happening{e.Stored, store, i, e.Device})
		}
	}
	for d, at := range t.Copied {
		out = append(out, happening{at, theft, 0, d})
	}
	if t.Restored != Never {
		for d := range t.Devices {
			out = append(out, happening{t.Restored - t.Backup, backup, 0, d}, happening{t.Restored, restore, 0, d})
		}
	}
	slices.SortFunc(out, func(a, b happening) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.device, b.device), cmp.Compare(a.exchange, b.exchange))
	})
	return out
}
