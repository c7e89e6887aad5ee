package broker_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage/absdb"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

func importedSecret(t *testing.T, secret string) *tokens.ImportedSecret {
	t.Helper()
	s, err := tokens.NewImportedSecret([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// believing holds the secret that the files of tests are signed with, and has
// the IdP that their people are known at.
func believing(t *testing.T) func(*broker.Config) {
	return func(c *broker.Config) {
		c.Imported = importedSecret(t, absfile.Secret)
		c.Providers = []broker.Provider{{ProviderSettings: broker.ProviderSettings{ID: "pocketid", Name: "Pocket ID"}, IdP: &namedIdP{issuer: "https://pocket.test"}}}
	}
}

// namedIdP is an IdP of which nothing but its name is asked.
type namedIdP struct {
	broker.IdP
	issuer string
}

func (i *namedIdP) Issuer() string { return i.issuer }

// absFile makes a file with n people as of the world's clock.
func absFile(t *testing.T, w *world, n int) *absfile.File {
	t.Helper()
	f, err := absfile.Make(filepath.Join(t.TempDir(), "absdatabase.sqlite"), n, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// changeFile changes a file after it was made.
func changeFile(t *testing.T, f *absfile.File, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+f.Path+"?_pragma=foreign_keys(0)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func (w *world) importFile(t *testing.T, f *absfile.File, o broker.ImportOptions) *broker.ImportReport {
	t.Helper()
	from, err := absdb.Read(ctx, f.Path)
	if err != nil {
		t.Fatal(err)
	}
	report, err := w.Broker.Import(ctx, from, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

var fromPocket = broker.ImportOptions{ProviderID: "pocketid"}

func counted(t *testing.T, what string, got, want broker.ImportCount) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func TestImportTakesUsersAndDevicesOver(t *testing.T) {
	onEach(t, believing(t), func(t *testing.T, w *world) {
		f := absFile(t, w, 20)
		report := w.importFile(t, f, fromPocket)
		counted(t, "users", report.Users, broker.ImportCount{Imported: 20})
		counted(t, "sessions", report.Sessions, broker.ImportCount{Imported: 20})
		counted(t, "identities", report.Identities, broker.ImportCount{Imported: 1})
		counted(t, "API keys", report.Keys, broker.ImportCount{Imported: 1})
		if !report.Written || len(report.Lines) != 0 || len(report.Notes) != 0 {
			t.Errorf("%+v", report)
		}

		reader := f.Users[5]
		u, err := w.Store.UserByID(ctx, reader.ID)
		if err != nil {
			t.Fatal(err)
		}
		if u.Username != reader.Name || u.Email != reader.Name+"@example.org" || u.EmailVerified || u.Role != broker.RoleUser ||
			!u.CreatedAt.Equal(w.Clock.Now().Add(-500*24*time.Hour)) || !u.LastSeenAt.Equal(w.Clock.Now().Add(-time.Hour)) {
			t.Errorf("%+v", u)
		}
		if may := u.EffectivePermissions(); !may.Download || may.AccessAllLibraries || !slices.Equal(may.Libraries, []string{"lib-1"}) {
			t.Errorf("permissions: %+v", may)
		}
		// The password of there is the password here.
		if _, err := w.Broker.LoginPassword(ctx, reader.Name, reader.Password, phone); err != nil {
			t.Error(err)
		}
		linked, err := w.Store.IdentityBySubject(ctx, "https://pocket.test", f.Users[2].Subject)
		if err != nil || linked.UserID != f.Users[2].ID || linked.ProviderID != "pocketid" {
			t.Errorf("%+v %v", linked, err)
		}
		// Here is no administrator yet, so that root stays root.
		if root, err := w.Store.UserByID(ctx, f.Users[0].ID); err != nil || root.Role != broker.RoleRoot {
			t.Errorf("%+v %v", root, err)
		}
		s := w.row(t, f.Sessions[5].ID)
		if s.UserID != reader.ID || s.ClientID != broker.AppClientID || s.Scope != broker.AppScope || s.Generation != 0 || s.ParentBranch != broker.AnyBranch ||
			!s.IdleExpiresAt.Equal(w.Clock.Now().Add(absfile.RefreshLife-5*time.Minute)) || s.UserAgent != "Phone of "+reader.Name || s.LastIP != "198.51.100.5" {
			t.Errorf("%+v", s)
		}
	})
}

func TestSecondImportChangesNothing(t *testing.T) {
	onEach(t, believing(t), func(t *testing.T, w *world) {
		f := absFile(t, w, 5)
		w.importFile(t, f, fromPocket)
		if err := w.Broker.ResetPassword(ctx, f.Users[3].ID, "changed here since", false); err != nil {
			t.Fatal(err)
		}
		w.cameOver(t, f.Sessions[4].Refresh, broker.OutcomeConverge, 0, 0)
		before := w.kept(t)
		report := w.importFile(t, f, fromPocket)
		counted(t, "users", report.Users, broker.ImportCount{Unchanged: 5})
		counted(t, "sessions", report.Sessions, broker.ImportCount{Unchanged: 4, LeftOut: 1})
		counted(t, "identities", report.Identities, broker.ImportCount{})
		counted(t, "API keys", report.Keys, broker.ImportCount{Unchanged: 1})
		if w.kept(t) != before {
			t.Error("the second import wrote something")
		}
		if _, err := w.Broker.LoginPassword(ctx, f.Users[3].Name, "changed here since", phone); err != nil {
			t.Error(err)
		}
	})
}

// kept is what the tables of an import hold, in an order of its own.
func (w *world) kept(t *testing.T) string {
	t.Helper()
	if w.kind == "memory" {
		return "" // it cannot be read from outside
	}
	var out []string
	for _, table := range []string{"users", "identities", "sessions", "imported_tokens", "audit_events", "api_keys"} {
		rows, err := w.raw(t).Query(`SELECT * FROM ` + table)
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s: %v", table, values))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestDryRunWritesNothing(t *testing.T) {
	onEach(t, believing(t), func(t *testing.T, w *world) {
		f := absFile(t, w, 5)
		before := w.kept(t)
		dry := w.importFile(t, f, broker.ImportOptions{DryRun: true, ProviderID: "pocketid"})
		if dry.Written || !dry.DryRun || w.kept(t) != before || w.rows(t) != 0 {
			t.Errorf("%+v", dry)
		}
		wet := w.importFile(t, f, fromPocket)
		if wet.Users != dry.Users || wet.Sessions != dry.Sessions || wet.Identities != dry.Identities {
			t.Errorf("announced %+v, did %+v", dry, wet)
		}
	})
}

func TestRefusedLineKeepsEverythingOut(t *testing.T) {
	cases := map[string]struct{ change, reason string }{
		"name taken here":    {`UPDATE users SET username = 'ANNA' WHERE username = 'reader002'`, "username: is taken by another user"},
		"name twice":         {`UPDATE users SET username = 'ReAdEr003' WHERE username = 'reader002'`, "username: is that of an earlier line"},
		"no name":            {`UPDATE users SET username = NULL WHERE username = 'reader002'`, "username: is empty"},
		"invisible name":     {"UPDATE users SET username = 'a\u202eb' WHERE username = 'reader002'", "username: a username has no invisible"},
		"unknown role":       {`UPDATE users SET type = 'king' WHERE username = 'reader002'`, `role: "king"`},
		"unusable hash":      {`UPDATE users SET pash = 'plain text' WHERE username = 'reader002'`, "password_hash: "},
		"no UUID":            {`UPDATE users SET id = 'usr_2' WHERE username = 'reader002'; UPDATE sessions SET userId = 'usr_2' WHERE userAgent = 'Phone of reader002'`, "id: is no UUID"},
		"a blob for a name":  {`UPDATE users SET username = x'ff00fe' WHERE username = 'reader002'`, "username: is no text"},
		"text for a flag":    {`UPDATE users SET isActive = 'perhaps' WHERE username = 'reader002'`, "isActive: is neither"},
		"a number for JSON":  {`UPDATE users SET permissions = '17' WHERE username = 'reader002'`, "permissions: is not the JSON"},
		"broken JSON":        {`UPDATE users SET extraData = '{"a":' WHERE username = 'reader002'`, "extraData: is not the JSON"},
		"nonsense for time":  {`UPDATE users SET createdAt = 'yesterday' WHERE username = 'reader002'`, "createdAt: is no time"},
		"too long":           {`UPDATE users SET email = hex(zeroblob(70000)) WHERE username = 'reader002'`, "email: has more than"},
		"session of nobody":  {`UPDATE sessions SET userId = '00000000-0000-4000-8000-000000000000' WHERE userAgent = 'Phone of reader002'`, "userId: there is no such user"},
		"session without":    {`UPDATE sessions SET userId = NULL WHERE userAgent = 'Phone of reader002'`, "userId: is empty"},
		"expiry is no time":  {`UPDATE sessions SET expiresAt = 12 WHERE userAgent = 'Phone of reader002'`, "expiresAt: is no time"},
		"key of nobody":      {`UPDATE apiKeys SET userId = '00000000-0000-4000-8000-000000000000'`, "userId: there is no such user"},
		"key without a name": {`UPDATE apiKeys SET name = ''`, "name: is empty"},
		"key's invisible":    {"UPDATE apiKeys SET name = '\u202e'", "name: is needed"},
		"key's expiry":       {`UPDATE apiKeys SET expiresAt = 'never'`, "expiresAt: is no time"},
		"identity of nobody": {`UPDATE users SET extraData = '{"authOpenIDSub":"subject of reader002"}' WHERE username = 'reader004'`, "is linked to another user"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := &world{kind: "file", url: "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db")}
			w.Rig = harness.New(t, w.url, believing(t))
			w.User(t, "anna", broker.RoleAdmin)
			f := absFile(t, w, 6)
			changeFile(t, f, c.change)
			before := w.kept(t)
			report := w.importFile(t, f, fromPocket)
			if report.Written || report.Refused() != 1 || w.kept(t) != before {
				t.Errorf("%+v", report)
			}
			refused := slices.DeleteFunc(report.Lines, func(l broker.ImportLine) bool { return !l.Refused })
			if len(refused) != 1 || !strings.Contains(refused[0].Reason, c.reason) {
				t.Fatalf("%+v, want %q", report.Lines, c.reason)
			}
			partial := w.importFile(t, f, broker.ImportOptions{ProviderID: "pocketid", Partial: true})
			if !partial.Written || partial.Users.Imported < 5 || partial.Sessions.Imported < 4 {
				t.Errorf("%+v", partial)
			}
		})
	}
}

// Two devices that went on from one token would look like an owner and a thief:
// neither comes over, so that each logs in once more and no session is reused.
func TestImportedTokenOfTwoDevicesIsTakenForNeither(t *testing.T) {
	w := &world{Rig: harness.New(t, "", believing(t))}
	f := absFile(t, w, 6)
	changeFile(t, f, `UPDATE sessions SET refreshToken = (SELECT refreshToken FROM sessions WHERE userAgent = 'Phone of reader004') WHERE userAgent = 'Phone of reader002'`)
	if report := w.importFile(t, f, fromPocket); report.Written || report.Sessions.Refused != 2 {
		t.Errorf("%+v", report)
	}
	report := w.importFile(t, f, broker.ImportOptions{ProviderID: "pocketid", Partial: true})
	counted(t, "sessions", report.Sessions, broker.ImportCount{Imported: 4, Refused: 2})
	for _, l := range report.Lines {
		if !strings.Contains(l.Reason, "refreshToken: is that of another session too") {
			t.Errorf("%+v", l)
		}
	}
	_, err := w.Broker.Refresh(ctx, f.Sessions[4].Refresh, broker.AppClientID, here)
	wantCode(t, "the shared token", err, broker.SessionUnknown)
}

func TestRootComesAsAdminWhereThereIsOne(t *testing.T) {
	w := &world{Rig: harness.New(t, "", believing(t))}
	w.User(t, "anna", broker.RoleRoot)
	f := absFile(t, w, 3)
	report := w.importFile(t, f, fromPocket)
	u, err := w.Store.UserByID(ctx, f.Users[0].ID)
	if err != nil || u.Role != broker.RoleAdmin || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], `"root" is root there and admin here`) {
		t.Errorf("%+v %v %v", u, err, report.Notes)
	}
}

func TestDisabledUserComesDisabledAndWithoutDevices(t *testing.T) {
	w := &world{Rig: harness.New(t, "", believing(t))}
	f := absFile(t, w, 3)
	changeFile(t, f, `UPDATE users SET isActive = 0 WHERE username = 'reader002'`, `UPDATE sessions SET expiresAt = '2020-01-01 00:00:00.000 +00:00' WHERE userAgent = 'Phone of reader001'`)
	report := w.importFile(t, f, fromPocket)
	counted(t, "sessions", report.Sessions, broker.ImportCount{Imported: 1, LeftOut: 2})
	if u, err := w.Store.UserByID(ctx, f.Users[2].ID); err != nil || u.DisabledAt.IsZero() {
		t.Errorf("%+v %v", u, err)
	}
}

func TestDisabledAndExpiredKeys(t *testing.T) {
	for change, want := range map[string]broker.ImportCount{
		`UPDATE apiKeys SET isActive = 0`:                                 {Imported: 1},
		`UPDATE apiKeys SET expiresAt = '2025-01-01 00:00:00.000 +00:00'`: {LeftOut: 1},
	} {
		w := &world{Rig: harness.New(t, "", believing(t))}
		f := absFile(t, w, 3)
		changeFile(t, f, change)
		counted(t, change, w.importFile(t, f, fromPocket).Keys, want)
		if k, err := w.Store.APIKeyByID(ctx, f.Keys[0].ID); want.Imported == 1 && (err != nil || k.DisabledAt.IsZero()) {
			t.Errorf("%+v %v", k, err)
		}
	}
}

func TestImportSaysWhatTheSecretIsWorth(t *testing.T) {
	for name, c := range map[string]struct {
		secret *tokens.ImportedSecret
		note   string
	}{
		"none":  {nil, "import.audiobookshelf_secret is not set"},
		"wrong": {importedSecret(t, "another secret, long enough"), "3 of 3 refresh tokens were not signed"},
	} {
		w := &world{Rig: harness.New(t, "", func(c2 *broker.Config) { believing(t)(c2); c2.Imported = c.secret })}
		report := w.importFile(t, absFile(t, w, 3), fromPocket)
		if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], c.note) {
			t.Errorf("%s: %v", name, report.Notes)
		}
	}
}

// The dump of a database that was imported into holds no token of the old system.
func TestStolenDumpHoldsNoImportedToken(t *testing.T) {
	onEachKept(t, believing(t), func(t *testing.T, w *world) {
		f := absFile(t, w, 5)
		w.importFile(t, f, fromPocket)
		dump := harness.Dump(t, w.url)
		for _, s := range f.Sessions {
			for _, raw := range []string{s.Refresh, s.Previous} {
				if raw != "" && bytes.Contains(dump, []byte(raw[len(raw)-43:])) {
					t.Error("the dump holds a refresh token's signature")
				}
			}
		}
		for _, u := range f.Users {
			if bytes.Contains(dump, []byte(u.Legacy[len(u.Legacy)-43:])) {
				t.Error("the dump holds a legacy token's signature")
			}
		}
		if bytes.Contains(dump, []byte(absfile.Secret)) || strings.Contains(w.Log.String(), absfile.Secret) {
			t.Error("the secret of the old system is kept")
		}
	})
}
