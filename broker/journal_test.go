package broker_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage/journal"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// onEachFile is onEach with a journal, on the databases that can be restored.
func onEachFile(t *testing.T, test func(t *testing.T, w *world, file string)) {
	t.Helper()
	file := ""
	onEachKept(t, func(c *broker.Config) {
		if file == "" {
			file = filepath.Join(t.TempDir(), "ends.journal")
		}
		c.Journal, c.Replay = journal.New(file), true
	}, func(t *testing.T, w *world) {
		defer func() { file = "" }()
		test(t, w, file)
	})
}

// dumped keeps the whole database as it is; what comes back restores it.
func (w *world) dumped(t *testing.T) (restore func() *world) {
	t.Helper()
	if w.kind == "file" {
		return w.backup(t)
	}
	db := w.raw(t)
	tables := []string{}
	rows, err := db.Query(`SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	w.exec(t, `CREATE SCHEMA dump`)
	for _, name := range tables {
		w.exec(t, `CREATE TABLE dump.`+name+` AS SELECT * FROM public.`+name)
	}
	return func() *world {
		t.Helper()
		all := []string{`SET session_replication_role = replica`, `TRUNCATE ` + strings.Join(tables, ", ")}
		for _, name := range tables {
			all = append(all, `INSERT INTO public.`+name+` SELECT * FROM dump.`+name)
		}
		w.exec(t, strings.Join(all, "; "))
		return w.another(t)
	}
}

// onFile is onEachFile with SQLite alone, for what is about the journal's file.
func onFile(t *testing.T, test func(t *testing.T, w *world, file string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ends.journal")
	w := &world{kind: "file", url: "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db")}
	w.change = func(c *broker.Config) { c.Journal, c.Replay = journal.New(file), true }
	w.Rig = harness.New(t, w.url, w.change)
	w.User(t, "anna", broker.RoleUser)
	test(t, w, file)
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

// R36: what ended after the backup is dead again, by its own cause, and nobody
// else is logged out.
func TestRestoreKeepsEndsThatTheBackupForgot(t *testing.T) {
	onEachFile(t, func(t *testing.T, w *world, file string) {
		bob, carl, dora := w.User(t, "bob", broker.RoleUser), w.User(t, "carl", broker.RoleUser), w.User(t, "dora", broker.RoleUser)
		eve := w.User(t, "eve", broker.RoleAdmin)
		lives, wiped, left := w.login(t).RefreshToken, w.login(t).RefreshToken, w.login(t).RefreshToken
		bobs, carls, doras, eves := w.Login(t, "bob").RefreshToken, w.Login(t, "carl").RefreshToken, w.Login(t, "dora").RefreshToken, w.Login(t, "eve").RefreshToken
		key, keyText, err := w.Broker.CreateAPIKey(ctx, nil, broker.NewAPIKey{Name: "deleted", UserID: eve.ID}, phone)
		must(t, err)
		off, offText, err := w.Broker.CreateAPIKey(ctx, nil, broker.NewAPIKey{Name: "switched off", UserID: eve.ID}, phone)
		must(t, err)
		_, keptText, err := w.Broker.CreateAPIKey(ctx, nil, broker.NewAPIKey{Name: "kept", UserID: eve.ID}, phone)
		must(t, err)
		restore := w.dumped(t)

		w.wait(1)
		lives = w.refreshed(t, lives, broker.OutcomeAdvance, 1, 0)
		_, err = w.Broker.EndSessions(ctx, broker.SessionFilter{ID: w.claims(t, wiped).SessionID}, broker.RevokedByAdmin, true, "")
		must(t, err)
		_, err = w.Broker.Logout(ctx, left.Reveal(), false, phone)
		must(t, err)
		must(t, w.Broker.SetDisabled(ctx, bob.ID, true))
		must(t, w.Broker.SetDisabled(ctx, dora.ID, true))
		must(t, w.Broker.SetDisabled(ctx, dora.ID, false))
		must(t, w.Broker.DeleteUser(ctx, carl.ID))
		must(t, w.Broker.ResetPassword(ctx, eve.ID, "another password of eve", false))
		must(t, w.Broker.DeleteAPIKey(ctx, nil, key.ID, phone))
		yes := true
		_, err = w.Broker.UpdateAPIKey(ctx, nil, off.ID, broker.APIKeyChange{Disabled: &yes}, phone)
		must(t, err)
		later := w.login(t).RefreshToken
		w.wait(1)

		w = restore()
		for i, c := range []struct {
			token tokens.RefreshToken
			code  broker.Code
		}{{wiped, broker.RevokedByAdmin}, {left, broker.LoggedOut}, {bobs, broker.UserDisabled}, {doras, broker.UserDisabled},
			{carls, broker.UserDeleted}, {eves, broker.PasswordChanged}, {later, broker.SessionUnknown}} {
			if _, err := w.refresh(phone, c.token); broker.CodeOf(err) != c.code {
				t.Errorf("%d: %v, want %s", i, err, c.code)
			}
		}
		if !w.row(t, w.claims(t, wiped).SessionID).Wipe {
			t.Error("the lost device is not asked to wipe any more")
		}
		w.refreshed(t, lives, broker.OutcomeAhead, 1, 0)
		for name, code := range map[string]broker.Code{"bob": broker.InvalidCredentials, "carl": broker.InvalidCredentials, "eve": broker.InvalidCredentials, "dora": ""} {
			if _, err := w.Broker.LoginPassword(ctx, name, harness.PasswordOf(name), phone); code == "" && err != nil || code != "" && broker.CodeOf(err) != code {
				t.Errorf("a login of %s: %v, want %q", name, err, code)
			}
		}
		for text, good := range map[string]bool{keyText.Reveal(): false, offText.Reveal(): false, keptText.Reveal(): true} {
			if _, err := w.Broker.AuthenticateKey(ctx, text, phone); (err == nil) != good {
				t.Errorf("an API key: %v, want good: %v", err, good)
			}
		}
		report := w.Broker.JournalReport()
		if report.Replayed == 0 || len(report.NewPasswords) != 1 || report.NewPasswords[0] != eve.ID || !strings.Contains(w.Log.String(), "journal.replayed") {
			t.Errorf("report %+v, log %s", report, w.Log)
		}
		if n := len(w.events(t, w.claims(t, wiped).SessionID, broker.EventSessionEnded)); n != 1 {
			t.Errorf("%d events of an end, want the one that the backup forgot", n)
		}
		again := w.another(t)
		if n := again.Broker.JournalReport().Replayed; n != 0 {
			t.Errorf("the next start replays %d lines again", n)
		}
		for _, secret := range []string{keyText.Reveal(), offText.Reveal(), lives.Reveal(), "192.0.2", "anna", "carl"} {
			if strings.Contains(strings.Join(lines(t, file), "\n"), secret) {
				t.Errorf("the journal says %q", secret)
			}
		}
	})
}

// ATTACK: who has stolen a signing key waits until a backup of before its
// revocation is restored. Its tokens are worth nothing then either, while another
// key signs and refresh tokens go on.
func TestRestoreBringsNoRevokedSigningKeyBack(t *testing.T) {
	onEachFile(t, func(t *testing.T, w *world, file string) {
		rt := w.login(t).RefreshToken
		access := w.login(t).AccessToken
		stolen := kidOf(t, string(access))
		restore := w.dumped(t)
		if _, err := w.Broker.RevokeKey(ctx, stolen); err != nil {
			t.Fatal(err)
		}
		w = restore()
		check := func(w *world) {
			t.Helper()
			if len(w.Broker.KeyRing().VerificationKeys(stolen)) > 0 || strings.Contains(string(w.Broker.PublicKeys(ctx)), stolen) {
				t.Error("the revoked key counts again")
			}
			login, err := w.refresh(phone, rt)
			must(t, err)
			if signs := kidOf(t, string(login.AccessToken)); signs == stolen || len(w.Broker.KeyRing().VerificationKeys(signs)) == 0 {
				t.Errorf("the key %s signs, which is not to be trusted", signs)
			}
			keys, err := w.Store.SigningKeys(ctx)
			must(t, err)
			if slices.ContainsFunc(keys, func(k broker.StoredKey) bool { return k.ID == stolen }) {
				t.Error("the database has the revoked key")
			}
		}
		check(w)
		if n := w.Broker.JournalReport().By[broker.EventKeyRevoked]; n != 1 {
			t.Errorf("%d keys were revoked again, want 1", n)
		}
		next := w.another(t) // and it stays so
		check(next)
		if n := next.Broker.JournalReport().Replayed; n != 0 {
			t.Errorf("the next start replays %d lines again", n)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A crash between the commit and the line: the database knows what to write.
func TestCrashBetweenCommitAndJournalLosesNoEnd(t *testing.T) {
	onFile(t, func(t *testing.T, w *world, file string) {
		rt, sid := w.login(t).RefreshToken, ""
		sid = w.claims(t, rt).SessionID
		restore := w.dumped(t)
		before := lines(t, file)
		_, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone)
		must(t, err)
		if after := lines(t, file); len(after) != len(before)+1 || !strings.Contains(after[len(after)-1], sid) {
			t.Fatalf("the journal has %q after a logout", after)
		}
		must(t, os.WriteFile(file, []byte(strings.Join(before, "\n")+"\n"), 0o600)) // as if it had crashed
		w.another(t)                                                                // and was started again
		if after := lines(t, file); len(after) != len(before)+1 || !strings.Contains(after[len(after)-1], sid) {
			t.Fatalf("the journal has %q after the start", after)
		}
		w = restore()
		w.refused(t, phone, rt, broker.LoggedOut)
	})
}

// What could not be written, for a full disk or by another replica, is copied
// while the program runs.
func TestJournalThatCannotBeWrittenCatchesUp(t *testing.T) {
	onFile(t, func(t *testing.T, w *world, file string) {
		rt := w.login(t).RefreshToken
		must(t, os.Rename(file, file+".away"))
		must(t, os.Mkdir(file, 0o700))
		if _, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone); err != nil {
			t.Fatalf("a logout while the journal cannot be written: %v", err)
		}
		if !strings.Contains(w.Log.String(), "journal.failed") {
			t.Error("nobody is told")
		}
		must(t, os.Remove(file))
		must(t, os.Rename(file+".away", file))
		for range 2 {
			_, err := w.Broker.KeepJournal(ctx)
			must(t, err)
		}
		if n := strings.Count(strings.Join(lines(t, file), "\n"), w.claims(t, rt).SessionID); n != 1 {
			t.Errorf("the end is in the journal %d times", n)
		}
	})
}

// A journal that is torn, damaged, missing or of another database is said so,
// and keeps nobody out.
func TestDamagedJournalIsToldAndGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(file string) error
		event  string
		ended  broker.Code // of a session that ended after the backup
	}{
		"torn last line": {func(f string) error {
			raw, err := os.ReadFile(f)
			return errors.Join(err, os.WriteFile(f, append(raw, `deadbeef {"id":"torn`...), 0o600))
		}, "journal.damaged", broker.LoggedOut},
		"missing": {os.Remove, "journal.missing", ""},
		"a line was changed": {func(f string) error {
			raw, err := os.ReadFile(f)
			return errors.Join(err, os.WriteFile(f, []byte(strings.Replace(string(raw), "session.ended", "session.endee", 1)), 0o600))
		}, "journal.damaged", ""},
		"all of it is something else": {func(f string) error {
			return os.WriteFile(f, []byte(strings.Repeat("\x00\xff rubbish\n", 5000)+strings.Repeat("x", 100_000)), 0o600)
		}, "journal.damaged", ""},
		"of another database": {func(f string) error {
			must(t, os.Remove(f))
			return journal.New(f).Append(ctx, []broker.JournalLine{{ID: "another", At: 1, Name: "journal.begins"}})
		}, "journal.foreign", ""},
		"unreadable": {func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) }, "journal.unreadable", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ends.journal")
			w := &world{kind: "file", url: "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db")}
			w.change = func(c *broker.Config) { c.Journal, c.Replay = journal.New(file), true }
			w.Rig = harness.New(t, w.url, w.change)
			w.User(t, "anna", broker.RoleUser)
			lives, left := w.login(t).RefreshToken, w.login(t).RefreshToken
			restore := w.dumped(t)
			_, err := w.Broker.Logout(ctx, left.Reveal(), false, phone)
			must(t, err)
			must(t, c.damage(file))
			w.Clock.Advance(4 * time.Minute) // a younger one has nothing to lose
			w = restore()
			if !strings.Contains(w.Log.String(), c.event) {
				t.Errorf("the log has no %s: %s", c.event, w.Log)
			}
			_, err = w.refresh(phone, lives)
			must(t, err)
			if _, err := w.refresh(phone, left); (err == nil) != (c.ended == "") || err != nil && broker.CodeOf(err) != c.ended {
				t.Errorf("a session that ended after the backup: %v, want %q", err, c.ended)
			}
			if name == "unreadable" {
				return
			}
			next := w.another(t) // it goes on with a good journal
			if strings.Contains(next.Log.String(), "journal.missing") || strings.Contains(next.Log.String(), "journal.foreign") {
				t.Errorf("the next start says %s", next.Log)
			}
		})
	}
}

