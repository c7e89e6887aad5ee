package absdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage/absdb"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/harness"
)

const people = 3 // in the file

// fuzzedColumns are the columns whose values a fuzz target makes up.
var fuzzedColumns = []struct{ table, column string }{
	{"users", "id"}, {"users", "username"}, {"users", "email"}, {"users", "pash"}, {"users", "type"}, {"users", "token"}, {"users", "isActive"}, {"users", "lastSeen"}, {"users", "permissions"},
	{"users", "extraData"}, {"users", "createdAt"},
	{"sessions", "id"}, {"sessions", "userId"}, {"sessions", "refreshToken"}, {"sessions", "expiresAt"}, {"sessions", "lastRefreshToken"}, {"sessions", "ipAddress"}, {"sessions", "userAgent"},
	{"sessions", "createdAt"}, {"sessions", "updatedAt"},
	{"apiKeys", "id"}, {"apiKeys", "name"}, {"apiKeys", "description"}, {"apiKeys", "expiresAt"}, {"apiKeys", "isActive"}, {"apiKeys", "createdAt"}, {"apiKeys", "userId"}, {"apiKeys", "createdByUserId"},
	{"settings", "value"},
}

// Whatever stands in two columns of a person, a device, a key and the settings of Audiobookshelf: it
// is read, and then taken in or refused in plain words; everything else in the file is taken in.
func FuzzRows(f *testing.F) {
	at := func(column string) (n uint8) {
		for i, c := range fuzzedColumns {
			if c.table+"."+c.column == column {
				return uint8(i)
			}
		}
		f.Fatalf("there is no column %s", column)
		return 0
	}
	for _, s := range [][3]string{
		{"users.permissions", "users.extraData", `{"download":true,"librariesAccessible":["\u0000",null],"itemTagsSelected":[]}`}, {"users.permissions", "users.extraData", `{"authOpenIDSub":"a\u0000b"}`},
		{"users.permissions", "users.extraData", `{"authOpenIDSub":7,"download":"yes"}`}, {"users.permissions", "settings.value", strings.Repeat("[", 500)}, {"settings.value", "users.token", `{"tokenSecret":"s"}`},
		{"settings.value", "users.extraData", `{"tokenSecret":{"a":[1]}}`}, {"users.createdAt", "users.lastSeen", "1970-01-01 00:00:00.000 +00:00"}, {"users.createdAt", "sessions.expiresAt", "9999-12-31T23:59:59.999999999Z"},
		{"users.createdAt", "apiKeys.expiresAt", "2026-01-02 03:04:05.000 -23:59"}, {"sessions.createdAt", "sessions.updatedAt", "1969-12-31T23:59:59Z"}, {"users.username", "apiKeys.name", "a\u202e\u00ad b"},
		{"users.username", "users.email", "ROOT"}, {"users.id", "sessions.id", absfile.ID("root")}, {"users.id", "apiKeys.id", strings.ToUpper(absfile.ID("x"))}, {"sessions.userId", "apiKeys.userId", ""},
		{"sessions.refreshToken", "sessions.lastRefreshToken", "a.b.c"}, {"sessions.refreshToken", "users.token", strings.Repeat("t", 300)}, {"users.isActive", "apiKeys.isActive", "true"}, {"users.isActive", "apiKeys.isActive", "2"}, {"users.type", "users.pash", "$2a$31$"},
		{"users.type", "users.pash", "root"}, {"sessions.ipAddress", "sessions.userAgent", "fe80::1%\xff"}, {"users.token", "sessions.userAgent", "a\x00b"}, {"apiKeys.description", "apiKeys.createdByUserId", strings.Repeat("é", 400)},
	} {
		for _, blob := range []bool{false, true} {
			f.Add(at(s[0]), at(s[1]), []byte(s[2]), blob)
		}
	}
	file, err := absfile.Make(filepath.Join(f.TempDir(), "absdatabase.sqlite"), people, harness.NewClock().Now())
	if err != nil {
		f.Fatal(err)
	}
	writer := harness.Open(f, "sqlite:"+file.Path+"?_pragma=synchronous(off)&_pragma=foreign_keys(0)")
	x := harness.New(f, "", func(c *broker.Config) {
		c.Providers = []broker.Provider{{ProviderSettings: broker.ProviderSettings{ID: "idp", Name: "IdP"}, IdP: named{}}}
	})
	f.Fuzz(func(t *testing.T, one, other uint8, value []byte, blob bool) {
		defer change(t, writer, one, value, blob)()
		defer change(t, writer, other, value, blob)()
		_, _ = absdb.Secret(t.Context(), file.Path)
		from, err := absdb.Read(t.Context(), file.Path)
		if err != nil {
			t.Fatal(err)
		}
		readPlainly(t, from)
		report, err := x.Broker.Import(t.Context(), from, broker.ImportOptions{DryRun: true, Partial: true, ProviderID: "idp"})
		if err != nil {
			t.Fatal(err)
		}
		if report.Users.Imported < people-1 || report.Sessions.Imported < people-1 || report.Users.Imported+report.Users.Refused != people {
			t.Errorf("%+v", report)
		}
		for _, l := range report.Lines {
			if text := l.ID + l.Name + l.Reason; l.Reason == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 2000 {
				t.Errorf("no plain words: %+v", l)
			}
		}
	})
}

