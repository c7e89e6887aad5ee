// Command bench measures the product beside the ceiling of the machine, in one
// process and in turn, and says which of the speed goals are met.
//
//	go run ./test/bench [-quick] [-only refresh] [-db sqlite] [-cpuprofile file]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// databaseParts are measured on both databases, plainParts on one: they do not
// ask it.
var (
	databaseParts = []string{"refresh", "me", "login", "code", "token", "introspect", "userinfo", "together", "storm", "slow"}
	plainParts    = []string{"jwks", "discovery"}
)

type options struct {
	quick bool
	only  string
	db    string
	write string        // a document
	times int           // runs of each pair
	each  time.Duration // length of one
	long  int           // runs of what takes seconds
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "about three minutes instead of 25")
	flag.StringVar(&o.only, "only", "", "parts to run, separated by commas: "+strings.Join(append(plainParts, databaseParts...), ", ")+", verify, sql, process, pages, scale")
	flag.StringVar(&o.db, "db", "", "sqlite or postgres; both without it")
	flag.StringVar(&o.write, "write", "", "a document, into whose part \"bench PARTS\" the report is written too")
	profile := flag.String("cpuprofile", "", "write a CPU profile of all that runs")
	allocs := flag.String("allocprofile", "", "write a profile of every object that was put on the heap; slows everything down")
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
	if *allocs != "" {
		runtime.MemProfileRate = 1
		defer writeAllocs(*allocs)
	}
	if err := o.run(context.Background()); err != nil {
		pprof.StopCPUProfile()
		log.Fatal(err)
	}
}

func writeAllocs(name string) {
	f, err := os.Create(name)
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close()); err != nil {
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
	r := newReport()
	r.note("%s: %d cores for server, database and clients together; medians of %d runs of %s that alternate with the ceiling's", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), o.times, o.each)
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
	if o.wants("pages") {
		if err := o.pages(ctx, r, folder); err != nil {
			return fmt.Errorf("pages: %w", err)
		}
	}
	if o.only != "" && o.wants("scale") { // half an hour, for who asks for it
		if err := o.scale(ctx, r, folder); err != nil {
			return fmt.Errorf("scale: %w", err)
		}
	}
	var databases []database
	if o.db != "postgres" && (slices.ContainsFunc(databaseParts, o.wants) || slices.ContainsFunc(plainParts, o.wants)) {
		databases = append(databases, sqliteAt(filepath.Join(folder, "bench.db")))
	}
	if o.db != "sqlite" && slices.ContainsFunc(databaseParts, o.wants) {
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
	if o.write != "" {
		return r.write(o.write, strings.TrimSpace("bench "+o.only))
	}
	return nil
}

// endpoints measures everything that is asked over HTTP.
func (o options) endpoints(ctx context.Context, r *report, d database, first bool) error {
	p, err := newProduct(ctx, d.url, otherRows, func() (*sqlx.DB, error) { return d.open(d.relaxed, 1) })
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
	for _, x := range append([]pair{
		{part: "refresh", name: "refresh, " + d.name, product: p.refreshing, ceiling: c.refreshing, goal: 0.75, p50: 1.3},
		{part: "refresh", name: "a bare handler beside that ceiling, " + d.name, product: c.bareHandler, ceiling: c.refreshing},
		{part: "refresh", name: "a bare statement beside that ceiling, " + d.name, product: c.bareStatement, ceiling: c.refreshing},
		{part: "me", name: "/api/me, " + d.name, product: p.me, ceiling: c.me, goal: 0.60},
		{part: "login", name: "login with a password, " + d.name, product: p.loggingIn, ceiling: c.loggingIn},
		{part: "jwks", name: "JWKS", product: p.jwks, ceiling: c.jwks, goal: 0.75, once: true},
	}, oauthPairs(d, p, c)...) {
		if !o.wants(x.part) || x.once && !first {
			continue
		}
		for _, workers := range []int{1, 8, maxWorkers} {
			a, b, ratio, err := compare(x.product, x.ceiling, workers, o.times, o.each)
			if err != nil {
				return fmt.Errorf("%s: %w", x.part, err)
			}
			shown, goal, met := x.judge(workers, ratio, a.p50.Seconds()/b.p50.Seconds())
			r.line(x.name, workers, a, b, shown, goal, met)
		}
	}
	if o.wants("together") {
		if err := o.together(ctx, r, d, p); err != nil {
			return fmt.Errorf("together: %w", err)
		}
	}
	for _, x := range crowds {
		if !o.wants(x.part) {
			continue
		}
		if err := o.among(r, d, p, x); err != nil {
			return fmt.Errorf("%s: %w", x.part, err)
		}
	}
	return nil
}

// pair is what is asked over HTTP, of the product and of its ceiling.
type pair struct {
	part, name       string
	product, ceiling load
	goal             float64 // the least share of the ceiling; 0: none
	p50              float64 // the most that one worker's median may be beside the ceiling's; 0: no goal
	slower           float64 // instead: at most so many times slower than what stands in the ceiling's place
	once             bool    // on one database alone
}

func (x pair) judge(workers int, ratio, slower float64) (shown, goal string, met bool) {
	if x.slower > 0 {
		return fmt.Sprintf("%.2f x", 1/ratio), fmt.Sprintf("at most %.2f x", x.slower), 1/ratio <= x.slower
	}
	if x.goal > 0 {
		goal = fmt.Sprintf("at least %.0f %%", x.goal*100)
	}
	shown, met = fmt.Sprintf("%.0f %%", ratio*100), ratio >= x.goal
	if x.p50 > 0 && workers == 1 {
		shown += fmt.Sprintf(", p50 %.1f x", slower)
		goal += fmt.Sprintf(", p50 at most %.1f x", x.p50)
		met = met && slower <= x.p50
	}
	return shown, goal, met
}
