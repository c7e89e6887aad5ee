package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// cameOver refreshes with a token of the imported system and wants an outcome
// and a pair.
func (w *world) cameOver(t *testing.T, raw string, o broker.Outcome, g, b int64) tokens.RefreshToken {
	t.Helper()
	login, err := w.refresh(phone, tokens.RefreshToken(raw))
	if err != nil {
		t.Fatalf("refresh: %v, want %s (%d, %d)", err, o, g, b)
	}
	if c := w.claims(t, login.RefreshToken); login.Outcome != o || c.Generation != g || c.Branch != b {
		t.Fatalf("refresh: %s (%d, %d), want %s (%d, %d)", login.Outcome, c.Generation, c.Branch, o, g, b)
	}
	return login.RefreshToken
}

// importedWorld is a world with an imported file.
func importedWorld(t *testing.T, n int) (*world, *absfile.File) {
	t.Helper()
	w := &world{Rig: harness.New(t, "", believing(t))}
	f := absFile(t, w, n)
	w.importFile(t, f, fromPocket)
	return w, f
}

func TestImportedTokenIsTheParentOfTheFirstGeneration(t *testing.T) {
	onEach(t, believing(t), func(t *testing.T, w *world) {
		f := absFile(t, w, 4)
		w.importFile(t, f, fromPocket)
		s := f.Sessions[3]
		w.wait(3)
		// A lost answer is answered again, however late, and by the token before too.
		w.cameOver(t, s.Refresh, broker.OutcomeReissue, 0, 1)
		w.cameOver(t, s.Previous, broker.OutcomeConverge, 0, 1)
		w.wait(1)
		first := w.cameOver(t, s.Refresh, broker.OutcomeReissue, 0, 2)
		second := w.refreshed(t, first, broker.OutcomeAdvance, 1, 0)
		w.cameOver(t, s.Refresh, broker.OutcomeConverge, 1, 0) // a slow second request
		w.wait(2)
		w.refreshed(t, second, broker.OutcomeAdvance, 2, 0)
		w.refused(t, stranger, tokens.RefreshToken(s.Refresh), broker.TokenReused)
		w.ended(t, s.ID, broker.TokenReused)
		w.refused(t, phone, second, broker.TokenReused)
	})
}

// Two who hold the token of one device: whoever comes second with what became
// of it ends the session.
func TestStolenImportedTokenEndsTheSession(t *testing.T) {
	w, f := importedWorld(t, 4)
	s := f.Sessions[3]
	w.wait(1)
	thief := w.cameOver(t, s.Previous, broker.OutcomeReissue, 0, 1)
	w.wait(1)
	owner := w.cameOver(t, s.Refresh, broker.OutcomeReissue, 0, 2)
	w.wait(1)
	w.refreshed(t, owner, broker.OutcomeAdvance, 1, 0)
	w.wait(1)
	w.refused(t, stranger, thief, broker.TokenReused)
	w.ended(t, s.ID, broker.TokenReused)
}

func TestParallelRefreshesOfOneImportedToken(t *testing.T) {
	onEach(t, believing(t), func(t *testing.T, w *world) {
		f := absFile(t, w, 4)
		w.importFile(t, f, fromPocket)
		w.wait(2)
		pairs := map[[2]int64]int{}
		for _, a := range storm(30, tokens.RefreshToken(f.Sessions[3].Refresh), w) {
			if a.err != nil {
				t.Fatal(a.err)
			}
			c := w.claims(t, a.login.RefreshToken)
			pairs[[2]int64{c.Generation, c.Branch}]++
		}
		if len(pairs) != 1 || pairs[[2]int64{0, 1}] != 30 {
			t.Errorf("pairs: %v", pairs)
		}
	})
}

// The end in the old token is not the end of the device: it may have come over
// in time and lost the answer.
func TestLostAnswerIsAnsweredPastTheOldEnd(t *testing.T) {
	w, f := importedWorld(t, 4)
	w.Clock.Advance(absfile.RefreshLife - 10*time.Minute)
	w.cameOver(t, f.Sessions[3].Refresh, broker.OutcomeReissue, 0, 1)
	w.Clock.Advance(time.Hour)
	w.cameOver(t, f.Sessions[3].Refresh, broker.OutcomeReissue, 0, 2)
	w.refused(t, phone, tokens.RefreshToken(f.Sessions[2].Refresh), broker.SessionExpired)
}

