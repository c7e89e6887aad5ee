package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/latchkey-id/latchkey/migrations"
)

// keptSchema begins the name of the schema that a restore moves the tables to
// that were there.
const keptSchema = "latchkey_before_"

// pgEnvironment is a database URL for PostgreSQL's own programs. A password in
// their arguments could be read by everybody on the machine.
func (d *dialect) pgEnvironment() []string {
	env := os.Environ()
	set := func(name, value string) {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	q := d.dsn.Query()
	password, _ := d.dsn.User.Password()
	host := d.dsn.Hostname()
	if host == "" {
		host = q.Get("host") // the folder of a socket
	}
	port := d.dsn.Port()
	if port == "" {
		port = q.Get("port")
	}
	set("PGHOST", host)
	set("PGPORT", port)
	set("PGUSER", d.dsn.User.Username())
	set("PGPASSWORD", password)
	set("PGDATABASE", strings.TrimPrefix(d.dsn.Path, "/"))
	for parameter, name := range map[string]string{
		"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "connect_timeout": "PGCONNECT_TIMEOUT",
	} {
		set(name, q.Get(parameter))
	}
	return append(env, "PGAPPNAME=latchkey backup")
}

// program prepares one of PostgreSQL's programs.
func (d *dialect) program(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%s of PostgreSQL is not on this machine: install its client programs, or do it as docs/backup.md says", name)
	}
	// #nosec G204 -- pg_dump or pg_restore as PATH finds it; no shell
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = d.pgEnvironment()
	return cmd, nil
}

// output runs one, and returns what it says.
func (d *dialect) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := d.program(ctx, name, args...)
	if err != nil {
		return "", err
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, lastLine(errs.String()))
	}
	return out.String(), nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// WritePostgresBackup is [WriteBackup] by pg_dump, in its custom format.
