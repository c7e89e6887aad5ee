package storm

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// R12: the connection is cut after a write was made durable and before its answer:
// what is tried again inside makes no second session and uses up no second token.
func TestLostCommitIsMadeOnce(t *testing.T) {
	t.Parallel()
	database := pgtest.Shared(t).NewDatabase(t)
	wire, through := harness.WireTo(t, database)
	p, db := start(t, through), openDB(t, database)
	cut := 0
	losing := func(what string, do func(), words ...string) {
		t.Helper()
		wire.Lose(words...)
		do()
		if cut++; wire.Lost() != cut {
			t.Errorf("%s: no answer was lost", what)
		}
	}
	var id, token string
	losing("a login", func() { id, token = login(p) }, "INSERT INTO sessions", "COMMIT")
	if n := number(t, db, `SELECT COUNT(*) FROM sessions`); n != 1 {
		t.Errorf("one login made %d sessions", n)
	}
	at := func(what string, gen, branch int) {
		t.Helper()
		if n := number(t, db, `SELECT COUNT(*) FROM sessions WHERE id = $1 AND rt_gen = $2 AND rt_branch = $3 AND ended_at IS NULL`, id, gen, branch); n != 1 {
			t.Errorf("after %s the session is not at (%d, %d)", what, gen, branch)
		}
	}
	refreshed := func(token string) (next string) {
		r := refreshOnce(p, token)
		if _, next = r.tokens(); r.status != http.StatusOK {
			t.Fatalf("a refresh: %v", r)
		}
		return next
	}
	parent := token
	time.Sleep(grace)
	losing("an advance", func() { token = refreshed(parent) }, id) // one statement, which names the session
	at("an advance", 1, 0)
	time.Sleep(grace)
	losing("a reissue", func() { token = refreshed(parent) }, "UPDATE sessions", "COMMIT")
	at("a reissue", 1, 1)
	losing("a converging refresh", func() { token = refreshed(parent) }, "UPDATE sessions", "COMMIT")
	at("a converging refresh", 1, 1)
	losing("a logout", func() {
		if r, err := post(context.Background(), patient, p.url("/logout"), token, ""); err != nil || r.status != http.StatusOK {
			t.Fatalf("a logout: %v %v", r, err)
		}
	}, "UPDATE sessions", "COMMIT")
	if r := refreshOnce(p, token); r.code() != "logged_out" {
		t.Errorf("after the logout: %v", r)
	}
	if n := number(t, db, `SELECT COUNT(*) FROM audit_events WHERE name = 'session.ended'`); n != 1 {
		t.Errorf("one logout is told %d times", n)
	}
}

// later is an answer that says nothing about the token.
func (r reply) later() bool {
	return r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != "" && r.header.Get("Latchkey-Verdict") == "retry"
}

// tryLogin waits for its turn as long as the server lets it.
func tryLogin(p *process, password string) reply { return attempt(p, username, password, "127.0.0.1") }

// attempt is a login with a password from an address, which counts where the proxy
// before p is trusted.
func attempt(p *process, name, password, address string) reply {
	req, err := http.NewRequest(http.MethodPost, p.url("/login"), strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, name, password)))
	if err != nil {
		p.tb.Error(err)
		return reply{}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", address)
	r, err := do(&http.Client{Timeout: time.Minute}, req)
	if err != nil {
		p.tb.Errorf("a login: %v", err)
	}
	return r
}

// atOnce refreshes each device once, all at the same time.
func atOnce(p *process, devices []*device) []reply {
	answers := make([]reply, len(devices))
	var all sync.WaitGroup
	for i, d := range devices {
		all.Go(func() { answers[i] = d.refresh(p) })
	}
	all.Wait()
	return answers
}

// heal refreshes each device until it is answered 200, and nothing but "later" before.
func heal(p *process, devices []*device, within time.Duration) {
	p.tb.Helper()
	var all sync.WaitGroup
	for _, d := range devices {
		all.Go(func() {
			for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				r := d.refresh(p)
				if r.status == http.StatusOK {
					return
				}
				if !r.later() || time.Since(began) > within {
					p.tb.Errorf("device %s after %v: %v", d.id, time.Since(began).Round(time.Millisecond), r)
					return
				}
			}
		})
	}
	all.Wait()
}

