package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// factorRooms are people on each way to a second factor: starter has none yet,
// holder has passkeys alone, and guarded has all. It returns recovery codes of the last.
func factorRooms(t *testing.T, rig *harness.Rig, n names) (codes []string) {
	t.Helper()
	ids := map[string]string{}
	for _, name := range []string{"starter", "holder", "guarded"} {
		u, err := rig.Broker.CreateUser(t.Context(), broker.NewUser{Username: name, Name: n.person, Password: harness.PasswordOf(name)})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = u.ID
	}
	app, _ := rig.Enrol(t, "guarded")
	now := rig.Clock.Now()
	for _, k := range []broker.Passkey{
		{ID: "a", UserID: ids["holder"], Name: "Phone", Synced: true, CreatedAt: now.Add(-70 * 24 * time.Hour)},
		{ID: "b", UserID: ids["guarded"], Name: n.person + " /2", Synced: true, CreatedAt: now.Add(-70 * 24 * time.Hour), LastUsedAt: now.Add(-26 * time.Hour)},
		{ID: "c", UserID: ids["guarded"], Name: "YubiKey 5C", CreatedAt: now.Add(-3 * 24 * time.Hour)},
	} {
		k.CredentialID, k.PublicKey = "credential"+k.ID, "none"
		if done, err := rig.Store.InsertPasskey(t.Context(), k, broker.MaxPasskeys); err != nil || !done {
			t.Fatal(done, err)
		}
		if _, err := rig.Store.SetSecondFactor(t.Context(), k.UserID); err != nil {
			t.Fatal(err)
		}
	}
	return app.Recovery
}

// nowhereMail takes every mail and sends none.
type nowhereMail struct{}

func (nowhereMail) SendMail(context.Context, broker.Message) error { return nil }

// stageMail is a Latchkey that sends mail.
func stageMail(t *testing.T) (base string) {
	t.Helper()
	base, rig := behindClock(t, func(c *broker.Config) {
		letters, err := web.NewLetters(c.PublicURL)
		if err != nil {
			t.Fatal(err)
		}
		c.MailSender, c.LetterWriter = nowhereMail{}, letters
	})
	rig.User(t, "root", broker.RoleRoot)
	return base
}
