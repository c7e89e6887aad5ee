package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// Who may keep whose keys. K01, A04: nobody gets more by a key than by a login.
func TestWhoKeepsWhoseKeys(t *testing.T) {
	w := newKeyWorld(t)
	ctx := context.Background()
	cases := []struct {
		by, owner             string
		create, change, erase broker.Code
	}{
		{"alice", "alice", "", "", ""}, {"admin", "admin", "", "", ""}, {"root", "root", "", "", ""},
		{"admin", "alice", "", "", ""}, {"root", "alice", "", "", ""}, {"root", "admin", "", "", ""}, {"admin", "guest", "", "", ""},
		{"admin", "root", broker.Forbidden, broker.Forbidden, ""}, {"", "root", "", "", ""}, {"", "guest", "", "", ""},
		{"alice", "bob", broker.Forbidden, broker.NotFound, broker.NotFound}, {"alice", "root", broker.Forbidden, broker.NotFound, broker.NotFound},
		{"guest", "guest", broker.Forbidden, broker.Forbidden, broker.Forbidden}, {"guest", "alice", broker.Forbidden, broker.NotFound, broker.Forbidden},
	}
	name := "renamed"
	for _, c := range cases {
		what := c.by + " for " + c.owner
		same := func(step string, err error, want broker.Code) {
			t.Helper()
			if want == "" && err != nil || want != "" && !errors.Is(err, want) {
				t.Errorf("%s %s: %v, want %q", what, step, err, want)
			}
		}
		made, text, err := w.create(c.by, c.owner, nil)
		same("creates", err, c.create)
		if err == nil && (made.UserID != w.users[c.owner].ID || made.Scope != broker.ScopeAPI || text == "" || made.Creator.ID != made.CreatedBy) {
			t.Errorf("%s: %+v", what, made)
		}
		k, _ := w.made(c.owner, nil)
		_, err = w.Broker.UpdateAPIKey(ctx, w.by(c.by), k.ID, broker.APIKeyChange{Name: &name}, broker.Device{})
		same("changes", err, c.change)
		same("deletes", w.Broker.DeleteAPIKey(ctx, w.by(c.by), k.ID, broker.Device{}), c.erase)
	}
	// A key is given to another user by the same rules.
	k, _ := w.made("alice", nil)
	for by, want := range map[string]broker.Code{"alice": broker.Forbidden, "bob": broker.NotFound, "admin": broker.Forbidden} {
		root := w.users["root"].ID
		_, err := w.Broker.UpdateAPIKey(ctx, w.by(by), k.ID, broker.APIKeyChange{UserID: &root}, broker.Device{})
		w.refused(by+" gives a key to root", err, want)
	}
	bob := w.users["bob"].ID
	moved := must2(w.Broker.UpdateAPIKey(ctx, w.by("admin"), k.ID, broker.APIKeyChange{UserID: &bob}, broker.Device{}))(t)
	if moved.Owner.Username != "bob" {
		t.Errorf("%+v", moved)
	}
	nobody := "nobody"
	_, err := w.Broker.UpdateAPIKey(ctx, w.by("admin"), k.ID, broker.APIKeyChange{UserID: &nobody}, broker.Device{})
	w.refused("a key for nobody", err, broker.InvalidRequest)
}

func TestWhoSeesWhoseKeys(t *testing.T) {
	w := newKeyWorld(t)
	for _, name := range []string{"alice", "alice", "bob", "root"} {
		w.made(name, nil)
	}
	for by, want := range map[string]int{"": 4, "root": 4, "admin": 4, "alice": 2, "bob": 1} {
		if n := len(must2(w.Broker.APIKeys(context.Background(), w.by(by), "", "", 10))(t)); n != want {
			t.Errorf("%q sees %d keys, want %d", by, n, want)
		}
	}
	if n := len(must2(w.Broker.APIKeys(context.Background(), w.by("admin"), w.users["bob"].ID, "", 10))(t)); n != 1 {
		t.Errorf("%d keys of bob", n)
	}
	for _, by := range []string{"alice", "guest"} {
		_, err := w.Broker.APIKeys(context.Background(), w.by(by), w.users["bob"].ID, "", 10)
		w.refused(by+" sees bob's keys", err, broker.Forbidden)
	}
}

