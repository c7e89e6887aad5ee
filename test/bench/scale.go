package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/tokens"
)

// scales are the numbers of sessions that are compared; each with the first.
var scales = map[string][]int{"SQLite": {10_000, 1_000_000}, "PostgreSQL": {10_000, 1_000_000, 5_000_000}}

// scale measures what becomes slower as sessions become more.
func (o options) scale(ctx context.Context, r *report, folder string) error {
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		if o.db == "sqlite" && name != "SQLite" || o.db == "postgres" && name == "SQLite" {
			continue
		}
		small, err := o.populate(ctx, r, name, folder, scales[name][0])
		if err != nil {
			return err
		}
		for _, n := range scales[name][1:] {
			if err := o.beside(ctx, r, name, folder, n, small); err != nil {
				return fmt.Errorf("%s, %d sessions: %w", name, n, err)
			}
		}
		small.close()
	}
	return nil
}

// populated is a product with many sessions of others, of which any may refresh.
type populated struct {
	*product
	d        database
	sessions int
	ended    int     // of those beyond them, which never refresh
	moved    []int64 // how often each has refreshed
	secret   *tokens.RootSecret
	claims   tokens.RefreshClaims // of somebody's token
	stop     func()
}

func (p *populated) close() {
	p.product.close()
	_ = p.db.Close()
	_ = p.store.Close()
	p.stop()
}

// populate makes a database of its own, and says what a session takes there.
func (o options) populate(ctx context.Context, r *report, name, folder string, n int) (*populated, error) {
	p := &populated{sessions: n, moved: make([]int64, n), stop: func() {}, d: sqliteAt(filepath.Join(folder, fmt.Sprintf("scale-%d.db", n)))}
	settings := "&_pragma=synchronous(off)&_pragma=cache_size(-200000)"
	if name == "PostgreSQL" {
		cluster, err := pgtest.Start()
		if err != nil {
			return nil, err
		}
		p.d, p.stop, settings = postgresAt(cluster.URL("postgres")), func() { cluster.Close() }, ""
	}
	begin := time.Now()
	var err error
	if p.product, err = newProduct(ctx, p.d.url, n+spare, func() (*sqlx.DB, error) { return p.d.open(settings, 1) }); err != nil {
		return nil, err
	}
	if p.secret, err = tokens.NewRootSecret([]byte(rootSecret)); err != nil {
		return nil, err
	}
	if p.claims, err = (tokens.Secrets{p.secret}).ParseRefresh(p.refresh[0], time.Now()); err != nil {
		return nil, err
	}
	size := `SELECT pg_total_relation_size('sessions')`
	if name == "SQLite" {
		size = `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`
	}
	var bytes int64
	if err := p.db.GetContext(ctx, &bytes, size); err != nil {
		return nil, err
	}
	r.note("%s, %d sessions: filled in %.0f s; %d bytes for each, with its index entries", name, n, time.Since(begin).Seconds(), bytes/int64(n+spare))
	return p, nil
}

// beside measures a big database and the small one in turn.
func (o options) beside(ctx context.Context, r *report, name, folder string, n int, small *populated) error {
	big, err := o.populate(ctx, r, name, folder, n)
	if err != nil {
		return err
	}
	defer big.close()
	for _, workers := range []int{1, 8} {
		a, b, _, err := compare(big.anywhere, small.anywhere, workers, o.times, o.each)
		if err != nil {
			return err
		}
		slower := a.p50.Seconds() / b.p50.Seconds()
		r.line(fmt.Sprintf("refresh with %d sessions beside %d, %s", n, small.sessions, name), workers, a, b, fmt.Sprintf("p50 %.2f x", slower), "at most 1.2 x", slower <= 1.2)
	}
	for _, x := range []struct {
		name   string
		do     func(*populated) error
		before func(*populated) error // not measured
	}{
		{"login with a password", func(p *populated) error {
			_, err := p.broker.LoginPassword(ctx, "worker0", goodWord, broker.Device{IP: "127.0.0.1", UserAgent: "benchmark/1.0 (Linux)"})
			return err
		}, nil},
		{"device list", (*populated).devices, nil},
		{"clean-up with nothing to do", func(p *populated) error { return p.broker.Sweep(ctx) }, nil},
		{"clean-up of 200 sessions", func(p *populated) error { return p.broker.Sweep(ctx) }, func(p *populated) error { return p.endSome(ctx) }},
		{"start", func(p *populated) error { return p.startAgain(ctx) }, nil},
	} {
		a, b, err := inTurn(big, small, x.before, x.do)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		r.row([]string{fmt.Sprintf("%d sessions beside %d, %s", n, small.sessions, name), "ms", "beside ms", "ratio"}, "%-50s %9s %9s %7s",
			x.name, fmt.Sprintf("%.2f", 1000*a), fmt.Sprintf("%.2f", 1000*b), fmt.Sprintf("%.2f", a/b))
	}
	return nil
}

