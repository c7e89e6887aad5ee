package storagetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var userTests = []test{
	{"every field survives", userFields},
	{"nobody is not found", userNotFound},
	{"names that fold equal are one name", usernameTaken},
	{"rename", userRename},
	{"update writes all but password, notice, id and creation", userUpdate},
	{"notice", userNotice},
	{"permissions are written alone", setPermissions},
	{"password is replaced only where it is still the old one", setPassword},
	{"password change: one of many at once wins", setPasswordParallel},
	{"first administrator: one of many at once wins", firstAdminParallel},
	{"first administrator only while there is none", firstAdmin},
	{"by e-mail address, folded", usersByEmail},
	{"delete takes the identities, keeps the sessions", deleteUser},
}

func userFields(s *suite) {
	u := newUser("Ünïcode Näme")
	u.Email, u.EmailVerified, u.Role, u.Groups = "Anna@Example.test", true, broker.RoleGuest, []string{"a", "b,c", `"d"`}
	u.LastSeenAt, u.DisabledAt, u.PasswordTemporary = t0.Add(3*time.Millisecond), t0.Add(4*time.Millisecond), true
	u.Permissions = &broker.Permissions{Download: true, Tags: []string{"t"}}
	u.Notice = broker.Notice{Code: "identity.linked", At: t0, Until: t0.Add(time.Hour), Detail: "an IdP"}
	s.ok(s.Store.InsertUser(ctx, u))
	same(s, must(s.Store.UserByID(ctx, u.ID))(s), u)
	same(s, must(s.Store.UserByUsername(ctx, broker.FoldUsername(u.Username)))(s), u)

	s.ok(s.Store.InsertIdentity(ctx, newIdentity("sub", u.ID)))
	u.HasIdentity = true
	same(s, must(s.Store.UserByID(ctx, u.ID))(s), u)

	never := newUser("bob") // every optional field empty
	s.ok(s.Store.InsertUser(ctx, never))
	same(s, must(s.Store.UserByID(ctx, never.ID))(s), never)
}

func userNotFound(s *suite) {
	s.user("anna")
	_, err := s.Store.UserByID(ctx, "nobody")
	s.code(err, broker.NotFound)
	_, err = s.Store.UserByUsername(ctx, "nobody")
	s.code(err, broker.NotFound)
	s.code(s.Store.UpdateUser(ctx, newUser("nobody")), broker.NotFound)
	s.code(s.Store.DeleteUser(ctx, "nobody"), broker.NotFound)
	same(s, len(must(s.Store.UsersByEmail(ctx, "nobody@example.test"))(s)), 0)
	same(s, len(must(s.Store.UsersByEmail(ctx, ""))(s)), 1) // anna has none; callers do not ask
	done, err := s.Store.SetPassword(ctx, "nobody", nil, "hash", false, t0)
	s.ok(err)
	same(s, done, false)
}

// The database must not be asked to fold: ASCII on one, Unicode on the other.
func usernameTaken(s *suite) {
	first := s.user("Alice")
	for i, name := range []string{"Alice", "alice", "ALICE", "ＡＬＩＣＥ", " Alice ", "ａｌｉｃｅ"} {
		u := newUser(name)
		u.ID = fmt.Sprint("another ", i)
		s.code(s.Store.InsertUser(ctx, u), broker.UsernameTaken)
		s.code(s.Store.Tx(ctx, func(tx broker.Store) error { return tx.InsertUser(ctx, u) }), broker.UsernameTaken)
		same(s, must(s.Store.UserByUsername(ctx, broker.FoldUsername(name)))(s), first)
	}
	for i, name := range []string{"straße", "İstanbul", "ﬁne", "Ⅷ", "ΣΊΣΥΦΟΣ"} {
		u := newUser(name)
		u.ID = fmt.Sprint("folds ", i)
		s.ok(s.Store.InsertUser(ctx, u))
	}
	for i, name := range []string{"STRASSE", "i̇stanbul", "FINE", "viii", "σίσυφος"} {
		u := newUser(name)
		u.ID = fmt.Sprint("folded ", i)
		s.code(s.Store.InsertUser(ctx, u), broker.UsernameTaken)
	}
	// What only looks alike is another name.
	for i, name := range []string{"Аlice", "a1ice", "alice2", "alicé"} {
		u := newUser(name)
		u.ID = fmt.Sprint("other ", i)
		s.ok(s.Store.InsertUser(ctx, u))
	}
}