func TestKeysAreBounded(t *testing.T) {
	w := newKeyWorld(t)
	for what, c := range map[string]struct {
		field  string
		change func(*broker.NewAPIKey)
	}{
		"no name": {"name:", func(n *broker.NewAPIKey) { n.Name = " \u200b " }}, "a long name": {"name:", func(n *broker.NewAPIKey) { n.Name = strings.Repeat("é", 129) }},
		"a long description": {"description:", func(n *broker.NewAPIKey) { n.Description = strings.Repeat("é", 513) }},
		"no time":            {"expiresIn:", func(n *broker.NewAPIKey) { n.ExpiresIn = time.Millisecond }}, "a time that is past": {"expiresIn:", func(n *broker.NewAPIKey) { n.ExpiresIn = -time.Hour }},
		"a long time":     {"expiresIn:", func(n *broker.NewAPIKey) { n.ExpiresIn = broker.MaxKeyLife + time.Second }},
		"the admin scope": {"scope:", func(n *broker.NewAPIKey) { n.Scope = "latchkey:admin" }}, "introspection": {"scope:", func(n *broker.NewAPIKey) { n.Scope = "latchkey:api latchkey:introspect" }},
		"a quote": {"scope:", func(n *broker.NewAPIKey) { n.Scope = `a"b` }}, "a tab": {"scope:", func(n *broker.NewAPIKey) { n.Scope = "a\tb" }}, "a long scope": {"scope:", func(n *broker.NewAPIKey) { n.Scope = strings.Repeat("a", 1025) }},
		"nobody": {"userId:", func(n *broker.NewAPIKey) { n.UserID = "nobody" }}, "": {"userId:", func(n *broker.NewAPIKey) { n.UserID = "" }},
	} {
		_, text, err := w.create("", "alice", c.change)
		if w.refused(what, err, broker.InvalidRequest); err == nil || !strings.Contains(err.Error(), c.field) || text != "" {
			t.Errorf("%s: %v, %q", what, err, text)
		}
	}
	made, _ := w.made("alice", func(n *broker.NewAPIKey) {
		n.Name, n.Scope, n.ExpiresIn = strings.Repeat("é", 128), " latchkey:read  things:read things:read", broker.MaxKeyLife
	})
	if made.Scope != "latchkey:read things:read" || made.ExpiresAt.Sub(w.Broker.Now()) != broker.MaxKeyLife {
		t.Errorf("%+v", made)
	}
	for i := 1; i < broker.MaxAPIKeys; i++ {
		w.made("alice", nil)
	}
	_, _, err := w.create("alice", "alice", nil)
	w.refused("one too many", err, broker.InvalidRequest)
	bobs, _ := w.made("bob", nil)
	alice := w.users["alice"].ID
	_, err = w.Broker.UpdateAPIKey(context.Background(), nil, bobs.ID, broker.APIKeyChange{UserID: &alice}, broker.Device{})
	w.refused("one too many, given", err, broker.InvalidRequest)
}

// An API may take a scope for a permission: people do not write it themselves.
func TestPeopleGiveKeysNoScopesOfOthers(t *testing.T) {
	w := newKeyWorld(t)
	free := func(n *broker.NewAPIKey) { n.Scope = "latchkey:read things:write" }
	_, _, err := w.create("alice", "alice", free)
	w.refused("alice for alice", err, broker.InvalidRequest)
	for _, by := range []string{"admin", ""} {
		if _, _, err := w.create(by, "alice", free); err != nil {
			t.Errorf("%q for alice: %v", by, err)
		}
	}
	if _, _, err := w.create("alice", "alice", func(n *broker.NewAPIKey) { n.Scope = "latchkey:read" }); err != nil {
		t.Error(err)
	}
}

// Every fact about a key is in the audit log of whom it acts for, and no key is.
func TestKeysAreAudited(t *testing.T) {
	w := newKeyWorld(t)
	ctx := context.Background()
	k, text, err := w.create("admin", "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	off := true
	must2(w.Broker.UpdateAPIKey(ctx, w.by("alice"), k.ID, broker.APIKeyChange{Disabled: &off}, broker.Device{IP: "192.0.2.2"}))(t)
	if err := w.Broker.DeleteAPIKey(ctx, nil, k.ID, broker.Device{}); err != nil {
		t.Fatal(err)
	}
	w.refused("again", w.Broker.DeleteAPIKey(ctx, nil, k.ID, broker.Device{}), broker.NotFound)
	for event, by := range map[string]string{broker.EventAPIKeyCreated: w.users["admin"].ID, broker.EventAPIKeyUpdated: w.users["alice"].ID, broker.EventAPIKeyDeleted: ""} {
		list := must2(w.Broker.Events(ctx, broker.EventFilter{Name: event, Limit: 10}))(t)
		if len(list) != 1 || list[0].UserID != w.users["alice"].ID || list[0].Detail["by"] != by || list[0].Detail["key_id"] != k.ID || list[0].Detail["name"] != "a script" {
			t.Errorf("%s: %+v", event, list)
		}
	}
	if all := fmt.Sprint(must2(w.Broker.Events(ctx, broker.EventFilter{Limit: 100}))(t)); strings.Contains(all, text[20:]) {
		t.Error(all)
	}
}
