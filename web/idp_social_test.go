package web_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oauth2"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// socialSite has the providers github and discord, which are one site, and all
// that must not be in its log.
type socialSite struct {
	*idpSite
	social *providertest.Social
}

type object = map[string]any

func socialStart(t testing.TB, change func(*broker.Provider)) *socialSite {
	t.Helper()
	x := &socialSite{idpSite: &idpSite{}, social: providertest.StartSocial(t)}
	x.secret(x.social.ClientSecret)
	x.site = openSite(t, setup{broker: func(c *broker.Config) {
		for id, make := range map[string]func(oauth2.Config) *oauth2.Provider{"github": oauth2.GitHub, "discord": oauth2.Discord} {
			p := broker.Provider{ProviderSettings: broker.ProviderSettings{
				ID: id, Name: id, Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent,
			}}
			if change != nil {
				change(&p)
			}
			p.IdP = make(oauth2.Config{
				Issuer: x.social.URL(), ClientID: x.social.ClientID, ClientSecret: x.social.ClientSecret,
				Groups: len(p.AllowedGroups) > 0 || len(p.RoleMap) > 0,
			})
			c.Providers = append(c.Providers, p)
		}
	}})
	for _, path := range []string{providertest.GitHubToken, providertest.DiscordToken} {
		x.fault(path, nil)
	}
	x.gitHub("anna", 583231, "anna", "anna@example.org", true)
	return x
}

// fault takes over a path. What is sent there is a secret.
func (x *socialSite) fault(path string, how providertest.Responder) {
	x.social.Respond(path, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			_ = r.ParseForm()
			x.secret(r.PostForm.Get("code"), r.PostForm.Get("code_verifier"))
		}
		x.secret(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		return how != nil && how(w, r)
	})
}

// gitHub says of a person's account at GitHub what it is.
func (x *socialSite) gitHub(person string, id any, login, email string, verified any) {
	x.social.Say(person, providertest.GitHubUser, object{"id": id, "login": login, "name": "Anna", "email": nil})
	list := []any{object{"email": "old@example.org", "primary": false, "verified": true}}
	if email != "" {
		list = append(list, object{"email": email, "primary": true, "verified": verified})
	}
	x.social.Say(person, providertest.GitHubEmails, list)
	x.social.Say(person, providertest.GitHubOrgs, []any{})
	x.social.Say(person, providertest.GitHubTeams, []any{})
}

// beginAt is a browser's own login up to the provider.
func (x *socialSite) beginAt(provider string) (atIdP string, flow []*http.Cookie) {
	x.t.Helper()
	a := x.do(http.MethodGet, "/auth/"+provider+"?callback=/")
	atIdP = a.location().String()
	x.secret(idpQuery(x.t, atIdP).Get("state"))
	return atIdP, a.cookies
}

func (x *socialSite) yes(atIdP, person string) (callback string) {
	x.t.Helper()
	callback, err := x.social.Authorize(context.Background(), atIdP, person)
	if err != nil {
		x.t.Fatal(err)
	}
	x.secret(idpQuery(x.t, callback).Get("code"))
	return callback
}

// through is a browser's whole login, and its last answer.
func (x *socialSite) through(provider, person string) *answer {
	x.t.Helper()
	atIdP, flow := x.beginAt(provider)
	return x.do(http.MethodGet, x.yes(atIdP, person), cookies(flow))
}

// logsIn expects a login of that user.
func (x *socialSite) logsIn(provider, person, username string) broker.User {
	x.t.Helper()
	a := x.through(provider, person)
	if to := a.location(); to.String() != publicURL+"/" || a.cookie("refresh_token") == nil {
		x.t.Errorf("the browser is sent to %s", to)
	}
	u, err := x.Broker.FindUser(context.Background(), username)
	if err != nil {
		x.t.Fatal(err)
	}
	if sid, _, _ := generation(x.t, a.cookie("refresh_token").Value); !slices.ContainsFunc(x.sessions(username, true), func(s broker.Session) bool { return s.ID == sid }) {
		x.t.Errorf("the session is not %s's", username)
	}
	x.quiet(a.Body)
	return u
}

func TestGitHubLogin(t *testing.T) {
	x := socialStart(t, nil)
	first := x.logsIn("github", "anna", "anna")
	if first.Email != "anna@example.org" || !first.EmailVerified || first.Name != "Anna" || first.Role != broker.RoleUser {
		t.Errorf("%+v", first)
	}
	// A new name and a new address there are the same person here.
	x.gitHub("anna", 583231, "anna-lovelace", "anna@new.example.org", true)
	second := x.logsIn("github", "anna", "anna")
	if second.ID != first.ID || second.Email != "anna@new.example.org" || x.tally() != (idpTally{1, 1, 2}) {
		t.Errorf("%+v, %+v", second, x.tally())
	}
}