func TestRefusedImportedTokens(t *testing.T) {
	w, f := importedWorld(t, 6)
	reader, s := f.Users[5], f.Sessions[5]
	now := w.Clock.Now()
	claims := map[string]any{"userId": reader.ID, "username": reader.Name, "type": "refresh", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	parts := strings.Split(s.Refresh, ".")
	none := "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
	for name, c := range map[string]struct {
		raw  string
		code broker.Code
	}{
		"signed there, unknown here": {absfile.Sign(absfile.Secret, claims), broker.SessionUnknown},
		"expired and unknown":        {absfile.Refresh(absfile.Secret, reader, "x", now.Add(-40*24*time.Hour)), broker.SessionExpired},
		"another secret":             {absfile.Sign("another secret, long enough", claims), broker.InvalidToken},
		"our own root secret":        {absfile.Sign(harness.Secret, claims), broker.InvalidToken},
		"tampered payload":           {parts[0] + "." + parts[1][:10] + "x" + parts[1][11:] + "." + parts[2], broker.InvalidToken},
		"tampered signature":         {parts[0] + "." + parts[1] + "." + "AAAA" + parts[2][4:], broker.InvalidToken},
		"no signature":               {parts[0] + "." + parts[1] + ".", broker.InvalidToken},
		"alg none":                   {none + "." + parts[1] + ".", broker.InvalidToken},
		"alg none, signed":           {none + "." + parts[1] + "." + parts[2], broker.InvalidToken},
		"trailing newline":           {s.Refresh + "\n", broker.InvalidToken},
		"access token":               {reader.Access, broker.WrongTokenType},
		"API key":                    {f.Keys[0].Token, broker.WrongTokenType},
		"legacy token":               {reader.Legacy, broker.WrongTokenType},
	} {
		if _, err := w.refresh(phone, tokens.RefreshToken(c.raw)); broker.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	w.alive(t, s.ID)
	if _, err := w.Broker.Refresh(ctx, s.Refresh, "another-client", phone); broker.CodeOf(err) != broker.ClientMismatch {
		t.Error(err)
	}
	if err := w.Broker.DeleteUser(ctx, reader.ID); err != nil {
		t.Fatal(err)
	}
	w.refused(t, phone, tokens.RefreshToken(s.Refresh), broker.UserDeleted)
	if err := w.Broker.SetDisabled(ctx, f.Users[4].ID, true); err != nil {
		t.Fatal(err)
	}
	w.refused(t, phone, tokens.RefreshToken(f.Sessions[4].Refresh), broker.UserDisabled)
}

// A replica that does not hold the secret of the old system refuses its tokens,
// and ends nothing by it.
func TestReplicaWithoutTheImportedSecret(t *testing.T) {
	w := &world{Rig: harness.New(t, "", believing(t)), change: believing(t)}
	f := absFile(t, w, 4)
	w.importFile(t, f, fromPocket)
	for name, secret := range map[string]*tokens.ImportedSecret{"none": nil, "wrong": importedSecret(t, "another secret, long enough")} {
		w.change = func(c *broker.Config) { c.Imported = secret }
		replica := w.another(t)
		replica.refused(t, phone, tokens.RefreshToken(f.Sessions[3].Refresh), broker.InvalidToken)
		if s, err := replica.Broker.Logout(ctx, f.Sessions[3].Refresh, false, phone); err != nil || s.ID != "" {
			t.Errorf("%s: %+v %v", name, s, err)
		}
	}
	w.cameOver(t, f.Sessions[3].Refresh, broker.OutcomeConverge, 0, 0)
}

func TestLogoutWithAnImportedToken(t *testing.T) {
	w, f := importedWorld(t, 4)
	first := w.cameOver(t, f.Sessions[2].Refresh, broker.OutcomeConverge, 0, 0)
	w.wait(1)
	w.refreshed(t, first, broker.OutcomeAdvance, 1, 0)
	for i, all := range map[int]bool{2: false, 3: true} {
		s := f.Sessions[i]
		if id, err := w.Broker.SessionIDOf(ctx, s.Refresh); err != nil || id != s.ID {
			t.Errorf("%q %v", id, err)
		}
		if _, err := w.Broker.Logout(ctx, s.Refresh, all, phone); err != nil {
			t.Fatal(err)
		}
		w.ended(t, s.ID, broker.LoggedOut)
		w.refused(t, phone, tokens.RefreshToken(s.Refresh), broker.LoggedOut)
	}
	if id, err := w.Broker.SessionIDOf(ctx, f.Users[0].Legacy); err != nil || id != "" {
		t.Errorf("a legacy token names the session %q, %v", id, err)
	}
	w.alive(t, f.Sessions[1].ID)
}

// Whoever imports once to try it, goes on with the old system and imports again
// at the switch keeps the devices that have got newer tokens meanwhile.
func TestImportAgainAtTheSwitch(t *testing.T) {
	onEach(t, believing(t), func(t *testing.T, w *world) {
		f := absFile(t, w, 5)
		w.importFile(t, f, fromPocket)
		w.Clock.Advance(20 * 24 * time.Hour)
		later := absfile.Refresh(absfile.Secret, f.Users[4], "a later one", w.Clock.Now())
		changeFile(t, f, `UPDATE sessions SET refreshToken = '`+later+`', expiresAt = '`+absfile.Time(w.Clock.Now().Add(absfile.RefreshLife))+`' WHERE id = '`+f.Sessions[4].ID+`'`)
		w.cameOver(t, f.Sessions[3].Refresh, broker.OutcomeReissue, 0, 1)
		report := w.importFile(t, f, fromPocket)
		counted(t, "sessions", report.Sessions, broker.ImportCount{Imported: 1, Unchanged: 4})
		w.Clock.Advance(20 * 24 * time.Hour)
		w.cameOver(t, later, broker.OutcomeReissue, 0, 1)
	})
}
