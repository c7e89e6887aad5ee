package storm

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

var patient = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// refreshOnce presents a token and fails the test where nobody answers.
func refreshOnce(p *process, token string) reply {
	p.tb.Helper()
	r, err := post(context.Background(), patient, p.url("/auth/refresh"), token, "")
	if err != nil {
		p.tb.Fatalf("refreshing: %v", err)
	}
	return r
}

// wantUnavailable: not ready, and nothing said about the token.
func wantUnavailable(p *process, token string) {
	p.tb.Helper()
	if got := p.status("/healthz"); got != http.StatusOK {
		p.tb.Errorf("/healthz answers %d, want 200", got)
	}
	if got := p.status("/readyz"); got != http.StatusServiceUnavailable {
		p.tb.Errorf("/readyz answers %d, want 503", got)
	}
	r := refreshOnce(p, token)
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.code() != "temporarily_unavailable" || r.header.Get("Latchkey-Verdict") != "retry" {
		p.tb.Errorf("a refresh is answered %v, Retry-After %q, verdict %q, want 503 and retry", r, r.header.Get("Retry-After"), r.header.Get("Latchkey-Verdict"))
	}
}

func TestSQLiteLockedOut(t *testing.T) {
	database := sqliteURL(t)
	right := start(t, database)
	_, token := login(right)
	wrong := newProcess(t, database, "JWT_SECRET_KEY=another root secret, as long as the first")
	wrong.launch()
	wrong.waitFor("/healthz", http.StatusOK, 30*time.Second)
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(100 * time.Millisecond) {
		wantUnavailable(wrong, token) // also after it has looked again
	}
	if !strings.Contains(wrong.output(), "JWT_SECRET_KEY") {
		t.Error("its log does not say which setting is wrong")
	}
	if r := refreshOnce(right, token); r.status != http.StatusOK {
		t.Errorf("the process with the right secret answers %v", r)
	}
}

func TestDatabaseComesLater(t *testing.T) {
	pg := pgtest.MustStart(t)
	database := pg.NewDatabase(t)
	early := start(t, database)
	_, token := login(early)
	early.kill()
	if err := pg.StopFast(); err != nil {
		t.Fatal(err)
	}
	p := newProcess(t, database)
	p.launch()
	p.waitFor("/healthz", http.StatusOK, 30*time.Second)
	for range 10 {
		wantUnavailable(p, token)
		time.Sleep(50 * time.Millisecond)
	}
	if err := pg.StartAgain(); err != nil {
		t.Fatal(err)
	}
	took := p.waitFor("/readyz", http.StatusOK, healWithin)
	if r := refreshOnce(p, token); r.status != http.StatusOK {
		t.Errorf("a refresh is answered %v", r)
	}
	t.Logf("ready %v after PostgreSQL", took.Round(time.Millisecond))
}

