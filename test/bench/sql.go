package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// sql counts the statements of requests in PostgreSQL's own log, and looks
// whether it could update the rows of refreshes in place (HOT).
func (o options) sql(ctx context.Context, r *report, folder string) error {
	logs := filepath.Join(folder, "log")
	if err := os.Mkdir(logs, 0o777); err != nil {
		return err
	}
	for _, path := range []string{folder, logs} { // the server runs as another user
		if err := os.Chmod(path, 0o777); err != nil {
			return err
		}
	}
	cluster, err := pgtest.Start(
		pgtest.WithSetting("log_statement", "all"), pgtest.WithSetting("logging_collector", "on"),
		pgtest.WithSetting("log_directory", logs), pgtest.WithSetting("log_filename", "all.log"), pgtest.WithSetting("log_file_mode", "0644"))
	if err != nil {
		return err
	}
	defer cluster.Close()
	d := postgresAt(cluster.URL("postgres"))
	db, err := d.open("", 1)
	if err != nil {
		return err
	}
	defer db.Close()
	p, err := newProduct(ctx, d.url, otherRows, func() (*sqlx.DB, error) { return db, nil })
	if err != nil {
		return err
	}
	defer p.close()
	const refreshes = 500
	n, err := counted(logs, refreshes, p.refreshing)
	if err != nil {
		return err
	}
	r.value("statements for 500 refreshes, PostgreSQL's log", fmt.Sprint(n), "exactly 500", n == refreshes)
	if err := o.oauthSQL(ctx, r, logs, p); err != nil {
		return err
	}
	// A connection tells what it did when it closes.
	if err := p.store.Close(); err != nil {
		return err
	}
	var all, hot int
	if err := db.QueryRowContext(ctx, `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'`).Scan(&all, &hot); err != nil {
		return err
	}
	r.value("updates of sessions in place (HOT)", fmt.Sprintf("%d of %d", hot, all), "at least 95 %", all >= refreshes && hot*100 >= all*95)
	return nil
}

// counted is how many statements some steps of a load cost, after one that
// prepares them.
func counted(logs string, times int, l load) (int, error) {
	step, end, err := l(0)
	if err != nil {
		return 0, err
	}
	var before int
	for i := range times + 1 {
		if err := step(); err != nil {
			return 0, err
		}
		if i == 0 {
			if before, err = statements(logs); err != nil {
				return 0, err
			}
		}
	}
	after, err := statements(logs)
	return after - before, errors.Join(err, end())
}

// statements counts what the log holds once its collector has caught up.
func statements(logs string) (int, error) {
	for last := -1; ; {
		text, err := os.ReadFile(filepath.Join(logs, "all.log"))
		n := strings.Count(string(text), "LOG:  execute ") + strings.Count(string(text), "LOG:  statement: ")
		if err != nil || n == last {
			return n, err
		}
		last = n
		time.Sleep(500 * time.Millisecond)
	}
}