func userRename(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	anna.Username = "ＢＯＢ"
	s.code(s.Store.UpdateUser(ctx, anna), broker.UsernameTaken)
	same(s, must(s.Store.UserByID(ctx, anna.ID))(s).Username, "anna")
	anna.Username = "ANNA" // her own name, written otherwise
	s.ok(s.Store.UpdateUser(ctx, anna))
	same(s, must(s.Store.UserByUsername(ctx, "anna"))(s), anna)
	anna.Username = "carol"
	s.ok(s.Store.UpdateUser(ctx, anna))
	bob.Username = "anna" // free again
	s.ok(s.Store.UpdateUser(ctx, bob))
	same(s, must(s.Store.UserByUsername(ctx, "anna"))(s), bob)
	same(s, must(s.Store.UserByUsername(ctx, "carol"))(s), anna)
	_, err := s.Store.UserByUsername(ctx, "bob")
	s.code(err, broker.NotFound)
}

func userUpdate(s *suite) {
	u, other := s.user("anna"), s.user("bob")
	changed := broker.User{
		ID: u.ID, Username: "Anna", Name: "New", Email: "New@Example.test", EmailVerified: true, Role: broker.RoleAdmin, Groups: []string{"g"},
		PasswordHash: "not written", CreatedAt: t0.Add(time.Hour), UpdatedAt: t0.Add(2 * time.Hour), DisabledAt: t0.Add(3 * time.Hour),
		Permissions: &broker.Permissions{}, Notice: broker.Notice{Code: "identity.linked", At: t0},
	}
	s.ok(s.Store.UpdateUser(ctx, changed))
	want := changed
	want.PasswordHash, want.CreatedAt, want.Notice = u.PasswordHash, u.CreatedAt, u.Notice
	same(s, must(s.Store.UserByID(ctx, u.ID))(s), want)
	same(s, must(s.Store.UserByID(ctx, other.ID))(s), other)
	changed.DisabledAt = time.Time{}
	s.ok(s.Store.UpdateUser(ctx, changed))
	same(s, must(s.Store.UserByID(ctx, u.ID))(s).DisabledAt, time.Time{})
}

// A notice survives whoever writes the user as they read it before.
func userNotice(s *suite) {
	u, other := s.user("anna"), s.user("bob")
	s.session("s", u.ID)
	u = must(s.Store.UserByID(ctx, u.ID))(s)
	stale := u
	u.Notice = broker.Notice{Code: "identity.linked", At: t0, Until: t0.Add(time.Hour), Detail: `an "IdP"`}
	s.ok(s.Store.SetNotice(ctx, u.ID, u.Notice))
	s.ok(s.Store.UpdateUser(ctx, stale))
	s.ok(s.Store.UpdateProfile(ctx, stale, ""))
	same(s, must(s.Store.UserByID(ctx, u.ID))(s), u)
	_, joined, err := s.Store.SessionByID(ctx, "s")
	s.ok(err)
	same(s, joined, u)
	same(s, must(s.Store.UserByID(ctx, other.ID))(s), other)
	s.ok(s.Store.SetNotice(ctx, u.ID, broker.Notice{}))
	same(s, must(s.Store.UserByID(ctx, u.ID))(s), stale)
	s.code(s.Store.SetNotice(ctx, "nobody", u.Notice), broker.NotFound)
}

func setPermissions(s *suite) {
	want, other := s.user("anna"), s.user("bob")
	for _, p := range []*broker.Permissions{{}, {Download: true, Libraries: []string{"ü", "\\\"'"}}, nil} {
		s.ok(s.Store.SetPermissions(ctx, want.ID, p))
		want.Permissions = p
		same(s, must(s.Store.UserByID(ctx, want.ID))(s), want)
	}
	same(s, must(s.Store.UserByID(ctx, other.ID))(s), other)
	s.code(s.Store.SetPermissions(ctx, "nobody's", nil), broker.NotFound)
}

