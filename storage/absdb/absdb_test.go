package absdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/storage/absdb"
	"github.com/latchkey-id/latchkey/test/absfile"
)

func file(t *testing.T, statements ...string) *absfile.File {
	t.Helper()
	f, err := absfile.Make(filepath.Join(t.TempDir(), "abs database?.sqlite"), 4, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: f.Path}).EscapedPath())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return f
}

func TestEveryColumnIsNeeded(t *testing.T) {
	for table, columns := range map[string][]string{
		"users":    {"username", "email", "pash", "type", "token", "isActive", "lastSeen", "permissions", "extraData", "createdAt"},
		"sessions": {"refreshToken", "expiresAt", "lastRefreshToken", "ipAddress", "userAgent", "createdAt", "updatedAt"},
		"apiKeys":  {"name", "description", "expiresAt", "isActive", "createdAt"},
	} {
		for _, column := range columns {
			f := file(t, fmt.Sprintf(`ALTER TABLE "%s" DROP COLUMN "%s"`, table, column))
			_, err := absdb.Read(context.Background(), f.Path)
			if want := fmt.Sprintf("the table %s has no column %s", table, column); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		f := file(t, fmt.Sprintf(`ALTER TABLE "%s" RENAME TO "other"`, table))
		if _, err := absdb.Read(context.Background(), f.Path); err == nil || !strings.Contains(err.Error(), "there is no table "+table) {
			t.Error(err)
		}
	}
}

// A file in WAL mode is read too, where nothing waits beside it, and nothing is
// made there.
func TestFileInWALMode(t *testing.T) {
	f := file(t, `PRAGMA journal_mode = wal`, `UPDATE users SET lastSeen = NULL`)
	before, err := os.ReadFile(f.Path)
	if err != nil || before[18] != 2 {
		t.Fatalf("the file is not in WAL mode: %v", err)
	}
	if err := os.Chmod(filepath.Dir(f.Path), 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Dir(f.Path), 0o700)
	from, err := absdb.Read(context.Background(), f.Path)
	if err != nil || len(from.Sessions) != 4 || len(from.Keys) != 1 {
		t.Fatalf("%d sessions, %d keys: %v", len(from.Sessions), len(from.Keys), err)
	}
	for u, err := range from.Users {
		if err != nil || u.Problem != "" || !u.User.LastSeenAt.IsZero() {
			t.Errorf("%+v %v", u, err)
		}
	}
	after, _ := os.ReadFile(f.Path)
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(f.Path), "*")); string(after) != string(before) || len(left) != 1 {
		t.Errorf("the file was written to, or something beside it: %v", left)
	}
}

// A value that makes no sense names its column.
func TestNULLsAndWrongTypes(t *testing.T) {
	for change, says := range map[string]string{
		`UPDATE users SET username = NULL`:                   "username: is empty",
		`UPDATE users SET type = NULL`:                       "type: is empty",
		`UPDATE users SET username = x'00ff'`:                "username: is no text",
		`UPDATE users SET email = 'a' || char(0)`:            "email: is no text",
		`UPDATE users SET isActive = 2`:                      "isActive: is neither",
		`UPDATE users SET lastSeen = 'soon'`:                 "lastSeen: is no time",
		`UPDATE users SET createdAt = ''`:                    "createdAt: is empty",
		`UPDATE users SET permissions = '[]'`:                "permissions: is not the JSON",
		`UPDATE users SET extraData = '{"authOpenIDSub":7}'`: "extraData: is not the JSON",
	} {
		from, err := absdb.Read(context.Background(), file(t, change).Path)
		if err != nil {
			t.Fatal(err)
		}
		for u := range from.Users {
			if !strings.HasPrefix(u.Problem, says) {
				t.Errorf("%s: %q, want %q", change, u.Problem, says)
			}
		}
	}
}

func TestSecret(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{`SELECT 1`, absfile.Secret},
		{`UPDATE settings SET value = '{"id":"server-settings","tokenSecret":null}'`, ""},
		{`UPDATE settings SET value = '{}'`, ""},
		{`DELETE FROM settings`, ""},
	} {
		if got, err := absdb.Secret(context.Background(), file(t, c.change).Path); err != nil || got != c.want {
			t.Errorf("%s: %q, %v", c.change, got, err)
		}
	}
	for _, change := range []string{`UPDATE settings SET value = 'no JSON'`, `DROP TABLE settings`, `DROP TABLE sessions`} {
		if got, err := absdb.Secret(context.Background(), file(t, change).Path); err == nil || got != "" {
			t.Errorf("%s: %q", change, got)
		}
	}
}
