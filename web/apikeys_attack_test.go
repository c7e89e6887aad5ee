package web_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// K01: a key that may only read reads; another scope opens nothing here; no key
// opens an admin route, makes keys or tokens, changes a password or ends a
// session.
func TestK01KeyScopes(t *testing.T) {
	x := newSite(t, setup{})
	_, full := x.keyFor("root", nil)
	_, read := x.keyFor("root", scope("latchkey:read"))
	_, free := x.keyFor("root", scope("things:write latchkey"))
	_, both := x.keyFor("root", scope("things:write latchkey:api"))
	session := x.login("root")
	insufficient := func(what string, a *answer) {
		t.Helper()
		if a.bearerError(403, "insufficient_scope"); a.Header.Get("Latchkey-Code") != string(broker.InsufficientScope) {
			t.Errorf("%s: %v %s", what, a.Header, a.Body)
		}
	}
	for _, key := range []string{full, read, both} {
		x.me(key).want(200)
		x.do(http.MethodGet, "/api/me/sessions?token="+key).want(200)
	}
	insufficient("reading", x.me(free))
	x.do(http.MethodPost, "/api/authorize", bearer(full)).want(200)
	insufficient("writing with a key to read", x.do(http.MethodPost, "/api/authorize", bearer(read)))
	for _, key := range []string{full, read, both} {
		for _, c := range []struct{ method, path, body string }{
			{"PATCH", "/api/me/password", `{"password":"password of root","newPassword":"another password of root"}`}, {"DELETE", "/api/me/sessions/" + session.session, ""},
			{"POST", "/api/api-keys", `{"name":"another"}`}, {"GET", "/api/api-keys", ""}, {"PATCH", "/api/api-keys/x", `{}`}, {"DELETE", "/api/api-keys/x", ""},
			{"GET", "/api/clients", ""}, {"POST", "/api/clients", `{"client_id":"evil"}`}, {"GET", "/auth/openid/config?issuer=https://evil.test", ""},
		} {
			insufficient(c.method+" "+c.path, x.do(c.method, c.path, bearer(key), jsonBody(c.body)))
		}
	}
	x.me(session.access).want(200)
	// Logging out by a key ends nothing.
	x.do(http.MethodPost, "/logout?allDevices=1", bearer(full)).want(200)
	x.me(session.access).want(200)
	x.login("root")
}

// K01, T08: expired, revoked, owner disabled or deleted: refused at once, and
// the refusal says why.
func TestK01KeyState(t *testing.T) {
	x := newSite(t, setup{})
	ctx := context.Background()
	says := func(key string, code broker.Code, verdict web.Verdict, text string) {
		t.Helper()
		for _, a := range []*answer{x.me(key), x.do(http.MethodGet, "/api/me?token="+url.QueryEscape(key)), x.do(http.MethodGet, "/api/clients", bearer(key))} {
			a.refused(401, code, verdict)
			if want := fmt.Sprintf(`Bearer error="invalid_token", error_description=%q`, text); a.Header.Get("WWW-Authenticate") != want || a.Body != "Unauthorized" {
				t.Errorf("%s, want %s; %s", a.Header.Get("WWW-Authenticate"), want, a.Body)
			}
		}
	}
	_, short := x.keyFor("alice", func(n *broker.NewAPIKey) { n.ExpiresIn = time.Second })
	id, key := x.keyFor("alice", nil)
	x.me(short).want(200)
	x.Clock.Advance(time.Second)
	says(short, broker.TokenExpired, web.VerdictRefresh, "the API key has expired")
	if err := x.Broker.SetDisabled(ctx, x.idOf("alice"), true); err != nil {
		t.Fatal(err)
	}
	says(key, broker.UserDisabled, web.VerdictLogin, "the user of the API key is disabled")
	if err := x.Broker.SetDisabled(ctx, x.idOf("alice"), false); err != nil {
		t.Fatal(err)
	}
	x.me(key).want(200)
	off := true
	if _, err := x.Broker.UpdateAPIKey(ctx, nil, id, broker.APIKeyChange{Disabled: &off}, broker.Device{}); err != nil {
		t.Fatal(err)
	}
	says(key, broker.InvalidToken, web.VerdictLogin, "the API key is switched off")
	_, last := x.keyFor("alice", nil)
	if err := x.Broker.DeleteUser(ctx, x.idOf("alice")); err != nil {
		t.Fatal(err)
	}
	says(last, broker.InvalidToken, web.VerdictLogin, "there is no such API key")
	says("lk_"+strings.Repeat("%", 66), broker.InvalidToken, web.VerdictLogin, "this is not an API key")
}

// T08: a demotion counts at the next use.
func TestT08DemotedOwnerOfKey(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "second", broker.RoleRoot)
	_, key := x.keyFor("root", nil)
	role := broker.RoleGuest
	if _, err := x.Broker.UpdateUser(context.Background(), x.idOf("root"), broker.UserChange{Role: &role}); err != nil {
		t.Fatal(err)
	}
	if kind := x.me(key).text("type"); kind != "guest" {
		t.Error(kind)
	}
}

