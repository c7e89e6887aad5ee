package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// forAWhile accepts the tokens that never expire for ten days.
func forAWhile(c *broker.Config) {
	c.AcceptLegacyUntil = harness.NewClock().Now().Add(10 * 24 * time.Hour)
}

func TestOldTokensAreOffByDefault(t *testing.T) {
	x, f := importedSite(t, 4, nil)
	for _, raw := range []string{f.Users[3].Legacy, f.Keys[0].Token} {
		x.do(http.MethodGet, "/api/me", bearer(raw)).refused(401, broker.InvalidToken, web.VerdictLogin)
		x.do(http.MethodGet, "/api/me?token="+raw).refused(401, broker.InvalidToken, web.VerdictLogin)
	}
	// An app that comes with its access token of old refreshes.
	x.do(http.MethodGet, "/api/me", bearer(f.Users[3].Access)).refused(401, broker.TokenExpired, web.VerdictRefresh)
	x.do(http.MethodPost, "/api/authorize", bearer(f.Users[3].Access)).refused(401, broker.TokenExpired, web.VerdictRefresh)
	x.do(http.MethodGet, "/api/clients", bearer(f.Users[0].Access)).refused(401, broker.TokenExpired, web.VerdictRefresh)
	x.do(http.MethodGet, "/api/me", bearer(f.Sessions[3].Refresh)).refused(401, broker.WrongTokenType, web.VerdictLogin)
	x.do(http.MethodGet, "/api/me", bearer(absfile.Sign("another secret, long enough", map[string]any{
		"userId": f.Users[3].ID, "type": "access", "iat": 1, "exp": x.Clock.Now().Unix() + 60,
	}))).refused(401, broker.WrongTokenType, web.VerdictLogin)
}

func TestLegacyTokenForAWhile(t *testing.T) {
	x, f := importedSite(t, 4, forAWhile)
	u := f.Users[3]
	for _, a := range []*answer{
		x.do(http.MethodGet, "/api/me", bearer(u.Legacy)), x.do(http.MethodGet, "/api/me?token="+u.Legacy),
	} {
		if v, _ := a.want(200).at("isOldToken"); v != true || a.text("id") != u.ID {
			t.Errorf("%s", a.Body)
		}
	}
	a := x.do(http.MethodPost, "/api/authorize", bearer(u.Legacy)).want(200)
	if v, _ := a.at("user.isOldToken"); v != true || strings.Contains(a.Body, u.Legacy) {
		t.Errorf("%s", a.Body)
	}
	// It is said per request: another device of the same person is not told to log in.
	device := x.do(http.MethodPost, "/auth/refresh", refreshHeader(f.Sessions[3].Refresh)).want(200)
	if v, ok := x.do(http.MethodPost, "/api/authorize", bearer(device.text("user.accessToken"))).want(200).at("user.isOldToken"); ok {
		t.Errorf("isOldToken is %v for a new token", v)
	}
	// What Audiobookshelf signed after the import, or for the same user before, is not the token that was stored.
	forged := absfile.Sign(absfile.Secret, map[string]any{"userId": u.ID, "username": u.Name, "iat": 1})
	x.do(http.MethodGet, "/api/me", bearer(forged)).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodPost, "/api/me?token="+u.Legacy).want(405)
	x.Clock.Advance(10 * 24 * time.Hour)
	x.do(http.MethodGet, "/api/me", bearer(u.Legacy)).refused(401, broker.InvalidToken, web.VerdictLogin)
}

