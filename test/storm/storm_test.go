package storm

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/document"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// size is how big a storm is.
type size struct {
	sessions  int
	refreshes int           // at least; 0: as many as there are
	faults    int           // kills, at least
	crashes   int           // of PostgreSQL, at least
	lasts     time.Duration // at least
	pause     time.Duration // of each client between two exchanges, about
	victims   int           // of thieves
	calm      time.Duration // between two kills, at most: thousands need time to come back
	writes    int           // that are killed before their commit
	reader    time.Duration // stays at least so long
	devices   int           // come all at once after an outage, live through a restore, and a full disk
	disk      int64         // bytes
}

// short is the storm of every test run, long that of `make storm`.
var (
	short = size{sessions: 24, lasts: 25 * time.Second, pause: 7 * grace / 10, faults: 6, crashes: 6, victims: 4, calm: 3500 * time.Millisecond,
		writes: 3, devices: 200, disk: 8 << 20}
	long = size{sessions: 10_000, lasts: 15 * time.Minute, pause: 7 * time.Second, faults: 200, crashes: 50, refreshes: 1_000_000, victims: 100, calm: 20 * time.Second,
		writes: 250, reader: 10 * time.Minute, devices: 10_000, disk: 64 << 20}
)

// stormVariable chooses the size.
const stormVariable = "LATCHKEY_TEST_STORM"

// stormSize is short, unless the variable is "long".
func stormSize(tb testing.TB) size {
	tb.Helper()
	switch text := os.Getenv(stormVariable); text {
	case "":
		return short
	case "long":
		return long
	default:
		tb.Fatalf("%s=%s: want long, or nothing", stormVariable, text)
		return size{}
	}
}

// storm is a crowd of honest clients on one database, under faults, and some
// whose store was copied by a thief.
type storm struct {
	*testing.T
	size
	url     string
	nodes   []*process
	db      *sql.DB
	crowd   []*honest
	victims []*victim
	rows    int // of table sessions
	counts  counts
	over    context.CancelFunc // ends the storm before its time
	ctx     context.Context
	gone    sync.WaitGroup
	began   time.Time
	bystand bystander

	mu           sync.Mutex
	falseLogouts int
}