// Whoever registers a name that somebody gave up is somebody else.
func TestTakeoverByAReRegisteredName(t *testing.T) {
	x := socialStart(t, nil)
	anna := x.logsIn("github", "anna", "anna")
	x.gitHub("anna", 583231, "anna-lovelace", "anna@example.org", true)
	x.gitHub("mallory", 999, "anna", "anna@example.org", true)
	if mallory := x.logsIn("github", "mallory", "anna-2"); mallory.ID == anna.ID {
		t.Error("mallory is anna")
	}
	if again := x.logsIn("github", "anna", "anna"); again.ID != anna.ID {
		t.Error("anna is somebody else")
	}
}

func TestDiscordLogin(t *testing.T) {
	x := socialStart(t, nil)
	say := func(username string, email, verified any) {
		x.social.Say("bob", providertest.DiscordUser, object{"id": "80351110224678912", "username": username, "global_name": "Bob", "email": email, "verified": verified})
	}
	say("bob", nil, false) // an account without an address
	first := x.logsIn("discord", "bob", "bob")
	say("bobby", "bob@example.org", true)
	if second := x.logsIn("discord", "bob", "bob"); second.ID != first.ID || second.Email != "bob@example.org" || !second.EmailVerified {
		t.Errorf("%+v", second)
	}
	before := x.tally()
	say("bobby", "root@example.org", false)
	x.noLogin(x.through("discord", "bob"), before, 403, broker.EmailNotVerified)
}

func TestGitHubLoginFromAnApp(t *testing.T) {
	x := socialStart(t, func(p *broker.Provider) {
		if p.ID == "github" {
			p.ID = "openid" // which apps of the JSON contract ask for
		}
	})
	p := newApp(x.site)
	back := p.do(http.MethodGet, x.yes(p.toIdP(), "anna")).location()
	if name := p.me(p.redeem(back.Query().Get("code")).pair().access).want(200).text("username"); name != "anna" {
		t.Errorf("username %q", name)
	}
	for code, fault := range map[string]providertest.Responder{
		"temporarily_unavailable": providertest.Body(500, "", ""), "server_error": providertest.Body(404, "", ""),
	} {
		x.fault(providertest.GitHubUser, fault)
		p := newApp(x.site)
		back := p.do(http.MethodGet, x.yes(p.toIdP(), "anna")).location()
		if back.Scheme != "audiobookshelf" || back.Query().Get("error") != code || back.Query().Has("code") {
			t.Errorf("the app is sent %s, want %s", back, code)
		}
	}
}

func TestGitHubAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		email    string
		verified any
		rule     broker.EmailRule
		code     broker.Code
	}{
		"verified":                {"anna@example.org", true, broker.EmailAlways, ""},
		"unverified":              {"anna@example.org", false, broker.EmailIfPresent, broker.EmailNotVerified},
		"unverified, not minded":  {"anna@example.org", false, broker.EmailNever, ""},
		"a text is no boolean":    {"anna@example.org", "true", broker.EmailAlways, broker.EmailNotVerified},
		"none":                    {"", nil, broker.EmailIfPresent, ""},
		"none, and one is needed": {"", nil, broker.EmailAlways, broker.EmailNotVerified},
	} {
		t.Run(name, func(t *testing.T) {
			x := socialStart(t, func(p *broker.Provider) { p.RequireVerifiedEmail = c.rule })
			x.gitHub("anna", 583231, "anna", c.email, c.verified)
			if c.code != "" {
				x.noLogin(x.through("github", "anna"), x.tally(), 403, c.code)
				return
			}
			if u := x.logsIn("github", "anna", "anna"); u.Email != c.email || u.EmailVerified != (c.verified == true) {
				t.Errorf("%+v", u)
			}
		})
	}
}

// Another verified address of the account, and the public one of the profile,
// link and admit nobody.
func TestGitHubOtherAddressesProveNothing(t *testing.T) {
	x := socialStart(t, func(p *broker.Provider) { p.AllowedDomains = []string{"corp.example"} })
	list := []any{
		object{"email": "me@evil.test", "primary": true, "verified": true}, object{"email": "boss@corp.example", "primary": false, "verified": true},
	}
	x.social.Say("anna", providertest.GitHubEmails, list)
	x.social.Say("anna", providertest.GitHubUser, object{"id": 583231, "login": "anna", "email": "boss@corp.example", "verified": true, "email_verified": true})
	x.noLogin(x.through("github", "anna"), x.tally(), 403, broker.DomainNotAllowed)
	list[0], list[1] = object{"email": "anna@corp.example", "primary": true, "verified": true}, list[0]
	x.social.Say("anna", providertest.GitHubEmails, list[:1])
	x.logsIn("github", "anna", "anna")
}

