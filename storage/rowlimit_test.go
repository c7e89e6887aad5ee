package storage_test

import (
	"errors"
	"testing"

	"github.com/lib/pq"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// R14: what waits for a row that another transaction holds is ended by the limit on
// just that (SQLSTATE 55P03), before the one on statements is reached (57014), and is
// told to come again.
func TestHeldRowEndsTheWait(t *testing.T) {
	url := pgtest.Shared(t).NewDatabase(t)
	r, db := harness.New(t, url, nil), raw(t, url)
	u := r.User(t, "anna", broker.RoleUser)
	letGo := hold(t, db, u.ID)
	set := func(store broker.Store) error { return store.SetLanguage(ctx, u.ID, "de") }
	for how, err := range map[string]error{"a statement": set(r.Store), "a transaction": r.Store.Tx(ctx, set)} {
		if pe, ok := errors.AsType[*pq.Error](err); !ok || pe.Code != "55P03" || broker.CodeOf(err) != broker.TemporarilyUnavailable {
			t.Errorf("%s: %v", how, err)
		}
	}
	letGo()
	if err := set(r.Store); err != nil {
		t.Errorf("once it is let go: %v", err)
	}
}