func setPassword(s *suite) {
	u, other := s.user("anna"), s.user("bob")
	old, wrong := u.PasswordHash, broker.PasswordHash("another")
	same(s, must(s.Store.SetPassword(ctx, u.ID, &wrong, "new", false, t0))(s), false)
	same(s, must(s.Store.UserByID(ctx, u.ID))(s), u)
	same(s, must(s.Store.SetPassword(ctx, u.ID, &old, "new", false, t0.Add(time.Hour)))(s), true)
	got := must(s.Store.UserByID(ctx, u.ID))(s)
	same(s, got.PasswordHash, "new")
	same(s, got.UpdatedAt, t0.Add(time.Hour))
	same(s, must(s.Store.SetPassword(ctx, u.ID, &old, "newer", false, t0))(s), false)
	same(s, must(s.Store.SetPassword(ctx, u.ID, nil, "newest", false, t0))(s), true)
	none := broker.PasswordHash("")
	same(s, must(s.Store.SetPassword(ctx, u.ID, &none, "x", false, t0))(s), false) // empty is a hash like any other here
	same(s, must(s.Store.UserByID(ctx, u.ID))(s).PasswordTemporary, false)
	same(s, must(s.Store.SetPassword(ctx, u.ID, nil, "chosen for her", true, t0))(s), true)
	same(s, must(s.Store.UserByID(ctx, u.ID))(s).PasswordTemporary, true)
	same(s, must(s.Store.SetPassword(ctx, u.ID, nil, "her own", false, t0))(s), true)
	same(s, must(s.Store.UserByID(ctx, u.ID))(s).PasswordTemporary, false)
	same(s, must(s.Store.UserByID(ctx, other.ID))(s), other)
}

func setPasswordParallel(s *suite) {
	u := s.user("anna")
	old := u.PasswordHash
	lost := errors.New("not done")
	errs := inParallel(takers, func(i int) error {
		done, err := s.Store.SetPassword(ctx, u.ID, &old, broker.PasswordHash(fmt.Sprint("hash ", i)), false, t0)
		if err == nil && !done {
			return lost
		}
		return err
	})
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
			same(s, must(s.Store.UserByID(ctx, u.ID))(s).PasswordHash, broker.PasswordHash(fmt.Sprint("hash ", i)))
		case !errors.Is(err, lost):
			s.Fatal(err)
		}
	}
	same(s, winners, 1)
}

func firstAdminParallel(s *suite) {
	s.user("an ordinary user")
	errs := inParallel(takers, func(i int) error {
		u := newUser(fmt.Sprint("root ", i))
		u.Role = broker.RoleRoot
		return s.Store.Tx(ctx, func(tx broker.Store) error { return tx.InsertFirstAdmin(ctx, u) })
	})
	winner := s.oneWinner(errs, broker.SetupDone)
	users := must(s.Store.ListUsers(ctx, broker.UserPage{By: broker.ByUsername, Limit: 100}))(s)
	same(s, len(users), 2)
	same(s, users[1].Username, fmt.Sprint("root ", winner))
}

func firstAdmin(s *suite) {
	insert := func(u broker.User) error {
		return s.Store.Tx(ctx, func(tx broker.Store) error { return tx.InsertFirstAdmin(ctx, u) })
	}
	same(s, must(s.Store.HasAdmin(ctx))(s), false)
	s.user("anna")
	same(s, must(s.Store.HasAdmin(ctx))(s), false)
	taken := newUser("ANNA")
	taken.ID, taken.Role = "another", broker.RoleRoot
	s.code(insert(taken), broker.UsernameTaken)
	same(s, must(s.Store.HasAdmin(ctx))(s), false)

	root := newUser("root")
	root.Role, root.Email, root.EmailVerified, root.Groups = broker.RoleRoot, "root@example.test", true, []string{"x"}
	root.LastSeenAt = t0.Add(time.Hour)
	s.ok(insert(root))
	same(s, must(s.Store.UserByID(ctx, root.ID))(s), root)
	same(s, must(s.Store.HasAdmin(ctx))(s), true)
	s.code(insert(newUser("second")), broker.SetupDone)

	// The role counts, not the way it came to be: a plain admin is one too.
	root.Role = broker.RoleAdmin
	s.ok(s.Store.UpdateUser(ctx, root))
	s.code(insert(newUser("second")), broker.SetupDone)
}

func usersByEmail(s *suite) {
	for i, email := range []string{"Anna@Example.TEST", "anna@example.test", "an_a@example.test", "", ""} {
		u := newUser(fmt.Sprint("user ", i))
		u.Email = email
		s.ok(s.Store.InsertUser(ctx, u))
	}
	find := func(email string) string {
		var names []string
		for _, u := range must(s.Store.UsersByEmail(ctx, email))(s) {
			names = append(names, u.Username)
		}
		return strings.Join(names, ",")
	}
	same(s, find(" ANNA@example.test"), "user 0,user 1")
	same(s, find("an_a@example.test"), "user 2") // the underscore is no pattern
	same(s, find("%"), "")
}

