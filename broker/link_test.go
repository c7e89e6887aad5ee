package broker_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// here is a user of [harness.Rig.User] who has just logged in with a password.
func (h *house) here(name string) broker.Principal {
	h.t.Helper()
	p, err := h.Broker.Authenticate(ctx, h.Login(h.t, name).Session.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// begins begins a link by hand and returns its end, for the IdP to say who.
func (h *house) begins(p broker.Principal, provider string) (complete func(c broker.IdPClaims) error) {
	h.t.Helper()
	to, _, err := h.Broker.BeginLink(ctx, p, provider, "/", "", phone)
	if err != nil {
		h.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		h.t.Fatal(err)
	}
	return func(c broker.IdPClaims) error {
		c.Issuer = "https://" + provider + ".test"
		idp := h.providers[slices.IndexFunc(h.providers, func(p broker.Provider) bool { return p.ID == provider })].IdP.(*sayingIdP)
		idp.mu.Lock()
		idp.say = c
		idp.mu.Unlock()
		device := phone
		device.Replaces = p.Session.ID
		res := broker.IdPResponse{Code: "c", State: u.Query().Get("state")}
		done, err := h.Broker.CompleteIdPLogin(ctx, provider, res, func(string) bool { return true }, device)
		if done.Login != nil || !done.Link {
			h.t.Errorf("a link became %+v", done)
		}
		return err
	}
}

func (h *house) links(p broker.Principal, provider string, c broker.IdPClaims) {
	h.t.Helper()
	if err := h.begins(p, provider)(c); err != nil {
		h.t.Fatal(err)
	}
	h.Clock.Advance(time.Second)
}

// identityOf is what is linked of a provider.
func (h *house) identityOf(u broker.User, provider string) broker.Identity {
	h.t.Helper()
	list, err := h.Broker.Identities(ctx, u.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(i broker.Identity) bool { return i.ProviderID == provider })
	if i < 0 {
		h.t.Fatalf("nothing of %s is linked", provider)
	}
	return list[i]
}

func (h *house) undo(p broker.Principal, i broker.Identity) error {
	password := harness.PasswordOf(p.User.Username)
	return h.Broker.Unlink(ctx, p, i.ID(), password, phone)
}

func (h *house) mustUndo(p broker.Principal, provider string) {
	h.t.Helper()
	if err := h.undo(p, h.identityOf(p.User, provider)); err != nil {
		h.t.Fatal(err)
	}
}

// profile is what a link may change, in words.
func (h *house) profile(id string) string {
	h.t.Helper()
	u, err := h.Store.UserByID(ctx, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return fmt.Sprintf("%s <%s> %v %s %v", u.Name, u.Email, u.EmailVerified, u.Role, u.Groups)
}

func named(name string) func(*broker.IdPClaims) { return func(c *broker.IdPClaims) { c.Name = name } }

// An undo goes back to what was there before the link, and leaves what anybody
// else has changed since.
func TestUndoRestoresWhatTheLinkChanged(t *testing.T) {
	const before = "Before <> false user []"
	inP := func(name, group string) broker.IdPClaims {
		return says("anna", named(name), email("anna@x.test"), groups(group))
	}
	for name, c := range map[string]struct {
		then  func(h *house, p broker.Principal)
		after string
	}{
		"at once": {func(h *house, p broker.Principal) { h.mustUndo(p, "p") }, before},
		"after a login that changed more": {func(h *house, p broker.Principal) {
			h.enters("p", inP("Another", "kids"))
			h.mustUndo(p, "p")
		}, before},
		"after an administrator changed the name": {func(h *house, p broker.Principal) {
			h.changes(p, broker.UserChange{Name: new("By admin")})
			h.mustUndo(p, "p")
		}, "By admin <> false user []"},
		"after an administrator took the role away": {func(h *house, p broker.Principal) {
			h.changes(p, broker.UserChange{Role: new(broker.RoleGuest)})
			h.mustUndo(p, "p")
		}, "Before <> false guest []"},
		"and the IdP overrode that": {func(h *house, p broker.Principal) {
			h.changes(p, broker.UserChange{Role: new(broker.RoleGuest)})
			h.enters("p", inP("P", "admins"))
			h.mustUndo(p, "p")
		}, "Before <> false guest []"},
		"of two links, the first first": {func(h *house, p broker.Principal) {
			h.links(p, "q", says("anna-at-q", named("Q"), groups("q")))
			h.mustUndo(p, "p")
			h.mustUndo(p, "q")
		}, before},
		"of two links, the last first": {func(h *house, p broker.Principal) {
			h.links(p, "q", says("anna-at-q", named("Q"), groups("q")))
			h.mustUndo(p, "q")
			h.mustUndo(p, "p")
		}, before},
		"of all at once": {func(h *house, p broker.Principal) {
			h.links(p, "q", says("anna-at-q", named("Q"), groups("q")))
			if n, err := h.Broker.UnlinkProvider(ctx, p.User.ID, ""); n != 2 || err != nil {
				h.t.Fatal(n, err)
			}
		}, before},
		"of one of two links": {func(h *house, p broker.Principal) {
			h.links(p, "q", says("anna-at-q", named("Q"), groups("q")))
			h.mustUndo(p, "p")
		}, "Q <> false user [q]"},
		"within seven days": {func(h *house, p broker.Principal) {
			h.Clock.Advance(7*24*time.Hour - 2*time.Second)
			h.mustUndo(p, "p")
		}, before},
		"later, when it is no undo": {func(h *house, p broker.Principal) {
			h.Clock.Advance(7 * 24 * time.Hour)
			h.mustUndo(p, "p")
		}, "P <anna@x.test> true admin [admins]"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "", func(p *broker.Provider) {
				if p.ID == "p" {
					p.RoleMap = map[string]broker.Role{"admins": broker.RoleAdmin, "kids": broker.RoleGuest}
				}
			}, nil)
			h.User(t, "root", broker.RoleRoot) // or the last administrator would keep the role
			alice, other := h.User(t, "alice", broker.RoleUser), h.user("bob", "bob@x.test", broker.RoleUser)
			p := h.here("alice")
			h.changes(p, broker.UserChange{Name: new("Before")})
			bob := h.profile(other.ID)
			h.links(p, "p", inP("P", "admins"))
			if got, want := h.profile(alice.ID), "P <anna@x.test> true admin [admins]"; got != want {
				t.Fatalf("linked: %s, want %s", got, want)
			}
			c.then(h, p)
			if got := h.profile(alice.ID); got != c.after {
				t.Errorf("%s, want %s", got, c.after)
			}
			if h.profile(other.ID) != bob {
				t.Error("somebody else was changed")
			}
		})
	}
}

func (h *house) changes(p broker.Principal, c broker.UserChange) {
	h.t.Helper()
	if _, err := h.Broker.UpdateUser(ctx, p.User.ID, c); err != nil {
		h.t.Fatal(err)
	}
	h.Clock.Advance(time.Second)
}

// An undo hides no other link: the newest that is left is told of.
func TestUndoTellsOfTheLinkThatIsLeft(t *testing.T) {
	h := newHouse(t, "", nil, nil)
	alice := h.User(t, "alice", broker.RoleUser)
	p := h.here("alice")
	h.links(p, "p", says("evil"))
	first := h.identityOf(alice, "p")
	h.links(p, "q", says("harmless"))
	notice := func() broker.Notice {
		u, err := h.Store.UserByID(ctx, alice.ID)
		if err != nil {
			t.Fatal(err)
		}
		return u.Notice
	}
	if n := notice(); n.Detail != "q" {
		t.Errorf("%+v", n)
	}
	h.mustUndo(p, "q")
	if n := notice(); n.Detail != "p" || n.Code != broker.EventIdentityLinked || !n.At.Equal(first.CreatedAt) || !n.Until.Equal(first.UndoUntil()) {
		t.Errorf("%+v", n)
	}
	h.mustUndo(p, "p")
	if n := notice(); n != (broker.Notice{}) {
		t.Errorf("%+v", n)
	}
}

// Where passwords are switched off, one is no way in.
func TestPasswordsThatAreSwitchedOffAreNoWayIn(t *testing.T) {
	h := newHouse(t, "", nil, func(c *broker.Config) { c.LocalLogin = false })
	anna := h.enters("p", says("anna"))
	if err := h.Broker.ResetPassword(ctx, anna.ID, harness.PasswordOf("anna"), false); err != nil {
		t.Fatal(err)
	}
	login, err := h.enter("p", says("anna"))
	if err != nil {
		t.Fatal(err)
	}
	p := broker.Principal{User: login.User, Session: login.Session}
	i := h.identityOf(anna, "p")
	if err := h.Broker.Unlink(ctx, p, i.ID(), "", phone); broker.CodeOf(err) != broker.LastLoginMethod || err == nil {
		t.Errorf("%v", err)
	}
	// Nor do they prove anything.
	h.Clock.Advance(time.Hour)
	password := harness.PasswordOf("anna")
	if err := h.Broker.Unlink(ctx, p, i.ID(), password, phone); broker.CodeOf(err) != broker.LoginRequired || err == nil {
		t.Errorf("%v", err)
	}
}

// together runs f n times at once.
func together(n int, f func(i int) error) []error {
	errs, start := make([]error, n), make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

// outcomes counts errors by code; "" is success.
func outcomes(errs []error) map[broker.Code]int {
	out := map[broker.Code]int{}
	for _, err := range errs {
		if err == nil {
			out[""]++
		} else {
			out[broker.CodeOf(err)]++
		}
	}
	return out
}

func TestTwoUndosAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		h := newHouse(t, database, nil, retrying)
		alice := h.User(t, "alice", broker.RoleUser)
		p := h.here("alice")
		h.links(p, "p", says("anna"))
		i := h.identityOf(alice, "p")
		got := outcomes(together(10, func(int) error { return h.undo(p, i) }))
		if got[""] != 1 || got[broker.NotFound] != 9 {
			t.Errorf("%v", got)
		}
		events, err := h.Broker.Events(ctx, broker.EventFilter{Name: broker.EventIdentityUnlinked, Limit: 100})
		if err != nil || len(events) != 1 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}

// Of two identities that are the only ways in, unlinked at once, one stays.
func TestBothLastLoginMethodsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		h := newHouse(t, database, nil, retrying)
		login, err := h.enter("p", says("anna"))
		if err != nil {
			t.Fatal(err)
		}
		p := broker.Principal{User: login.User, Session: login.Session}
		h.links(p, "q", says("anna-at-q"))
		both := []broker.Identity{h.identityOf(login.User, "p"), h.identityOf(login.User, "q")}
		got := outcomes(together(2, func(i int) error { return h.Broker.Unlink(ctx, p, both[i].ID(), "", phone) }))
		// The slower one may find what its session was made through gone already.
		if got[""] != 1 || got[broker.LastLoginMethod]+got[broker.LoginRequired] != 1 {
			t.Errorf("%v", got)
		}
		if left, err := h.Broker.Identities(ctx, login.User.ID); err != nil || len(left) != 1 {
			t.Errorf("%d are left, %v", len(left), err)
		}
	})
}

