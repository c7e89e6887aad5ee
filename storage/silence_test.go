package storage_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// gag is a proxy in front of PostgreSQL that can fall silent: connections stay,
// and nothing comes back.
type gag struct {
	listener net.Listener
	silent   atomic.Bool
	wg       sync.WaitGroup
}

func newGag(t *testing.T, target string) *gag {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gag{listener: l}
	t.Cleanup(func() { l.Close(); g.wg.Wait() })
	g.wg.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				from.Close()
				continue
			}
			g.wg.Go(func() { defer to.Close(); g.pass(to, from) })
			g.wg.Go(func() { defer from.Close(); g.pass(from, to) })
		}
	})
	return g
}

func (g *gag) pass(to io.Writer, from io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if g.silent.Load() {
			continue // swallowed
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A server that stands still is trouble after a few seconds, and a server that
// is back is used again.
func TestSilentServerIsTroubleAndHeals(t *testing.T) {
	u, err := url.Parse(pgtest.Shared(t).NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	g := newGag(t, u.Host)
	u.Host = g.listener.Addr().String()
	s, err := storage.Open(context.Background(), storage.Options{URL: u.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	g.silent.Store(true)
	answer := make(chan error, 1)
	go func() { answer <- s.Ping(context.Background()) }()
	select {
	case err := <-answer:
		if !errors.Is(err, broker.TemporarilyUnavailable) {
			t.Fatalf("%v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for ever")
	}
	g.silent.Store(false)
	for deadline := time.Now().Add(30 * time.Second); ; {
		if err = s.Ping(context.Background()); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// An edit must not undo what another administrator decides at the same moment.
func TestRenameDoesNotUndoADisabling(t *testing.T) {
	r := harness.New(t, pgtest.Shared(t).NewDatabase(t), nil)
	ctx, name := context.Background(), "Anna"
	for i := range 20 {
		u := r.User(t, "user-"+string(rune('a'+i)), broker.RoleUser)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := r.Broker.UpdateUser(ctx, u.ID, broker.UserChange{Name: &name}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := r.Broker.SetDisabled(ctx, u.ID, true); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		after, err := r.Store.UserByID(ctx, u.ID)
		if err != nil || after.DisabledAt.IsZero() || after.Name != name {
			t.Fatalf("%+v %v", after, err)
		}
	}
}