func deleteUser(s *suite) {
	u, other := s.user("anna"), s.user("bob")
	s.ok(s.Store.InsertIdentity(ctx, newIdentity("of anna", u.ID)))
	s.ok(s.Store.InsertIdentity(ctx, newIdentity("of bob", other.ID)))
	kept := s.session("s", u.ID)
	s.ok(s.Store.DeleteUser(ctx, u.ID))
	s.code(s.Store.DeleteUser(ctx, u.ID), broker.NotFound)
	_, err := s.Store.IdentityBySubject(ctx, issuer, "of anna")
	s.code(err, broker.NotFound)
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "of bob"))(s).UserID, other.ID)
	row, owner, err := s.Store.SessionByID(ctx, kept.ID)
	s.ok(err)
	same(s, row, kept)
	same(s, owner, broker.User{})
	s.ok(s.Store.InsertUser(ctx, newUser("anna"))) // the name is free again
}

const issuer = "https://idp.test"

var identityTests = []test{
	{"every field survives", identityFields},
	{"issuer and subject together are the key", identityConflict},
	{"linking: one of many at once wins", identityParallel},
	{"touch", identityTouch},
	{"issuers of root", identityOfRoot},
	{"nobody's identity is not kept", identityOfNobody},
	{"what a link changed is written alone", identityLink},
	{"delete: one of many at once does it", identityDelete},
	{"links that were undone", undoneLinks},
}

func newLink() broker.Link {
	return broker.Link{
		How:    broker.LinkedByHand,
		Before: broker.Profile{Name: `a "name"`, Email: "a@example.test", EmailVerified: true, Role: broker.RoleAdmin, Groups: []string{"g", "h"}},
		After:  broker.Profile{Name: "Ünïcode"},
	}
}

func identityLink(s *suite) {
	u := s.user("anna")
	i, other := newIdentity("subject", u.ID), newIdentity("other", u.ID)
	i.Link = newLink()
	s.ok(s.Store.InsertIdentity(ctx, i))
	s.ok(s.Store.InsertIdentity(ctx, other))
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "subject"))(s), i)
	touched := i
	touched.Link = broker.Link{}
	s.ok(s.Store.TouchIdentity(ctx, touched)) // a login forgets nothing
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "subject"))(s), i)
	i.Link.After.Groups = []string{"new"}
	changed := i
	changed.Email, changed.UserID = "not written", "nobody"
	s.ok(s.Store.SetLink(ctx, changed))
	same(s, must(s.Store.IdentitiesOfUser(ctx, u.ID))(s), []broker.Identity{other, i})
	s.code(s.Store.SetLink(ctx, newIdentity("nobody's", u.ID)), broker.NotFound)
}

func identityDelete(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	i, other := newIdentity("subject", anna.ID), newIdentity("other", anna.ID)
	s.ok(s.Store.InsertIdentity(ctx, i))
	s.ok(s.Store.InsertIdentity(ctx, other))
	s.code(s.Store.DeleteIdentity(ctx, issuer, "subject", bob.ID), broker.NotFound)
	s.code(s.Store.DeleteIdentity(ctx, issuer+"/", "subject", anna.ID), broker.NotFound)
	s.oneWinner(inParallel(takers, func(int) error {
		return s.Store.DeleteIdentity(ctx, issuer, "subject", anna.ID)
	}), broker.NotFound)
	same(s, must(s.Store.IdentitiesOfUser(ctx, anna.ID))(s), []broker.Identity{other})
	i.UserID = bob.ID
	s.ok(s.Store.InsertIdentity(ctx, i)) // free for another
}

func undoneLinks(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	undone := func(issuer, subject, id string) bool { return must(s.Store.LinkUndone(ctx, issuer, subject, id))(s) }
	same(s, undone(issuer, "subject", anna.ID), false)
	for range 2 { // again, after it was linked by hand
		s.ok(s.Store.InsertUndoneLink(ctx, issuer, "subject", anna.ID, t0))
	}
	same(s, undone(issuer, "subject", anna.ID), true)
	same(s, undone(issuer, "subject", bob.ID), false)
	same(s, undone(issuer, "SUBJECT", anna.ID), false)
	same(s, undone(issuer+"/", "subject", anna.ID), false)
	s.ok(s.Store.DeleteUser(ctx, anna.ID))
	same(s, undone(issuer, "subject", anna.ID), false)
}