// mostAnywhere are the workers that share the sessions out among themselves.
const mostAnywhere = 8

// anywhere refreshes each time another session of all there are, or of an eighth of them
// with one worker, as phones do: what the database needs of one is hardly ever where it
// just was.
func (p *populated) anywhere(worker int) (step, end func() error, err error) {
	c, err := dial(p.address)
	if err != nil {
		return nil, nil, err
	}
	claims := p.claims
	return func() error {
		i := worker + mostAnywhere*rand.IntN(p.sessions/mostAnywhere) // no other worker's
		claims.SessionID, claims.Generation = fmt.Sprintf("s%d", i+1), int64(i+1)+p.moved[i]
		token, err := p.secret.MintRefresh(claims)
		if err != nil {
			return err
		}
		status, body, err := c.do(refreshRequest(p.address, token.Reveal(), claims.SessionID))
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("refresh: status %d, error %v: %s", status, err, body)
		}
		p.moved[i]++
		if g := generation(tokenIn(body)); g != claims.Generation+1 {
			return fmt.Errorf("a refresh moved the generation from %d to %d", claims.Generation, g)
		}
		return nil
	}, func() error { c.close(); return nil }, nil
}

// spare are sessions for the clean-up.
const spare = 10_000

// endSome leaves 200 of them to it.
func (p *populated) endSome(ctx context.Context) error {
	ids := []string{}
	for range 200 {
		p.ended++
		ids = append(ids, fmt.Sprintf("'s%d'", p.sessions+p.ended))
	}
	res, err := p.db.ExecContext(ctx, `UPDATE sessions SET ended_at = 1, end_cause = 'logged_out', gc_after = 1 WHERE id IN (`+strings.Join(ids, ",")+`)`)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || int(n) != len(ids) {
		return fmt.Errorf("%d of %d sessions were ended, %v", n, len(ids), err)
	}
	return nil
}

// inTurn does something in both, after what stands before it, and returns the medians
// in seconds.
func inTurn(big, small *populated, before, do func(*populated) error) (a, b float64, err error) {
	const times, first = 15, 2
	took := [2][]float64{}
	for i := range times + first {
		for n, p := range []*populated{big, small} {
			if before != nil {
				if err := before(p); err != nil {
					return 0, 0, err
				}
			}
			begin := time.Now()
			if err := do(p); err != nil {
				return 0, 0, err
			}
			if i >= first {
				took[n] = append(took[n], time.Since(begin).Seconds())
			}
		}
	}
	return median(took[0]), median(took[1]), nil
}

// devices opens the list of one's devices.
func (p *populated) devices() error {
	c, err := dial(p.address)
	if err != nil {
		return err
	}
	defer c.close()
	status, body, err := c.do(request("GET", "/account", p.address, "Cookie", "latchkey_session="+p.broker.PageCookie(p.session[0]), "Accept", "text/html"))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %.300s", status, body)
	}
	return err
}

// startAgain is what a process does before it serves.
func (p *populated) startAgain(ctx context.Context) error {
	store, err := storage.Open(ctx, storage.Options{URL: p.d.url})
	if err != nil {
		return err
	}
	defer store.Close()
	b, err := pageBroker(store)
	if err != nil {
		return err
	}
	return b.Load(ctx)
}
