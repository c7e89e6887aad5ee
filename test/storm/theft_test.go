package storm

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// victim is a session whose store was copied. Owner and thief come in turn, their
// calls more than the grace apart, until both are refused.
type victim struct {
	owner, thief *honest
	noticed      bool
}

// maxTurns is more than it takes, also where crashes lose an advance in between.
const maxTurns = 16

func (v *victim) live(ctx context.Context) {
	for turn := range maxTurns {
		who := v.owner
		if turn%2 == 1 {
			who = v.thief
		}
		if v.noticed = who.call(ctx); v.noticed {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(grace + 2*clientLimit):
		}
	}
}

// call presents the stored token until there is an answer; refused reports whether
// that was the end of the session.
func (s *honest) call(ctx context.Context) (refused bool) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, 10*clientLimit)
		r, err := post(limited, s.client, s.node().url("/auth/refresh"), s.stored(), "")
		cancel()
		_, token := r.tokens()
		switch {
		case err != nil:
			time.Sleep(20 * time.Millisecond)
		case r.status == http.StatusOK && token != "":
			s.store(token)
			return false
		case r.status == http.StatusUnauthorized && r.code() == "token_reused":
			return true
		default:
			s.later(r)
		}
	}
	return false
}

// checkVictim says 1 where the theft was noticed: the session has ended, for that
// cause, and neither gets in again.
func (s *storm) checkVictim(v *victim) int {
	if !v.noticed {
		if !s.Failed() {
			s.Errorf("the theft of session %s was not noticed; row: %s", v.owner.id, s.row(v.owner.id))
		}
		return 0
	}
	for _, who := range []*honest{v.owner, v.thief} {
		r, err := post(context.Background(), patient, s.nodes[0].url("/auth/refresh"), who.stored(), "")
		if err != nil || r.status != http.StatusUnauthorized || r.code() != "token_reused" {
			s.Errorf("a session whose theft was noticed says %v %v", r, err)
		}
	}
	return 1
}

// bystander asks for the keys all the time: an answer that has nothing to do with
// what fails.
type bystander struct {
	mu   sync.Mutex
	took []time.Duration
}

func (b *bystander) watch(ctx context.Context, nodes []*process) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		began := time.Now()
		res, err := client.Get(nodes[i%len(nodes)].url("/.well-known/jwks.json"))
		if err == nil {
			_ = res.Body.Close()
		}
		if err == nil && res.StatusCode == http.StatusOK { // else the program is down
			b.mu.Lock()
			b.took = append(b.took, time.Since(began))
			b.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (b *bystander) p99() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.took) == 0 {
		return 0
	}
	slices.Sort(b.took)
	return b.took[len(b.took)*99/100].Round(10 * time.Microsecond)
}