func newIdentity(subject, userID string) broker.Identity {
	return broker.Identity{
		Issuer: issuer, Subject: subject, ProviderID: "provider", UserID: userID, Email: "a@example.test", Username: "a",
		CreatedAt: t0, LastUsedAt: t0.Add(time.Millisecond),
	}
}

func identityFields(s *suite) {
	u := s.user("anna")
	first, second := newIdentity("1", u.ID), newIdentity("2", u.ID)
	second.CreatedAt = t0.Add(time.Hour)
	s.ok(s.Store.InsertIdentity(ctx, second))
	s.ok(s.Store.InsertIdentity(ctx, first))
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "1"))(s), first)
	same(s, must(s.Store.IdentitiesOfUser(ctx, u.ID))(s), []broker.Identity{first, second})
	same(s, len(must(s.Store.IdentitiesOfUser(ctx, "nobody"))(s)), 0)
	for _, key := range [][2]string{{issuer, "3"}, {issuer + "/", "1"}, {"", "1"}} {
		_, err := s.Store.IdentityBySubject(ctx, key[0], key[1])
		s.code(err, broker.NotFound)
	}
}

func identityConflict(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	i := newIdentity("subject", anna.ID)
	s.ok(s.Store.InsertIdentity(ctx, i))
	s.code(s.Store.InsertIdentity(ctx, i), broker.IdentityConflict)
	s.code(s.Store.InsertIdentity(ctx, newIdentity("subject", bob.ID)), broker.IdentityConflict)
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "subject"))(s), i)
	// A subject is compared byte by byte, and means nothing without its issuer.
	s.ok(s.Store.InsertIdentity(ctx, newIdentity("SUBJECT", bob.ID)))
	elsewhere := newIdentity("subject", bob.ID)
	elsewhere.Issuer = "https://another.test"
	s.ok(s.Store.InsertIdentity(ctx, elsewhere))
}

func identityParallel(s *suite) {
	for i := range takers {
		s.user(fmt.Sprint("user ", i))
	}
	errs := inParallel(takers, func(i int) error {
		return s.Store.InsertIdentity(ctx, newIdentity("subject", fmt.Sprint("id of user ", i)))
	})
	winner := s.oneWinner(errs, broker.IdentityConflict)
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "subject"))(s).UserID, fmt.Sprint("id of user ", winner))
}

func identityOfRoot(s *suite) {
	for _, role := range []broker.Role{broker.RoleRoot, broker.RoleAdmin, broker.RoleUser} {
		u := newUser(string(role))
		u.Role = role
		s.ok(s.Store.InsertUser(ctx, u))
		i := newIdentity("sub", u.ID)
		i.Issuer = "https://of." + string(role)
		s.ok(s.Store.InsertIdentity(ctx, i))
		same(s, must(s.Store.RootHasIdentityAt(ctx, i.Issuer))(s), role == broker.RoleRoot)
	}
	same(s, must(s.Store.RootHasIdentityAt(ctx, "https://of.roo"))(s), false)
	same(s, must(s.Store.RootHasIdentityAt(ctx, ""))(s), false)
}

func identityTouch(s *suite) {
	u := s.user("anna")
	i, other := newIdentity("subject", u.ID), newIdentity("other", u.ID)
	s.ok(s.Store.InsertIdentity(ctx, i))
	s.ok(s.Store.InsertIdentity(ctx, other))
	i.LastUsedAt, i.Email, i.Username, i.ProviderID = t0.Add(time.Hour), "new@example.test", "new", "renamed"
	touched := i
	touched.UserID, touched.CreatedAt = "another user", t0.Add(time.Hour) // a touch never moves an identity to another user
	s.ok(s.Store.TouchIdentity(ctx, touched))
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "subject"))(s), i)
	same(s, must(s.Store.IdentityBySubject(ctx, issuer, "other"))(s), other)
}

func identityOfNobody(s *suite) {
	if err := s.Store.InsertIdentity(ctx, newIdentity("subject", "nobody")); err == nil {
		s.Error("an identity of nobody was kept")
	}
	_, err := s.Store.IdentityBySubject(context.Background(), issuer, "subject")
	s.code(err, broker.NotFound)
}
