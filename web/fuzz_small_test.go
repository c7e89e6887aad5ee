package web_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// secretCookie is a cookie by which this browser alone gets at something, and the request
// that it does so with.
type secretCookie struct {
	name, value  string
	method, path string
	option
	opens func(*answer) bool
}

// kept is the cookie of what a site has posted, and how it is gone on with.
func kept(b *browser, posted *answer, whose option, opens func(*answer) bool) secretCookie {
	b.t.Helper()
	c := posted.want(http.StatusSeeOther).cookies
	i := slices.IndexFunc(c, func(c *http.Cookie) bool { return strings.HasPrefix(c.Name, "__Host-latchkey_kept_") })
	if i < 0 {
		b.t.Fatalf("%v", c)
	}
	return secretCookie{c[i].Name, c[i].Value, http.MethodGet, posted.Header.Get("Location"), whose, opens}
}

// secretCookies are of a login that waits for its second step, a link for a password, what
// was typed before a login anew, an authorization and a logout that a site has posted.
func secretCookies(x *site) []secretCookie {
	const typed = "of the attic"
	shows := func(text string) func(*answer) bool {
		return func(a *answer) bool { return a.Status == http.StatusOK && strings.Contains(a.Body, text) }
	}
	led := func(a *answer) bool { return a.Status < 400 }
	x.byPassword("alice").enrols("alice")
	waits, linked, rp := x.newBrowser(), x.newBrowser(), x.newBrowser()
	waits.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(http.StatusSeeOther)
	link, err := url.Parse(x.passwordLink("root", x.userID("bert"), "reset").want(http.StatusCreated).text("url"))
	if err != nil {
		x.t.Fatal(err)
	}
	linked.send(http.MethodGet, link.RequestURI()).want(http.StatusSeeOther)
	bert := cookie(sessionCookie, x.at("bert").jar[sessionCookie])
	sealed := x.Broker.SealTyped(x.userID("bert"), keysPath, []byte(`{"description":"`+typed+`"}`))
	nobody := func(*http.Request) {}
	const second, password, again = "__Host-latchkey_second", "__Host-latchkey_password", "__Host-latchkey_typed"
	authorization := func() *answer { return rp.fromSite("/oauth2/authorize", request("web1", cb1)) }
	logout := func() *answer { return rp.fromSite("/oauth2/logout", url.Values{"client_id": {"web1"}}) }
	list := []secretCookie{
		{second, waits.jar[second], http.MethodGet, "/login/second", nobody, shows("One more step")},
		{password, linked.jar[password], http.MethodGet, "/password", nobody, shows(`type="password"`)},
		{again, sealed, http.MethodGet, keysPath + "?again=1", bert, shows(typed)},
		kept(rp, authorization(), nobody, led), kept(rp, logout(), bert, shows("Log out?")),
	}
	// What is good once is tried with another of its kind.
	for _, c := range append(list[:3:3], kept(rp, authorization(), nobody, led), kept(rp, logout(), bert, shows("Log out?"))) {
		if a := x.do(c.method, c.path, c.option, cookie(c.name, c.value)); !c.opens(a) {
			x.t.Fatalf("%s opens nothing: %d %s", c.name, a.Status, a.Body)
		}
	}
	return list
}

// markCookies are those that are no secrets: what they say is believed, and they are
// where they are read.
var markCookies = map[string]string{
	"__Host-latchkey_stay": "/login", "__Host-latchkey_launch": "/login", "__Host-latchkey_language": "/login", "latchkey_setup": "/admin",
	"__Host-latchkey_setup_link": "/setup", "__Host-latchkey_passkey": "/login/passkey",
}

// Whatever a stranger makes of the cookies that are no login: nothing of ours breaks, the
// secret ones open nothing, nobody is logged in by any, and nothing of them is shown again.
func FuzzSmallCookies(f *testing.F) {
	marks := []string{}
	for name := range markCookies {
		marks = append(marks, name)
	}
	slices.Sort(marks)
	const secrets = 5
	for which := range uint8(secrets + len(marks)) {
		for i, with := range []string{"", "x", "=", ".", "%00", "-1", "2", "99999999999999999999", "de", "de-\u00e4", "zz-ZZ-x-" + strings.Repeat("y", 40), strings.Repeat("x", 5000), "; x=y", "0.", "<script>alert(document.cookie)</script>"} {
			f.Add(which, []uint16{0, 1, 15, 16, 40, 65535}[(i+int(which))%6], uint8(i%2), with)
		}
		f.Add(which, uint16(0), uint8(255), "")
		f.Add(which, uint16(0), uint8(1), "")
	}
	idp := startIdP(f)
	x := newProvider(f, quietly(setup{idp: idp, web: func(c *web.Config) { c.AutoLaunch = "openid" }}))
	x.User(f, "bert", broker.RoleUser)
	list := secretCookies(x)
	if len(list) != secrets {
		f.Fatalf("%d cookies", len(list))
	}
	root := cookie(sessionCookie, x.at("root").jar[sessionCookie])
	f.Fuzz(func(t *testing.T, which uint8, at uint16, drop uint8, with string) {
		if !httpguts.ValidHeaderFieldValue(with) {
			t.Skip("no HTTP client sends that")
		}
		y := x.in(t)
		if i := int(which) % (len(list) + len(marks)); i >= len(list) {
			y.marked(marks[i-len(list)], with, root)
			return
		}
		c := list[int(which)%(len(list)+len(marks))]
		from := min(int(at), len(c.value))
		edited := c.value[:from] + with + c.value[min(from+int(drop), len(c.value)):]
		sent := &http.Request{Header: http.Header{"Cookie": {c.name + "=" + edited}}}
		if slices.ContainsFunc(sent.CookiesNamed(c.name), func(s *http.Cookie) bool { return s.Value == c.value }) {
			t.Skip("the cookie is as it was")
		}
		a := y.do(c.method, c.path, header("Cookie", sent.Header.Get("Cookie")), c.option).noSession()
		a.leadsOnlyTo(t, x.public)
		if c.opens(a) {
			t.Errorf("%s=%q opens %s: %d", c.name, edited, c.path, a.Status)
		}
		if shown := a.shown(); len(with) >= 24 && strings.Contains(shown, with) || len(edited) >= 24 && strings.Contains(shown, edited) {
			t.Errorf("%s=%q is shown again", c.name, edited)
		}
	})
}

// marked sends a mark, and holds the answer against what holds for all of them.
func (x *site) marked(name, value string, root option) {
	x.t.Helper()
	t, path, method := x.t.(*testing.T), markCookies[name], http.MethodGet
	options := []option{header("Cookie", name+"="+value), fromPage} // before cookies of a jar
	switch path {
	case "/login/passkey":
		method, options = http.MethodPost, append(options, form("credential", "{}"))
	case "/admin":
		options = append(options, root)
	}
	a := x.do(method, path, options...)
	a.noSession().leadsOnlyTo(t, x.public)
	known := path == "/login" || path == "/admin"
	if known && a.Status >= 400 || !known && a.Status < 400 {
		t.Errorf("%s=%q: %d to %q", name, value, a.Status, a.Header.Get("Location"))
	}
	if len(value) >= 24 && strings.Contains(a.shown(), value) {
		t.Errorf("%s=%q is shown again", name, value)
	}
}
