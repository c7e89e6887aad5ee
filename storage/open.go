package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/mod/semver"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/migrations"
)

// Options say which database to open.
type Options struct {
	// URL is sqlite:<path>, sqlite::memory: or postgres://...; see [CheckURL].
	URL string
	// Version of this program, such as 0.1.0; empty: newer than any.
	Version string
	Log     *slog.Logger
	// Away is by how much the wall clock is ahead of the service's own time, in which
	// sessions lie unused; nil: never.
	Away func() time.Duration
	// AsItIs leaves the schema alone, to read whatever is there.
	AsItIs bool
	// Unlocked: the caller holds the lock of an SQLite file ([LockFile]), or nobody
	// else knows the file.
	Unlocked bool
	// Trace is told the text of each statement before it runs; nil: nobody is.
	Trace func(query string)
}

// Open connects, brings the schema up to date and returns the store. Several
// processes may open one database at once: one migrates, the others wait. A
// database that cannot be reached at the moment is broker.TemporarilyUnavailable.
func Open(ctx context.Context, o Options) (*Store, error) {
	d, err := dialectOf(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	release, err := d.lock(o.Unlocked)
	if err != nil {
		return nil, err
	}
	p, err := d.open(d)
	if err != nil {
		release()
		return nil, err
	}
	p.unlock = release
	for _, each := range []*pool{p.writer, p.relaxed, p.reader} {
		each.trace = o.Trace
	}
	s := &Store{pools: p, d: d, away: o.Away, version: o.Version}
	if o.AsItIs {
		return s, nil
	}
	if err := s.migrate(ctx, o); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// migrate retries: on SQLite, which has no lock that spans transactions, the
// slower of two processes fails on what the quicker one has just made, and
// finds it made when it looks again. On PostgreSQL a migration gives a table that
// is in use to others in between.
func (s *Store) migrate(ctx context.Context, o Options) (err error) {
	for wait := 50 * time.Millisecond; wait < 2*time.Second; wait *= 2 {
		err = s.migrateOnce(ctx, o)
		if err == nil || errors.Is(err, errNewerSchema) || errors.Is(err, errRefused) || errors.Is(err, broker.TemporarilyUnavailable) {
			return err
		}
		if isLockTimeout(err) {
			o.Log.WarnContext(ctx, "a migration needs a table that is in use; it is tried again", "event", "schema.waiting", "error", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
	if isLockTimeout(err) {
		return broker.Unavailable(err)
	}
	return err
}

func (s *Store) migrateOnce(ctx context.Context, o Options) error {
	options, err := s.d.migrationOptions()
	if err != nil {
		return err
	}
	options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	db, release, err := s.d.migrationDB(s.pools.relaxed)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	defer release()
	provider, err := goose.NewProvider(s.d.goose, db, nil, append(options, goose.WithGoMigrations(s.d.steps()...))...)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, know := int64(0), provider.ListSources()[len(provider.ListSources())-1].Version
	if err := db.PingContext(ctx); err != nil {
		return s.d.translateOpen(err)
	}
	if have, err = provider.GetDBVersion(ctx); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if have > know {
		return s.checkProgram(ctx, o.Version, have, know)
	}
	done, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	for _, m := range done {
		o.Log.InfoContext(ctx, "migrated", "event", "schema.migrated", "file", migrations.Versions()[m.Source.Version], "version", m.Source.Version)
	}
	if err := s.d.afterMigrations(ctx, db); err != nil {
		return err
	}
	return s.stateLowestProgram(ctx)
}

// steps are the migrations as goose runs them. Both drivers take several statements
// at once; goose's own reader of SQL files takes megabytes for each line.
func (d *dialect) steps() (out []*goose.Migration) {
	for version, up := range migrations.Up() {
		run := func(ctx context.Context, tx *sql.Tx) error {
			if err := d.patience(ctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, up)
			return err
		}
		out = append(out, goose.NewGoMigration(version, &goose.GoFunc{RunTx: run}, nil))
	}
	return out
}

const factLowestProgram = "lowest_program"

// stateLowestProgram writes into the database which program may open it, for
// programs that are older than the schema.
func (s *Store) stateLowestProgram(ctx context.Context) error {
	lowest := lowestProgram()
	stands, err := s.InitFact(ctx, factLowestProgram, lowest)
	if err != nil || !isOlder(stands, lowest) {
		return err
	}
	return s.inTx(ctx, func(tx *Store) error {
		if _, err := tx.SwapFact(ctx, factLowestProgram, stands, lowest); err != nil {
			return err
		}
		return tx.NoteChange(ctx) // older programs that run look again
	})
}

// lowestProgram is what this program's migrations say, the last of them first.
func lowestProgram() (lowest string) {
	for _, version := range migrations.LowestProgram {
		if lowest == "" || isOlder(lowest, version) {
			lowest = version
		}
	}
	return lowest
}

func isOlder(version, lowest string) bool { return semver.Compare("v"+version, "v"+lowest) < 0 }

// checkProgram lets an older program open a newer schema only where that
// schema says so: migrations first expand, and contract in a later version.
func (s *Store) checkProgram(ctx context.Context, version string, have, know int64) error {
	lowest, may, err := s.mayServe(ctx, version)
	switch {
	case err != nil || may:
		return err
	case lowest == "":
		return newerSchema(have, know)
	}
	return fmt.Errorf("%w; it needs Latchkey %s or newer", newerSchema(have, know), lowest)
}

// mayServe reads the lowest program that may work on the database; empty: nothing
// is said of it, as by no program of ours.
func (s *Store) mayServe(ctx context.Context, version string) (lowest string, may bool, err error) {
	lowest, err = s.Fact(ctx, factLowestProgram)
	if errors.Is(err, broker.NotFound) {
		return "", false, nil
	}
	return lowest, version == "" || !isOlder(version, lowest), err
}

// MayServe implements broker.KeyStore. What this program's own migrations say is
// no reason: its version may be one of no release.
func (s *Store) MayServe(ctx context.Context) error {
	lowest, may, err := s.mayServe(ctx, s.version)
	if err == nil && !may && isOlder(lowestProgram(), lowest) {
		return fmt.Errorf("%w: it needs Latchkey %s or newer, and this is %s", errNewerSchema, lowest, s.version)
	}
	return err
}

var _ broker.Store = (*Store)(nil)
