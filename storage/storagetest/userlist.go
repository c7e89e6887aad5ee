package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/latchkey-id/latchkey/broker"
)

var adminTests = []test{
	{"pages of users meet nobody twice and miss nobody", pagesOfUsers},
	{"a search takes every character as itself", searchUsers},
	{"users by role, state and provider", filterUsers},
	{"pages of sessions, by each filter", pagesOfSessions},
	{"the last administrator stays", lastAdmin},
	{"the last administrators do not take each other away", lastAdminParallel},
}

// names lists the users of a page.
func (s *suite) names(p broker.UserPage) string {
	s.Helper()
	if p.Limit == 0 {
		p.Limit = 100
	}
	if p.By == "" {
		p.By = broker.ByUsername
	}
	out := []string{}
	for _, u := range must(s.Store.ListUsers(ctx, p))(s) {
		out = append(out, u.Username)
	}
	return strings.Join(out, " ")
}

func pagesOfUsers(s *suite) {
	for _, name := range []string{"dora", "Anna", "ÇELİK", "bob", "_x", "100%", "a-b", "a_b", "aB", "{}"} {
		u := s.user(name)
		u.Email, u.Name = "same@example.test", "The Same"
		s.ok(s.Store.UpdateUser(ctx, u))
	}
	// In the order of bytes, on both databases.
	same(s, s.names(broker.UserPage{}), "100% _x a-b a_b aB Anna bob dora {} ÇELİK")
	for _, by := range []broker.UserKey{broker.ByUsername, broker.ByEmail, broker.ByName} {
		key := map[broker.UserKey]string{broker.ByEmail: "same@example.test", broker.ByName: "the same"}
		all, paged, p := s.names(broker.UserPage{By: by}), []string{}, broker.UserPage{By: by, Limit: 3}
		for range 4 {
			for _, u := range must(s.Store.ListUsers(ctx, p))(s) {
				paged = append(paged, u.Username)
				if p.AfterKey, p.AfterID = key[by], u.ID; p.AfterKey == "" {
					p.AfterKey = broker.FoldUsername(u.Username)
				}
			}
		}
		same(s, len(paged), 10)
		same(s, strings.Join(paged, " "), all)
	}
}

