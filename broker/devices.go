package broker

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"
)

// This file is what people do with their own sessions, which they know as devices.

// Past is a session that is over. Reuse is the event of its end where two held
// it ([TokenReused]); nil elsewhere.
type Past struct {
	Session
	Cause EndCause
	Over  time.Time // when it ended or expired
	Reuse *Event
}

var errNoDevice = refuse(NotFound, "there is no such device, or it is logged out already")

// ownDevices refuses who has no say in the sessions of the account: a program,
// and a guest, whose account may be several people's.
func ownDevices(p Principal) error {
	if p.User.Role == RoleGuest {
		return refuse(Forbidden, "guests have no list of devices")
	}
	return p.NeedSession()
}

// Devices lists what the user is logged in with, the latest login first; for a
// guest that is this session. Sessions that expired and were not yet given their
// end come in over, with the last few that ended, the latest first; it is empty
// on all pages but the first.
func (b *Broker) Devices(ctx context.Context, p Principal, page Page) (live []Session, over []Past, next string, err error) {
	if ownDevices(p) != nil {
		return []Session{p.Session}, nil, "", nil
	}
	found, next, err := b.PageSessions(ctx, SessionFilter{UserID: p.User.ID, NotEnded: true}, page)
	if err != nil {
		return nil, nil, "", err
	}
	ended := []Session{}
	for _, s := range found {
		if s.Ended(b.now()) == "" {
			live = append(live, s.Session)
		} else {
			ended = append(ended, s.Session)
		}
	}
	if page.Next != "" {
		return live, nil, next, nil
	}
	const lately = 5
	list, err := b.cfg.Store.PageEnded(ctx, p.User.ID, time.Time{}, "", lately)
	if err != nil {
		return nil, nil, "", err
	}
	over = b.past(append(list, ended...))
	over = over[:min(len(over), lately)]
	return live, over, next, b.addReuse(ctx, over)
}

// PastDevices lists the user's sessions that are over, the latest end first.
func (b *Broker) PastDevices(ctx context.Context, p Principal, page Page) (over []Past, next string, err error) {
	const list = "past devices"
	if err := ownDevices(p); err != nil {
		return nil, "", err
	}
	limit := page.bound(MaxPage)
	at, err := b.placeOf(list, page.Next)
	if err != nil {
		return nil, "", err
	}
	ended, err := b.cfg.Store.PageEnded(ctx, p.User.ID, at.At, at.ID, limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(ended) > limit {
		ended = ended[:limit]
		next = b.nextOf(list, place{ID: ended[limit-1].ID, At: ended[limit-1].EndedAt})
	}
	if page.Next == "" {
		expired, _, err := b.cfg.Store.PageSessions(ctx, SessionFilter{UserID: p.User.ID, NotEnded: true, OverAt: b.now()}, "", limit)
		if err != nil {
			return nil, "", err
		}
		for _, s := range expired {
			ended = append(ended, s.Session)
		}
	}
	over = b.past(ended)
	return over, next, b.addReuse(ctx, over)
}

// past tells how sessions ended, the latest end first.
func (b *Broker) past(list []Session) []Past {
	out := []Past{}
	for _, s := range list {
		out = append(out, Past{Session: s, Cause: s.Ended(b.now()), Over: s.OverAt()})
	}
	slices.SortStableFunc(out, func(x, y Past) int { return y.Over.Compare(x.Over) })
	return out
}

// addReuse reads the events of sessions that two held, in one statement.
func (b *Broker) addReuse(ctx context.Context, list []Past) error {
	ids := []string{}
	for _, p := range list {
		if p.Cause == TokenReused {
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	events, err := b.cfg.Store.EventsOfSessions(ctx, EventOfRefresh(OutcomeReuse), ids)
	for i := range list {
		if at := slices.IndexFunc(events, func(e Event) bool { return e.SessionID == list[i].ID }); at >= 0 {
			list[i].Reuse = &events[at]
		}
	}
	return err
}

// ClientNames says how clients are called, in one statement for all; the JSON
// API's own and what is not registered any more are not among them.
func (b *Broker) ClientNames(ctx context.Context, ids []string) (map[string]string, error) {
	names, ask := map[string]string{}, []string{}
	for _, id := range distinct(ids) {
		if c, ok := b.fixedClient(id); ok {
			names[id] = c.DisplayName()
		} else if c, ok := clientOfForward(id); ok {
			names[id] = c.Name
		} else if id != AppClientID {
			ask = append(ask, id)
		}
	}
	if len(ask) == 0 {
		return names, nil
	}
	clients, err := b.cfg.Store.ClientsByID(ctx, ask)
	for _, c := range clients {
		names[c.ID] = c.DisplayName()
	}
	return names, err
}

// EndOwnSession ends one session of the user, from the user's own list; with
// wipe its app is asked to remove its data. NotFound where the session is not the
// user's, or over.
func (b *Broker) EndOwnSession(ctx context.Context, p Principal, id string, wipe bool, device Device) error {
	if err := ownDevices(p); err != nil {
		return err
	}
	if id == "" { // which as a filter would name them all
		return errNoDevice
	}
	n, err := b.EndSessions(ctx, SessionFilter{ID: id, UserID: p.User.ID}, RevokedByUser, wipe, device.IP)
	if err == nil && n == 0 {
		err = errNoDevice
	}
	return err
}

// EndOtherSessions ends every session of the user but this one and those that
// follow it, and says how many.
func (b *Broker) EndOtherSessions(ctx context.Context, p Principal, device Device) (int, error) {
	if err := ownDevices(p); err != nil {
		return 0, err
	}
	return b.EndSessions(ctx, SessionFilter{UserID: p.User.ID, ExceptID: p.Session.ID, ExceptFollowers: true}, RevokedByUser, false, device.IP)
}

// EndAllSessions ends every session of the user, this one too.
func (b *Broker) EndAllSessions(ctx context.Context, p Principal, device Device) error {
	if err := ownDevices(p); err != nil {
		return err
	}
	_, err := b.EndSessions(ctx, SessionFilter{UserID: p.User.ID}, RevokedByUser, false, device.IP)
	return err
}

// NameDevice gives a session of the user a name; an empty one is none. NotFound
// where the session is not the user's, or over.
func (b *Broker) NameDevice(ctx context.Context, p Principal, id, name string) error {
	if err := ownDevices(p); err != nil {
		return err
	}
	if name = cleanText(name, MaxDeviceName+1); utf8.RuneCountInString(name) > MaxDeviceName {
		return fault(InvalidRequest, "name", "a name has at most 64 characters")
	}
	err := b.retry(ctx, func() error { return b.cfg.Store.NameSession(ctx, id, p.User.ID, name) })
	if CodeOf(err) == NotFound && err != nil {
		err = errNoDevice
	}
	return err
}
