package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// restoreView is what a restore came to.
type restoreView struct {
	File     string `json:"file"`
	Database string `json:"database"`
	Kept     string `json:"kept,omitempty"` // the database that was there before
	Journal  string `json:"journal,omitempty"`
	// Ended and the others are what the journal knew and the backup did not.
	Ended        int      `json:"sessionsEnded"`
	Replayed     int      `json:"linesReplayed"`
	Damaged      int      `json:"linesDamaged"`
	NewPasswords []string `json:"passwordsLost"`
}

func (p *program) restoreCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of the database, while no server runs", Args: cobra.ExactArgs(1),
		Long: "Put a backup in the place of the database, while no server runs. The database that was there stays beside it, under\n" +
			"a name with the date. What ended since the backup ends again, by the journal of ends; devices that were logged in\n" +
			"then go on; who logged in since the backup has to log in again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := p.restore(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.printRestore(view)
		},
	}
	p.jsonFlag(c)
	return c
}

func (p *program) printRestore(view restoreView) error {
	if p.json {
		return p.printJSON(view)
	}
	fmt.Fprintf(p.stdout, "%s is %s now\n", view.Database, view.File)
	if view.Kept != "" {
		fmt.Fprintf(p.stdout, "the database that was there: %s\n", view.Kept)
	}
	switch {
	case view.Journal == "":
		fmt.Fprintln(p.stdout, "there is no journal of ends (journal_file): what ended since the backup lives again")
	default:
		fmt.Fprintf(p.stdout, "from the journal of ends: %d sessions ended again, %d lines in all\n", view.Ended, view.Replayed)
	}
	if len(view.NewPasswords) > 0 {
		fmt.Fprintf(p.stdout, "%d users changed their password since the backup, and have none now; send them a link with: latchkey user reset-link ID\n", len(view.NewPasswords))
		for _, id := range view.NewPasswords {
			fmt.Fprintln(p.stdout, " ", id)
		}
	}
	return nil
}

func (p *program) restore(ctx context.Context, file string) (restoreView, error) {
	c, err := p.loadConfig()
	if err != nil {
		return restoreView{}, err
	}
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	view := restoreView{File: file, Journal: c.journalFile()}
	database, embedded := storage.IsSQLite(c.databaseURL())
	if !embedded {
		view.Database = "PostgreSQL"
		return view, c.restorePostgres(ctx, &view, log)
	}
	if view.Database = database; database == "" {
		return view, errors.New("the database is in memory alone: there is nothing to restore into")
	}
	return view, c.restoreSQLite(ctx, &view, log)
}

// restoreSQLite prepares the new database as a copy beside the old one, down to
// the last end of a session, and then puts it in its place in one step.
func (c *config) restoreSQLite(ctx context.Context, view *restoreView, log *slog.Logger) error {
	if _, err := os.Stat(view.File); err != nil {
		return err
	}
	release, err := storage.LockFile(view.Database)
	if err != nil {
		return err
	}
	defer release()
	copied, _, err := storage.StageRestore(ctx, view.Database, view.File)
	if err != nil {
		return err
	}
	defer storage.RemoveStaged(copied)
	served, err := c.lastEnds(ctx, storage.Options{URL: "sqlite:" + view.Database, Unlocked: true}, log)
	if err != nil {
		log.Warn("the old database cannot be read; what it knows beyond the journal of ends is lost", "event", "restore.old_unreadable", "error", err)
	}
	if err := c.bringUpToDate(ctx, view, storage.Options{URL: "sqlite:" + copied, Unlocked: true}, served, log); err != nil {
		return err
	}
	view.Kept, err = storage.SwapIn(ctx, view.Database, copied, time.Now())
	return err
}

// restorePostgres swaps the tables in one transaction. What follows would be done
// by the next start as well.
func (c *config) restorePostgres(ctx context.Context, view *restoreView, log *slog.Logger) error {
	if _, err := os.Stat(view.File); err != nil {
		return err
	}
	o := storage.Options{URL: c.databaseURL()}
	served, err := c.lastEnds(ctx, o, log)
	if err != nil {
		log.Warn("the old database cannot be read; what it knows beyond the journal of ends is lost", "event", "restore.old_unreadable", "error", err)
	}
	if view.Kept, err = storage.RestorePostgres(ctx, o.URL, view.File, time.Now()); err != nil {
		return err
	}
	if view.Kept != "" {
		view.Kept = "schema " + view.Kept
	}
	return c.bringUpToDate(ctx, view, o, served, log)
}

// lastEnds copies into the journal what only the old database knows has ended.
// It returns how far the service's own time has come there.
func (c *config) lastEnds(ctx context.Context, o storage.Options, log *slog.Logger) (served time.Time, err error) {
	if file, embedded := storage.IsSQLite(o.URL); embedded {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return served, nil
		}
	}
	o.AsItIs = true
	store, err := storage.Open(ctx, o)
	if err != nil {
		return served, err
	}
	defer store.Close()
	served, err = store.Uptime(ctx)
	if err != nil {
		log.Info("how long the service has run is not known", "error", err) // an older schema, or a new one
	}
	if c.journalFile() == "" {
		return served, nil
	}
	b, err := c.newBroker(ctx, store, log)
	if err != nil {
		return served, err
	}
	return served, b.CopyEnds(ctx)
}

// bringUpToDate migrates a restored database and does once more what ended
// since the backup.
func (c *config) bringUpToDate(ctx context.Context, view *restoreView, o storage.Options, served time.Time, log *slog.Logger) error {
	o.Version, o.Log = version, log
	store, err := storage.Open(ctx, o)
	if err != nil {
		return err
	}
	if !served.IsZero() {
		if _, err := store.Beat(ctx, served, time.Now()); err != nil {
			return errors.Join(err, store.Close())
		}
	}
	b, err := c.brokerThat(ctx, true, store, log)
	if err == nil {
		err = b.Load(ctx)
	}
	if err == nil {
		err = b.Restored(ctx)
	}
	if err = errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("the backup cannot be used here: %w", err)
	}
	report := b.JournalReport()
	view.Ended, view.Replayed, view.Damaged = report.By[broker.EventSessionEnded], report.Replayed, report.Damaged
	view.NewPasswords = append([]string{}, report.NewPasswords...)
	return nil
}
