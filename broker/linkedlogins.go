package broker

import (
	"context"
	"slices"
)

// LinkedLogin is an identity as its owner sees it before taking it away.
type LinkedLogin struct {
	Identity
	// Refusal is why [Broker.Unlink] would refuse, whoever proves to be here:
	// LastLoginMethod or Forbidden; empty: it would not.
	Refusal Code
	// Sessions are the live ones that would end with it, of the newest MaxPage that
	// the user has.
	Sessions []Session
}

// LinkedLogins lists what is linked to a user, the oldest first, with what
// becomes of it if it is taken away. It takes two statements.
func (b *Broker) LinkedLogins(ctx context.Context, u User) ([]LinkedLogin, error) {
	all, err := b.cfg.Store.IdentitiesOfUser(ctx, u.ID)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	live, _, err := b.cfg.Store.PageSessions(ctx, SessionFilter{UserID: u.ID, LiveAt: b.now()}, "", MaxPage)
	if err != nil {
		return nil, err
	}
	out := []LinkedLogin{}
	for n, i := range all {
		kept := slices.Delete(slices.Clone(all), n, n+1)
		l := LinkedLogin{Identity: i}
		switch {
		case !mayUnlink(u, i, b.now()):
			l.Refusal = Forbidden
		case !b.hasWayIn(u, kept):
			l.Refusal = LastLoginMethod
		}
		made := b.madeThrough(i, kept)
		for _, s := range live {
			if slices.ContainsFunc(made, func(f SessionFilter) bool {
				return f.IdPSubject == s.IdPSubject && (f.ProviderID == "" || f.ProviderID == s.ProviderID)
			}) {
				l.Sessions = append(l.Sessions, s.Session)
			}
		}
		out = append(out, l)
	}
	return out, nil
}
