// Command make makes the stored databases of test/upgrade/testdata again: one of
// each earlier schema, as SQLite and as a dump of PostgreSQL, with the tokens and
// passwords that the tests use. It builds the programs of the commits that wrote
// those schemas, has people use them over HTTP, and keeps what is in the database
// then. Run it from the root of the repository, with its whole history:
//
//	go run ./test/upgrade/make [SCHEMA...]
//
// Schemas that no commit had alone are made from the one before: the migrations
// up to them, and rows of SQL in what they brought.
package main

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "github.com/lib/pq"                    // registers "postgres"
	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3"

	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
)

// programs are the last commits of each schema that programs ran with.
var programs = map[int64]string{1: "df71725", 2: "28d04b6", 3: "611cb12", 10: "429684f", 11: "ad571b6", 12: "6bd4b5e"}

func main() {
	if err := makeAll(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// maker has what all databases are made with.
type maker struct {
	dir    string
	pg     *pgtest.Cluster
	idp    *providertest.IdP
	issuer string
}

func makeAll(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "latchkey-stored-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	pg, err := pgtest.Start()
	if err != nil {
		return err
	}
	defer func() { _ = pg.Close() }()
	m := &maker{dir: dir, pg: pg}
	stop, err := m.serveIdP()
	if err != nil {
		return err
	}
	defer stop()
	if err := os.MkdirAll(stored.Dir(), 0o755); err != nil {
		return err
	}
	for schema := int64(stored.FirstSchema); schema <= stored.LastSchema; schema++ {
		if len(os.Args) > 1 && !slices.Contains(os.Args[1:], fmt.Sprint(schema)) {
			continue
		}
		for _, kind := range []string{"sqlite", "postgres"} {
			if err := m.makeOne(ctx, schema, kind); err != nil {
				return fmt.Errorf("schema %d, %s: %w", schema, kind, err)
			}
			fmt.Println("made", stored.File(schema, kind))
		}
	}
	return nil
}

func (m *maker) serveIdP() (stop func(), err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m.issuer = "http://" + l.Addr().String()
	m.idp, err = providertest.New(providertest.Config{
		Issuer:  m.issuer,
		Users:   []providertest.User{{Subject: "subject-of-ida", Username: "ida", Name: "Ida", Email: "ida@example.org", EmailVerified: true}},
		Clients: []providertest.Client{{ID: idpClient, Secret: idpSecret, RedirectURIs: []string{publicURL + "/auth/openid/callback"}}},
	})
	s := &http.Server{Handler: m.idp, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	return func() { _ = s.Close() }, err
}

func (m *maker) makeOne(ctx context.Context, schema int64, kind string) error {
	dir := filepath.Join(m.dir, fmt.Sprint(schema, kind))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	databaseURL, err := m.newDatabase(ctx, dir, kind)
	if err != nil {
		return err
	}
	d := stored.Database{Schema: schema, PublicURL: publicURL, Secret: testSecret}
	if commit := programs[schema]; commit != "" {
		d.Program = commit
		err = m.use(ctx, &d, commit, dir, databaseURL)
	} else {
		d, err = fill(ctx, schema, kind, databaseURL)
	}
	if err != nil {
		return err
	}
	return keep(ctx, d, kind, databaseURL)
}

func (m *maker) newDatabase(ctx context.Context, dir, kind string) (string, error) {
	if kind == "sqlite" {
		return "sqlite:" + filepath.Join(dir, "latchkey.db"), nil
	}
	name := "stored_" + strings.ToLower(rand.Text())
	db, err := sql.Open("postgres", m.pg.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, "CREATE DATABASE "+name)
	return m.pg.URL(name), err
}

// use builds the program of a commit and has people use it.
func (m *maker) use(ctx context.Context, d *stored.Database, commit, dir, databaseURL string) error {
	binary, err := m.build(ctx, commit)
	if err != nil {
		return err
	}
	s := newServer(binary, dir, databaseURL, m.issuer)
	if d.Schema >= 3 {
		s.env = append(s.env, "LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET="+absfile.Secret)
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	played := (&scene{server: s, idp: m.idp, d: d}).play(ctx)
	if err := s.stop(); err != nil || played != nil {
		said, _ := os.ReadFile(filepath.Join(dir, "log"))
		return fmt.Errorf("%w (%v); the log: %s", played, err, said)
	}
	d.At = time.Now().UTC().Truncate(time.Millisecond)
	return nil
}

func (m *maker) build(ctx context.Context, commit string) (string, error) {
	binary := filepath.Join(m.dir, "latchkey-"+commit)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	source := filepath.Join(m.dir, "source-"+commit)
	if err := os.Mkdir(source, 0o700); err != nil {
		return "", err
	}
	tar := filepath.Join(m.dir, commit+".tar")
	if err := run(ctx, ".", "git", "archive", "--output", tar, commit); err != nil {
		return "", err
	}
	if err := run(ctx, source, "tar", "-xf", tar); err != nil {
		return "", err
	}
	return binary, run(ctx, source, "go", "build", "-tags", "nomsgpack", "-o", binary, "./cmd/latchkey")
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// keep writes the database and what is known of it to the folder of test data.
func keep(ctx context.Context, d stored.Database, kind, databaseURL string) error {
	db, err := open(databaseURL)
	if err != nil {
		return err
	}
	if kind == "sqlite" { // all of it into the one file
		for _, statement := range []string{`PRAGMA wal_checkpoint(TRUNCATE)`, `PRAGMA journal_mode = DELETE`, `VACUUM`} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	tables, err := tablesOf(ctx, db, kind)
	if err == nil {
		d.Rows, err = stored.CountRows(ctx, db, tables)
	}
	if err = firstOf(err, db.Close()); err != nil {
		return err
	}
	file := stored.File(d.Schema, kind)
	raw, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".json", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	if kind == "sqlite" {
		return pack(strings.TrimPrefix(databaseURL, "sqlite:"), file+".gz")
	}
	return dump(ctx, databaseURL, file+".sql")
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func open(databaseURL string) (*sql.DB, error) {
	if file, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		return sql.Open("sqlite3", "file:"+file)
	}
	return sql.Open("postgres", databaseURL)
}

func tablesOf(ctx context.Context, db *sql.DB, kind string) (tables []string, err error) {
	query := `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version' ORDER BY name`
	if kind == "postgres" {
		query = `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name <> 'goose_db_version' ORDER BY table_name`
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		tables = append(tables, name)
	}
	return tables, rows.Err()
}

func pack(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	packed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err == nil {
		_, err = io.Copy(packed, in)
		err = firstOf(err, packed.Close())
	}
	return firstOf(err, out.Close())
}

// dump writes a PostgreSQL database as statements that any client can run.
func dump(ctx context.Context, databaseURL, to string) error {
	out, err := exec.CommandContext(ctx, "pg_dump", "--inserts", "--no-owner", "--no-privileges", "--dbname", databaseURL).Output()
	if err != nil {
		return fmt.Errorf("pg_dump: %w", err)
	}
	lines := []string{}
	for line := range strings.Lines(string(out)) {
		// psql's own commands, comments, and what would leave the connection without
		// a search path.
		if !strings.HasPrefix(line, `\`) && !strings.HasPrefix(line, "--") && !strings.Contains(line, "search_path") && strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return os.WriteFile(to, []byte(strings.Join(lines, "")), 0o644)
}