// R11: connections stay with a primary that became a standby, and take no more
// writes: 503, and once there is a primary no restart is needed.
func TestReadOnlyPrimary(t *testing.T) {
	t.Parallel()
	database := pgtest.Shared(t).NewDatabase(t)
	p, db := start(t, database), openDB(t, database+"&default_transaction_read_only=off")
	devices := crowd(p, db, 20)
	time.Sleep(grace)
	exec := func(statement string) {
		t.Helper()
		if _, err := db.Exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I ` + statement + `', current_database()); END $$`); err != nil {
			t.Fatal(err)
		}
	}
	exec(`SET default_transaction_read_only = on`) // of connections that are made from now
	number(t, db, `SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'latchkey' AND datname = current_database()`)
	for _, r := range atOnce(p, devices) {
		if !r.later() {
			t.Errorf("a refresh that cannot be written: %v", r)
		}
	}
	if !strings.Contains(p.output(), "read-only transaction") {
		t.Error("the log does not say why")
	}
	exec(`RESET default_transaction_read_only`) // those that there are keep to it
	heal(p, devices, healWithin)
}

// R13: the database answers late, or not at all. Whoever refreshes is answered, or told
// to come again, and soon; whatever needs no database is answered meanwhile as ever.
func TestSlowDatabase(t *testing.T) {
	t.Parallel()
	const silent = "silent"
	for name, slow := range map[string]func(*harness.Wire){
		"five seconds late":  func(w *harness.Wire) { w.Delay(5 * time.Second) },
		"sixty seconds late": func(w *harness.Wire) { w.Delay(time.Minute) },
		silent:               func(w *harness.Wire) { w.Hold(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.Shared(t).NewDatabase(t)
			wire, through := harness.WireTo(t, database)
			p := start(t, through)
			devices := crowd(p, openDB(t, database), 60)
			heal(p, devices, healWithin)
			time.Sleep(grace)
			slow(wire)
			began := time.Now()
			for _, r := range meanwhile(p, func() []reply { return atOnce(p, devices) }) {
				if !r.later() && (r.status != http.StatusOK || name == silent) {
					t.Errorf("a refresh: %v", r)
				}
			}
			if took := time.Since(began); took > 18*time.Second {
				t.Errorf("the last one was answered after %v", took)
			}
			wire.Hold(false)
			wire.Delay(0)
			heal(p, devices, healWithin)
		})
	}
}