// K02: a dump of the database, the log, the lists and the audit log hold neither
// a key nor the half of it that is secret.
func TestK02KeysAreKeptNowhere(t *testing.T) {
	folder := t.TempDir()
	x := newProvider(t, setup{database: "sqlite:" + filepath.Join(folder, "latchkey.db"), failures: 5})
	root := x.login("root")
	made := x.do(http.MethodPost, "/api/api-keys", bearer(root.access), jsonBody(`{"name":"Backup","userId":"`+x.idOf("alice")+`"}`)).want(200)
	key := made.text("apiKey.apiKey")
	x.me(key).want(200)
	x.do(http.MethodGet, "/api/me?token="+key).want(200)
	wrong := withSecret(key, strings.Repeat("0", 43))
	for range 10 {
		x.me(wrong)
	}
	x.do(http.MethodPost, "/oauth2/introspect", form("token", key), basic("api", webSecret)).want(200)
	x.do(http.MethodGet, "/api/clients", bearer(key)).want(403)
	x.do(http.MethodGet, "/no/such/page?token="+key, bearer(key)).want(404)
	said := x.do(http.MethodPatch, "/api/api-keys/"+made.text("apiKey.id"), bearer(root.access), jsonBody(`{"isActive":false}`)).Body +
		x.do(http.MethodGet, "/api/api-keys", bearer(root.access)).Body + x.me(key).Body + fmt.Sprint(x.me(key).Header)
	events, err := x.Broker.Events(context.Background(), broker.EventFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	x.stop()
	all := said + fmt.Sprintf("%+v", events) + x.log.String()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all += string(raw)
	}
	secret := key[20:]
	for what, part := range map[string]string{"key": key, "secret half": secret, "secret without its checksum": secret[:43], "part of the secret": secret[:20], "guessed secret": wrong[20:]} {
		if strings.Contains(all, part) {
			t.Errorf("the %s is kept somewhere", what)
		}
	}
	if !strings.Contains(all, made.text("apiKey.id")) {
		t.Error("the id is nowhere: nothing was looked at")
	}
}

// withSecret is a key with another secret, and the checksum that fits.
func withSecret(key, secret string) string {
	body := key[:20] + secret
	return body + checksum62(body)
}

func checksum62(text string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum, out := crc32.ChecksumIEEE([]byte(text)), []byte("000000")
	for i := range out {
		out[5-i] = digits[sum%62]
		sum /= 62
	}
	return string(out)
}

// K03: guesses are answered 401, then 429, and lock out neither the keys nor the
// phones of the same address.
func TestK03GuessingKeys(t *testing.T) {
	x := newSite(t, setup{failures: 5, logJSON: true})
	_, key := x.keyFor("alice", nil)
	phone := x.login("alice")
	x.me(key).want(200)
	answers := map[int]int{}
	for i := range 200 {
		a := x.me(withSecret(key, fmt.Sprintf("%043d", i)))
		answers[a.Status]++
		if a.Status == 429 {
			a.refused(429, broker.RateLimited, web.VerdictRetry)
			if a.Header.Get("Retry-After") == "" || a.Header.Get("RateLimit-Limit") != "5" {
				t.Fatal(a.Header)
			}
		}
	}
	if answers[401] > 5 || answers[401] == 0 || answers[429] != 200-answers[401] {
		t.Errorf("%v", answers)
	}
	x.me(withSecret(key, fmt.Sprintf("%043d", 1))).want(429)
	x.do(http.MethodGet, "/api/clients", bearer(withSecret(key, fmt.Sprintf("%043d", 1)))).want(429)
	x.do(http.MethodGet, "/api/me?token="+withSecret(key, fmt.Sprintf("%043d", 1))).want(429)
	for range 20 {
		x.me(key).want(200)
	}
	x.me(phone.access).want(200)
	x.refresh(phone.refresh, refreshHeader(phone.refresh)).want(200)
	x.login("alice")
	x.me("lk_no_key_at_all").want(401)
	log := x.log.String()
	if n := strings.Count(log, `"event":"auth.apikey.failed"`); n == 0 || n > 5 || !strings.Contains(log, `"msg":"Wrong API key from 127.0.0.1"`) || !strings.Contains(log, `"remote_ip":"127.0.0.1"`) {
		t.Errorf("%d lines; %s", n, log)
	}
	if strings.Contains(log, "Failed login") {
		t.Error("a wrong key is told as a failed login")
	}
}

