package web_test

import (
	"bytes"
	"context"
	stdlog "log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

const linkCookie = "__Host-latchkey_password"

func (x *site) userID(name string) string {
	x.t.Helper()
	u, err := x.Broker.FindUser(context.Background(), name)
	if err != nil {
		x.t.Fatal(err)
	}
	return u.ID
}

// passwordLink asks for a link as an administrator.
func (x *site) passwordLink(as, whom, purpose string, options ...option) *answer {
	x.t.Helper()
	return x.do(http.MethodPost, "/api/users/"+whom+"/password-link",
		append([]option{bearer(x.login(as).access), jsonBody(toJSON(map[string]string{"purpose": purpose}))}, options...)...)
}

// P10: the link is made for the public URL, whatever host the request names.
func TestPasswordLinkFromTheAPIToThePage(t *testing.T) {
	x := newSite(t, setup{})
	made := x.passwordLink("root", x.userID("alice"), "reset", func(r *http.Request) { r.Host = "evil.test" }).want(201)
	link := made.text("url")
	if !strings.HasPrefix(link, publicURL+"/password?token=") || made.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s, Cache-Control %q", link, made.Header.Get("Cache-Control"))
	}
	if at, _ := made.at("expiresAt"); at != float64(x.Clock.Now().Add(30*time.Minute).UnixMilli()) {
		t.Errorf("expiresAt %v", at)
	}
	device := x.login("alice")
	b := x.newBrowser()
	first := b.send(http.MethodGet, link)
	if to := first.location().String(); to != publicURL+"/password" || first.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("the token stays in the URL: %s, Referrer-Policy %q", to, first.Header.Get("Referrer-Policy"))
	}
	page := b.open(publicURL+"/password").want(200).says("Choose a password", "At least 8 characters")
	if !strings.Contains(page.Body, `value="alice" autocomplete="username" readonly`) {
		t.Error("the page does not name the account to the person and the password manager")
	}
	if page.Header.Get("Cache-Control") != "no-store" {
		t.Error("the page may be stored")
	}
	token := hidden(page, "token")
	weak := b.post("/password", "token", token, "password", "short")
	weak.refused(400, broker.WeakPassword, "").says("A password has at least 8 characters.")
	if hidden(weak, "token") != token {
		t.Error("the form lost the token")
	}
	done := b.post("/password", "token", token, "password", "chosen by alice").noSession()
	if done.cookie(linkCookie).MaxAge >= 0 {
		t.Error("the cookie of the link stays")
	}
	b.follow(done).says("Your password is set. Log in with it.")
	x.refresh(device.refresh).refused(401, broker.PasswordChanged, web.VerdictLogin)
	x.sendLogin("alice", "chosen by alice").want(200)
	x.sendLogin("alice", harness.PasswordOf("alice")).refused(401, broker.InvalidCredentials, "")
}

func (a *answer) noSession() *answer {
	a.t.Helper()
	for _, c := range a.cookies {
		if c.Name == sessionCookie || c.Name == "refresh_token" {
			a.t.Errorf("%s: logs in", a.request)
		}
	}
	return a
}

// P01, P10: nobody learns from a link whether it ever was one.
func TestP10PasswordLinksThatAreNoneAreAllRefusedAlike(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "bob", broker.RoleUser)
	tokenOf := func(name string) string {
		link, err := url.Parse(x.passwordLink("root", x.userID(name), "reset").want(201).text("url"))
		if err != nil {
			t.Fatal(err)
		}
		return link.Query().Get("token")
	}
	used, replaced := tokenOf("alice"), tokenOf("bob")
	x.do(http.MethodPost, "/password", form("token", used, "password", "chosen by alice")).want(303)
	tokenOf("bob")
	x.User(t, "carol", broker.RoleUser)
	disabled := tokenOf("carol")
	if err := x.Broker.SetDisabled(context.Background(), x.userID("carol"), true); err != nil {
		t.Fatal(err)
	}
	expired := tokenOf("bob")
	x.Clock.Advance(31 * time.Minute)
	want := map[string]*answer{} // by method: a page that was opened can be read in another language
	for name, token := range map[string]string{
		"unknown": strings.Repeat("A", 43), "used": used, "replaced": replaced, "disabled": disabled, "expired": expired, "empty": "", "odd": `"><b>`,
	} {
		for _, got := range []*answer{
			x.do(http.MethodGet, "/password", cookie(linkCookie, url.QueryEscape(token)), htmlOnly),
			x.do(http.MethodPost, "/password", form("token", token, "password", "chosen by a thief"), htmlOnly),
			x.do(http.MethodPost, "/password", form("token", token, "password", "x"), htmlOnly),
		} {
			got.refused(400, broker.PasswordLinkInvalid, "").says("This link is not valid").noCookies()
			method, _, _ := strings.Cut(got.request, " ")
			if want[method] == nil {
				want[method] = got
			}
			if got.Body != want[method].Body {
				t.Errorf("%s: another answer: %s", name, got.Body)
			}
		}
	}
	x.do(http.MethodGet, "/password?token="+strings.Repeat("A", 65), htmlOnly).refused(400, broker.PasswordLinkInvalid, "").noCookies()
}

