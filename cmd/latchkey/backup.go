package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/storage"
)

// backupView is what a backup came to.
type backupView struct {
	File     string `json:"file"`
	Bytes    int64  `json:"bytes"`
	Database string `json:"database"`
	Schema   int64  `json:"schema,omitempty"`
	Users    int64  `json:"users,omitempty"`
	Sessions int64  `json:"sessions,omitempty"`
	// Secret and Journal say where what is not in the backup is.
	Secret  string `json:"rootSecret"`
	Journal string `json:"journal,omitempty"`
}

func (p *program) backupCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "backup FILE", Short: "Write the database to a file, also while the server runs", Args: cobra.ExactArgs(1),
		Long: "Write the database to a file, also while the server runs. The root secret is not in it: keep a copy of that apart.\n" +
			"Neither is the journal of ends, which knows what ended since the backup: let it stay where it is.",
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := p.backup(cmd.Context(), args[0], force)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(view)
			}
			fmt.Fprintf(p.stdout, "%s: %d bytes of %s\nThe root secret is not in it: %s. Without that the backup is worth nothing; keep a copy apart.\n",
				view.File, view.Bytes, view.Database, view.Secret)
			if view.Journal != "" {
				fmt.Fprintf(p.stdout, "What ends from now on is in the journal: %s.\n", view.Journal)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	p.jsonFlag(c)
	return c
}

func (p *program) backup(ctx context.Context, file string, force bool) (backupView, error) {
	c, err := p.loadConfig()
	if err != nil {
		return backupView{}, err
	}
	view := backupView{File: file, Secret: c.secretPlace(), Journal: c.journalFile()}
	database, embedded := storage.IsSQLite(c.databaseURL())
	if !embedded {
		made, err := storage.WritePostgresBackup(ctx, c.databaseURL(), file, force)
		view.Database, view.Bytes, view.Schema = "PostgreSQL", made.Bytes, made.Schema
		return view, err
	}
	if view.Database = database; database == "" {
		return view, errors.New("the database is in memory alone: there is nothing to back up")
	}
	if _, err := os.Stat(database); err != nil {
		return view, fmt.Errorf("there is no database: %w", err)
	}
	made, err := storage.WriteBackup(ctx, database, file, force)
	view.Bytes, view.Schema, view.Users, view.Sessions = made.Bytes, made.Schema, made.Users, made.Sessions
	return view, err
}

// secretPlace says where the root secret is.
func (c *config) secretPlace() string {
	if c.SecretKey != "" {
		return "it is the value of JWT_SECRET_KEY (secret_key)"
	}
	return "it is " + filepath.Join(c.DataDir, "secret.key")
}
