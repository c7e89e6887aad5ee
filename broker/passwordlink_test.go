package broker_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

var here = broker.Device{IP: "192.0.2.1", UserAgent: "test"}

// secretOf is the secret in a link.
func secretOf(t *testing.T, link broker.MadeLink) string {
	t.Helper()
	u, err := url.Parse(link.URL)
	if err != nil || u.Path != "/password" || len(u.Query().Get("token")) < 40 {
		t.Fatalf("link %s, %v", link.URL, err)
	}
	return u.Query().Get("token")
}

func resetLink(t *testing.T, rig *harness.Rig, userID string) string {
	t.Helper()
	link, err := rig.Broker.MakePasswordLink(context.Background(), nil, userID, "")
	if err != nil {
		t.Fatal(err)
	}
	return secretOf(t, link)
}

func wantCode(t *testing.T, what string, err error, want broker.Code) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func eventNames(t *testing.T, rig *harness.Rig, userID string) (names []string) {
	t.Helper()
	events, err := rig.Broker.Events(context.Background(), broker.EventFilter{UserID: userID, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		names = append(names, e.Name)
	}
	slices.Sort(names) // those of one moment have no order
	return names
}

func TestInvitedUserChoosesAPasswordOnce(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	u, link, err := rig.Broker.InviteUser(ctx, broker.NewUser{Username: "robin", Password: "is not taken"})
	if err != nil || u.PasswordHash != "" || link.Purpose != broker.PurposeInvitation || link.ExpiresAt != rig.Clock.Now().Add(72*time.Hour) {
		t.Fatalf("%+v, %+v, %v", u, link.Purpose, err)
	}
	secret := secretOf(t, link)
	if !strings.HasPrefix(link.URL, "http://localhost:8080/password?token=") {
		t.Errorf("the link is not at the public URL: %s", link.URL)
	}
	if who, err := rig.Broker.PasswordLinkUser(ctx, secret); err != nil || who.ID != u.ID {
		t.Fatal(who.ID, err)
	}
	_, err = rig.Broker.UsePasswordLink(ctx, secret, "short", here)
	wantCode(t, "a weak password", err, broker.WeakPassword)
	if _, err := rig.Broker.UsePasswordLink(ctx, secret, "chosen by robin", here); err != nil {
		t.Fatal("the link was used up by a refusal:", err)
	}
	if _, err := rig.Broker.LoginPassword(ctx, "robin", "chosen by robin", here); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{secret, "unknown", ""} {
		_, err = rig.Broker.UsePasswordLink(ctx, what, "chosen by a thief", here)
		wantCode(t, "used or unknown", err, broker.PasswordLinkInvalid)
	}
	if got := eventNames(t, rig, u.ID); !slices.Equal(got, []string{"password_link.made", "session.started", "user.created", "user.password_changed"}) {
		t.Errorf("events %v", got)
	}
}

// P10 and S08: a link dies with everything that makes it superfluous.
func TestPasswordLinkIsVoidOnceItsTimeOrItsReasonIsOver(t *testing.T) {
	for name, void := range map[string]func(t *testing.T, rig *harness.Rig, u broker.User){
		"its 30 minutes": func(t *testing.T, rig *harness.Rig, u broker.User) { rig.Clock.Advance(30 * time.Minute) },
		"a second link":  func(t *testing.T, rig *harness.Rig, u broker.User) { resetLink(t, rig, u.ID) },
		"a change by the user": func(t *testing.T, rig *harness.Rig, u broker.User) {
			p, err := rig.Broker.Authenticate(context.Background(), rig.Login(t, "alice").Session.ID)
			if err != nil {
				t.Fatal(err)
			}
			current := harness.PasswordOf("alice")
			if _, err := rig.Broker.ChangePassword(context.Background(), p, broker.PasswordChange{Current: &current, Fresh: "another password"}, here); err != nil {
				t.Fatal(err)
			}
		},
		"a password from an administrator": func(t *testing.T, rig *harness.Rig, u broker.User) {
			if err := rig.Broker.ResetPassword(context.Background(), u.ID, "another password", false); err != nil {
				t.Fatal(err)
			}
		},
		"a hash that came another way": func(t *testing.T, rig *harness.Rig, u broker.User) {
			if _, err := rig.Store.SetPassword(context.Background(), u.ID, nil, "another hash", false, rig.Clock.Now()); err != nil {
				t.Fatal(err)
			}
		},
		"a disabled user": func(t *testing.T, rig *harness.Rig, u broker.User) {
			if err := rig.Broker.SetDisabled(context.Background(), u.ID, true); err != nil {
				t.Fatal(err)
			}
		},
		"a deleted user": func(t *testing.T, rig *harness.Rig, u broker.User) {
			if err := rig.Broker.DeleteUser(context.Background(), u.ID); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			rig, ctx := harness.New(t, "", nil), context.Background()
			u := rig.User(t, "alice", broker.RoleUser)
			secret := resetLink(t, rig, u.ID)
			rig.Clock.Advance(29 * time.Minute)
			if _, err := rig.Broker.PasswordLinkUser(ctx, secret); err != nil {
				t.Fatal(err)
			}
			rig.Clock.Advance(-29 * time.Minute)
			void(t, rig, u)
			_, err := rig.Broker.PasswordLinkUser(ctx, secret)
			wantCode(t, "shown", err, broker.PasswordLinkInvalid)
			before, _ := rig.Store.UserByID(ctx, u.ID)
			_, err = rig.Broker.UsePasswordLink(ctx, secret, "chosen by a thief", here)
			wantCode(t, "used", err, broker.PasswordLinkInvalid)
			if after, _ := rig.Store.UserByID(ctx, u.ID); after.PasswordHash != before.PasswordHash {
				t.Error("the password was changed")
			}
		})
	}
}