func TestPasswordLinkForWhomAndByWhom(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "admin", broker.RoleAdmin)
	x.User(t, "second", broker.RoleAdmin)
	x.passwordLink("alice", x.userID("second"), "reset").refused(403, broker.Forbidden, "")
	x.passwordLink("admin", x.userID("second"), "reset").refused(403, broker.Forbidden, "")
	x.passwordLink("admin", x.userID("root"), "reset").refused(403, broker.Forbidden, "")
	x.passwordLink("admin", x.userID("alice"), "reset").want(201)
	x.passwordLink("root", x.userID("second"), "reset").want(201)
	for _, purpose := range []string{"", "invitation", "other"} {
		if a := x.passwordLink("admin", x.userID("alice"), purpose); !strings.Contains(a.refused(400, broker.InvalidRequest, "").Body, "purpose") {
			t.Errorf("the answer does not name the field: %s", a.Body)
		}
	}
	for _, id := range []string{"nobody", "%00", "%ff", strings.Repeat("a", 300)} {
		x.passwordLink("admin", id, "reset").refused(404, broker.NotFound, "")
	}
	x.do(http.MethodPost, "/api/users/"+x.userID("alice")+"/password-link", jsonBody(`{"purpose":"reset"}`)).refused(401, broker.NoToken, web.VerdictLogin)
}

func TestTemporaryPasswordInTheJSONAPI(t *testing.T) {
	x := newSite(t, setup{broker: func(c *broker.Config) { c.Judge = harness.Hasher(t) }})
	if _, err := x.Broker.CreateUser(context.Background(), broker.NewUser{Username: "robin", Password: "given out by root", Temporary: true}); err != nil {
		t.Fatal(err)
	}
	a := x.sendLogin("robin", "given out by root", returnTokens)
	a.refused(403, broker.PasswordChangeRequired, "").noCookies()
	if a.text("code") != "password_change_required" || strings.Contains(a.Body, "icket") {
		t.Errorf("body %s", a.Body)
	}
	send := func(password, fresh string) *answer {
		return x.do(http.MethodPost, "/login", jsonBody(toJSON(map[string]string{"username": "robin", "password": password, "newPassword": fresh})), returnTokens)
	}
	send("wrong", "chosen by robin").refused(401, broker.InvalidCredentials, "")
	weak := send("given out by root", "passwordpassword").refused(400, broker.WeakPassword, "")
	if weak.Body != "Invalid new password - the password repeats itself; take several words that have nothing to do with each other" {
		t.Errorf("body %s", weak.Body)
	}
	x.me(send("given out by root", "a kettle of seven fish").pair().access).want(200)
	send("a kettle of seven fish", "another kettle of fish").refused(400, broker.InvalidRequest, "")
	x.sendLogin("robin", "a kettle of seven fish").want(200)
}

