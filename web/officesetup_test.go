package web_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/web"
)

func host(name string) option { return func(r *http.Request) { r.Host = name } }

// The setup link leads on to the steps, and every step is checked by what there is.
func TestSetupInOneSitting(t *testing.T) {
	x := openSite(t, setup{idp: startIdP(t), broker: func(c *broker.Config) { c.Providers = nil }})
	made := x.do(http.MethodPost, "/setup", form("token", x.setupToken(), "username", "root", "password", "a few words that are long"))
	if to := made.location().String(); to != publicURL+"/admin/setup" {
		t.Fatalf("the setup leads to %s", to)
	}
	browser := cookies(made.cookies)
	here := []option{browser, host("id.example.org"), from("192.0.2.9")}
	steps := func(options ...option) *answer {
		t.Helper()
		return x.do(http.MethodGet, "/admin/setup", append(here, options...)...).want(200).says("Set up Latchkey")
	}
	bare := steps()
	bare.says("You are logged in as root.", "There is none yet. Without one people log in with a password.", "This comes last")
	if bare.cookie("latchkey_setup") == nil {
		t.Error("nothing remembers that this browser is setting up")
	}

	client, _, err := x.Broker.CreateClient(t.Context(), broker.Client{Name: "Shelf <b>", RedirectURIs: []string{"https://shelf.example/cb"}})
	if err != nil {
		t.Fatal(err)
	}
	with := steps().says("Shelf <b> is connected.", "Nobody has logged in to Shelf <b> yet.").saysNot("Shelf <b></")
	if !with.linksTo("/admin/clients/" + client.ID) {
		t.Errorf("no way to the client: %v", with.links())
	}

	finished := x.do(http.MethodPost, "/admin/setup", browser, form(), header("Origin", publicURL))
	if to := finished.location().String(); to != publicURL+"/admin" {
		t.Errorf("the end leads to %s", to)
	}
	if c := finished.cookie("latchkey_setup"); c == nil || c.MaxAge >= 0 {
		t.Error("the mark of the set-up stays")
	}
	x.do(http.MethodPost, "/admin/setup", browser, form(), header("Origin", "https://evil.example"), header("Sec-Fetch-Site", "cross-site")).refused(403, broker.CrossSite, "")
	x.do(http.MethodGet, "/admin/setup").want(303)
	x.User(t, "robin", broker.RoleUser)
	x.do(http.MethodGet, "/admin/setup", cookies(x.pageLogin("robin"))).refused(403, broker.Forbidden, "").says("for administrators")
}

// A provider that does not answer is said so before anybody is sent there.
func TestSetupSaysHowProvidersAnswer(t *testing.T) {
	idp := startIdP(t)
	x := openSite(t, setup{idp: idp})
	x.do(http.MethodGet, "/login").says("This Latchkey is not set up yet. Open the setup link")
	made := x.do(http.MethodPost, "/setup", form("token", x.setupToken(), "username", "root", "password", "a few words that are long"))
	x.do(http.MethodGet, "/login").saysNot("not set up yet")
	steps := func() *answer { return x.do(http.MethodGet, "/admin/setup", cookies(made.cookies)).want(200) }
	steps().says("Test IdP is connected, and answers.", "Test IdP takes the client id and the secret.", "Nobody has logged in through Test IdP yet.")
	x.idpLogin(idp.Authorize)
	steps().says("Test IdP is connected, and answers.", "anna has logged in through Test IdP.")
	idp.SetDown(true)
	x.Clock.Advance(time.Hour)
	x.do(http.MethodGet, "/auth/openid?callback=/")
	steps().says("Test IdP does not answer.")
}