func TestPasswordLinkEndsEverySessionAndIsUsedByOneOfMany(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	u := rig.User(t, "alice", broker.RoleUser)
	for range 3 {
		rig.Login(t, "alice")
	}
	secret := resetLink(t, rig, u.ID)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 10 {
		wg.Go(func() {
			_, err := rig.Broker.UsePasswordLink(ctx, secret, "chosen by alice", here)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, broker.PasswordLinkInvalid) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sessions, n, err := rig.Broker.SessionsBy(ctx, broker.SessionFilter{UserID: u.ID}, 0, 10)
	if won != 1 || n != 3 || err != nil {
		t.Fatalf("%d used it; %d sessions, %v", won, n, err)
	}
	for _, s := range sessions {
		if s.EndCause != broker.PasswordChanged {
			t.Errorf("a session ended with %q", s.EndCause)
		}
	}
}

func TestPasswordLinksAreMadeByWhoeverMayAndForWhomTheyFit(t *testing.T) {
	rig, ctx := harness.New(t, "", nil), context.Background()
	of := func(name string, role broker.Role) broker.User { return rig.User(t, name, role) }
	root, admin, second := of("root", broker.RoleRoot), of("admin", broker.RoleAdmin), of("second", broker.RoleAdmin)
	alice, guest := of("alice", broker.RoleUser), of("guest", broker.RoleGuest)
	invited, _, err := rig.Broker.InviteUser(ctx, broker.NewUser{Username: "invited"})
	if err != nil {
		t.Fatal(err)
	}
	gone := of("gone", broker.RoleUser)
	if err := rig.Broker.SetDisabled(ctx, gone.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		by      *broker.User
		whom    string
		purpose broker.PasswordPurpose
		want    broker.Code
	}{
		{&root, admin.ID, broker.PurposeReset, ""}, {&root, root.ID, broker.PurposeReset, ""}, {&admin, alice.ID, broker.PurposeReset, ""},
		{&admin, guest.ID, broker.PurposeReset, ""}, {&admin, invited.ID, broker.PurposeInvitation, ""}, {nil, root.ID, "", ""},
		{&admin, root.ID, broker.PurposeReset, broker.Forbidden}, {&admin, second.ID, broker.PurposeReset, broker.Forbidden},
		{&alice, guest.ID, broker.PurposeReset, broker.Forbidden},
		{&admin, invited.ID, broker.PurposeReset, broker.InvalidRequest}, {&admin, alice.ID, broker.PurposeInvitation, broker.InvalidRequest},
		{&admin, alice.ID, "other", broker.InvalidRequest}, {&admin, gone.ID, broker.PurposeReset, broker.InvalidRequest},
		{&admin, "nobody", broker.PurposeReset, broker.NotFound},
	} {
		_, err := rig.Broker.MakePasswordLink(ctx, c.by, c.whom, c.purpose)
		if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want) {
			t.Errorf("%v for %s, %s: %v, want %q", c.by, c.whom, c.purpose, err, c.want)
		}
	}
}

// The maker of a link knows it: it must not outlast what he may.
func TestPasswordLinkIsWorthNoMoreThanItsMakerMay(t *testing.T) {
	role := func(r broker.Role) func(*harness.Rig, string) error {
		return func(rig *harness.Rig, id string) error {
			_, err := rig.Broker.UpdateUser(context.Background(), id, broker.UserChange{Role: &r})
			return err
		}
	}
	for name, c := range map[string]struct {
		whom   string
		change func(*harness.Rig, string) error
	}{
		"the user became root":     {"alice", role(broker.RoleRoot)},
		"the user became an admin": {"alice", role(broker.RoleAdmin)},
		"the maker was demoted":    {"admin", role(broker.RoleUser)},
		"the maker was disabled":   {"admin", func(rig *harness.Rig, id string) error { return rig.Broker.SetDisabled(context.Background(), id, true) }},
		"the maker was deleted":    {"admin", func(rig *harness.Rig, id string) error { return rig.Broker.DeleteUser(context.Background(), id) }},
		"nothing changed":          {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			rig, ctx := harness.New(t, "", nil), context.Background()
			rig.User(t, "root", broker.RoleRoot)
			users := map[string]broker.User{"admin": rig.User(t, "admin", broker.RoleAdmin), "alice": rig.User(t, "alice", broker.RoleUser)}
			by := users["admin"]
			link, err := rig.Broker.MakePasswordLink(ctx, &by, users["alice"].ID, "")
			if err != nil {
				t.Fatal(err)
			}
			want := broker.Code("")
			if c.change != nil {
				if err := c.change(rig, users[c.whom].ID); err != nil {
					t.Fatal(err)
				}
				want = broker.PasswordLinkInvalid
			}
			_, err = rig.Broker.PasswordLinkUser(ctx, secretOf(t, link))
			if want == "" && err != nil || want != "" && !errors.Is(err, want) {
				t.Errorf("shown: %v, want %q", err, want)
			}
			_, err = rig.Broker.UsePasswordLink(ctx, secretOf(t, link), "chosen by the maker", here)
			if want == "" && err != nil || want != "" && !errors.Is(err, want) {
				t.Errorf("used: %v, want %q", err, want)
			}
		})
	}
}