// A token that never expires and lies in every log opens nothing beyond the API.
func TestLegacyTokenChangesNothing(t *testing.T) {
	x, f := importedSite(t, 4, forAWhile)
	root := f.Users[0]
	for _, route := range []struct{ method, path, body string }{
		{http.MethodPatch, "/api/me/password", `{"password":"` + root.Password + `","newPassword":"a long new password of the root"}`},
		{http.MethodDelete, "/api/me/sessions/" + f.Sessions[0].ID, ""},
		{http.MethodPost, "/api/api-keys", `{"name":"mine","userId":"` + root.ID + `"}`},
		{http.MethodGet, "/api/api-keys", ""},
		{http.MethodGet, "/api/clients", ""},
		{http.MethodPost, "/api/clients", `{}`},
		{http.MethodPost, "/api/users/" + root.ID + "/end-legacy-tokens", ""},
		{http.MethodPost, "/api/users/" + root.ID + "/password-link", ""},
	} {
		for name, raw := range map[string]string{"legacy token": root.Legacy, "imported key": keyOf(root)} {
			a := x.do(route.method, route.path, bearer(raw), jsonBody(route.body))
			if a.Status != 401 && a.Status != 403 {
				t.Errorf("%s %s with a %s: %d %s", route.method, route.path, name, a.Status, a.Body)
			}
			if strings.HasPrefix(route.path, "/api/me/sessions/") || route.method != http.MethodGet {
				continue
			}
			if a := x.do(route.method, route.path+"?token="+raw); a.Status != 401 && a.Status != 403 {
				t.Errorf("%s %s with a %s in the query: %d %s", route.method, route.path, name, a.Status, a.Body)
			}
		}
	}
	out := x.do(http.MethodPost, "/logout", bearer(root.Legacy)).want(200)
	if s, _, err := x.Store.SessionByID(t.Context(), f.Sessions[0].ID); err != nil || !s.EndedAt.IsZero() {
		t.Errorf("a legacy token logged a device out: %s %v", out.Body, err)
	}
}

// keyOf is an API key for a user that is in no file.
func keyOf(u absfile.User) string {
	return absfile.Sign(absfile.Secret, map[string]any{"keyId": absfile.ID("no key"), "name": u.Name, "type": "api", "iat": 1})
}

func TestEndLegacyTokens(t *testing.T) {
	x, f := importedSite(t, 4, forAWhile)
	root, u := f.Users[0], f.Users[3]
	admin := x.do(http.MethodPost, "/login", header("X-Return-Tokens", "true"), jsonBody(toJSON(map[string]string{"username": root.Name, "password": root.Password}))).want(200)
	x.do(http.MethodGet, "/api/me", bearer(u.Legacy)).want(200)
	x.do(http.MethodGet, "/api/me", bearer(u.Legacy)).want(200)
	events, err := x.Broker.Events(t.Context(), broker.EventFilter{UserID: u.ID, Name: broker.EventLegacyUsed, Limit: 10})
	if err != nil || len(events) != 1 {
		t.Errorf("%d events of a use, want one a day: %v", len(events), err)
	}
	uses, err := x.Broker.LegacyUses(t.Context())
	if err != nil || len(uses) != 4 {
		t.Fatalf("%+v %v", uses, err)
	}
	for _, use := range uses {
		if used := !use.LastUsedAt.IsZero(); used != (use.User.ID == u.ID) {
			t.Errorf("%s: last used %v", use.User.Username, use.LastUsedAt)
		}
	}
	end := "/api/users/" + u.ID + "/end-legacy-tokens"
	x.do(http.MethodPost, end).want(401)
	if a := x.do(http.MethodPost, end, bearer(admin.text("user.accessToken"))).want(200); a.Body != `{"ended":1}` {
		t.Error(a.Body)
	}
	x.do(http.MethodGet, "/api/me", bearer(u.Legacy)).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodPost, "/api/users/nobody/end-legacy-tokens", bearer(admin.text("user.accessToken"))).want(404)
	// No second import brings it back.
	x.importFile(f)
	x.do(http.MethodGet, "/api/me", bearer(u.Legacy)).want(401)
	x.do(http.MethodGet, "/api/me", bearer(f.Users[2].Legacy)).want(200)
	if err := x.Broker.SetDisabled(t.Context(), f.Users[2].ID, true); err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodGet, "/api/me", bearer(f.Users[2].Legacy)).refused(401, broker.UserDisabled, web.VerdictLogin)
	if err := x.Broker.DeleteUser(t.Context(), f.Users[2].ID); err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodGet, "/api/me", bearer(f.Users[2].Legacy)).refused(401, broker.UserDeleted, web.VerdictLogin)
}