func TestGitHubOrganizations(t *testing.T) {
	x := socialStart(t, func(p *broker.Provider) {
		p.AllowedGroups, p.RoleMap = []string{"acme/readers"}, map[string]broker.Role{"acme/admins": broker.RoleAdmin}
	})
	x.User(t, "root", broker.RoleRoot)
	member := func(orgs []any, teams ...string) {
		list := []any{}
		for _, team := range teams {
			org, slug, _ := strings.Cut(team, "/")
			list = append(list, object{"slug": slug, "name": slug, "organization": object{"login": org}})
		}
		x.social.Say("anna", providertest.GitHubOrgs, orgs)
		x.social.Say("anna", providertest.GitHubTeams, list)
	}
	member([]any{object{"login": "acme"}}, "evil/readers", "acme/other")
	x.noLogin(x.through("github", "anna"), x.tally(), 403, broker.GroupNotAllowed)
	member([]any{object{"login": "acme/readers"}, object{"login": "readers", "name": "acme/readers"}})
	x.noLogin(x.through("github", "anna"), x.tally(), 403, broker.GroupNotAllowed)
	member([]any{object{"login": "acme"}}, "acme/readers", "acme/admins")
	if u := x.logsIn("github", "anna", "anna"); u.Role != broker.RoleAdmin || strings.Join(u.Groups, " ") != "acme acme/readers acme/admins" {
		t.Errorf("%+v", u)
	}
	member([]any{object{"login": "acme"}}, "acme/readers")
	if u := x.logsIn("github", "anna", "anna"); u.Role != broker.RoleUser {
		t.Errorf("%+v", u)
	}
	// A list that cannot be had decides nothing.
	before := x.tally()
	x.fault(providertest.GitHubTeams, providertest.Body(403, "application/json", `{"message":"no"}`))
	x.noLogin(x.through("github", "anna"), before, 502, broker.IdPBadResponse)
}

// Anybody can make a server of any name, also of another one's number.
func TestDiscordServerOfTheSameName(t *testing.T) {
	x := socialStart(t, func(p *broker.Provider) { p.AllowedGroups = []string{"197038439483310086"} })
	x.social.Say("bob", providertest.DiscordUser, object{"id": "1", "username": "bob"})
	x.social.Say("bob", providertest.DiscordGuilds, []any{object{"id": "666", "name": "197038439483310086"}})
	x.noLogin(x.through("discord", "bob"), x.tally(), 403, broker.GroupNotAllowed)
	x.social.Say("bob", providertest.DiscordGuilds, []any{object{"id": "666", "name": "x"}, object{"id": "197038439483310086", "name": "y"}})
	x.logsIn("discord", "bob", "bob")
}

