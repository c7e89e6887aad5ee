package web_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

const (
	firefoxOnLinux = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	chromeOnPhone  = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"
)

func agent(text string) option { return header("User-Agent", text) }

// at is a browser in which somebody has just logged in.
func (x *site) at(name string, options ...option) *browser {
	x.t.Helper()
	b := x.newBrowser()
	b.send(http.MethodPost, "/login/password", append(options, form("username", name, "password", harness.PasswordOf(name)))...).want(303)
	return b
}

// session is the session of a browser.
func (b *browser) session() string {
	id, _, _ := strings.Cut(b.jar[sessionCookie], ".")
	return id
}

func (x *site) row(id string) broker.Session {
	x.t.Helper()
	s, _, err := x.Store.SessionByID(context.Background(), id)
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

// over expects a session to have ended with a cause; none: to live.
func (x *site) over(id string, cause broker.EndCause) {
	x.t.Helper()
	if got := x.row(id).EndCause; got != cause {
		x.t.Errorf("session %s: cause %q, want %q", id, got, cause)
	}
}

func TestDevicesAreCalledWhatPeopleKnow(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.at("alice", agent(firefoxOnLinux))
	x.login("alice", agent("ShelfPlayer/3.0 CFNetwork/1568.100.1 Darwin/24.0.0"), header("Latchkey-Device-Name", "Anna%27s%20iPhone %E2%80%AE"))
	x.login("alice", agent("curl/8.5.0"), from("198.51.100.7"))
	x.codeAt("nat1", "app.one:/oauth", agent("okhttp/4.12.0"), "device_name", "Anna's tablet")
	page := b.open("/account").want(200).says(
		"Firefox on Linux This device", "ShelfPlayer on Anna's iPhone", "curl", "198.51.100.7", "with a password",
		"Last used just now", "ends in 30 days if it is not used", "nat1 on Anna's tablet",
	)
	if i, k := strings.Index(page.Body, "This device"), strings.Index(page.Body, "ShelfPlayer"); i > k {
		t.Error("this browser does not stand first")
	}
	list := x.do(http.MethodGet, "/api/me/sessions", bearer(x.login("alice").access)).want(200)
	if !strings.Contains(list.Body, `"deviceName":"Anna's iPhone"`) || !strings.Contains(list.Body, `"deviceName":"Anna's tablet"`) {
		t.Errorf("the JSON API does not tell the names: %s", list.Body)
	}
}

// codeAt redeems a code of alice's for a client, as a program does.
func (x *site) codeAt(client, uri string, agent option, pairs ...string) *answer {
	x.t.Helper()
	code := x.codeFor(x.newBrowser(), client, uri)
	f := url.Values{"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {uri}, "code_verifier": {verifier}}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	return x.do(http.MethodPost, "/oauth2/token", body("application/x-www-form-urlencoded", f.Encode()), agent).want(200)
}

func TestDeviceNamesAreCleaned(t *testing.T) {
	x := newSite(t, setup{})
	for sent, want := range map[string]string{
		"plain": "plain", "Küche": "Küche", "K%C3%BCche": "Küche", "100%": "100%", "%zz": "%zz", "a%00b%0Ac": "abc", "%E2%80%AEevil": "evil",
		strings.Repeat("x", 10_000): strings.Repeat("x", 64), strings.Repeat("%E6%97%A5", 100): strings.Repeat("日", 64), "%FF%FE": "", "  ": "",
		`"><svg onload=alert(1)>`: `"><svg onload=alert(1)>`,
	} {
		if got := x.row(x.login("alice", header("Latchkey-Device-Name", sent)).session).DeviceName; got != want {
			t.Errorf("%.40q is kept as %q, want %q", sent, got, want)
		}
	}
	in := func(text string) option { return jsonBody(text) }
	p := x.do(http.MethodPost, "/login", in(`{"username":"alice","password":"`+harness.PasswordOf("alice")+`","device_name":"wins"}`), returnTokens, header("Latchkey-Device-Name", "loses")).pair()
	if got := x.row(p.session).DeviceName; got != "wins" {
		t.Errorf("the field of the body is %q", got)
	}
	// A refresh changes nothing of it.
	again := x.refresh(p.refresh, header("Latchkey-Device-Name", "another")).pair()
	if got := x.row(again.session).DeviceName; got != "wins" {
		t.Errorf("after a refresh it is %q", got)
	}
}

func TestNamingADevice(t *testing.T) {
	x := newSite(t, setup{})
	b := x.at("alice", agent(firefoxOnLinux))
	app := x.login("alice", agent("Lissen/1.5"), header("Latchkey-Device-Name", "phone"))
	if to := b.sends("/account/devices/name", "id", b.session(), "name", " The attic \u202e").location().String(); to != publicURL+"/account?done=named" {
		t.Errorf("it leads to %s", to)
	}
	b.open("/account?done=named").says("The name was changed.", "The attic This device", "Firefox on Linux")
	// It stays with the browser through another login there.
	b.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	b.open("/account").says("The attic This device")
	b.sends("/account/devices/name", "id", app.session, "name", "").want(303)
	b.open("/account").says("Lissen on Android").saysNot("on phone")
	long := strings.Repeat("long ", 13)
	page := b.sends("/account/devices/name", "id", app.session, "name", long+"x").want(400).says("A name has at most 64 characters.")
	if !strings.Contains(page.Body, `id="name-`+app.session+`" name="name" type="text" value="`+long+`x"`) || !strings.Contains(page.Body, `<details class="ask act" open>`) {
		t.Errorf("what was typed is not kept at its field: %s", page.Body)
	}
}

func TestEndingOneDevice(t *testing.T) {
	x := newSite(t, setup{})
	b, other := x.at("alice"), x.at("alice")
	app, lost := x.login("alice"), x.login("alice")
	b.open("/account").says("End this device: ", "will have to log in again.")
	b.sends("/account/devices/end", "id", other.session()).want(303)
	x.over(other.session(), broker.RevokedByUser)
	x.over(b.session(), "")
	other.follow(other.send(http.MethodGet, "/account")).want(200).says("You ended this device from your account page on 2 January 2026")
	// A lost device is told to remove its data.
	if to := b.sends("/account/devices/end", "id", lost.session, "wipe", "1").location().String(); to != publicURL+"/account?done=wiped" {
		t.Errorf("it leads to %s", to)
	}
	x.refresh(lost.refresh).refused(401, broker.RevokedByUser, web.VerdictWipe)
	x.refresh(app.refresh).pair()
	b.sends("/account/devices/end", "id", app.session).want(303)
	x.refresh(app.refresh).refused(401, broker.RevokedByUser, web.VerdictLogin)
	// Pressed twice, the page says how it is.
	b.sends("/account/devices/end", "id", app.session).want(404).says("There is no such device, or it is logged out already.", "Your devices")
	// This browser too.
	b.sends("/account/devices/end", "id", b.session()).want(303)
	b.open("/account").says("You ended this device from your account page on")
}

func TestEndingOthersAndAll(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.newBrowser()
	x.redeemIn(b, "web1", "https://rp1.test/cb", webSecret)
	other := x.newBrowser()
	x.redeemIn(other, "web2", "https://rp2.test/cb", web2Secret)
	app, root := x.login("alice"), x.login("root")
	mine, site, away := b.session(), x.followerOf(b.session()), x.followerOf(other.session())
	b.open("/account").says("web1", "Everything but this browser, and the sites that it has open, will have to log in again.")
	b.sends("/account/devices/end-others").want(303)
	b.open("/account?done=others").want(200).says("Everything but this browser was logged out.", "This is the only", "web1")
	for id, cause := range map[string]broker.EndCause{mine: "", site: "", root.session: "", other.session(): broker.RevokedByUser, away: broker.RevokedByUser, app.session: broker.RevokedByUser} {
		x.over(id, cause)
	}
	if to := b.sends("/account/devices/end-all").location().String(); to != publicURL+"/login?ended=revoked_by_user" {
		t.Errorf("it leads to %s", to)
	}
	b.open("/login?ended=revoked_by_user").want(200).says("You ended this device from your account page on 2 January 2026")
	for id, cause := range map[string]broker.EndCause{mine: broker.RevokedByUser, site: broker.RevokedByUser, root.session: ""} {
		x.over(id, cause)
	}
	if b.jar[sessionCookie] != "" {
		t.Error("the cookie is still there")
	}
}

// redeemIn logs alice in in a browser, and there at a client of the web.
func (x *site) redeemIn(b *browser, client, uri, secret string) {
	x.t.Helper()
	code := x.codeFor(b, client, uri)
	f := form("grant_type", "authorization_code", "code", code, "redirect_uri", uri, "code_verifier", verifier)
	x.do(http.MethodPost, "/oauth2/token", f, func(r *http.Request) { r.SetBasicAuth(client, secret) }).want(200)
}

func (x *site) followerOf(parent string) string {
	x.t.Helper()
	for _, s := range x.sessions("alice", false) {
		if s.ParentID == parent {
			return s.ID
		}
	}
	x.t.Fatal("nothing follows ", parent)
	return ""
}

// What follows a browser stands beneath it and ends with it.
func TestSitesEndWithTheirBrowser(t *testing.T) {
	x := newProvider(t, setup{})
	b, other := x.at("alice"), x.newBrowser()
	x.redeemIn(other, "web1", "https://rp1.test/cb", webSecret)
	site := x.followerOf(other.session())
	page := b.open("/account").says("The sites that it has open end with it.")
	above, beneath := strings.Index(page.Body, "device-"+other.session()), strings.Index(page.Body, "device-"+site)
	if above < 0 || beneath < above || !strings.Contains(page.Body[above:beneath], `<ul class="sites"`) {
		t.Errorf("the site does not stand beneath its browser: %s", page.Body)
	}
	b.sends("/account/devices/end", "id", site).want(303)
	x.over(site, broker.RevokedByUser)
	x.over(other.session(), "")
	x.redeemIn(other, "web1", "https://rp1.test/cb", webSecret)
	b.sends("/account/devices/end", "id", other.session()).want(303)
	for _, s := range x.sessions("alice", true) {
		if s.ID != b.session() {
			t.Errorf("%s of %s lives on", s.ID, s.ClientID)
		}
	}
}

// A01: nobody ends, names or sees another's device, by any form.
func TestDevicesOfOthersStayTheirs(t *testing.T) {
	x := newSite(t, setup{})
	alice := x.at("alice")
	root := x.login("root", header("Latchkey-Device-Name", "the phone of root"))
	before := x.row(root.session)
	for _, f := range [][]string{
		{"/account/devices/end", "id", root.session}, {"/account/devices/end", "id", root.session, "wipe", "1"}, {"/account/devices/name", "id", root.session, "name", "mine"},
		{"/account/devices/end", "id", "%"}, {"/account/devices/end", "id", ""}, {"/account/devices/end", "id", "a\xff"},
	} {
		if a := alice.sends(f[0], f[1:]...); a.Status != 404 && a.Status != 400 {
			t.Errorf("%v: %d", f, a.Status)
		}
	}
	for _, f := range [][]string{
		{"/account/devices/end", "id", alice.session(), "user", "root"}, {"/account/devices/end-others", "userId", before.UserID}, {"/account/devices/end-all", "id", root.session},
		{"/account/devices/end"}, {"/account/devices/name", "name", "x"},
	} {
		alice.sends(f[0], f[1:]...).want(400)
	}
	alice.open("/account").saysNot("the phone of root", root.session)
	alice.open("/account/ended?user=" + before.UserID).want(200).saysNot("the phone of root")
	if after := x.row(root.session); after.EndCause != "" || after.DeviceName != before.DeviceName {
		t.Errorf("root's session is %+v", after)
	}
	x.over(alice.session(), "")
}

// A guest's account may be several people's: one ends nothing of the others.
func TestGuestsHaveNoListOfDevices(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "kiosk", broker.RoleGuest)
	one, two := x.at("kiosk", agent(firefoxOnLinux)), x.at("kiosk", agent(chromeOnPhone))
	one.open("/account").want(200).says("Firefox on Linux", "This is a guest account").saysNot("Android", two.session(), "End all")
	for _, path := range []string{"/account/devices/end", "/account/devices/name"} {
		one.sends(path, "id", two.session()).refused(403, broker.Forbidden, "")
	}
	one.sends("/account/devices/end-others").refused(403, broker.Forbidden, "")
	one.sends("/account/devices/end-all").refused(403, broker.Forbidden, "")
	one.send(http.MethodGet, "/account/ended").refused(403, broker.Forbidden, "")
	x.over(two.session(), "")
}

// CSRF: forms of other sites, of siblings and of nobody do nothing.
func TestDeviceFormsOfOtherSites(t *testing.T) {
	x := newSite(t, setup{})
	b := x.at("alice")
	app := x.login("alice")
	for _, from := range []option{header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Site", "same-site"), header("Origin", "https://evil.test"), func(*http.Request) {}} {
		for _, path := range []string{"/account/devices/end", "/account/devices/name", "/account/devices/end-others", "/account/devices/end-all"} {
			b.send(http.MethodPost, path, form("id", app.session, "name", "taken"), from).refused(403, broker.CrossSite, "")
		}
	}
	x.over(app.session, "")
	x.over(b.session(), "")
	if x.row(app.session).DeviceName != "" {
		t.Error("it was named by another site")
	}
}

// A name in a User-Agent is text, whatever it looks like.
func TestDevicesWithHostileUserAgents(t *testing.T) {
	x := newSite(t, setup{})
	b := x.at("alice")
	for _, hostile := range []string{`"><svg onload=alert(1)>/1`, "\u202eevil/1.0", strings.Repeat("A", 10_000), strings.Repeat("Mozilla/5.0 (((;;;", 600), `{{7*7}}/1`, "'\"><script>/2", "%3Cscript%3E/1 CFNetwork/1"} {
		x.login("alice", agent(hostile), header("Latchkey-Device-Name", hostile))
		x.login("alice", agent(hostile))
		b.open("/account").want(200).inert()
	}
	if page := b.open("/account").saysNot("\u202e"); len(page.Body) > 60_000 {
		t.Errorf("the page has %d bytes", len(page.Body))
	}
	b.sends("/account/devices/end-others").want(303)
	b.open("/account/ended").want(200).saysNot("\u202e").inert()
}

// Of two who used one login the owner learns both, and what to do.
func TestDevicesSayWhoHeldOneLogin(t *testing.T) {
	x := newSite(t, setup{})
	b := x.at("alice")
	p := x.login("alice", agent("Lissen/1.5"), from("192.0.2.10"))
	x.Clock.Advance(time.Hour)
	stolen := x.refresh(p.refresh, from("192.0.2.10")).pair()
	for range 2 {
		x.Clock.Advance(time.Hour)
		stolen = x.refresh(stolen.refresh, from("192.0.2.10")).pair()
	}
	x.Clock.Advance(time.Hour)
	x.refresh(p.refresh, agent("curl/8"), from("198.51.100.66")).refused(401, broker.TokenReused, web.VerdictLogin)
	for _, path := range []string{"/account", "/account/ended"} {
		page := b.open(path).says(
			"Two devices used the same login, so it was ended for safety: Lissen on Android, from 192.0.2.10, on 2 January 2026 at 06:04 UTC; and curl, from 198.51.100.66, on 2 January 2026 at 07:04 UTC.",
			"If one of them was not you, change your password.")
		if !page.linksTo("/account/password") {
			t.Error("there is no way to the password")
		}
	}
}

// The list of what ended has every cause, the latest end first, in pages.
func TestPastDevices(t *testing.T) {
	x := newSite(t, setup{})
	b := x.at("alice")
	b.open("/account").says("Nothing has ended yet.")
	b.open("/account/ended").says("Nothing has ended yet.", "They are kept for 91 days.")
	sids := []string{}
	for range 45 {
		sids = append(sids, x.login("alice").session)
	}
	for i, id := range sids { // the first login ends last
		x.Clock.Advance(time.Minute)
		cause := broker.EndCauses[(len(sids)-1-i)%len(broker.EndCauses)]
		if _, err := x.Broker.EndSessions(context.Background(), broker.SessionFilter{ID: sids[len(sids)-1-i]}, cause, false, ""); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	said, at, rows := "", "/account/ended", 0
	for range 3 {
		page := b.open(at).want(200)
		said += plain(page.Body)
		rows += strings.Count(page.Body, "<li>\n<svg")
		for _, link := range page.links() {
			if strings.HasPrefix(link, "?next=") {
				at = "/account/ended" + link
			}
		}
	}
	if rows != 45 {
		t.Errorf("%d rows of 45", rows)
	}
	for _, want := range []string{
		"You logged out on this device.", "You ended this device from your account page on", "An administrator ended this device on", "Your password was changed on", "This device was not used for 30 days.",
		"This login reached its limit of", "You logged in on more devices", "Two devices used the same login", "This login was redeemed twice", "Your identity provider ended your session there.",
		"Your identity provider says", "Your account was disabled", "Your account was deleted", "The app that this login was for has been removed", "The link to the account",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing says %q", want)
		}
	}
	if i, k := strings.Index(said, "45 minutes ago"), strings.Index(said, "just now"); i >= 0 && i < k {
		t.Error("the latest end does not stand first")
	}
	b.open("/account/ended?next=x").want(400)
}

// What expired is not there any more, and says so before it is swept.
func TestExpiredDevicesArePast(t *testing.T) {
	x := newSite(t, setup{})
	app := x.login("alice", agent("curl/8"))
	x.Clock.Advance(31 * 24 * time.Hour)
	b := x.at("alice")
	for _, path := range []string{"/account", "/account/ended"} {
		b.open(path).says("This device was not used for 30 days.", "1 day ago").saysNot("device-" + app.session)
	}
}

// The home page leads on, and to the office whoever may go there.
func TestHomeLeadsOn(t *testing.T) {
	x := newSite(t, setup{})
	alice, root := x.at("alice").open("/").want(200), x.at("root").open("/").want(200)
	for _, to := range []string{"/account", "/account/identities", "/account/password", "/account/api-keys"} {
		if !alice.linksTo(to) {
			t.Errorf("no way to %s", to)
		}
	}
	if alice.linksTo("/admin") || !root.linksTo("/admin") {
		t.Error("the office is for administrators")
	}
}