func WritePostgresBackup(ctx context.Context, databaseURL, file string, replace bool) (b BackupFile, err error) {
	d, err := dialectOf(databaseURL)
	if err != nil {
		return b, err
	}
	if !replace && exists(file) {
		return b, fmt.Errorf("%s is there already; --force replaces it", file)
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // for its owner alone
	if err != nil {
		return b, err
	}
	defer os.Remove(part.Name())
	if err := part.Close(); err != nil {
		return b, err
	}
	if _, err := d.output(ctx, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--exclude-schema="+keptSchema+"*", "--file="+part.Name()); err != nil {
		return b, err
	}
	if b, err = d.checkDump(ctx, part.Name()); err != nil {
		return b, err
	}
	if err := syncFile(part.Name()); err != nil {
		return b, err
	}
	return b, place(part.Name(), file, replace)
}

// checkDump reads a dump to its end.
func (d *dialect) checkDump(ctx context.Context, file string) (b BackupFile, err error) {
	if err := startsLike(file); !errors.Is(err, errDump) {
		return b, fmt.Errorf("%w of PostgreSQL, as pg_dump --format=custom writes them", ErrNoBackup)
	}
	info, err := os.Stat(file)
	if err != nil {
		return b, err
	}
	b.Bytes = info.Size()
	versions, err := d.output(ctx, "pg_restore", "--data-only", "--table=goose_db_version", "--file=-", file)
	if err != nil {
		return b, fmt.Errorf("%w, or it is damaged: %w", ErrNoBackup, err)
	}
	for _, row := range appliedVersion.FindAllStringSubmatch(versions, -1) {
		version, _ := strconv.ParseInt(row[1], 10, 64) // digits
		b.Schema = max(b.Schema, version)
	}
	contents, err := d.output(ctx, "pg_restore", "--list", file)
	if err != nil || b.Schema == 0 || !strings.Contains(contents, " sessions ") {
		return b, fmt.Errorf("%w: it has no sessions", ErrNoBackup)
	}
	if _, err := d.output(ctx, "pg_restore", "--file="+os.DevNull, file); err != nil {
		return b, fmt.Errorf("%w, or it is damaged: %w", ErrNoBackup, err)
	}
	return b, nil
}

// appliedVersion is a row of goose_db_version in a dump: id, version, applied.
var appliedVersion = regexp.MustCompile(`(?m)^\d+\t(\d+)\tt\t`)

// RestorePostgres puts a dump in the place of a database, in one transaction.
// What was there stays in a schema of its own, which comes back. ErrInUse.
func RestorePostgres(ctx context.Context, databaseURL, file string, now time.Time) (kept string, err error) {
	d, err := dialectOf(databaseURL)
	if err != nil {
		return "", err
	}
	b, err := d.checkDump(ctx, file)
	if err != nil {
		return "", err
	}
	if know := newestSchema(); b.Schema > know {
		return "", newerSchema(b.Schema, know)
	}
	schema, tables, err := d.ownTables(ctx)
	if err != nil {
		return "", err
	}
	script := strings.Builder{}
	if len(tables) > 0 {
		kept = keptSchema + now.UTC().Format("20060102_150405")
		fmt.Fprintf(&script, "CREATE SCHEMA %s;\n", kept)
		for _, table := range tables {
			fmt.Fprintf(&script, "ALTER TABLE %s.%s SET SCHEMA %s;\n", pq.QuoteIdentifier(schema), pq.QuoteIdentifier(table), kept)
		}
	}
	content, err := d.program(ctx, "pg_restore", "--no-owner", "--no-privileges", "--schema="+schema, "--file=-", file)
	if err != nil {
		return "", err
	}
	return kept, d.runScript(ctx, script.String(), content)
}

// runScript has psql run a text and what a program writes, all or nothing: the
// COMMIT is sent by us, once the program has ended well, so that whatever is
// interrupted or cut off is rolled back.
func (d *dialect) runScript(ctx context.Context, text string, content *exec.Cmd) error {
	psql, err := d.program(ctx, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output="+os.DevNull, "--file=-")
	if err != nil {
		return err
	}
	var errs, contentErrs bytes.Buffer
	psql.Stderr, content.Stderr = &errs, &contentErrs
	pipe, err := content.StdoutPipe()
	if err != nil {
		return err
	}
	end := &commit{after: content}
	psql.Stdin = io.MultiReader(strings.NewReader("BEGIN;\n"+text), pipe, end)
	if err := content.Start(); err != nil {
		return err
	}
	err = psql.Run()
	if !end.asked {
		_ = content.Process.Kill() // it may wait for a reader
		_ = content.Wait()
	}
	if err = errors.Join(err, end.err); err != nil {
		return fmt.Errorf("nothing was changed: %w: %s %s", err, lastLine(errs.String()), lastLine(contentErrs.String()))
	}
	return nil
}

// commit reads as a COMMIT, if a program has ended well.
type commit struct {
	after *exec.Cmd
	asked bool
	err   error
}

// Read implements io.Reader.
func (c *commit) Read(p []byte) (int, error) {
	if c.asked {
		return 0, io.EOF
	}
	c.asked = true
	if c.err = c.after.Wait(); c.err != nil {
		return 0, io.EOF
	}
	return copy(p, "\nCOMMIT;\n"), nil
}

// ownTables are those of ours that are there, unless a server uses them.
func (d *dialect) ownTables(ctx context.Context) (schema string, tables []string, err error) {
	p, err := d.open(d)
	if err != nil {
		return "", nil, err
	}
	s := &Store{pools: p, d: d}
	s.pools.unlock = func() {}
	defer s.Close()
	if err := d.alone(ctx, p.writer); err != nil {
		return "", nil, err
	}
	if err := p.writer.db.GetContext(ctx, &schema, `SELECT current_schema()`); err != nil {
		return "", nil, err
	}
	var there []string
	err = p.writer.db.SelectContext(ctx, &there, `SELECT table_name FROM information_schema.tables WHERE table_schema = $1 AND table_type = 'BASE TABLE' ORDER BY 1`, schema)
	ours := append(migrations.Tables(), "goose_db_version")
	return schema, slices.DeleteFunc(there, func(name string) bool { return !slices.Contains(ours, name) }), err
}

// alone fails with ErrInUse where somebody else of our name is connected. What
// has just been closed may be there for a moment.
func (d *dialect) alone(ctx context.Context, p *pool) error {
	for range 20 {
		var others int
		err := p.db.GetContext(ctx, &others, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
			AND application_name = current_setting('application_name')`)
		if err != nil {
			return d.translateOpen(err)
		}
		if others == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return ErrInUse
}
