package storage_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// crowded is a broker with two connections, and what five hundred clients get that
// log in, refresh and ask who they are at once.
func crowded(t *testing.T, r *harness.Rig, tokens []string) (served, later int64) {
	t.Helper()
	var ok, busy atomic.Int64
	var all sync.WaitGroup
	device := broker.Device{IP: "192.0.2.1"}
	for i := range 500 {
		all.Go(func() {
			var err error
			if i%25 == 0 {
				_, err = r.Broker.LoginPassword(ctx, "anna", harness.PasswordOf("anna"), device)
			} else {
				_, err = r.Broker.Refresh(ctx, tokens[i%len(tokens)], broker.AppClientID, device)
			}
			switch {
			case err == nil:
				ok.Add(1)
			case broker.CodeOf(err) == broker.TemporarilyUnavailable:
				busy.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	return ok.Load(), busy.Load()
}

// R15: two connections and five hundred clients. They queue, none waits for another
// in a circle, and where no turn comes they are told so after a while.
func TestFewConnectionsAndManyClients(t *testing.T) {
	for kind, url := range map[string]string{"sqlite": "sqlite:" + t.TempDir() + "/latchkey.db", "postgres": pgtest.Shared(t).NewDatabase(t)} {
		t.Run(kind, func(t *testing.T) {
			r := harness.New(t, url, nil)
			r.User(t, "anna", broker.RoleUser)
			tokens := []string{}
			for range 100 {
				tokens = append(tokens, r.Login(t, "anna").RefreshToken.Reveal())
			}
			r.Clock.Advance(11 * time.Minute)
			r.Store.Narrow(2)
			if served, later := crowded(t, r, tokens); served < 400 {
				t.Errorf("%d were served, %d told to come again", served, later)
			}
			r.Clock.Advance(11 * time.Minute)
			free := make(chan struct{})
			var held sync.WaitGroup
			for range 2 { // whoever writes on SQLite has all of its turns
				taken := make(chan struct{})
				held.Go(func() {
					_ = r.Store.Tx(context.Background(), func(broker.Store) error {
						close(taken)
						<-free
						return nil
					})
				})
				<-taken
				if kind == "sqlite" {
					break
				}
			}
			begun := time.Now()
			if kind == "sqlite" {
				if _, later := crowded(t, r, tokens); later == 0 {
					t.Error("nobody was told to come again")
				}
			} else if err := r.Store.Tx(ctx, func(broker.Store) error { return nil }); broker.CodeOf(err) != broker.TemporarilyUnavailable {
				t.Errorf("without a turn: %v", err)
			}
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("the last one was told after %v", took)
			}
			close(free)
			held.Wait()
			if served, later := crowded(t, r, tokens); served < 400 {
				t.Errorf("afterwards %d were served, %d told to come again", served, later)
			}
		})
	}
}
