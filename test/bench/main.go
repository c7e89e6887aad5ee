// Command bench measures the product beside the ceiling of the machine, in one
// process and in turn, and says which of the speed goals are met.
//
//	go run ./test/bench [-quick] [-only refresh] [-db sqlite] [-cpuprofile file]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

type options struct {
	quick bool
	only  string
	db    string
	times int           // runs of each pair
	each  time.Duration // length of one
	long  int           // runs of what takes seconds
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "about a minute instead of five")
	flag.StringVar(&o.only, "only", "", "parts to run, separated by commas: refresh, me, jwks, storm, verify, sql, process")
	flag.StringVar(&o.db, "db", "", "sqlite or postgres; both without it")
	profile := flag.String("cpuprofile", "", "write a CPU profile of all that runs")
	flag.Parse()
	// Many short runs: what else the machine does then meets product and
	// ceiling alike.
	o.times, o.each, o.long = 25, 300*time.Millisecond, 5
	if o.quick {
		o.times, o.each, o.long = 9, 130*time.Millisecond, 3
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			log.Fatal(err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			log.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	if err := o.run(context.Background()); err != nil {
		pprof.StopCPUProfile()
		log.Fatal(err)
	}
}

func (o options) wants(part string) bool {
	return o.only == "" || strings.Contains(","+o.only+",", ","+part+",")
}

func (o options) run(ctx context.Context) (err error) {
	folder, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	fmt.Printf("%d cores for server, database and clients together; medians of %d runs of %s that alternate with the ceiling's\n", runtime.NumCPU(), o.times, o.each)
	r := newReport()
	if o.wants("process") {
		if err := o.process(ctx, r, folder); err != nil {
			return fmt.Errorf("process: %w", err)
		}
	}
	if o.wants("verify") {
		if err := o.verify(ctx, r); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	if o.wants("sql") && o.db != "sqlite" {
		if err := o.sql(ctx, r, folder); err != nil {
			return fmt.Errorf("sql: %w", err)
		}
	}
	var databases []database
	if o.db != "postgres" {
		databases = append(databases, sqliteAt(filepath.Join(folder, "bench.db")))
	}
	if o.db != "sqlite" && (o.wants("refresh") || o.wants("me") || o.wants("storm")) {
		cluster, err := pgtest.Start()
		if err != nil {
			return err
		}
		defer cluster.Close()
		databases = append(databases, postgresAt(cluster.URL("postgres")))
	}
	for i, d := range databases {
		if err := o.endpoints(ctx, r, d, i == 0); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	r.summary()
	return nil
}

// endpoints measures everything that is asked over HTTP.
func (o options) endpoints(ctx context.Context, r *report, d database, first bool) error {
	p, err := newProduct(ctx, d.url, func() (*sqlx.DB, error) { return d.open(d.relaxed, 1) })
	if err != nil {
		return err
	}
	defer p.store.Close()
	defer p.close()
	c, err := newCeiling(ctx, d, p)
	if err != nil {
		return err
	}
	defer c.close()
	for _, x := range []struct {
		part, name       string
		product, ceiling load
		goal             float64
		from             int // workers from which on the goal holds
		once             bool
	}{
		{"refresh", "refresh, " + d.name, p.refreshing, c.refreshing, 0.60, 8, false},
		{"me", "/api/me, " + d.name, p.me, c.me, 0.40, 1, false},
		{"jwks", "JWKS", p.jwks, c.jwks, 0.75, 1, true},
	} {
		if !o.wants(x.part) || x.once && !first {
			continue
		}
		for _, workers := range []int{1, 8, maxWorkers} {
			a, b, ratio, err := compare(x.product, x.ceiling, workers, o.times, o.each)
			if err != nil {
				return fmt.Errorf("%s: %w", x.part, err)
			}
			goal := ""
			if workers >= x.from {
				goal = fmt.Sprintf("at least %.0f %%", x.goal*100)
			}
			r.line(x.name, workers, a, b, fmt.Sprintf("%.0f %%", ratio*100), goal, ratio >= x.goal)
		}
	}
	if o.wants("storm") {
		return o.storm(r, d, p)
	}
	return nil
}

// storm measures refreshes alone and beside wrong passwords, in turn.
func (o options) storm(r *report, d database, p *product) error {
	const workers, attackers = 8, 32
	var alone, beside []result
	var ratios []float64
	logins := 0.0
	length := 7 * o.each
	for range o.long {
		a, err := run(p.refreshing, workers, length)
		if err != nil {
			return err
		}
		stormed := make(chan error, 1)
		go func() {
			s, err := run(p.wrongPasswords, attackers, length+200*time.Millisecond)
			logins = s.rps
			stormed <- err
		}()
		time.Sleep(200 * time.Millisecond)
		b, err := run(p.refreshing, workers, length)
		if err != nil {
			return err
		}
		if err := <-stormed; err != nil {
			return fmt.Errorf("password storm: %w", err)
		}
		alone, beside, ratios = append(alone, a), append(beside, b), append(ratios, b.p99.Seconds()/a.p99.Seconds())
	}
	ratio := median(ratios)
	r.line("refresh beside 32 wrong logins, "+d.name, workers, medianResult(beside), medianResult(alone),
		fmt.Sprintf("p99 %.1f x", ratio), "p99 at most 2.0 x", ratio <= 2)
	r.note("  %.0f wrong logins per second meanwhile", logins)
	return nil
}