// newStorm logs the crowd in and lets it go.
func newStorm(t *testing.T, url string, nodes ...*process) *storm {
	s := &storm{T: t, size: stormSize(t), url: url, nodes: nodes, db: openDB(t, url)}
	all := crowd(nodes[0], s.db, s.sessions+s.size.victims)
	s.rows = len(all) + 1 // with the one that the crowd was made of
	s.ctx, s.over = context.WithTimeout(context.Background(), 6*s.lasts)
	t.Cleanup(func() {
		s.over()
		s.gone.Wait()
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(client.CloseIdleConnections)
	for i, d := range all {
		c := &honest{id: d.id, token: d.token, nodes: nodes, counts: &s.counts, fail: s.falseLogout, client: client, pause: s.pause}
		switch {
		case i >= s.sessions:
			s.victims = append(s.victims, &victim{owner: c, thief: &honest{
				id: d.id, token: d.token, nodes: nodes, counts: &s.counts, fail: s.falseLogout, client: client,
			}})
			continue
		case i < s.sessions/3:
			c.leave = between(s.lasts/10, s.lasts*9/10)
		}
		if i%3 == 1 {
			c.body = "{}"
		}
		s.crowd = append(s.crowd, c)
	}
	s.began = time.Now()
	for _, c := range s.crowd {
		s.gone.Go(func() { c.live(s.ctx) })
	}
	for _, v := range s.victims {
		s.gone.Go(func() { v.live(s.ctx) })
	}
	s.gone.Go(func() { s.bystand.watch(s.ctx, nodes) })
	return s
}

// rages reports whether the storm goes on: for its time, and until there were
// enough refreshes, on a machine that is slower.
func (s *storm) rages() bool {
	return s.ctx.Err() == nil && (time.Since(s.began) < s.lasts || int(s.counts.refreshes.Load()) < s.refreshes)
}

// wait lets the storm do its work.
func (s *storm) wait(d time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-time.After(d):
	}
}

// falseLogout fails the test with everything that is known, and ends it.
func (s *storm) falseLogout(c *honest, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.falseLogouts++; s.falseLogouts > 3 {
		return // a few tell it all
	}
	g, b := pair(c.stored())
	s.Errorf("%v into the storm: %s\n  session %s, its token is of generation %d, branch %d\n  row: %s", time.Since(s.began), what, c.id, g, b, s.row(c.id))
	s.over()
}

// row prints a session's counters, waiting for a database that is away.
func (s *storm) row(id string) string {
	var gen, branch, advanced, issued int64
	var parent, ended sql.NullInt64
	var cause sql.NullString
	var err error
	for range 50 {
		err = s.db.QueryRow(`SELECT rt_gen, rt_branch, rt_parent_branch, rt_advanced_at, rt_issued_at, ended_at, end_cause FROM sessions WHERE id = $1`, id).
			Scan(&gen, &branch, &parent, &advanced, &issued, &ended, &cause)
		if err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	ago := func(ms int64) time.Duration { return time.Since(time.UnixMilli(ms)) }
	return fmt.Sprintf("rt_gen=%d rt_branch=%d rt_parent_branch=%v rt_advanced_at=%v ago rt_issued_at=%v ago ended_at=%v end_cause=%v (%v)",
		gen, branch, parent, ago(advanced), ago(issued), ended, cause.String, err)
}

// end calms the storm and checks what is left of everybody. faults are for the
// one line that it logs.
func (s *storm) end(faults string) {
	took := time.Since(s.began)
	s.over()
	s.gone.Wait()
	for _, n := range s.nodes {
		if n.now == nil {
			n.launch()
		}
		n.waitFor("/readyz", http.StatusOK, 30*time.Second)
	}
	generations := 0
	for _, c := range s.crowd {
		if c.ended {
			s.checkEnded(c)
		} else {
			s.checkAlive(c)
		}
		generations += number(s, s.db, `SELECT rt_gen FROM sessions WHERE id = $1`, c.id)
	}
	noticed := 0
	for _, v := range s.victims {
		noticed += s.checkVictim(v)
	}
	if n := number(s, s.db, `SELECT COUNT(*) FROM sessions`); n != s.rows {
		s.Errorf("%d rows of sessions, want %d: one for each", n, s.rows)
	}
	outcome := func(name string) int {
		return number(s, s.db, `SELECT COUNT(*) FROM audit_events WHERE name = $1`, "refresh."+name)
	}
	refreshes := int(s.counts.refreshes.Load())
	line := fmt.Sprintf("%d sessions (%d logged out) in %v: %d refreshes (%d generations); %s, %d lost answers, %d network errors, %d times 503; ahead %d, converge %d, reissue %d; "+
		"%d of %d thefts noticed; false logouts %d, ended sessions that came back %d; p99 of the keys beside it %v",
		s.sessions, s.counts.logouts.Load(), took.Round(time.Second), refreshes, generations,
		faults, s.counts.lost.Load(), s.counts.network.Load(), s.counts.unavailable.Load(),
		outcome("ahead"), outcome("converge"), outcome("reissue"), noticed, len(s.victims), s.falseLogouts, s.counts.back.Load(), s.bystand.p99())
	// A storm in which nothing happened has tested nothing.
	least := int(float64(s.sessions) * took.Seconds() / s.pause.Seconds() / 12)
	if !s.Failed() && (generations < least || outcome("converge") == 0 || outcome("reissue") == 0 || refreshes < s.refreshes) {
		s.Errorf("too little happened: want %d refreshes, %d generations, and both converge and reissue", s.refreshes, least)
	}
	record(s, line)
}

// record logs what was counted. Of the long form it goes into the proof, with the day,
// if all held.
func record(tb testing.TB, line string) {
	tb.Helper()
	tb.Log(line)
	if stormSize(tb) == long && !tb.Failed() {
		document.Part(tb, "../../docs/proof.md", strings.ReplaceAll(tb.Name(), "/", ""), "\n"+time.Now().UTC().Format(time.DateOnly)+": "+line+".\n\n")
	}
}

// checkAlive: the session still refreshes, and its row is where its token is.
func (s *storm) checkAlive(c *honest) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), clientLimit)
		token, _ := c.present(ctx)
		cancel()
		if token == "" && time.Now().Before(deadline) && !s.Failed() {
			continue
		}
		g, b := pair(token)
		if number(s, s.db, `SELECT COUNT(*) FROM sessions WHERE id = $1 AND rt_gen = $2 AND rt_branch = $3 AND ended_at IS NULL`, c.id, g, b) != 1 {
			s.Errorf("session %s: the last refresh gave %d, %d; row: %s", c.id, g, b, s.row(c.id))
		}
		return
	}
}

// checkEnded: no token that the session ever had yields another, anywhere.
func (s *storm) checkEnded(c *honest) {
	held := []string{c.token}
	if len(c.old) > 0 { // it may have left before any answer reached it
		held = append(held, c.old[0], c.old[len(c.old)-1])
	}
	for _, n := range s.nodes {
		for _, token := range held {
			r, err := post(context.Background(), &http.Client{Timeout: 10 * time.Second}, n.url("/auth/refresh"), token, "")
			if err == nil && r.status == http.StatusOK {
				s.counts.back.Add(1)
			}
			if err != nil || r.status != http.StatusUnauthorized || r.code() != "logged_out" {
				s.Errorf("session %s is logged out; its token is answered %v %v", c.id, r, err)
			}
		}
	}
}

func TestKillSQLite(t *testing.T) {
	url := sqliteURL(t)
	s := newStorm(t, url, start(t, url))
	s.end(s.killAround())
}

func TestKillOneOfTwoOnPostgres(t *testing.T) {
	url := pgtest.Shared(t).NewDatabase(t)
	s := newStorm(t, url, start(t, url), start(t, url))
	s.end(s.killAround())
}