// The login goes on to where it was to lead, a client's authorization included.
func TestTemporaryPasswordOnThePageOfAClientsLogin(t *testing.T) {
	x := newProvider(t, setup{})
	if err := x.Broker.ResetPassword(context.Background(), x.userID("alice"), harness.PasswordOf("alice"), true); err != nil {
		t.Fatal(err)
	}
	b := x.newBrowser()
	page := b.authorize(request("web1", "https://rp1.test/cb"))
	page.refused(403, broker.PasswordChangeRequired, "").says("Choose another password", "only you know").noSession()
	if strings.Contains(page.Body, harness.PasswordOf("alice")) {
		t.Error("the page holds the temporary password")
	}
	ticket, next := hidden(page, "ticket"), hidden(page, "next")
	again := b.post("/login/new-password", "ticket", ticket, "next", next, "password", "short")
	again.refused(400, broker.WeakPassword, "").says("A password has at least 8 characters.")
	if hidden(again, "ticket") != ticket || hidden(again, "next") != next {
		t.Error("the form lost where it was to lead")
	}
	after := b.follow(b.post("/login/new-password", "ticket", ticket, "next", next, "password", "chosen by alice"))
	if code := after.sentTo("https://rp1.test/cb").Get("code"); code == "" {
		t.Error("the client got no code")
	} else if c := claimsOf(t, x.redeem("web1", "https://rp1.test/cb", code).granted().id); toJSON(c["amr"]) != `["pwd"]` || c["auth_time"] != float64(x.Clock.Now().Unix()) {
		t.Errorf("amr %v, auth_time %v", c["amr"], c["auth_time"])
	}
	b.post("/login/new-password", "ticket", ticket, "next", next, "password", "chosen by a thief").noSession().location()
	x.sendLogin("alice", "chosen by alice").want(200)
}