// Every login of old gave the token away that never expires. Whoever changes the
// password because a stranger was in the account ends that too.
func TestLegacyTokenDoesNotOutlastThePassword(t *testing.T) {
	x, f := importedSite(t, 4, forAWhile)
	u := f.Users[3]
	x.do(http.MethodGet, "/api/me", bearer(u.Legacy)).want(200)
	if err := x.Broker.ResetPassword(t.Context(), u.ID, "another password of "+u.Name, false); err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodGet, "/api/me", bearer(u.Legacy)).refused(401, broker.InvalidToken, web.VerdictLogin)
	events, err := x.Broker.Events(t.Context(), broker.EventFilter{UserID: u.ID, Name: broker.EventLegacyEnded, Limit: 10})
	if err != nil || len(events) != 1 {
		t.Errorf("%d events: %v", len(events), err)
	}
	x.do(http.MethodGet, "/api/me", bearer(f.Users[2].Legacy)).want(200)
}

// Who takes a key away because it leaked must not get it back with the next
// import, whose file still has it.
func TestDeletedImportedKeyDoesNotComeBack(t *testing.T) {
	x, f := importedSite(t, 4, forAWhile)
	k := f.Keys[0]
	x.do(http.MethodGet, "/api/me", bearer(k.Token)).want(200)
	if err := x.Broker.DeleteAPIKey(t.Context(), nil, k.ID, broker.Device{}); err != nil {
		t.Fatal(err)
	}
	x.importFile(f)
	x.do(http.MethodGet, "/api/me", bearer(k.Token)).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.Clock.Advance(300 * 24 * time.Hour)
	if err := x.Broker.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.importFile(f)
	if keys, err := x.Broker.APIKeys(t.Context(), nil, k.UserID, "", 10); err != nil || len(keys) != 0 {
		t.Errorf("%+v %v", keys, err)
	}
}

func TestImportedAPIKey(t *testing.T) {
	x, f := importedSite(t, 4, forAWhile)
	k := f.Keys[0]
	for _, a := range []*answer{x.do(http.MethodGet, "/api/me", bearer(k.Token)), x.do(http.MethodGet, "/api/me?token="+k.Token)} {
		if a.want(200).text("id") != k.UserID {
			t.Errorf("%s", a.Body)
		}
		if v, ok := a.at("isOldToken"); ok {
			t.Errorf("isOldToken is %v for a key", v)
		}
	}
	keys, err := x.Broker.APIKeys(t.Context(), nil, k.UserID, "", 10)
	if err != nil || len(keys) != 1 || keys[0].ID != k.ID || keys[0].Name != "home" || keys[0].Creator.ID != f.Users[0].ID || keys[0].SecretHash != "" {
		t.Fatalf("%+v %v", keys, err)
	}
	x.do(http.MethodGet, "/api/me", bearer(keyOf(f.Users[0]))).refused(401, broker.InvalidToken, web.VerdictLogin)
	// Whoever holds the old system's secret makes no token for a key of ours.
	ours, _, err := x.Broker.CreateAPIKey(t.Context(), nil, broker.NewAPIKey{Name: "ours", UserID: k.UserID}, broker.Device{})
	if err != nil {
		t.Fatal(err)
	}
	forged := absfile.Sign(absfile.Secret, map[string]any{"keyId": ours.ID, "name": "ours", "type": "api", "iat": 1})
	x.do(http.MethodGet, "/api/me", bearer(forged)).refused(401, broker.InvalidToken, web.VerdictLogin)
	disabled := true
	if _, err := x.Broker.UpdateAPIKey(t.Context(), nil, k.ID, broker.APIKeyChange{Disabled: &disabled}, broker.Device{}); err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodGet, "/api/me", bearer(k.Token)).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.importFile(f) // leaves it as it is
	x.do(http.MethodGet, "/api/me", bearer(k.Token)).want(401)
	if err := x.Broker.DeleteAPIKey(t.Context(), nil, k.ID, broker.Device{}); err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodGet, "/api/me", bearer(k.Token)).refused(401, broker.InvalidToken, web.VerdictLogin)
}