// A replica that comes to others begins a journal of its own, and has lost none. A
// server that comes back alone, or is the only one, has.
func TestNewReplicaHasLostNoJournal(t *testing.T) {
	onEachFile(t, func(t *testing.T, w *world, _ string) {
		says := func(what, file string, want bool) {
			t.Helper()
			w.change = func(c *broker.Config) { c.Journal, c.Replay = journal.New(file), true }
			if got := strings.Contains(w.another(t).Log.String(), "journal.missing"); got != want {
				t.Errorf("%s: told that a journal is missing: %v, want %v", what, got, want)
			}
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		}
		own := func() string { return filepath.Join(t.TempDir(), "own.journal") }
		says("one that starts with the first", own(), false)
		w.Clock.Advance(time.Hour)
		must(t, w.Broker.Attend(ctx))
		says("one that comes to it later", own(), w.kind == "file")
		w.Clock.Advance(time.Hour)
		says("one that comes back alone", own(), true)
	})
}

// The journal has a bound, and no line of it lives longer than the audit log, by
// which it is known to be done.
func TestJournalIsBounded(t *testing.T) {
	onFile(t, func(t *testing.T, w *world, file string) {
		for range 3 {
			_, err := w.Broker.Logout(ctx, w.login(t).RefreshToken.Reveal(), false, phone)
			must(t, err)
		}
		w.Clock.Advance(121 * 24 * time.Hour)
		_, err := w.Broker.Logout(ctx, w.login(t).RefreshToken.Reveal(), false, phone)
		must(t, err)
		_, err = w.Broker.KeepJournal(ctx)
		must(t, err)
		if all := lines(t, file); len(all) != 2 || !strings.Contains(all[0], "journal.begins") {
			t.Errorf("the journal has %q, want its beginning and the last logout", all)
		}
		w.Clock.Advance(400 * 24 * time.Hour)
		must(t, w.Broker.Sweep(ctx))
		if n := w.another(t).Broker.JournalReport().Replayed; n != 0 {
			t.Errorf("%d lines that the audit log no longer has are done again", n)
		}
	})
}

// A session that had expired before the restore does not live again: the journal
// knows how long the service has run since the backup.
func TestRestoreGivesNoTimeBack(t *testing.T) {
	onFile(t, func(t *testing.T, w *world, file string) {
		w.beat(t)
		rt := w.login(t).RefreshToken
		restore := w.dumped(t)
		for range 40 { // days in which the server runs
			w.Clock.Advance(day)
			served := w.Clock.Now()
			_, err := w.Store.Beat(ctx, served, served)
			must(t, err)
			_, err = w.Broker.KeepJournal(ctx)
			must(t, err)
		}
		w = restore()
		w.refused(t, phone, rt, broker.SessionExpired)
		if !strings.Contains(w.Log.String(), "journal.replayed") {
			t.Errorf("the log says nothing of an older database: %s", w.Log)
		}
	})
}
