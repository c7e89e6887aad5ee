package broker

import "context"

// FollowerLimits is how many live sessions may follow one other session.
type FollowerLimits struct {
	OfClient int // of one client
	OfKind   int // of all apps behind a proxy, and as many of all other clients
}

// followerLimits bounds what follows a browser. It counts for nothing in SessionLimit,
// which is of devices: whoever may have one device may use many sites on it. But each
// code is a session, a person who is logged in may have any number of codes, and all
// of them end with the browser, in a transaction that everybody waits for.
//
// Of one client there are several where an app has a login for each tab, where one was
// broken off and begun anew, and where an app forgets its tokens and asks again: what
// was forgotten is what was unused for longest. In all, more than anybody uses from
// one browser. A rule with a wildcard makes any host an app behind a proxy, and no
// page asks the person before its login: such hosts are counted by themselves, so that
// a site that leads a browser to them pushes no client out.
var followerLimits = FollowerLimits{OfClient: 20, OfKind: 100}

// capSessions ends what there is beyond a limit, once a session was made; that one
// stays.
func (b *Broker) capSessions(ctx context.Context, store Store, made Session) (err error) {
	e := b.end(SessionLimit, false, b.now())
	var ended []Session
	switch {
	case made.FollowsParent:
		ended, err = store.EndFollowersBeyond(ctx, made.ID, followerLimits, e)
	case b.cfg.SessionLimit > 0:
		ended, err = store.EndBeyond(ctx, made.UserID, made.ID, b.cfg.SessionLimit, e)
	}
	if err != nil || len(ended) == 0 {
		return err
	}
	return b.afterEnd(ctx, store, ended, e, made.CreatedIP)
}