// P01: nothing tells a name that exists from one that does not.
func TestP01EnumerationOfAccountsByWrongPasswords(t *testing.T) {
	hashes := 0
	x := newSite(t, setup{failures: 1000, broker: func(c *broker.Config) { c.Hasher = counting{c.Hasher, &hashes} }})
	ctx := context.Background()
	for _, n := range []broker.NewUser{
		{Username: "through an IdP"}, {Username: "disabled", Password: harness.PasswordOf("disabled")},
		{Username: "temporary", Password: harness.PasswordOf("temporary"), Temporary: true},
	} {
		if _, err := x.Broker.CreateUser(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := x.Broker.InviteUser(ctx, broker.NewUser{Username: "invited"}); err != nil {
		t.Fatal(err)
	}
	if err := x.Broker.SetDisabled(ctx, x.userID("disabled"), true); err != nil {
		t.Fatal(err)
	}
	plainHeaders := func(a *answer) string {
		h := a.Header.Clone()
		for _, counted := range []string{"Date", "Ratelimit-Remaining", "Ratelimit-Reset"} {
			h.Del(counted)
		}
		return toJSON(h)
	}
	var first *answer
	for i, name := range []string{"alice", "nobody", "through an IdP", "disabled", "temporary", "invited"} {
		for _, body := range []string{`"password":"a wrong password"`, `"password":""`, `"password":"a wrong password","newPassword":"another password"`, `"password":"x","newPassword":""`} {
			hashes = 0
			a := x.do(http.MethodPost, "/login", jsonBody(`{"username":`+toJSON(name)+`,`+body+`}`))
			a.refused(401, broker.InvalidCredentials, "").noCookies()
			if first == nil {
				first = a
			}
			if hashes != 1 { // which is where the time goes
				t.Errorf("%s %s: %d hashes", name, body, hashes)
			}
			if a.Body != first.Body || plainHeaders(a) != plainHeaders(first) {
				t.Errorf("%d %s %s: %s %s", i, name, body, a.Body, plainHeaders(a))
			}
		}
	}
	// The right password of a disabled account is wrong, too; administrators are told.
	if a := x.sendLogin("disabled", harness.PasswordOf("disabled")); a.Body != first.Body || a.Status != 401 {
		t.Errorf("disabled: %d %s", a.Status, a.Body)
	}
	want := []string{"user_disabled 1 password - latchkey-app disabled 127.0.0.1", "invalid_credentials 4 password - latchkey-app - 127.0.0.1"}
	for _, name := range []string{"alice", "through an IdP", "disabled", "temporary", "invited"} {
		want = append(want, "invalid_credentials 4 password - latchkey-app "+name+" 127.0.0.1")
	}
	x.WantRefused(t, want...)
}

// P05: what is too long is refused before anything is computed of it.
func TestP05OversizedPasswordsAreRefusedUnhashedEverywhere(t *testing.T) {
	hashes := 0
	x := newSite(t, setup{broker: func(c *broker.Config) { c.Hasher = counting{c.Hasher, &hashes} }})
	access := x.login("alice").access
	link, err := url.Parse(x.passwordLink("root", x.userID("alice"), "reset").want(201).text("url"))
	if err != nil {
		t.Fatal(err)
	}
	hashes = 0
	for size, want := range map[int]int{1025: 400, 30_000: 400, 1 << 20: 413} {
		long := strings.Repeat("long password", size/13+1)[:size]
		for name, a := range map[string]*answer{
			"login":     x.sendLogin("alice", long),
			"temporary": x.do(http.MethodPost, "/login", jsonBody(toJSON(map[string]string{"username": "alice", "password": long, "newPassword": long}))),
			"link":      x.do(http.MethodPost, "/password", form("token", link.Query().Get("token"), "password", long)),
			"own":       x.do(http.MethodPatch, "/api/me/password", bearer(access), jsonBody(toJSON(map[string]string{"password": long, "newPassword": long}))),
		} {
			if a.Status != want {
				t.Errorf("%s of %d bytes: %d %s", name, size, a.Status, a.Body)
			}
		}
	}
	if hashes != 0 {
		t.Errorf("%d hashes were computed", hashes)
	}
	long := strings.Repeat("long password ", 73)[:1022] + "é"
	x.do(http.MethodPost, "/password", form("token", link.Query().Get("token"), "password", long)).want(303)
	x.sendLogin("alice", long).want(200)
}

// counting counts what a hasher computes.
type counting struct {
	broker.PasswordHasher
	n *int
}

func (c counting) Hash(ctx context.Context, password string) (broker.PasswordHash, error) {
	*c.n++
	return c.PasswordHasher.Hash(ctx, password)
}

func (c counting) Verify(ctx context.Context, hash broker.PasswordHash, password string) (bool, bool, error) {
	*c.n++
	return c.PasswordHasher.Verify(ctx, hash, password)
}

// P07: a password is its whole text, whatever the keyboard.
func TestP07NeighboursOfAPasswordAreRefused(t *testing.T) {
	x := newSite(t, setup{})
	for _, c := range []struct{ password, same, other string }{
		{strings.Repeat("a", 72) + "X", "", strings.Repeat("a", 72) + "Y"},
		{"trailing space counts ", "", "trailing space counts"},
		{"caf\u00e9 au lait", "cafe\u0301 au lait", "cafe au lait"},
		{"🔑🐎🔋🧷🍋🦉🎺🧊", "", "🔑🐎🔋🧷🍋🦉🎺🔥"},
	} {
		if err := x.Broker.ResetPassword(context.Background(), x.userID("alice"), c.password, false); err != nil {
			t.Fatal(err)
		}
		x.sendLogin("alice", c.password).want(200)
		if c.same != "" {
			x.sendLogin("alice", c.same).want(200)
		}
		x.sendLogin("alice", c.other).refused(401, broker.InvalidCredentials, "")
	}
	for _, path := range []string{"/login", "/login/password"} {
		x.do(http.MethodPost, path, form("username", "alice", "password", "nul\x00 in a password")).refused(400, broker.InvalidRequest, "")
	}
}

// What no link of ours has in it goes into no cookie, which net/http would mend
// with a line in the log that is none of ours.
func TestPasswordLinkOfOddBytesSetsNoCookie(t *testing.T) {
	x := newSite(t, setup{})
	var log bytes.Buffer
	stdlog.SetOutput(&log)
	defer stdlog.SetOutput(os.Stderr)
	for _, token := range []string{"%F0%9F%98%80", "a%3Bb", "a%22b", "a%20b", "a%2Cb", "%0d%0aSet-Cookie:x=y", strings.Repeat("a", 65)} {
		a := x.do(http.MethodGet, "/password?token="+token).want(400)
		if len(a.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%s: %v", token, a.Header)
		}
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}