// Whatever has become of the bytes of a file: it is read, as plainly as any other, or refused
// by an error. It stays as it was, and nothing is made beside it.
func FuzzFile(f *testing.F) {
	file, err := absfile.Make(filepath.Join(f.TempDir(), "absdatabase.sqlite"), people, harness.NewClock().Now())
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(file.Path)
	if err != nil {
		f.Fatal(err)
	}
	size := uint32(len(whole))
	for _, at := range []uint32{0, 16, 18, 28, 52, 56, 100, 103, 105, 4096, 4099, 4101, 4104, 8192, 8195, size / 2, size - 100} {
		for _, with := range []string{"\x00", "\xff\xff", "\x02\x02", "\x00\x00\x00\x01", "\x05\x00\x00\x00\x01\x10\x00", strings.Repeat("\xff", 200)} {
			f.Add(at, []byte(with), size)
		}
	}
	for _, left := range []uint32{0, 15, 16, 20, 99, 100, 4095, 4096, 4097, size / 2, size - 1} {
		f.Add(uint32(0), []byte(""), left)
	}
	f.Fuzz(func(t *testing.T, at uint32, with []byte, left uint32) {
		content := slices.Clone(whole)
		copy(content[min(at, size):], with)
		content = content[:min(left, size)]
		path := filepath.Join(t.TempDir(), "absdatabase.sqlite")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := absdb.Secret(ctx, path)
		from, err2 := absdb.Read(ctx, path)
		if ctx.Err() != nil {
			t.Fatalf("it takes too long: %v, %v", err, err2)
		}
		if err2 == nil {
			readPlainly(t, from)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(after, content) {
			t.Errorf("the file has changed, %v", err)
		}
		if beside, err := os.ReadDir(filepath.Dir(path)); err != nil || len(beside) != 1 {
			t.Errorf("beside the file there are %v, %v", beside, err)
		}
	})
}

// named is an IdP of which nothing but its name is asked.
type named struct{ broker.IdP }

func (named) Issuer() string { return "https://idp.test" }

// fuzzedRows are the rows whose values a fuzz target makes up: the last of each table.
var fuzzedRows = map[string]int{"users": people, "sessions": people, "apiKeys": 1, "settings": 1}

// change writes a value into a column. What it returns puts back what was there.
func change(t *testing.T, db *sql.DB, n uint8, value []byte, blob bool) (restore func()) {
	t.Helper()
	c := fuzzedColumns[int(n)%len(fuzzedColumns)]
	var before any // with a +, a time comes as the text that it is
	if err := db.QueryRow(fmt.Sprintf(`SELECT +%s FROM %s WHERE rowid = ?`, c.column, c.table), fuzzedRows[c.table]).Scan(&before); err != nil {
		t.Fatal(err)
	}
	update := fmt.Sprintf(`UPDATE OR IGNORE %s SET %s = ? WHERE rowid = ?`, c.table, c.column)
	set := func(value any) {
		if _, err := db.Exec(update, value, fuzzedRows[c.table]); err != nil {
			t.Fatal(err)
		}
	}
	if blob {
		set(value)
	} else {
		set(string(value)) // kept as a number where the column is one of numbers, and it says one
	}
	return func() { set(before) }
}

// readPlainly holds what is read without a problem against what every reader of it counts on.
func readPlainly(t *testing.T, from broker.Import) {
	t.Helper()
	check := func(problem string, times []time.Time, texts ...string) {
		for _, text := range texts {
			if problem == "" && (!utf8.ValidString(text) || strings.ContainsRune(text, 0) || len(text) > 64<<10) {
				t.Errorf("read as %.100q", text)
			}
		}
		for _, at := range times {
			if problem == "" && !at.IsZero() && (at.Year() < 1970 || at.Year() > 9999) {
				t.Errorf("read as %v", at)
			}
		}
	}
	for u, err := range from.Users {
		if err != nil {
			t.Error(err)
		}
		x := u.User
		check(u.Problem, []time.Time{x.CreatedAt, x.LastSeenAt}, x.ID, x.Username, x.Email, string(x.PasswordHash), string(x.Role), u.Legacy.Reveal())
	}
	for _, s := range from.Sessions {
		x := s.Session
		check(s.Problem, []time.Time{x.CreatedAt, x.LastSeenAt, x.IdleExpiresAt}, x.ID, x.UserID, x.LastIP, x.UserAgent)
		if s.Problem == "" && len(s.Tokens) == 0 {
			t.Errorf("%s has no token", x.ID)
		}
	}
	for _, k := range from.Keys {
		x := k.Key
		check(k.Problem, []time.Time{x.CreatedAt, x.ExpiresAt}, x.ID, x.UserID, x.Name, x.Description, x.CreatedBy)
	}
}
