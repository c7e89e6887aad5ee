package storm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// spells of load, after each of which the program rests and is looked at.
type spells struct {
	n    int
	each time.Duration
}

var (
	shortSpells = spells{n: 3, each: 3 * time.Second}
	longSpells  = spells{n: 12, each: 5 * time.Minute}
)

// held is what a process holds on to.
type held struct {
	goroutines, files int
	memory            int // resident, in MiB
}

// TestLeaks: what the load of a while has taken, the program gives back when it rests,
// and no more of it is kept after many such spells than after the first. In the
// long form, which is an hour, its memory stays as it is too.
func TestLeaks(t *testing.T) {
	for name, database := range map[string]string{"SQLite": sqliteURL(t), "PostgreSQL": pgtest.Shared(t).NewDatabase(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaks(t, database)
		})
	}
}

func leaks(t *testing.T, database string) {
	todo := shortSpells
	if stormSize(t) == long {
		todo = longSpells
	}
	metrics := freeAddress(t)
	p := start(t, database, "LATCHKEY_METRICS_LISTEN="+metrics)
	m := &mix{p: p}
	m.spell(todo.each) // what is made once is made now
	first := rest(t, metrics, held{})
	var memory []int
	last := first
	for range todo.n {
		m.spell(todo.each)
		last = rest(t, metrics, first)
		memory = append(memory, last.memory)
	}
	if last.goroutines > first.goroutines+restless || last.files > first.files+restless {
		t.Errorf("at rest after the first spell: %+v, after the last: %+v", first, last)
	}
	line := fmt.Sprintf("%d spells of %v, %d exchanges: goroutines at rest %d after the first and %d after the last, files %d and %d, resident memory %v MiB",
		todo.n, todo.each, m.exchanges, first.goroutines, last.goroutines, first.files, last.files, memory)
	if m.exchanges < 100*todo.n {
		t.Errorf("only %d exchanges: nothing was tried", m.exchanges)
	}
	if todo == longSpells { // in the short form the heap has not yet been as large as it becomes
		early, late := median(memory[todo.n/4:todo.n/2]), median(memory[todo.n*3/4:])
		if late > early*110/100 {
			t.Errorf("resident memory grows: %v MiB", memory)
		}
	}
	record(t, line)
}

func median(of []int) int {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// restless is how many goroutines and files come and go by themselves: a
// collector of the runtime, a connection of the pool, the scrape itself.
const restless = 6

// rest waits until the program holds no more than it did, and says what it holds.
// Against nothing it waits until that stays as it is.
func rest(t *testing.T, metrics string, before held) held {
	t.Helper()
	now := look(t, metrics)
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		then := now
		now = look(t, metrics)
		still := now.goroutines == then.goroutines && now.files == then.files
		if before == (held{}) && still || now.goroutines <= before.goroutines+restless && now.files <= before.files+restless {
			break
		}
	}
	return now
}

// look reads what the program holds.
func look(t *testing.T, metrics string) held {
	t.Helper()
	gauge := gauges(t, metrics)
	return held{gauge("go_goroutines"), gauge("process_open_fds"), gauge("process_resident_memory_bytes") >> 20}
}

// gauges reads the metrics; those without labels are to be had.
func gauges(t *testing.T, metrics string) func(name string) int {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string) int {
		t.Helper()
		_, rest, _ := strings.Cut(string(raw), "\n"+name+" ")
		var value float64
		if _, err := fmt.Sscan(rest, &value); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return int(value)
	}
}

// mix is a load of everything: logins, right and wrong, refreshes, calls,
// pages, garbage, and callers who go away.
type mix struct {
	p         *process
	mu        sync.Mutex
	exchanges int
}

// spell is eight clients for a while.
func (m *mix) spell(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				m.visit(ctx, client)
			}
		})
	}
	all.Wait()
}

// visit is what one device does from its login to its logout.
func (m *mix) visit(ctx context.Context, client *http.Client) {
	word := password
	if rand.IntN(4) == 0 {
		word = "not the password"
	}
	body, _ := json.Marshal(map[string]string{"username": username, "password": word})
	r := m.ask(ctx, client, http.MethodPost, "/login", body, "Content-Type", "application/json", "X-Return-Tokens", "true")
	_, token := r.tokens()
	for range 20 {
		cut, cancel := context.WithTimeout(ctx, between(0, 20*time.Millisecond))
		m.ask(cut, client, http.MethodPost, "/auth/refresh", nil, "X-Refresh-Token", token)
		cancel()
		r := m.ask(ctx, client, http.MethodPost, "/auth/refresh", nil, "X-Refresh-Token", token)
		if _, next := r.tokens(); next != "" {
			token = next
		}
		m.ask(ctx, client, http.MethodGet, "/api/me", nil, "Authorization", "Bearer "+r.access())
		m.ask(ctx, client, http.MethodGet, "/api/me", nil, "Authorization", "Bearer garbage")
		m.ask(ctx, client, http.MethodGet, "/login", nil)
		m.ask(ctx, client, http.MethodGet, "/.well-known/openid-configuration", nil)
		m.ask(ctx, client, http.MethodPost, "/oauth2/token", []byte("grant_type=refresh_token&client_id=nobody"), "Content-Type", "application/x-www-form-urlencoded")
	}
	m.ask(ctx, client, http.MethodPost, "/logout", nil, "X-Refresh-Token", token)
}

// access is the access token of a login or refresh.
func (r reply) access() string {
	var body struct {
		User struct {
			AccessToken string `json:"accessToken"`
		} `json:"user"`
	}
	_ = json.Unmarshal(r.body, &body) // what is missing is empty
	return body.User.AccessToken
}

func (m *mix) ask(ctx context.Context, client *http.Client, method, path string, body []byte, headers ...string) reply {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, m.p.url(path), content)
	if err != nil {
		m.p.tb.Error(err)
		return reply{}
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	r, err := do(client, req)
	if err == nil {
		m.mu.Lock()
		m.exchanges++
		m.mu.Unlock()
	}
	return r
}
