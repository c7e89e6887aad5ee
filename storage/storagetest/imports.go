package storagetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var importTests = []test{
	{"users by IDs and names", usersWith},
	{"many users, all or none", insertUsers},
	{"many identities, all or none", insertIdentities},
	{"a session from elsewhere needs an enabled user", importSession},
	{"a session is renewed until its device has come", renewImported},
	{"tokens are kept once, and until they end", importedTokens},
	{"legacy tokens are ended by user", legacyTokens},
	{"many events", insertEvents},
}

func names(list []broker.User) (out []string) {
	for _, u := range list {
		out = append(out, u.Username)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func usersWith(s *suite) {
	anna, ben := s.user("Anna"), s.user("ben")
	s.user("cleo")
	same(s, names(must(s.Store.UsersWith(ctx, []string{ben.ID, "nobody", "\x00"}, []string{broker.FoldUsername("ANNA"), "nobody", "\xff"}))(s)), []string{"Anna", "ben"})
	same(s, must(s.Store.UsersWith(ctx, []string{anna.ID}, nil))(s), []broker.User{anna})
	same(s, len(must(s.Store.UsersWith(ctx, nil, nil))(s)), 0)
	many := make([]string, 1200)
	for i := range many {
		many[i] = fmt.Sprint("nobody ", i)
	}
	same(s, names(must(s.Store.UsersWith(ctx, append(many, anna.ID), append(many, ben.ID)))(s)), []string{"Anna"})
}

func insertUsers(s *suite) {
	list := []broker.User{}
	for i := range 700 {
		u := newUser(fmt.Sprint("user ", i))
		u.Permissions, u.DisabledAt = &broker.Permissions{Download: true}, t0
		list = append(list, u)
	}
	s.tx(func(tx broker.Store) error { return tx.InsertUsers(ctx, list) })
	same(s, must(s.Store.UserByID(ctx, list[699].ID))(s), list[699])
	s.ok(s.Store.InsertUsers(ctx, nil))
	again := []broker.User{newUser("fresh"), newUser("USER 5")}
	s.code(s.Store.Tx(ctx, func(tx broker.Store) error { return tx.InsertUsers(ctx, again) }), broker.UsernameTaken)
	_, err := s.Store.UserByUsername(ctx, "fresh")
	s.code(err, broker.NotFound)
}

func insertIdentities(s *suite) {
	u := s.user("anna")
	list := []broker.Identity{newIdentity("a", u.ID), newIdentity("b", u.ID)}
	s.tx(func(tx broker.Store) error { return tx.InsertIdentities(ctx, list) })
	other := newIdentity("a", u.ID)
	other.Issuer = "https://another.test"
	got := must(s.Store.IdentitiesLike(ctx, []broker.Identity{list[1], other, newIdentity("c", u.ID)}))(s)
	same(s, got, []broker.Identity{list[1]})
	same(s, len(must(s.Store.IdentitiesLike(ctx, nil))(s)), 0)
	s.code(s.Store.Tx(ctx, func(tx broker.Store) error {
		return tx.InsertIdentities(ctx, []broker.Identity{newIdentity("c", u.ID), list[0]})
	}), broker.IdentityConflict)
	same(s, len(must(s.Store.IdentitiesOfUser(ctx, u.ID))(s)), 2)
}

func imported(id, userID string) broker.Session {
	return broker.Session{
		ID: id, UserID: userID, ClientID: broker.AppClientID, AuthTime: t0, Scope: broker.AppScope,
		Rotation:      broker.Rotation{ParentBranch: broker.AnyBranch, AdvancedAt: t0, IssuedAt: t0},
		IdleExpiresAt: t0.Add(day), AbsExpiresAt: t0.Add(10 * day), CreatedAt: t0.Add(-day), LastSeenAt: t0, LastIP: "192.0.2.1", UserAgent: "a phone",
	}
}

func importSession(s *suite) {
	u := s.user("anna")
	n := imported("imported", u.ID)
	s.ok(s.Store.ImportSession(ctx, n))
	got, owner, err := s.Store.SessionByID(ctx, n.ID)
	s.ok(err)
	same(s, got, n)
	same(s, owner, u) // nothing is said of when the user was last here
	s.disable(u, t0)
	s.code(s.Store.ImportSession(ctx, imported("of a disabled user", u.ID)), broker.UserDisabled)
	s.code(s.Store.ImportSession(ctx, imported("of nobody", "nobody")), broker.UserDisabled)
	s.gone("of a disabled user")
}

func renewImported(s *suite) {
	u := s.user("anna")
	for _, id := range []string{"renewed", "gone on", "over"} {
		s.ok(s.Store.ImportSession(ctx, imported(id, u.ID)))
	}
	s.ok(second(s.Store.WriteRotation(ctx, broker.RotationWrite{
		Touch: broker.Touch{ID: "gone on", Now: t0, IdleExpiresAt: t0.Add(day)}, From: imported("", "").Rotation,
		Next: broker.Rotation{Generation: 1, AdvancedAt: t0, IssuedAt: t0},
	})))
	s.end("over")
	for id, want := range map[string]bool{"renewed": true, "gone on": false, "over": false, "nobody's": false} {
		same(s, must(s.Store.RenewImported(ctx, id, t0.Add(3*day)))(s), want)
	}
	same(s, s.row("renewed").IdleExpiresAt, t0.Add(3*day))
	same(s, must(s.Store.RenewImported(ctx, "renewed", t0.Add(2*day)))(s), false)
	same(s, must(s.Store.RenewImported(ctx, "renewed", t0.Add(20*day)))(s), true)
	same(s, s.row("renewed").IdleExpiresAt, t0.Add(10*day)) // never past the absolute end
	same(s, must(s.Store.RenewImported(ctx, "renewed", t0.Add(20*day)))(s), false)
}

func importedTokens(s *suite) {
	refresh := broker.ImportedToken{ID: "hash", Kind: broker.ImportedRefresh, UserID: "u", SessionID: "s", ExpiresAt: t0.Add(day)}
	legacy := broker.ImportedToken{ID: "hash of old", Kind: broker.ImportedLegacy, UserID: "u", ExpiresAt: t0.Add(day)}
	same(s, must(s.Store.InsertImportedTokens(ctx, []broker.ImportedToken{refresh, legacy}))(s), 2)
	other := refresh
	other.SessionID = "another"
	same(s, must(s.Store.InsertImportedTokens(ctx, []broker.ImportedToken{other}))(s), 0)
	same(s, must(s.Store.ImportedToken(ctx, "hash", t0))(s), refresh)
	same(s, must(s.Store.ImportedToken(ctx, "hash of old", t0.Add(day-time.Millisecond)))(s), legacy)
	for _, id := range []string{"hash", "nobody's", "", "\x00"} {
		_, err := s.Store.ImportedToken(ctx, id, t0.Add(day))
		s.code(err, broker.NotFound)
	}
	must(s.Store.Sweep(ctx, broker.Sweep{Now: t0, LoginsBefore: t0.Add(day), SessionsBefore: t0.Add(day - 1), EventsBefore: t0.Add(-day), Limit: 10}))(s)
	must(s.Store.ImportedToken(ctx, "hash", t0))(s)
	same(s, must(s.Store.Sweep(ctx, broker.Sweep{Now: t0, LoginsBefore: t0, SessionsBefore: t0.Add(day), EventsBefore: t0.Add(-day), Limit: 10}))(s), 2)
}

func legacyTokens(s *suite) {
	anna, ben := s.user("Anna"), s.user("ben")
	token := func(id string, kind broker.ImportedTokenKind, userID string) broker.ImportedToken {
		return broker.ImportedToken{ID: id, Kind: kind, UserID: userID, ExpiresAt: t0.Add(day)}
	}
	must(s.Store.InsertImportedTokens(ctx, []broker.ImportedToken{
		token("a1", broker.ImportedLegacy, anna.ID), token("a2", broker.ImportedLegacy, anna.ID), token("a3", broker.ImportedRefresh, anna.ID),
		token("b", broker.ImportedLegacy, ben.ID), token("of nobody", broker.ImportedLegacy, "nobody"),
	}))(s)
	same(s, must(s.Store.LegacyUsers(ctx, t0))(s), []broker.User{anna, ben})
	for at, want := range map[time.Time]int{t0: 2, t0.Add(day): 0} {
		same(s, must(s.Store.ImportedTokensOf(ctx, anna.ID, broker.ImportedLegacy, at))(s), want)
	}
	same(s, must(s.Store.DeleteImportedTokens(ctx, anna.ID, broker.ImportedLegacy))(s), 2)
	same(s, must(s.Store.ImportedTokensOf(ctx, anna.ID, broker.ImportedLegacy, t0))(s), 0)
	same(s, must(s.Store.DeleteImportedTokens(ctx, anna.ID, broker.ImportedLegacy))(s), 0)
	same(s, must(s.Store.LegacyUsers(ctx, t0))(s), []broker.User{ben})
	same(s, len(must(s.Store.LegacyUsers(ctx, t0.Add(day)))(s)), 0)
	must(s.Store.ImportedToken(ctx, "a3", t0))(s)
}

func insertEvents(s *suite) {
	list := []broker.Event{}
	for i := range 600 {
		list = append(list, broker.Event{ID: fmt.Sprint("e", i), At: t0.Add(time.Duration(i) * time.Millisecond), Name: "n", UserID: "u", Detail: map[string]string{"i": fmt.Sprint(i)}})
	}
	s.ok(s.Store.InsertEvents(ctx, list))
	got := must(s.Store.ListEvents(ctx, broker.EventFilter{UserID: "u", Limit: 1000}))(s)
	same(s, len(got), 600)
	same(s, got[0], list[599])
}
