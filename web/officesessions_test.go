package web_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

func TestOfficeSessions(t *testing.T) {
	x := newSite(t, setup{})
	root := x.desk("root")
	x.Clock.Advance(time.Minute)
	one := x.login("alice", from("203.0.113.7"), header("User-Agent", "Shelf/2.0"))
	x.Clock.Advance(time.Minute)
	two := x.login("alice")
	root.get("/admin/sessions").want(200).secure(false).says("alice", "root", "Shelf", "203.0.113.7", "live", "this is you, here")
	root.get("/admin/sessions?ip=203.0.113.7&user=&client=&state=&cause=").want(200).says("Shelf").saysNot(two.session)
	root.get("/admin/sessions?user=nobody").want(200).says("No session fits this search.", "Show all sessions")
	root.get("/admin/sessions?state=x").want(400)

	at := "/admin/sessions/" + one.session
	root.get(at).want(200).secure(false).says("alice", "203.0.113.7", "with a password", "Generation 0, branch 0", "Bound to a keyno", "Shelf/2.0", "alice logged in to Latchkey", "End this session").
		saysNot(one.refresh, one.access)
	root.does(at+"/end", "wipe", "1").says("the app is asked to remove its data when it comes back", "Ended by an administrator", "by root").saysNot("End this session")
	x.refresh(one.refresh).refused(401, broker.RevokedByAdmin, "wipe")
	root.post(at+"/end").refused(404, broker.NotFound, "").says("There is no live session of this id.")
	root.get("/admin/sessions/nobody").want(404).says("There is no such session any more")
	root.get("/admin/sessions?state=ended").want(200).says("Ended by an administrator").saysNot(two.session)

	// All of a user, by a form that says how many.
	root.get("/admin/sessions?user=alice").says("1 live session ends.", "End all of these").saysNot("Your own may be one of them.")
	root.get("/admin/sessions?client=latchkey-app").says("2 live sessions end", "Your own may be one of them.")
	root.get("/admin/sessions?client=latchkey-app&user=alice").saysNot("End all of these")
	root.does("/admin/sessions/end", "user", x.idOf("alice")).says("The sessions have ended.")
	x.refresh(two.refresh).refused(401, broker.RevokedByAdmin, "login")
	for _, pairs := range [][]string{{}, {"user", ""}, {"wipe", "1"}, {"client", "", "provider", ""}, {"all", "1"}} {
		root.post("/admin/sessions/end", pairs...).want(400)
	}
	if rows := x.sessions("root", true); len(rows) != 1 {
		t.Errorf("%d sessions of root are live, want 1", len(rows))
	}
}

// Of a login that two held, both uses are named.
func TestOfficeSessionUsedByTwo(t *testing.T) {
	x := newSite(t, setup{})
	root := x.desk("root")
	p := x.login("alice", from("203.0.113.7"), header("User-Agent", "Shelf/2.0"))
	x.Clock.Advance(time.Hour)
	fresh := x.refresh(p.refresh, from("203.0.113.7")).pair()
	x.Clock.Advance(time.Hour)
	x.refresh(fresh.refresh, from("203.0.113.7")).pair()
	x.Clock.Advance(time.Hour)
	x.refresh(p.refresh, from("198.51.100.9"), header("User-Agent", "Thief/1.0")).refused(401, broker.TokenReused, "login")
	root.get("/admin/sessions/"+p.session).want(200).says("Two devices used the same login", "Shelf, from 203.0.113.7", "Thief, from 198.51.100.9", "Two devices used one login").saysNot("End this session")
}

// A page looks at so many sessions and no more; the next one goes on from there.
func TestOfficeSessionsAreLookedThroughInParts(t *testing.T) {
	x := newSite(t, setup{})
	root := x.desk("root")
	first := x.login("alice")
	ctx := context.Background()
	u, err := x.Broker.FindUser(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	s := x.sessions("alice", true)[0]
	err = x.Store.Tx(ctx, func(store broker.Store) error {
		for i := range 10_050 {
			s.ID = fmt.Sprintf("ffffffff-0000-7000-8000-%012d", i)
			if _, err := store.InsertSession(ctx, s, u.PasswordHash); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Broker.EndSessions(ctx, broker.SessionFilter{ID: first.session}, broker.LoggedOut, false, ""); err != nil {
		t.Fatal(err)
	}
	page := root.get("/admin/sessions?state=ended").want(200).says("None of the newest 10,000 fits.", "Next page")
	for _, link := range page.links() {
		if strings.Contains(link, "next=") {
			root.get("/admin/sessions" + link).want(200).says("Logged out on the device").saysNot("Next page")
		}
	}
	root.get("/admin/sessions?client=latchkey-app").says("At least 300 live sessions end")
}
