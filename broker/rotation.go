package broker

import (
	"time"
)

// Outcome is what the refresh rule says of a presented refresh token. It is a
// word for us; the client is told a verdict.
type Outcome string

// The outcomes of [Decide], in the order in which they are tried.
const (
	OutcomeUnknown        Outcome = "unknown"         // no such row
	OutcomeEnded          Outcome = "ended"           // the session has ended
	OutcomeExpired        Outcome = "expired"         // unused for too long, or at its absolute end
	OutcomeClientMismatch Outcome = "client_mismatch" // another client's token; nothing ends
	OutcomeKeyMismatch    Outcome = "key_mismatch"    // bound to a key that was not proven; nothing ends
	OutcomeBound          Outcome = "bound"           // bound and proven: the same generation for ever
	OutcomeAhead          Outcome = "ahead"           // the row forgot (restore, failover, lost commit): it follows the token
	OutcomeSame           Outcome = "same"            // current, and handed out a moment ago: the same pair again
	OutcomeAdvance        Outcome = "advance"         // current: the next generation
	OutcomeConverge       Outcome = "converge"        // the answer was lost or is under way: the current pair again
	OutcomeReissue        Outcome = "reissue"         // the answer was lost long ago: a new branch of the current generation
	OutcomeReuse          Outcome = "reuse"           // two holders: the session ends
)

// AnyBranch in [Rotation.ParentBranch] accepts every branch of the generation
// before: the state after an ahead.
const AnyBranch int64 = -1

// Rotation is the part of a session that the refresh rule reads and writes.
type Rotation struct {
	Generation   int64     // G
	Branch       int64     // B: the highest branch issued in G
	ParentBranch int64     // P: which branch of G-1 was accepted, or AnyBranch
	AdvancedAt   time.Time // when G began
	IssuedAt     time.Time // when (G, B) was last handed out in exchange for an older token
}

// Presented is a refresh token whose MAC is good, with the client that
// presents it and the key it proved (an RFC 7638 thumbprint, or none).
type Presented struct {
	Generation int64
	Branch     int64
	IssuedAt   time.Time
	ClientID   string
	ProvenKey  string
}

// Policy holds the durations of the rule. Grace is both W, within which a lost
// answer is answered with the same pair, and R, within which a current token
// is not rotated again. Idle is how long a session lives unused.
type Policy struct {
	Grace time.Duration
	Idle  time.Duration
}

// Decision is what to write and what to answer. Next is the row afterwards;
// Generation and Branch are the pair to mint. Refusal is the code of a refusal.
type Decision struct {
	Outcome    Outcome
	Refusal    Code
	Next       Rotation
	Generation int64
	Branch     int64
}

// Decide is the refresh rule: a pure function of the row, the token, the
// policy and now. A session is a line of generations with branches inside.
// Presenting a current token moves on; presenting its parent before the
// successor was proven received is a lost answer, and is answered for ever;
// presenting a branch that lost proves two holders, and ends the session. So a
// retry always works and a fork always ends. A negative age (a clock that was
// set back) counts as inside a window.
func Decide(s *Session, p Presented, policy Policy, now time.Time) Decision {
	if s == nil {
		return Decision{Outcome: OutcomeUnknown, Refusal: SessionUnknown}
	}
	ahead := p.Generation > s.Generation || p.Generation == s.Generation && p.Branch > s.Branch
	if d, refused := decideLife(s, p, policy, now, ahead); refused {
		return d
	}
	if s.DPoPThumbprint != "" {
		return answer(OutcomeBound, s.Rotation, s.Generation, s.Branch)
	}
	r, next := s.Rotation, s.Rotation
	advanced, issued := now.Sub(r.AdvancedAt), now.Sub(r.IssuedAt)
	switch {
	case p.Generation > r.Generation:
		next = Rotation{Generation: p.Generation, Branch: p.Branch, ParentBranch: AnyBranch, AdvancedAt: now, IssuedAt: now}
		return answer(OutcomeAhead, next, p.Generation, p.Branch)
	case ahead:
		next.Branch, next.IssuedAt = p.Branch, now
		return answer(OutcomeAhead, next, p.Generation, p.Branch)
	case p.Generation == r.Generation && advanced < policy.Grace:
		return answer(OutcomeSame, r, p.Generation, p.Branch)
	case p.Generation == r.Generation:
		next = Rotation{Generation: r.Generation + 1, ParentBranch: p.Branch, AdvancedAt: now, IssuedAt: now}
		return answer(OutcomeAdvance, next, next.Generation, 0)
	case p.Generation == r.Generation-1 && (r.ParentBranch == AnyBranch || p.Branch == r.ParentBranch):
		if next.IssuedAt = now; issued <= policy.Grace {
			return answer(OutcomeConverge, next, r.Generation, r.Branch)
		}
		next.Branch++
		return answer(OutcomeReissue, next, r.Generation, next.Branch)
	case p.Generation == r.Generation-2 && advanced <= policy.Grace:
		next.IssuedAt = now
		return answer(OutcomeConverge, next, r.Generation, r.Branch)
	}
	return Decision{Outcome: OutcomeReuse, Refusal: TokenReused, Next: r}
}

// decideLife refuses what does not depend on the generation.
func decideLife(s *Session, p Presented, policy Policy, now time.Time, ahead bool) (Decision, bool) {
	idleEnd := s.IdleExpiresAt
	if ahead {
		// The row forgot a refresh, so it forgot that refresh's idle time too.
		// How much of an absence came after it is not known.
		idleEnd = later(idleEnd, p.IssuedAt.Add(policy.Idle+s.Absent))
	}
	switch {
	case !s.EndedAt.IsZero():
		return Decision{Outcome: OutcomeEnded, Refusal: s.EndCause, Next: s.Rotation}, true
	case !now.Before(s.AbsExpiresAt):
		return Decision{Outcome: OutcomeExpired, Refusal: SessionMaxAge, Next: s.Rotation}, true
	case !now.Before(idleEnd):
		return Decision{Outcome: OutcomeExpired, Refusal: SessionExpired, Next: s.Rotation}, true
	case p.ClientID != s.ClientID:
		return Decision{Outcome: OutcomeClientMismatch, Refusal: ClientMismatch, Next: s.Rotation}, true
	case s.DPoPThumbprint != "" && p.ProvenKey != s.DPoPThumbprint:
		return Decision{Outcome: OutcomeKeyMismatch, Refusal: KeyMismatch, Next: s.Rotation}, true
	}
	return Decision{}, false
}

func answer(o Outcome, next Rotation, generation, branch int64) Decision {
	return Decision{Outcome: o, Next: next, Generation: generation, Branch: branch}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