// A provider whose secret is wrong was done, because its discovery document could
// be read.
func TestSetupAsksWhetherTheSecretIsRight(t *testing.T) {
	token := func(with providertest.Responder) func(*providertest.IdP) {
		return func(idp *providertest.IdP) {
			idp.Script(func(s *providertest.Script) {
				s.Respond = map[string]providertest.Responder{providertest.EndpointToken: with}
			})
		}
	}
	says := func(status int, body string) func(*providertest.IdP) {
		return token(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
			return true
		})
	}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	stalls := token(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-over:
		case <-r.Context().Done():
		}
		return true
	})
	client := func(secret string) func(*providertest.IdP) {
		return func(idp *providertest.IdP) {
			idp.SetClient(providertest.Client{ID: "latchkey", Secret: secret, RedirectURIs: []string{publicURL + "/auth/openid/callback"}})
		}
	}
	for what, c := range map[string]struct {
		bend func(*providertest.IdP)
		says string
		done bool
	}{
		"the right secret":     {func(*providertest.IdP) {}, "Test IdP takes the client id and the secret.", true},
		"a wrong secret":       {client("another"), "Test IdP refuses the client id or the secret. Copy both from there once more, into the configuration.", false},
		"401 and no word":      {says(401, ""), "Test IdP refuses the client id or the secret.", false},
		"the code comes first": {says(400, `{"error":"invalid_grant"}`), "The first login shows whether the secret is right.", true},
		"trouble there":        {says(500, "oops"), "The token endpoint answered with 500, which says nothing of the secret. The first login", true},
		"rubbish":              {says(200, `"><script>alert(1)</script>`), "which says nothing of the secret. The first login", true},
		"no answer":            {stalls, "did not answer in time", false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			idp := startIdP(t)
			x := openSite(t, setup{idp: idp})
			made := x.do(http.MethodPost, "/setup", form("token", x.setupToken(), "username", "root", "password", "a few words that are long"))
			c.bend(idp)
			look := func() *answer { return x.do(http.MethodGet, "/admin/setup", cookies(made.cookies)).want(200) }
			page := look()
			asked := idp.Count(providertest.EndpointToken)
			for strings.Contains(page.Body, "has not answered yet") { // the trial goes on, and has its own end
				page = look()
			}
			page.says(c.says).saysNot("the IdP's client secret", "<script>alert")
			_, pill, _ := strings.Cut(page.Body[strings.Index(page.Body, `<li id="provider"`):], "</h2>")
			if done := strings.HasPrefix(pill, `<span class="pill good">`); done != c.done {
				t.Errorf("done %v, want %v", done, c.done)
			}
			look().says(c.says)
			if n := idp.Count(providertest.EndpointToken); n != asked {
				t.Errorf("a reload asked %d times more", n-asked)
			}
			x.do(http.MethodGet, "/admin/providers", cookies(made.cookies)).want(200)
			x.do(http.MethodGet, "/admin/setup", cookies(made.cookies), header("Accept-Language", "de")).want(200).saysNot("secret", "The first login")
			if what == "a wrong secret" {
				x.do(http.MethodGet, "/admin/providers", cookies(made.cookies)).says("refuses the secret")
				x.do(http.MethodGet, "/admin/providers/openid", cookies(made.cookies)).says("It refused the client id or the secret: invalid_client")
				client("the IdP's client secret")(idp)
				x.Clock.Advance(11 * time.Second)
				x.do(http.MethodGet, "/admin/setup", cookies(made.cookies)).says("Test IdP takes the client id and the secret.")
				x.do(http.MethodGet, "/admin/providers", cookies(made.cookies)).saysNot("refuses the secret")
			}
		})
	}
}

// An address that is not the public one, or a proxy that nobody named, is said
// before the first login fails by it.
func TestSetupChecksTheAddress(t *testing.T) {
	for name, n := range map[string]struct {
		public string
		sent   []option
		says   string
	}{
		"as it should be":   {publicURL, []option{host("id.example.org"), from("192.0.2.1"), header("X-Forwarded-Proto", "https"), header("X-Forwarded-For", "192.0.2.7")}, "which is the public address"},
		"another host":      {publicURL, []option{host("192.168.1.5:8080")}, "You are at http://192.168.1.5:8080, but the public address is " + publicURL},
		"a silent proxy":    {publicURL, []option{host("id.example.org"), from("192.0.2.1")}, "has to send X-Forwarded-Proto"},
		"an unnamed proxy":  {publicURL, []option{host("id.example.org"), from("198.51.100.3"), header("X-Forwarded-For", "192.0.2.7")}, "all devices seem to come from 198.51.100.3"},
		"plain http abroad": {"http://id.example.org", []option{host("id.example.org")}, "Without https"},
	} {
		t.Run(name, func(t *testing.T) {
			x := openSite(t, setup{publicURL: n.public, web: func(c *web.Config) {
				c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
			}})
			made := x.do(http.MethodPost, "/setup", form("token", x.setupToken(), "username", "root", "password", "a few words that are long"))
			page := x.do(http.MethodGet, "/admin/setup", append(n.sent, cookies(made.cookies))...).want(200).says(n.says)
			if healthy := strings.Contains(name, "should"); healthy == strings.Contains(page.Body, `class="bad"`) && healthy {
				t.Error("a healthy address is complained of")
			}
		})
	}
}

// Whoever is led to the login comes back to the page that was wanted.
func TestLoginLeadsBack(t *testing.T) {
	x := openSite(t, setup{})
	x.User(t, "alice", broker.RoleAdmin)
	to := x.do(http.MethodGet, "/admin/setup?step=app").location()
	if got := to.Query().Get("next"); to.Path != "/login" || got != "/admin/setup?step=app" {
		t.Fatalf("leads to %s", to)
	}
	in := x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "password of alice", "next", to.Query().Get("next")))
	if got := in.location().String(); got != publicURL+"/admin/setup?step=app" {
		t.Errorf("the login leads to %s", got)
	}
	for _, path := range []string{"//evil.example/admin/setup", "/admin/setup?next=" + url.QueryEscape("https://evil.example")} {
		if got := x.do(http.MethodGet, path).Header.Get("Location"); strings.HasPrefix(got, "//") || strings.HasPrefix(got, "https://evil") {
			t.Errorf("%s leads to %s", path, got)
		}
	}
}
