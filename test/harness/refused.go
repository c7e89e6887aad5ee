package harness

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// RefusedLogins writes down what is kept in memory, as the background does each
// minute, and returns the events of refused logins in order: code, count, method,
// provider, client, user and address, with "-" for what an event does not have.
func (r *Rig) RefusedLogins(tb testing.TB) (out []string) {
	tb.Helper()
	ctx := context.Background()
	if err := r.Broker.WriteFigures(ctx); err != nil {
		tb.Fatal(err)
	}
	events, err := r.Store.ListEvents(ctx, broker.EventFilter{Name: broker.EventLoginRefused, Limit: broker.MaxEvents})
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range events {
		user := ""
		if e.UserID != "" {
			u, err := r.Store.UserByID(ctx, e.UserID)
			if err != nil {
				tb.Fatal(e.UserID, err)
			}
			user = u.Username
		}
		line := []string{e.Detail["code"], e.Detail["count"], e.Detail["method"], e.Detail["provider"], e.ClientID, user, e.IP}
		for i := range line {
			line[i] = cmp.Or(line[i], "-")
		}
		out = append(out, strings.Join(line, " "))
	}
	slices.Sort(out)
	return out
}

// WantRefused expects exactly these events; see [Rig.RefusedLogins].
func (r *Rig) WantRefused(tb testing.TB, want ...string) {
	tb.Helper()
	slices.Sort(want)
	if got := r.RefusedLogins(tb); !slices.Equal(got, want) {
		tb.Errorf("refused logins in the audit log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
