package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-id/latchkey/migrations"
)

// ErrNoBackup is a file that is no backup of ours, or a damaged one.
var ErrNoBackup = errors.New("this is no backup of Latchkey")

// BackupFile is what a backup holds.
type BackupFile struct {
	Bytes    int64
	Schema   int64
	Users    int64
	Sessions int64
}

// WriteBackup writes a backup of an SQLite database to a file. Whoever uses
// the database goes on meanwhile. The file appears whole or not at all; replace
// says that one of that name may be there.
func WriteBackup(ctx context.Context, database, file string, replace bool) (BackupFile, error) {
	if !replace && exists(file) {
		return BackupFile{}, fmt.Errorf("%s is there already; --force replaces it", file)
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // for its owner alone
	if err != nil {
		return BackupFile{}, err
	}
	defer os.Remove(part.Name())
	if err := part.Close(); err != nil {
		return BackupFile{}, err
	}
	if err := vacuumInto(ctx, database, part.Name()); err != nil {
		return BackupFile{}, err
	}
	made, err := checkSQLite(ctx, part.Name())
	if err != nil {
		return made, err
	}
	if err := syncFile(part.Name()); err != nil {
		return made, err
	}
	return made, place(part.Name(), file, replace)
}

// place gives a finished file its name.
func place(part, file string, replace bool) error {
	if !replace {
		if err := os.Link(part, file); err == nil || errors.Is(err, os.ErrExist) {
			return errors.Join(err, syncFolder(file))
		}
	}
	return errors.Join(os.Rename(part, file), syncFolder(file))
}

// plain opens an SQLite file beside whoever has it open, and as it is.
func plain(file, more string) (*sql.DB, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", fileDSN(file)+"?mode=rw&_pragma=busy_timeout(5000)"+more)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func vacuumInto(ctx context.Context, database, file string) error {
	db, err := plain(database, "")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, file)
	return err
}

// checkSQLite says what an SQLite file holds, or why it is no backup.
func checkSQLite(ctx context.Context, file string) (b BackupFile, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return b, err
	}
	if err := startsLike(file); err != nil {
		return b, err
	}
	db, err := plain(file, "")
	if err != nil {
		return b, err
	}
	defer db.Close()
	b.Bytes = info.Size()
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil || verdict != "ok" {
		return b, fmt.Errorf("%w, or it is damaged: %s", ErrNoBackup, errText(err, verdict))
	}
	err = errors.Join(
		db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied = 1`).Scan(&b.Schema),
		db.QueryRowContext(ctx, `SELECT COUNT(*) FROM users`).Scan(&b.Users),
		db.QueryRowContext(ctx, `SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL`).Scan(&b.Sessions),
	)
	if err != nil {
		return b, fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	return b, nil
}

func errText(err error, text string) string {
	if err != nil {
		return err.Error()
	}
	return text
}

var errDump = fmt.Errorf("%w for SQLite: it is one of PostgreSQL", ErrNoBackup)

// startsLike reads how a file begins.
func startsLike(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 16)
	_, err = io.ReadFull(f, head)
	switch {
	case err == nil && string(head) == "SQLite format 3\x00":
		return nil
	case err == nil && string(head[:5]) == "PGDMP":
		return errDump
	}
	return fmt.Errorf("%w: it is no SQLite database", ErrNoBackup)
}

// newestSchema is the last migration that this program knows.
func newestSchema() (newest int64) {
	for version := range migrations.Versions() {
		newest = max(newest, version)
	}
	return newest
}

// StageRestore copies a backup to a file beside an SQLite database, which
// nobody knows yet, and checks it. The caller removes it, unless it is swapped in.
func StageRestore(ctx context.Context, database, backup string) (copied string, b BackupFile, err error) {
	for _, old := range stagedBefore(database) {
		_ = os.Remove(old) // what a restore left that was killed
	}
	if err := os.MkdirAll(filepath.Dir(database), 0o700); err != nil {
		return "", b, err
	}
	part, err := os.CreateTemp(filepath.Dir(database), filepath.Base(database)+stagedMark+"*")
	if err != nil {
		return "", b, err
	}
	defer func() {
		if err != nil {
			RemoveStaged(part.Name())
		}
	}()
	from, err := os.Open(backup)
	if err != nil {
		return "", b, errors.Join(err, part.Close())
	}
	_, err = io.Copy(part, from)
	if err = errors.Join(err, from.Close(), part.Sync(), part.Close()); err != nil {
		return "", b, err
	}
	if b, err = checkSQLite(ctx, part.Name()); err != nil {
		return "", b, err
	}
	if know := newestSchema(); b.Schema > know {
		return "", b, newerSchema(b.Schema, know)
	}
	return part.Name(), b, nil
}

const stagedMark = ".restoring-"

func stagedBefore(database string) []string {
	found, _ := filepath.Glob(database + stagedMark + "*")
	return found
}

// RemoveStaged removes what [StageRestore] made.
func RemoveStaged(copied string) {
	for _, name := range beside(copied) {
		_ = os.Remove(name)
	}
}

// beside are a database and the files that SQLite keeps beside it.
func beside(file string) []string {
	return []string{file, file + "-wal", file + "-shm", file + "-journal"}
}

// SwapIn puts a staged copy, which is closed, in the place of a database whose
// lock the caller holds. What was there stays beside it, under a name with the
// date, which comes back; "": nothing was there. Whenever it is interrupted, the
// old database or the new one is there, whole. ErrInUse.
func SwapIn(ctx context.Context, database, copied string, now time.Time) (kept string, err error) {
	if err := syncFile(copied); err != nil {
		return "", err
	}
	if !exists(database) {
		return "", errors.Join(os.Rename(copied, database), syncFolder(database))
	}
	if err := settle(ctx, database); err != nil {
		return "", err
	}
	if kept, err = keepBeside(database, now); err != nil {
		return "", err
	}
	// Only a database that cannot be opened has them still; the new one must not
	// be read with them.
	for _, name := range beside(database)[1:] {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return kept, errors.Join(os.Rename(copied, database), syncFolder(database))
}

// settle brings everything into the one file of a database. One that is damaged
// stays as it is.
func settle(ctx context.Context, database string) error {
	db, err := plain(database, "")
	if err != nil {
		return err
	}
	defer db.Close()
	var mode string
	err = db.QueryRowContext(ctx, `PRAGMA journal_mode = DELETE`).Scan(&mode)
	if isBusy(err) {
		return ErrInUse
	}
	return ctx.Err()
}

// keepBeside gives a database and its files a second name, with the date.
func keepBeside(database string, now time.Time) (kept string, err error) {
	name := database + ".before-" + now.UTC().Format("20060102-150405")
	kept = name
	for n := 2; exists(kept); n++ {
		kept = fmt.Sprintf("%s-%d", name, n)
	}
	to := beside(kept)
	for i, from := range beside(database) {
		if !exists(from) {
			continue
		}
		if err := os.Link(from, to[i]); err == nil {
			continue
		}
		if err := copyFile(from, to[i]); err != nil { // not every file system has links
			return "", err
		}
	}
	return kept, syncFolder(database)
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncFolder makes a new name durable. Systems that cannot sync a folder need
// not.
func syncFolder(name string) error {
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	_ = folder.Sync()
	return folder.Close()
}