// Two people prove the same identity at once: one gets it.
func TestTwoPeopleLinkOneIdentityAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		h := newHouse(t, database, nil, retrying)
		ends := []func(broker.IdPClaims) error{}
		for i := range 5 {
			name := fmt.Sprint("user", i)
			h.User(t, name, broker.RoleUser)
			ends = append(ends, h.begins(h.here(name), "p"))
		}
		got := outcomes(together(len(ends), func(i int) error { return ends[i](says("anna")) }))
		if got[""] != 1 || got[broker.IdentityConflict] != 4 {
			t.Errorf("%v", got)
		}
	})
}

// A login through a link that is undone meanwhile makes a session that the undo
// ends, or none.
func TestUndoAgainstLoginsThroughTheLink(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		h := newHouse(t, database, nil, retrying)
		alice := h.User(t, "alice", broker.RoleUser)
		p, before := h.here("alice"), h.profile(alice.ID)
		for round := range 8 {
			who := says(fmt.Sprint("anna", round), username("stranger"))
			h.links(p, "p", who)
			i := h.identityOf(alice, "p")
			errs := together(6, func(n int) error {
				if n == 3 {
					return h.undo(p, i)
				}
				_, err := h.enter("p", who)
				return err
			})
			for n, err := range errs {
				if err != nil && (n == 3 || !errors.Is(err, broker.LinkUndone)) {
					t.Errorf("round %d, %d: %v", round, n, err)
				}
			}
			made := broker.SessionFilter{UserID: alice.ID, ProviderID: "p", LiveAt: h.Clock.Now()}
			if _, live, err := h.Store.ListSessions(ctx, made, 0, 1); err != nil || live != 0 {
				t.Fatalf("round %d: %d sessions outlived the undo, %v", round, live, err)
			}
			if now := h.profile(alice.ID); now != before {
				t.Fatalf("round %d: the profile is %s, want %s", round, now, before)
			}
		}
		// What was not made through it goes on.
		if _, err := h.Broker.Authenticate(ctx, p.Session.ID); err != nil {
			t.Error(err)
		}
	})
}