// killAround kills latchkeys at random moments, some of them while they start.
func (s *storm) killAround() string {
	kills := 0
	for s.rages() || s.ctx.Err() == nil && kills < s.faults {
		s.wait(between(0, s.calm))
		n := s.nodes[rand.IntN(len(s.nodes))]
		for range 1 + rand.IntN(5)/4 {
			n.kill()
			kills++
			s.wait(between(0, grace/2))
			n.launch()
			s.wait(between(0, grace/5))
		}
		n.waitFor("/healthz", http.StatusOK, 30*time.Second)
	}
	if kills < s.faults {
		s.Errorf("only %d kills", kills)
	}
	return fmt.Sprintf("%d kills", kills)
}

const healWithin = 10 * time.Second

// crash stops PostgreSQL as a power cut would, starts it again, and waits until
// every latchkey refreshes. With a leaver it comes right after the answer to
// that session's logout; not always, since it makes all before it durable. It returns how often they said 503 meanwhile and
// how long after the start the last one was back.
func (s *storm) crash(pg *pgtest.Cluster, down time.Duration, probes []string, leaver string) (refused int, slowest time.Duration) {
	if leaver != "" {
		r, err := post(context.Background(), patient, s.nodes[0].url("/logout"), leaver, "")
		if err != nil || r.status != http.StatusOK {
			s.Fatalf("logging out: %v %v", r, err)
		}
	}
	if err := pg.StopImmediate(); err != nil {
		s.Fatal(err)
	}
	var back sync.WaitGroup
	healed, said := make([]time.Time, len(s.nodes)), make([]int, len(s.nodes))
	for i, n := range s.nodes {
		back.Go(func() { healed[i], said[i] = s.probe(n, probes[i]) })
	}
	time.Sleep(down)
	if err := pg.StartAgain(); err != nil {
		s.Fatal(err)
	}
	up := time.Now()
	back.Wait()
	for i := range s.nodes {
		refused, slowest = refused+said[i], max(slowest, healed[i].Sub(up))
	}
	for _, n := range s.nodes {
		if leaver == "" {
			break
		}
		if r := refreshOnce(n, leaver); r.status != http.StatusUnauthorized || r.code() != "logged_out" {
			s.Errorf("the session that was logged out before the crash says %v", r)
		}
	}
	if slowest > healWithin {
		s.Errorf("latchkey was back %v after PostgreSQL, want it within %v", slowest, healWithin)
	}
	return refused, slowest
}

// probe presents one token again and again, and waits longer than latchkey
// tries inside: an answer that was never stored is answered for ever.
func (s *storm) probe(n *process, token string) (healed time.Time, refused int) {
	client := &http.Client{Timeout: 15 * time.Second}
	defer client.CloseIdleConnections()
	for range 1000 {
		r, err := post(context.Background(), client, n.url("/auth/refresh"), token, "")
		switch {
		case err != nil:
			s.Errorf("a latchkey without its database does not answer: %v", err)
			return time.Now(), refused
		case r.status == http.StatusOK:
			return time.Now(), refused
		case r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.code() != "temporarily_unavailable":
			s.Errorf("a latchkey without its database answers %v, Retry-After %q", r, r.header.Get("Retry-After"))
			return time.Now(), refused
		}
		refused++
		time.Sleep(50 * time.Millisecond)
	}
	s.Error("latchkey does not heal")
	return time.Now(), refused
}

// TestCrashPostgres crashes the database under two latchkeys that stay up,
// until a crash has lost commits that an answer was given for.
func TestCrashPostgres(t *testing.T) {
	// The longest that PostgreSQL may wait before it writes relaxed commits.
	pg := pgtest.MustStart(t, pgtest.WithSetting("wal_writer_delay", "10s"))
	url := pg.NewDatabase(t)
	nodes := []*process{start(t, url), start(t, url)}
	up := time.Now()
	probes := []string{}
	for _, n := range nodes {
		_, token := login(n)
		probes = append(probes, token)
	}
	s := newStorm(t, url, nodes...)
	s.rows += len(probes)
	crashes, refused, slowest, long := 0, 0, time.Duration(0), false
	ahead := func() int { return number(t, s.db, `SELECT COUNT(*) FROM audit_events WHERE name = 'refresh.ahead'`) }
	for s.ctx.Err() == nil && (s.rages() || crashes < s.size.crashes || ahead() == 0 && crashes < 3*s.size.crashes) {
		leaver := ""
		if crashes%3 == 0 {
			_, leaver = login(nodes[0])
			s.rows++
		}
		s.wait(between(grace, 2*grace))
		down := between(0, grace)
		if !long && time.Since(up) > 11*time.Second {
			// Once for longer than latchkey tries inside, over its 15 s of reloading.
			long, down = true, 8*time.Second
		}
		r, slow := s.crash(pg, down, probes, leaver)
		crashes, refused, slowest = crashes+1, refused+r, max(slowest, slow)
	}
	s.end(fmt.Sprintf("%d crashes (the slowest healed in %v, %d probes were answered 503)", crashes, slowest.Round(time.Millisecond), refused))
	if ahead() == 0 {
		t.Errorf("no refresh.ahead after %d crashes", crashes)
	}
	if refused == 0 {
		t.Error("nobody was answered 503")
	}
}
