// Package measure is the work that every driver is given: the product's
// schema, its statements, its pools.
package measure

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-id/latchkey/migrations"
)

// Rows is how many sessions stand in the table.
const Rows = 100_000

const (
	readers = 4 // connections, as in the product
	lines   = 8 // goroutines that ask at once
)

// Figure is one number of one run.
type Figure struct {
	Name  string
	Value float64 // per second, or MiB
	P99   float64 // ms
}

// Main runs once on the file in the first argument, which it fills if it is
// not there, for the duration in the second, and prints figures as JSON.
// dsn makes a driver's data source name from a path and pragmas such as
// "synchronous(full)".
func Main(driver string, dsn func(path string, write bool, pragmas ...string) string) {
	path := os.Args[1]
	each, err := time.ParseDuration(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	open := func(size int, write bool, pragmas ...string) *sql.DB {
		db, err := sql.Open(driver, dsn(path, write, pragmas...))
		if err != nil {
			log.Fatal(err)
		}
		db.SetMaxOpenConns(size)
		db.SetMaxIdleConns(size)
		return db
	}
	m := &run{each: each, full: open(1, true, "synchronous(full)"), normal: open(1, true, "synchronous(normal)"), reader: open(readers, false)}
	m.fill()
	m.all()
	if err := json.NewEncoder(os.Stdout).Encode(m.figures); err != nil {
		log.Fatal(err)
	}
}

type run struct {
	each                 time.Duration
	full, normal, reader *sql.DB
	writing              sync.Mutex // the product's own: one writer at a time
	generation           []int64    // of each session
	figures              []Figure
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func sessionID(i int) string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", i) }
func userID(i int) string    { return fmt.Sprintf("01900000-0000-7000-9000-%012d", i) }

func (m *run) fill() {
	var n int
	if err := m.full.QueryRow(`SELECT COUNT(*) FROM sessions`).Scan(&n); err != nil {
		up := migrations.Up()[1]
		must(m.full.Exec(up))
		tx := must(m.full.Begin())
		user := must(tx.Prepare(`INSERT INTO users VALUES (?, ?, ?, 'A Name', ?, ?, 1, 'user', '["readers"]', ?, 1, 1, NULL, NULL)`))
		insert := must(tx.Prepare(insertSession))
		for i := range Rows {
			if i%10 == 0 {
				name := fmt.Sprintf("user%d", i)
				must(user.Exec(userID(i), name, name, name+"@example.org", name+"@example.org", strings.Repeat("h", 97)))
			}
			must(insert.Exec(insertArgs(sessionID(i), userID(i/10*10))...))
		}
		if err := tx.Commit(); err != nil {
			log.Fatal(err)
		}
	}
	m.generation = make([]int64, Rows)
	rows := must(m.full.Query(`SELECT id, rt_gen FROM sessions WHERE rt_gen > 0`))
	defer rows.Close()
	for rows.Next() {
		var id string
		var g int64
		if err := rows.Scan(&id, &g); err != nil {
			log.Fatal(err)
		}
		var i int
		must(fmt.Sscanf(id[24:], "%d", &i))
		m.generation[i] = g
	}
}

func insertArgs(id, user string) []any {
	now, later := time.Now().UnixMilli(), time.Now().Add(30*24*time.Hour).UnixMilli()
	return []any{id, user, now, now, now, later, later, now, now, later}
}

func (m *run) all() {
	write := func(db *sql.DB) func(context.Context) error {
		stmt := must(db.Prepare(advance))
		return func(ctx context.Context) error { return m.advance(ctx, stmt) }
	}
	full, normal := write(m.full), write(m.normal)
	sel, ins := must(m.reader.Prepare(selectSession)), must(m.full.Prepare(insertSession))
	read := func(ctx context.Context) error { return scan(sel.QueryContext(ctx, sessionID(rand.IntN(Rows)))) }
	insert := func(ctx context.Context) error {
		m.writing.Lock()
		defer m.writing.Unlock()
		_, err := ins.ExecContext(ctx, insertArgs(fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()), userID(0))...)
		return err
	}
	m.measure("read, 1 at a time", one(1, read))
	m.measure("read, 8 at a time", one(lines, read))
	m.measure("advance, NORMAL, 1 at a time", one(1, normal))
	m.measure("advance, NORMAL, 8 at a time", one(lines, normal))
	m.measure("advance, FULL, 1 at a time", one(1, full))
	m.measure("insert, FULL, 1 at a time", one(1, insert))
	m.measure("advance, NORMAL, beside 8 readers", one(1, normal), one(lines, read))
	m.measure("advance, FULL, beside 8 readers", one(1, full), one(lines, read))
	m.figures = append(m.figures, Figure{Name: "RSS at the end, MiB", Value: rss()})
}

func (m *run) advance(ctx context.Context, stmt *sql.Stmt) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	i := rand.IntN(Rows)
	now, later := time.Now().UnixMilli(), time.Now().Add(30*24*time.Hour).UnixMilli()
	g := m.generation[i]
	m.generation[i]++
	return scan(stmt.QueryContext(ctx, 0, now, now, now, "192.0.2.1", later, later, sessionID(i), g, 0, now, 0, 0, "app"))
}

// scan reads exactly one row of 27 columns.
func scan(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return fmt.Errorf("no row: %w", rows.Err())
	}
	var values [27]sql.RawBytes
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	return rows.Scan(into...)
}

type work struct {
	goroutines int
	do         func(context.Context) error
}

func one(goroutines int, do func(context.Context) error) work { return work{goroutines, do} }

// measure runs all works at once; beside the first, the second is a figure of
// its own.
func (m *run) measure(name string, works ...work) {
	var stop atomic.Bool
	var all sync.WaitGroup
	times := make([][]time.Duration, len(works))
	var mu sync.Mutex
	for w, x := range works {
		for range x.goroutines {
			all.Go(func() {
				var mine []time.Duration
				for !stop.Load() {
					// As a request's: the drivers watch a context that can be cancelled.
					ctx, cancel := context.WithCancel(context.Background())
					start := time.Now()
					if err := x.do(ctx); err != nil {
						log.Fatalf("%s: %v", name, err)
					}
					mine = append(mine, time.Since(start))
					cancel()
				}
				mu.Lock()
				times[w] = append(times[w], mine...)
				mu.Unlock()
			})
		}
	}
	time.Sleep(m.each)
	stop.Store(true)
	all.Wait()
	for w, took := range times {
		label := name
		if w > 0 {
			label = "  the 8 readers meanwhile"
			if strings.Contains(name, "FULL") {
				label += " (FULL)"
			}
		}
		slices.Sort(took)
		m.figures = append(m.figures, Figure{
			Name: label, Value: float64(len(took)) / m.each.Seconds(), P99: took[len(took)*99/100].Seconds() * 1000,
		})
	}
}

func rss() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kib float64
	_, _ = fmt.Sscan(after, &kib)
	return kib / 1024
}