// meanwhile does what takes seconds, and asks all the while for what needs no database.
func meanwhile(p *process, do func() []reply) (answers []reply) {
	p.tb.Helper()
	over := make(chan []reply)
	go func() { over <- do() }()
	for n := 0; ; n++ {
		for _, path := range []string{"/healthz", "/.well-known/jwks.json", "/.well-known/openid-configuration"} {
			asked := time.Now()
			if got := p.status(path); got != http.StatusOK || time.Since(asked) > 2*time.Second {
				p.tb.Errorf("%s: %d after %v", path, got, time.Since(asked))
			}
		}
		select {
		case answers := <-over:
			if n < 10 {
				p.tb.Errorf("the others were asked %d times", n)
			}
			return answers
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// R14: another transaction holds the row of one session. However often that one
// comes, only it has to wait.
func TestOneRowIsLocked(t *testing.T) {
	t.Parallel()
	database := pgtest.Shared(t).NewDatabase(t)
	p, db := start(t, database), openDB(t, database)
	devices := crowd(p, db, 21)
	victim, others := devices[0], devices[1:]
	time.Sleep(grace)
	holder, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback() }()
	if _, err := holder.Exec(`SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE`, victim.id); err != nil {
		t.Fatal(err)
	}
	many := make([]*device, 40)
	for i := range many {
		many[i] = &device{id: victim.id, token: victim.token}
	}
	locked := make(chan []reply, 1)
	go func() { locked <- atOnce(p, many) }()
	for began := time.Now(); number(t, db, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 0; {
		if time.Since(began) > 10*time.Second {
			t.Fatal("nobody waits for the row")
		}
	}
	rounds := 0
	for ; len(locked) == 0; rounds++ {
		for _, r := range atOnce(p, others) {
			if r.status != http.StatusOK {
				t.Errorf("another session: %v", r)
			}
		}
	}
	if rounds < 2 {
		t.Errorf("the others refreshed %d times", rounds)
	}
	for _, r := range <-locked {
		if !r.later() {
			t.Errorf("the session whose row is locked: %v", r)
		}
	}
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	heal(p, devices, healWithin)
}

// R38: one of two replicas is parted from the database. It says so; once the
// network heals it knows at once what ended meanwhile, and what it had sent before
// undoes nothing.
func TestPartedFromTheDatabase(t *testing.T) {
	t.Parallel()
	database := pgtest.Shared(t).NewDatabase(t)
	wire, through := harness.WireTo(t, database)
	near, far := start(t, database), start(t, through)
	devices := crowd(near, openDB(t, database), 12)
	heal(far, devices, healWithin)
	gone, goneAccess := devices[0], accessOf(devices[0].refresh(far))
	if r := call(far, "GET", "/api/me", goneAccess, ""); r.status != http.StatusOK {
		t.Fatalf("before: %v", r)
	}
	time.Sleep(grace)
	wire.Hold(true)
	for i, r := range atOnce(far, devices) { // what they write arrives once the network heals
		if !r.later() {
			t.Errorf("device %d, parted: %v", i, r)
		}
	}
	far.waitFor("/readyz", http.StatusServiceUnavailable, 10*time.Second)
	if r := call(far, "GET", "/api/me", goneAccess, ""); !r.later() {
		t.Errorf("an access token, parted: %v", r)
	}
	heal(near, devices, healWithin)
	time.Sleep(grace)
	heal(near, devices, healWithin) // a generation further
	if r, err := post(context.Background(), ready, near.url("/logout"), gone.token, ""); err != nil || r.status != http.StatusOK {
		t.Fatalf("a logout: %v %v", r, err)
	}
	wire.Hold(false)
	for began := time.Now(); far.status("/readyz") != http.StatusOK; {
		for what, r := range map[string]reply{"refresh": refreshOnce(far, gone.token), "access": call(far, "GET", "/api/me", goneAccess, "")} {
			if !r.later() && r.code() != "logged_out" {
				t.Errorf("after the network healed, %s of the session that ended: %v", what, r)
			}
		}
		if time.Since(began) > healWithin {
			t.Fatal("it does not heal")
		}
	}
	for range 5 {
		if r := refreshOnce(far, gone.token); r.code() != "logged_out" && !r.later() {
			t.Errorf("the session that ended: %v", r)
		}
		if r := call(far, "GET", "/api/me", goneAccess, ""); r.code() != "logged_out" && !r.later() {
			t.Errorf("its access token: %v", r)
		}
	}
	heal(far, devices[1:], healWithin)
	time.Sleep(grace)
	heal(near, devices[1:], healWithin)
}

// R43: after an outage everybody comes at once, and some log in. Nobody is refused,
// and all are served soon.
func TestAllComeAtOnceAfterAnOutage(t *testing.T) {
	t.Parallel()
	n := stormSize(t).devices
	database := pgtest.Shared(t).NewDatabase(t)
	wire, through := harness.WireTo(t, database)
	p := start(t, through)
	devices := crowd(p, openDB(t, database), n)
	heal(p, devices[:20], healWithin)
	wire.Cut(true)
	time.Sleep(3 * grace) // as far beyond the grace as half an hour is beyond that of ten minutes
	if r := devices[0].refresh(p); !r.later() {
		t.Errorf("during the outage: %v", r)
	}
	var logins sync.WaitGroup
	for i := range 16 {
		logins.Go(func() {
			given, want := password, http.StatusOK
			if i%2 == 0 {
				given, want = "wrong", http.StatusUnauthorized
			}
			if r := tryLogin(p, given); !r.later() && r.status != want {
				t.Errorf("login %d: %v", i, r)
			}
		})
	}
	began := time.Now()
	back := time.AfterFunc(time.Second, func() { wire.Cut(false) })
	defer back.Stop()
	heal(p, devices, time.Minute)
	line := fmt.Sprintf("%d devices were served in %v, the second of the outage that was left included", n, time.Since(began).Round(time.Millisecond))
	logins.Wait()
	record(t, line)
}
