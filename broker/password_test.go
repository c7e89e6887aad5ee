package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// weak is a judge that finds every password weak.
type weak struct{}

func (weak) Weakness(context.Context, string, []string) error {
	return &broker.Error{Code: broker.WeakPassword, Message: "the password is weak"}
}

func TestNewPasswordIsRefusedByItsLengthWhatItIsAndHowSoonItIsGuessed(t *testing.T) {
	rig := harness.New(t, "", func(c *broker.Config) {
		c.PublicURL, c.MinPassword, c.Judge = "https://id.example.org", 10, harness.Hasher(t)
	})
	for _, c := range []struct{ password, want string }{
		{"", ""}, // a user without one
		{"ninechar9", "at least 10 characters"},
		{strings.Repeat("🔑", 9), "at least 10 characters"},
		{strings.Repeat("e\u0301", 9), "at least 10 characters"}, // nine characters in eighteen code points
		{"nul\x00 in the middle", "not valid text"},
		{"latin-1 \xe9\xe8\xea\xeb", "not valid text"},
		{strings.Repeat("long ", 205), "at most 1024 bytes"},
		{"Alice Liddell", "must not be your name"},
		{"alice@wonder.example", "must not be your name"},
		{"ID.EXAMPLE.ORG", "name of this service"},
		{"ALICELIDDELL", "must not be the username"},
		{"latchkey2026", "name of this service"},
		{"wonderwonder", "several words"},
		{"0123456789", "several words"},
		{"tea with a hatter", ""},
		{strings.Repeat("tea with a hatter ", 56)[:1000], ""},
	} {
		u, err := rig.Broker.CreateUser(context.Background(), broker.NewUser{
			Username: "aliceliddell", Name: "Alice Liddell", Email: "alice@wonder.example", Password: c.password,
		})
		if c.want == "" {
			if err != nil {
				t.Errorf("%q: %v", c.password, err)
			} else if err := rig.Broker.DeleteUser(context.Background(), u.ID); err != nil {
				t.Fatal(err)
			}
			continue
		}
		e, ok := errors.AsType[*broker.Error](err)
		if !ok || e.Code != broker.WeakPassword || !strings.Contains(e.Message, c.want) {
			t.Errorf("%q: %v, want %q", c.password, err, c.want)
		}
	}
}

// A rule that came later locks nobody out.
func TestPasswordThatWasGoodEnoughOnceStillLogsIn(t *testing.T) {
	url := "sqlite:" + t.TempDir() + "/latchkey.db"
	before, ctx := harness.New(t, url, nil), context.Background()
	if _, err := before.Broker.CreateUser(ctx, broker.NewUser{Username: "alice", Password: "hunter22"}); err != nil {
		t.Fatal(err)
	}
	after := harness.New(t, url, func(c *broker.Config) { c.MinPassword, c.Judge = 15, weak{} })
	if _, err := after.Broker.LoginPassword(ctx, "alice", "hunter22", broker.Device{IP: "192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
}