// What goes wrong at GitHub: told apart, without a trace, over at once.
func TestGitHubFaults(t *testing.T) {
	limit := func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("X-RateLimit-Remaining", "0")
		return providertest.Body(403, "application/json", `{"message":"API rate limit exceeded"}`)(w, r)
	}
	form := "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
		path string
		how  providertest.Responder
		code broker.Code
	}{
		"bad_verification_code": {providertest.GitHubToken, providertest.Body(200, form, "error=bad_verification_code"), broker.IdPRefused},
		"5xx at the token":      {providertest.GitHubToken, providertest.Body(503, "text/html", "<html>"), broker.TemporarilyUnavailable},
		"5xx at the profile":    {providertest.GitHubUser, providertest.Body(500, "", ""), broker.TemporarilyUnavailable},
		"rate limit":            {providertest.GitHubUser, limit, broker.TemporarilyUnavailable},
		"rate limit, later":     {providertest.GitHubEmails, limit, broker.TemporarilyUnavailable},
		"huge":                  {providertest.GitHubUser, providertest.Flood(64 << 20), broker.IdPBadResponse},
		"a bomb":                {providertest.GitHubEmails, providertest.GzipBomb(64 << 20), broker.IdPBadResponse},
		"id missing":            {providertest.GitHubUser, providertest.Body(200, "application/json", `{"login":"anna"}`), broker.IdPBadResponse},
		"id 0":                  {providertest.GitHubUser, providertest.Body(200, "application/json", `{"id":0,"login":"anna"}`), broker.IdPBadResponse},
		"id a text":             {providertest.GitHubUser, providertest.Body(200, "application/json", `{"id":"583231","login":"anna"}`), broker.IdPBadResponse},
		"id negative":           {providertest.GitHubUser, providertest.Body(200, "application/json", `{"id":-583231,"login":"anna"}`), broker.IdPBadResponse},
	} {
		t.Run(name, func(t *testing.T) {
			x := socialStart(t, nil)
			x.fault(c.path, c.how)
			a := x.through("github", "anna")
			x.noLogin(a, idpTally{}, idpStatus[c.code], c.code)
			if c.code == broker.TemporarilyUnavailable && a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			x.fault(c.path, nil)
			x.logsIn("github", "anna", "anna")
		})
	}
	t.Run("access_denied", func(t *testing.T) {
		x := socialStart(t, nil)
		atIdP, flow := x.beginAt("github")
		back := "/auth/github/callback?error=access_denied&error_description=The+user+has+denied&state=" + url.QueryEscape(idpQuery(t, atIdP).Get("state"))
		x.noLogin(x.do(http.MethodGet, back, cookies(flow)), idpTally{}, 403, broker.AccessDenied)
		x.noLogin(x.do(http.MethodGet, back, cookies(flow)), idpTally{}, 400, broker.InvalidState)
	})
	t.Run("time-out", func(t *testing.T) {
		x := socialStart(t, nil)
		x.fault(providertest.GitHubEmails, providertest.Stall)
		begun := time.Now()
		x.noLogin(x.through("github", "anna"), idpTally{}, 503, broker.TemporarilyUnavailable)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// U01, U02 where there is no nonce: the state alone binds a login to a browser.
func TestU02LoginCSRFWithoutOpenID(t *testing.T) {
	x := socialStart(t, nil)
	x.noLogin(x.do(http.MethodGet, "/auth/github/callback?code=x&state=AAAA"), idpTally{}, 400, broker.InvalidState)
	atIdP, mallory := x.beginAt("github")
	_, alice := x.beginAt("github")
	callback := x.yes(atIdP, "anna")
	x.noLogin(x.do(http.MethodGet, callback, cookies(alice)), idpTally{}, 400, broker.StateMismatch)
	x.noLogin(x.do(http.MethodGet, callback, cookies(mallory)), idpTally{}, 400, broker.InvalidState)
	if n := x.social.Count(providertest.GitHubToken); n != 0 {
		t.Errorf("%d token requests", n)
	}
}

// U04 where there is no iss: a state belongs to one provider, and each provider
// has a redirect URI of its own (RFC 9700 section 4.4.2).
func TestU04MixUpWithoutOpenID(t *testing.T) {
	x := socialStart(t, nil)
	atIdP, flow := x.beginAt("github")
	if to := idpQuery(t, atIdP).Get("redirect_uri"); to != publicURL+"/auth/github/callback" {
		t.Errorf("redirect_uri %q", to)
	}
	callback := x.yes(atIdP, "anna")
	crossed := strings.Replace(callback, "/github/", "/discord/", 1)
	x.noLogin(x.do(http.MethodGet, crossed, cookies(flow)), idpTally{}, 400, broker.InvalidState)
	if n := x.social.Count(providertest.GitHubToken) + x.social.Count(providertest.DiscordToken); n != 0 {
		t.Errorf("%d token requests", n)
	}
	x.do(http.MethodGet, callback, cookies(flow)).location() // it was not used up
}

// U05 where there is no nonce: PKCE alone keeps a stolen code out of another
// login.
func TestU05CodeInjectionWithoutOpenID(t *testing.T) {
	x := socialStart(t, nil)
	x.gitHub("mallory", 999, "mallory", "", nil)
	victim, _ := x.beginAt("github")
	stolen := idpQuery(t, x.yes(victim, "anna")).Get("code")
	atIdP, flow := x.beginAt("github")
	q := idpQuery(t, x.yes(atIdP, "mallory"))
	q.Set("code", stolen)
	x.noLogin(x.do(http.MethodGet, "/auth/github/callback?"+q.Encode(), cookies(flow)), idpTally{}, 403, broker.IdPRefused)
	if n := x.social.Count(providertest.GitHubUser); n != 0 {
		t.Errorf("the profile was asked for %d times", n)
	}
	// With the right verifier it is a login: the refusal was PKCE's.
	x.logsIn("github", "mallory", "mallory")
}

// Tokens of others mean nothing to a provider that has none.
func TestNoLogoutTokensWithoutOpenID(t *testing.T) {
	x := socialStart(t, nil)
	x.logsIn("github", "anna", "anna")
	before := x.tally()
	a := x.do(http.MethodPost, "/auth/github/backchannel-logout", form("logout_token", "a.b.c"))
	x.noLogin(a, before, 400, broker.InvalidRequest)
}