// K03: a good key is one where a key is meant, and nothing anywhere else.
func TestK03KeyIsNoOtherCredential(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	id, key := x.keyFor("root", nil)
	refused := map[string]*answer{
		"cookie of the refresh token": x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", key)), "header of the refresh token": x.refresh(key),
		"page cookie": x.do(http.MethodGet, "/api/me", cookie("__Host-latchkey_session", key)), "cookie": x.do(http.MethodGet, "/api/me", cookie("token", key)),
		"?api_key=": x.do(http.MethodGet, "/api/me?api_key="+key), "?access_token=": x.do(http.MethodGet, "/api/me?access_token="+key), "?apiKey=": x.do(http.MethodGet, "/api/me?apiKey="+key),
		"X-API-Key": x.do(http.MethodGet, "/api/me", header("X-API-Key", key)), "Basic": x.do(http.MethodGet, "/api/me", basic(id, key)), "DPoP": x.do(http.MethodGet, "/api/me", header("Authorization", "DPoP "+key)),
		"?token= of a POST": x.do(http.MethodPost, "/api/authorize?token="+key), "?token= of an admin route": x.do(http.MethodGet, "/api/clients?token="+key), "?token= of the keys": x.do(http.MethodGet, "/api/api-keys?token="+key),
		"userinfo": x.userinfo(key), "client_secret": x.do(http.MethodPost, "/oauth2/introspect", form("token", "x", "client_id", "web1", "client_secret", key)),
		"Basic of a client": x.do(http.MethodPost, "/oauth2/introspect", form("token", "x"), basic(id, key)), "registration": x.do(http.MethodPost, "/oauth2/register", bearer(key), jsonBody(`{"redirect_uris":["https://x.test"]}`)),
		"two headers": x.do(http.MethodGet, "/api/me", func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + key, "Bearer " + key} }),
	}
	for what, a := range refused {
		if a.Status != 401 && !(what == "registration" && (a.Status == 403 || a.Status == 404)) || len(a.cookies) > 0 && a.cookies[0].Value != "" {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	x.refreshAt("power", key).oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, key).oauthError(400, "invalid_grant")
	for _, kind := range []string{broker.TokenTypeAccess, broker.TokenTypeID} {
		if a := x.exchange("power", key, kind, "audience", "https://api.test"); a.Status != 400 {
			t.Errorf("exchange of %s: %d %s", kind, a.Status, a.Body)
		}
	}
	// It cannot be revoked by whoever has it; that is the owner's.
	x.do(http.MethodPost, "/oauth2/revoke", form("token", key), basic("web1", webSecret)).want(200)
	// Another's header wins over the query, and the key over nothing.
	alice := x.login("alice")
	if name := x.do(http.MethodGet, "/api/me?token="+key, bearer(alice.access)).text("username"); name != "alice" {
		t.Error(name)
	}
	if name := x.do(http.MethodGet, "/api/me?token="+alice.access, bearer(key)).text("username"); name != "root" {
		t.Error(name)
	}
	x.me(key).want(200)
}

// RFC 7662: a client that may introspect learns whom a key acts for and its
// scope, others nothing.
func TestKeyIntrospection(t *testing.T) {
	x := newProvider(t, setup{failures: 5})
	id, key := x.keyFor("alice", func(n *broker.NewAPIKey) { n.Scope, n.ExpiresIn = "things:read latchkey:read", time.Hour })
	ask := func(token, client string) *answer {
		return x.do(http.MethodPost, "/oauth2/introspect", form("token", token), basic(client, webSecret)).want(200)
	}
	now := x.Broker.Now().Unix()
	got := ask(key, "api").json()
	want := map[string]any{
		"active": true, "iss": x.public, "sub": x.idOf("alice"), "username": "alice", "scope": "things:read latchkey:read", "token_type": "Bearer",
		"iat": float64(now), "exp": float64(now + 3600), "jti": id,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, forever := x.keyFor("alice", nil)
	if _, ok := ask(forever, "api").at("exp"); ok {
		t.Error("a key without an end has one")
	}
	inactive := func(what string, a *answer) {
		t.Helper()
		if strings.TrimSpace(a.Body) != `{"active":false}` {
			t.Errorf("%s: %s", what, a.Body)
		}
	}
	inactive("to another client", ask(key, "web1"))
	for i := range 50 { // a guess through an API server is not that server's
		inactive("a guess", ask(withSecret(key, fmt.Sprintf("%043d", i)), "api"))
	}
	inactive("malformed", ask("lk_x", "api"))
	if ask(key, "api").json()["active"] != true {
		t.Error("guesses locked an API server out")
	}
	if list := x.do(http.MethodGet, "/api/api-keys", bearer(x.login("alice").access)).want(200); !strings.Contains(list.Body, `"lastUsedAt":"2026`) {
		t.Error("an introspection is a use: ", list.Body)
	}
	x.Clock.Advance(time.Hour)
	inactive("expired", ask(key, "api"))
	if err := x.Broker.SetDisabled(context.Background(), x.idOf("alice"), true); err != nil {
		t.Fatal(err)
	}
	inactive("of a disabled user", ask(forever, "api"))
}

// A client that was granted the API cannot outlive its session by a key; one
// that was granted the admin scope administers.
func TestKeysAreMadeByTrustedSessions(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	full := x.power("alice")
	narrow := x.refreshWith("power", x.power("alice").refresh, "scope", "openid latchkey:api").granted()
	x.me(narrow.access).want(200)
	x.do(http.MethodPost, "/api/api-keys", bearer(narrow.access), jsonBody(`{"name":"x"}`)).bearerError(403, "insufficient_scope")
	x.do(http.MethodPost, "/api/api-keys", bearer(full.access), jsonBody(`{"name":"x"}`)).want(200)
}