// The claims that an IdP may send about an address, by the rules that an
// administrator may set, with and without an account of that address here.
func TestMatrixOfLinks(t *testing.T) {
	claims := map[string]broker.IdPClaims{
		"verified": says("anna"), "false": says("anna", verified(new(false))), "absent": says("anna", verified(nil)),
		"no address": says("anna", email("")), "verified, of somebody else": says("anna", email("other@x.test")),
		"not plain": says("anna", email("anna@x.test, m@x.test")), "not ASCII": says("anna", email("ann\u0430@x.test")),
		"other case": says("anna", email("ANNA@x.test")),
	}
	matches := []string{"verified", "other case"}
	for _, provision := range []broker.Provisioning{broker.ProvisionCreate, broker.ProvisionMatch, broker.ProvisionDeny} {
		for _, rule := range []broker.LinkRule{broker.LinkNone, broker.LinkVerifiedEmail} {
			for _, there := range []bool{true, false} {
				for name, c := range claims {
					h := newHouse(t, "", func(p *broker.Provider) {
						p.Provision, p.LinkBy, p.RequireVerifiedEmail = provision, rule, broker.EmailNever
					}, nil)
					account := broker.User{}
					if there {
						account = h.user("there", "anna@x.test", broker.RoleUser)
					}
					linked := there && rule == broker.LinkVerifiedEmail && provision != broker.ProvisionDeny && slices.Contains(matches, name)
					if !linked && provision != broker.ProvisionCreate {
						h.refused("p", c, broker.NotProvisioned)
						continue
					}
					if u := h.enters("p", c); linked != (u.ID == account.ID) {
						t.Errorf("%s, %s, account %v, %s: linked %v, want %v", provision, rule, there, name, !linked, linked)
					}
				}
			}
		}
	}
}