func TestTerminateWhileTheDatabaseIsAway(t *testing.T) {
	p := newProcess(t, "postgres://nobody@"+freeAddress(t)+"/none?sslmode=disable")
	p.launch()
	p.waitFor("/healthz", http.StatusOK, 30*time.Second)
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(10 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// lockDatabase keeps every writer of a SQLite database waiting.
func lockDatabase(t *testing.T, database string) (release func()) {
	t.Helper()
	tx, err := openDB(t, database).Begin() // immediate
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

func TestTerminateDrains(t *testing.T) {
	database := sqliteURL(t)
	p := start(t, database)
	_, token := login(p)
	time.Sleep(grace) // from now on a refresh has something to write
	release := lockDatabase(t, database)
	began, answered := time.Now(), make(chan reply, 1)
	go func() {
		r, err := post(context.Background(), patient, p.url("/auth/refresh"), token, "")
		if err != nil {
			t.Errorf("the request under way: %v", err)
		}
		answered <- r
	}()
	time.Sleep(grace / 2)
	p.signal(syscall.SIGTERM)
	for p.status("/healthz") != 0 && time.Since(began) < 10*time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	if !p.now.Running() || len(answered) != 0 {
		t.Fatal("nothing was under way any more when the listener was closed")
	}
	time.Sleep(grace / 2)
	release()
	if r := <-answered; r.status != http.StatusOK {
		t.Errorf("the request under way was answered %v", r)
	}
	if code := p.exitCode(10 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("drained in %v", time.Since(began).Round(time.Millisecond))
}

// TestGoneCallerIsNotServed: whoever has given up comes again. On SQLite, where what
// is to be written may wait for long, what was left behind must not move the session
// later, when the answer reaches nobody. On PostgreSQL it may: a statement runs to its
// end there, and what it did is an answer that was lost.
func TestGoneCallerIsNotServed(t *testing.T) {
	for name, body := range map[string]string{"no body": "", "empty object": "{}"} {
		t.Run(name, func(t *testing.T) {
			database := sqliteURL(t)
			p := start(t, database)
			id, token := login(p)
			time.Sleep(grace)
			release := lockDatabase(t, database)
			ctx, cancel := context.WithTimeout(context.Background(), clientLimit)
			defer cancel()
			if r, err := post(ctx, patient, p.url("/auth/refresh"), token, body); err == nil {
				t.Fatalf("a refresh that cannot be written was answered %v", r)
			}
			time.Sleep(clientLimit)
			release()
			time.Sleep(2 * grace)
			if n := number(t, openDB(t, database), `SELECT rt_gen FROM sessions WHERE id = $1`, id); n != 0 {
				t.Errorf("the session is at generation %d, want 0: its caller had gone", n)
			}
		})
	}
}

// TestTwoStartAtOnce on an empty database: one migrates, one makes the
// administrator and the key, and nobody waits for long.
func TestTwoStartAtOnce(t *testing.T) {
	for name, database := range map[string]string{"sqlite": sqliteURL(t), "postgres": pgtest.Shared(t).NewDatabase(t)} {
		t.Run(name, func(t *testing.T) {
			two := []*process{newProcess(t, database), newProcess(t, database)}
			for _, p := range two {
				p.launch()
			}
			slowest := time.Duration(0)
			for _, p := range two {
				slowest = max(slowest, p.waitFor("/readyz", http.StatusOK, healWithin))
			}
			db := openDB(t, database)
			if n := number(t, db, `SELECT COUNT(*) FROM users`); n != 1 {
				t.Errorf("%d users, want 1", n)
			}
			// One of each algorithm; that of ID tokens may come a moment later.
			keys, algorithms := number(t, db, `SELECT COUNT(*) FROM signing_keys`), number(t, db, `SELECT COUNT(DISTINCT algorithm) FROM signing_keys`)
			if keys < 2 || keys != algorithms {
				t.Errorf("%d signing keys of %d algorithms", keys, algorithms)
			}
			_, token := login(two[0])
			if r := refreshOnce(two[1], token); r.status != http.StatusOK {
				t.Errorf("one's token is answered %v by the other", r)
			}
			t.Logf("ready in %v", slowest.Round(time.Millisecond))
		})
	}
}

// TestDatabaseBreaksOffAtStart cuts every connection after some bytes, more
// each time, so that the start meets the fault in all its steps. It goes on.
func TestDatabaseBreaksOffAtStart(t *testing.T) {
	database := pgtest.Shared(t).NewDatabase(t)
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const cuts = 6
	server, taken := u.Host, atomic.Int64{}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			bytes := 350 * taken.Add(1)
			if bytes > 350*cuts {
				bytes = math.MaxInt64
			}
			go forward(client, server, bytes)
		}
	}()
	u.Host = l.Addr().String()
	p := newProcess(t, u.String())
	p.launch()
	took := p.waitFor("/readyz", http.StatusOK, time.Minute)
	if taken.Load() <= cuts {
		t.Errorf("only %d connections were cut, want %d", taken.Load(), cuts)
	}
	t.Logf("ready in %v", took.Round(time.Millisecond))
}

// forward joins a client to a server until the server has said so many bytes.
func forward(client net.Conn, address string, bytes int64) {
	defer client.Close()
	server, err := net.Dial("tcp4", address)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client) // ends when either is closed
		_ = server.Close()
	}()
	_, _ = io.CopyN(client, server, bytes)
}

func TestWrongPostgresPassword(t *testing.T) {
	const right = "the right one"
	_, with := pgtest.MustStartAsking(t, right)
	start(t, with(right))
	const wrong = "hunter2-hunter2"
	p := newProcess(t, with(wrong))
	p.launch()
	if code := p.exitCode(20 * time.Second); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	var said []string
	for line := range strings.Lines(p.output()) {
		if strings.HasPrefix(line, "latchkey:") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], `password authentication failed for user "latchkey"`) {
		t.Errorf("it says %q, want one line about the password of latchkey", said)
	}
	if strings.Contains(p.output(), wrong) || strings.Contains(p.output(), url.QueryEscape(wrong)) {
		t.Error("its log has the password")
	}
	if n := strings.Count(p.output(), "\n"); n > 4 {
		t.Errorf("it says %d lines before it gives up", n)
	}
	t.Logf("%s", strings.TrimSpace(strings.Join(said, "")))
}