func searchUsers(s *suite) {
	for i, name := range []string{"anna", "Annabel", "a%b", "a_b", `a\b`, "a'b", "ＡＮＮＥ", "ann%", "bob"} {
		u := newUser(name)
		u.Email, u.Name = fmt.Sprintf("mail%d@example.test", i), "Full Name"
		s.ok(s.Store.InsertUser(ctx, u))
	}
	by := func(key broker.UserKey, text string) string {
		return s.names(broker.UserPage{By: key, UserFilter: broker.UserFilter{Search: text}})
	}
	for text, want := range map[string]string{
		"ann": "ann% anna Annabel ＡＮＮＥ", "ANN": "ann% anna Annabel ＡＮＮＥ", "anne": "ＡＮＮＥ", "ann%": "ann%", "a_": "a_b", "a%": "a%b", `a\`: `a\b`,
		"a'": "a'b", "%": "", "_": "", "*": "", "nna": "", "' OR 1=1 --": "", "$1": "",
	} {
		if got := by(broker.ByUsername, text); got != want {
			s.Errorf("%q finds %q, want %q", text, got, want)
		}
	}
	same(s, by(broker.ByEmail, "MAIL8@"), "bob")
	same(s, by(broker.ByEmail, "mail_"), "")
	same(s, len(strings.Fields(by(broker.ByName, "full n"))), 9)
	// What is found by an earlier key is not found again.
	u := must(s.Store.UserByUsername(ctx, "bob"))(s)
	u.Email, u.Name = "bob@example.test", "Bobby"
	s.ok(s.Store.UpdateUser(ctx, u))
	same(s, by(broker.ByUsername, "bob"), "bob")
	same(s, by(broker.ByEmail, "bob"), "")
	same(s, by(broker.ByName, "bob"), "")
	same(s, by(broker.ByEmail, "mail8"), "")
	u.Username, u.Email = "robert", ""
	s.ok(s.Store.UpdateProfile(ctx, u, ""))
	s.ok(s.Store.UpdateUser(ctx, u))
	same(s, by(broker.ByName, "bob"), "robert")
}

func filterUsers(s *suite) {
	for i, role := range []broker.Role{broker.RoleRoot, broker.RoleAdmin, broker.RoleUser, broker.RoleUser} {
		u := newUser(fmt.Sprint("u", i))
		if u.Role = role; i%2 == 1 {
			u.DisabledAt = t0
		}
		s.ok(s.Store.InsertUser(ctx, u))
		if i > 1 {
			identity := newIdentity(u.ID, u.ID)
			identity.ProviderID = fmt.Sprint("p", i)
			s.ok(s.Store.InsertIdentity(ctx, identity))
		}
	}
	yes, no := true, false
	for _, c := range []struct {
		f    broker.UserFilter
		want string
	}{
		{broker.UserFilter{Role: broker.RoleAdmin}, "u1"}, {broker.UserFilter{Role: broker.RoleUser}, "u2 u3"}, {broker.UserFilter{Role: "x"}, ""},
		{broker.UserFilter{Disabled: &yes}, "u1 u3"}, {broker.UserFilter{Disabled: &no}, "u0 u2"},
		{broker.UserFilter{ProviderID: "p2"}, "u2"}, {broker.UserFilter{ProviderID: "p%"}, ""},
		{broker.UserFilter{Search: "u", Role: broker.RoleUser, Disabled: &yes, ProviderID: "p3"}, "u3"},
	} {
		if got := s.names(broker.UserPage{UserFilter: c.f}); got != c.want {
			s.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
}

// page is a page that ends no earlier than its list.
func (s *suite) page(f broker.SessionFilter, after string, limit int) []broker.UserSession {
	s.Helper()
	list, lookedTo, err := s.Store.PageSessions(ctx, f, after, limit)
	if s.ok(err); lookedTo != "" {
		s.Errorf("%+v: it looked no further than %s", f, lookedTo)
	}
	return list
}

func pagesOfSessions(s *suite) {
	for _, name := range []string{"anna", "bob"} {
		s.user(name)
	}
	for i := range 6 {
		owner := []string{"id of anna", "id of bob"}[i%2]
		s.session(fmt.Sprint("s", i), owner, func(n *broker.Session) {
			n.ClientID, n.ProviderID, n.CreatedIP = fmt.Sprint("c", i%3), []string{"", "p"}[i%2], fmt.Sprint("10.0.0.", i)
			if i == 4 {
				n.IdleExpiresAt = t0
			}
		})
	}
	_, err := s.Store.EndSessions(ctx, broker.SessionFilter{ID: "s5"}, broker.End{Cause: broker.LoggedOut, At: t0, KeepUntil: t0})
	s.ok(err)
	s.ok(s.Store.DeleteUser(ctx, "id of bob"))
	for _, c := range []struct {
		f     broker.SessionFilter
		after string
		want  string
	}{
		{broker.SessionFilter{All: true}, "", "s5 s4/anna s3"}, {broker.SessionFilter{All: true}, "s3", "s2/anna s1 s0/anna"},
		{broker.SessionFilter{UserID: "id of anna"}, "", "s4/anna s2/anna s0/anna"}, {broker.SessionFilter{UserID: "id of anna"}, "s2", "s0/anna"},
		{broker.SessionFilter{ClientID: "c1"}, "", "s4/anna s1"}, {broker.SessionFilter{ProviderID: "p"}, "s5", "s3 s1"},
		{broker.SessionFilter{IP: "10.0.0.3"}, "", "s3"}, {broker.SessionFilter{EndCause: broker.LoggedOut, All: true}, "", "s5"},
		{broker.SessionFilter{LiveAt: t0, All: true}, "", "s3 s2/anna s1"}, {broker.SessionFilter{OverAt: t0, All: true}, "", "s5 s4/anna"},
		{broker.SessionFilter{}, "", ""}, {broker.SessionFilter{UserID: "a\x00"}, "", ""}, {broker.SessionFilter{All: true}, "s0", ""},
	} {
		out := []string{}
		for _, n := range s.page(c.f, c.after, 3) {
			if n.Username != "" {
				n.ID += "/" + n.Username
			}
			out = append(out, n.ID)
		}
		if got := strings.Join(out, " "); got != c.want {
			s.Errorf("%+v after %q: %q, want %q", c.f, c.after, got, c.want)
		}
	}
	for _, c := range []struct {
		f    broker.SessionFilter
		most int
		want int
		more bool
	}{
		{broker.SessionFilter{All: true}, 9, 4, false}, {broker.SessionFilter{All: true}, 3, 3, true}, {broker.SessionFilter{ClientID: "c1"}, 9, 1, false},
		{broker.SessionFilter{UserID: "id of anna", ProviderID: "p"}, 9, 0, false}, {broker.SessionFilter{}, 9, 0, false},
	} {
		n, more, err := s.Store.CountSessions(ctx, c.f, t0, c.most)
		if s.ok(err); n != c.want || more != c.more {
			s.Errorf("%+v up to %d: %d %v", c.f, c.most, n, more)
		}
	}
	alive, past, err := s.Store.SessionsOfUser(ctx, "id of anna", t0, 1, 5)
	s.ok(err)
	if len(alive) != 1 || alive[0].ID != "s2" || len(past) != 1 || past[0].ID != "s4" {
		s.Errorf("alive %+v, past %+v", alive, past)
	}
	alive, past, err = s.Store.SessionsOfUser(ctx, "id of bob", t0, 5, 0)
	s.ok(err)
	if len(alive) != 2 || alive[0].ID != "s3" || alive[1].ID != "s1" || len(past) != 0 {
		s.Errorf("alive %+v, past %+v", alive, past)
	}
}

// losses are the ways in which somebody stops being an administrator.
var losses = map[string]func(tx broker.Store, u broker.User) error{
	"delete": func(tx broker.Store, u broker.User) error { return tx.DeleteUser(ctx, u.ID) },
	"demote": func(tx broker.Store, u broker.User) error {
		u.Role = broker.RoleUser
		return tx.UpdateUser(ctx, u)
	},
	"disable": func(tx broker.Store, u broker.User) error {
		u.DisabledAt = t0
		return tx.UpdateUser(ctx, u)
	},
	"role map": func(tx broker.Store, u broker.User) error { return tx.UpdateProfile(ctx, u, broker.RoleGuest) },
}

func (s *suite) admin(name string, change func(*broker.User)) broker.User {
	s.Helper()
	u := newUser(name)
	if u.Role = broker.RoleAdmin; change != nil {
		change(&u)
	}
	s.ok(s.Store.InsertUser(ctx, u))
	return u
}

func lastAdmin(s *suite) {
	u := s.admin("only", nil)
	s.user("a user")
	s.admin("disabled", func(u *broker.User) { u.DisabledAt = t0 })
	s.admin("without a way in", func(u *broker.User) { u.PasswordHash = "" })
	for name, lose := range losses {
		if err := s.Store.Tx(ctx, func(tx broker.Store) error { return lose(tx, u) }); broker.CodeOf(err) != broker.LastAdmin {
			s.Errorf("%s: %v", name, err)
		}
		same(s, must(s.Store.UserByID(ctx, u.ID))(s), u)
	}
	// Everything else may be changed, and everybody else.
	u.Name, u.Role = "New", broker.RoleRoot
	s.ok(s.Store.UpdateUser(ctx, u))
	s.ok(s.Store.UpdateProfile(ctx, u, broker.RoleUser)) // which leaves root alone
	same(s, must(s.Store.UserByID(ctx, u.ID))(s), u)
	s.ok(s.Store.DeleteUser(ctx, "id of a user"))
	s.ok(s.Store.DeleteUser(ctx, "id of disabled"))
	// With an identity, the other one can log in.
	s.ok(s.Store.InsertIdentity(ctx, newIdentity("sub", "id of without a way in")))
	s.ok(s.Store.DeleteUser(ctx, u.ID))
	s.code(s.Store.DeleteUser(ctx, "id of without a way in"), broker.LastAdmin)
	// Which is then the way in that stays, until there is another.
	s.code(s.Store.DeleteIdentity(ctx, issuer, "sub", "id of without a way in"), broker.LastAdmin)
	s.ok(s.Store.InsertIdentity(ctx, newIdentity("another", "id of without a way in")))
	s.ok(s.Store.DeleteIdentity(ctx, issuer, "sub", "id of without a way in"))
	s.code(s.Store.DeleteIdentity(ctx, issuer, "another", "id of without a way in"), broker.LastAdmin)
	s.admin("next", nil)
	off := s.Store.WithoutPasswords() // where the password of next is no way in
	s.code(off.Tx(ctx, func(tx broker.Store) error { return tx.DeleteUser(ctx, "id of without a way in") }), broker.LastAdmin)
	s.code(off.DeleteIdentity(ctx, issuer, "another", "id of without a way in"), broker.LastAdmin)
	s.ok(s.Store.InsertIdentity(ctx, newIdentity("of next", "id of next")))
	s.ok(off.DeleteIdentity(ctx, issuer, "another", "id of without a way in"))
	s.code(off.DeleteIdentity(ctx, issuer, "of next", "id of next"), broker.LastAdmin)
	s.ok(s.Store.DeleteIdentity(ctx, issuer, "of next", "id of next"))
}

// Of many administrators who take each other away at once, one is left.
func lastAdminParallel(s *suite) {
	before := []broker.User{}
	all := maps.Clone(losses)
	all["unlink"] = func(tx broker.Store, u broker.User) error { return tx.DeleteIdentity(ctx, issuer, u.ID, u.ID) }
	for name, lose := range all {
		admins := []broker.User{}
		for i := range takers {
			u := s.admin(fmt.Sprint(name, i), func(u *broker.User) {
				if name == "unlink" { // or the identity is not the last way in
					u.PasswordHash = ""
				}
			})
			s.ok(s.Store.InsertIdentity(ctx, newIdentity(u.ID, u.ID)))
			admins = append(admins, u)
		}
		for _, u := range before {
			if err := s.Store.DeleteUser(ctx, u.ID); !errors.Is(err, broker.NotFound) {
				s.ok(err)
			}
		}
		errs := inParallel(takers, func(i int) error {
			return s.Store.Tx(ctx, func(tx broker.Store) error { return lose(tx, admins[(i+1)%takers]) })
		})
		refused := 0
		for _, err := range errs {
			if err != nil {
				s.code(err, broker.LastAdmin)
				refused++
			}
		}
		if refused != 1 {
			s.Fatalf("%s: %d of %d were refused, want one", name, refused, takers)
		}
		before = admins
	}
}
