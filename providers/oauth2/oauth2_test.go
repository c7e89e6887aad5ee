package oauth2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oauth2"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// rig is a provider and the site that it asks.
type rig struct {
	t    testing.TB
	site *providertest.Social
	*oauth2.Provider
}

type object = map[string]any

func newRig(t testing.TB, make func(oauth2.Config) *oauth2.Provider, change func(*oauth2.Config)) *rig {
	t.Helper()
	r := &rig{t: t, site: providertest.StartSocial(t)}
	cfg := oauth2.Config{Issuer: r.site.URL(), ClientID: r.site.ClientID, ClientSecret: r.site.ClientSecret}
	if change != nil {
		change(&cfg)
	}
	r.Provider = make(cfg)
	r.site.Say("anna", providertest.GitHubUser, object{"id": 583231, "login": "anna", "name": "Anna", "email": "public@example.org", "type": "User"})
	r.site.Say("anna", providertest.GitHubEmails, []any{address("anna@example.org", true, true)})
	r.site.Say("anna", providertest.GitHubOrgs, []any{object{"login": "Readers", "id": 1}})
	r.site.Say("anna", providertest.GitHubTeams, []any{object{"slug": "admins", "organization": object{"login": "Readers"}}})
	r.site.Say("anna", providertest.DiscordUser, object{
		"id": "80351110224678912", "username": "anna", "global_name": "Anna", "email": "anna@example.org", "verified": true, "discriminator": "0",
	})
	r.site.Say("anna", providertest.DiscordGuilds, []any{object{"id": "197038439483310086", "name": "admins"}, object{"id": 5, "name": "6"}})
	return r
}

func address(email, primary, verified any) object {
	return object{"email": email, "primary": primary, "verified": verified, "visibility": nil}
}

func withGroups(c *oauth2.Config) { c.Groups = true }

const returnTo = "https://id.example.org/auth/p/callback"

var request = broker.IdPRequest{
	State: strings.Repeat("s", 43), Nonce: strings.Repeat("n", 43), Verifier: strings.Repeat("v", 43), RedirectURI: returnTo,
}

func (r *rig) authURL(ask broker.IdPAsk) url.Values {
	r.t.Helper()
	asked := request
	asked.IdPAsk = ask
	to, err := r.AuthURL(r.t.Context(), asked)
	if err != nil {
		r.t.Fatal(err)
	}
	return query(r.t, to)
}

func query(t testing.TB, target string) url.Values {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// answer is the trip of a person's browser to the site and back.
func (r *rig) answer(person string) broker.IdPResponse {
	r.t.Helper()
	to, err := r.AuthURL(r.t.Context(), request)
	if err != nil {
		r.t.Fatal(err)
	}
	callback, err := r.site.Authorize(r.t.Context(), to, person)
	if err != nil {
		r.t.Fatal(err)
	}
	q := query(r.t, callback)
	return broker.IdPResponse{Code: q.Get("code"), State: q.Get("state")}
}

func (r *rig) login() (broker.IdPClaims, error) {
	r.t.Helper()
	return r.Exchange(r.t.Context(), request, r.answer("anna"))
}

func (r *rig) works() broker.IdPClaims {
	r.t.Helper()
	c, err := r.login()
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) fails(code broker.Code) {
	r.t.Helper()
	if c, err := r.login(); err == nil || broker.CodeOf(err) != code || c.Subject != "" {
		r.t.Errorf("%+v, %v, want %s", c, err, code)
	}
}

func TestGitHub(t *testing.T) {
	r := newRig(t, oauth2.GitHub, nil)
	c := r.works()
	if c.Issuer != r.site.URL() || c.Subject != "583231" || c.Username != "anna" || c.Name != "Anna" || c.Email != "anna@example.org" ||
		c.EmailVerified == nil || !*c.EmailVerified || len(c.Groups) != 0 || !c.AuthTime.IsZero() || c.SessionID != "" {
		t.Errorf("%+v", c)
	}
	if r.site.Count(providertest.GitHubOrgs)+r.site.Count(providertest.GitHubTeams) != 0 {
		t.Error("groups were asked for, and nobody wants them")
	}
	if r.Issuer() != r.site.URL() || r.EndSessionURL(t.Context(), "https://id.example.org/login") != "" {
		t.Errorf("issuer %s", r.Issuer())
	}
}

func TestGitHubAuthURL(t *testing.T) {
	r := newRig(t, oauth2.GitHub, nil)
	q := r.authURL(broker.IdPAsk{})
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "latchkey", "redirect_uri": returnTo, "state": request.State, "scope": "user:email",
		"code_challenge_method": "S256",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	if len(q.Get("code_challenge")) != 43 || len(q) != 7 {
		t.Errorf("%v", q)
	}
	q = r.authURL(broker.IdPAsk{Prompt: "login", LoginHint: "anna"})
	if q.Get("prompt") != "select_account" || q.Get("login") != "anna" {
		t.Errorf("%v", q)
	}
}

// Where the endpoints are: github.com, its data residency, a server of one's own.
func TestGitHubInstallations(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://github.com": "https://api.github.com/user", "https://acme.ghe.com": "https://api.acme.ghe.com/user", "https://git.example.org": "https://git.example.org/api/v3/user",
	} {
		var asked []string
		p := oauth2.GitHub(oauth2.Config{Issuer: issuer, HTTPClient: &http.Client{Transport: transport(func(req *http.Request) *http.Response {
			asked = append(asked, req.URL.String())
			if strings.HasSuffix(req.URL.Path, "/access_token") {
				return said(200, `{"access_token":"x"}`)
			}
			return said(404, "")
		})}})
		_, err := p.Exchange(t.Context(), request, broker.IdPResponse{Code: "c"})
		if broker.CodeOf(err) != broker.IdPBadResponse || len(asked) != 2 || asked[1] != want || p.Issuer() != issuer {
			t.Errorf("%s: %q, %v", issuer, asked, err)
		}
		if to, _ := p.AuthURL(t.Context(), request); !strings.HasPrefix(to, p.Issuer()+"/login/oauth/authorize?") {
			t.Errorf("%s: %s", issuer, to)
		}
	}
	if to, _ := oauth2.Discord(oauth2.Config{Issuer: "https://discord.com"}).AuthURL(t.Context(), request); !strings.HasPrefix(to, "https://discord.com/oauth2/authorize?") {
		t.Error(to)
	}
}

// transport is an HTTP client's without a network.
type transport func(*http.Request) *http.Response

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req), nil }

func said(status int, body string) *http.Response {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.WriteString(body)
	return w.Result()
}

func TestGitHubGroups(t *testing.T) {
	for name, change := range map[string]func(*oauth2.Config){
		"wanted": withGroups, "asked for by scope": func(c *oauth2.Config) { c.Scopes = []string{"read:org", "user:email"} },
	} {
		r := newRig(t, oauth2.GitHub, change)
		if c := r.works(); !slices.Equal(c.Groups, []string{"Readers", "Readers/admins"}) {
			t.Errorf("%s: %q", name, c.Groups)
		}
		if scope := strings.Fields(r.authURL(broker.IdPAsk{}).Get("scope")); len(scope) != 2 || !slices.Contains(scope, "read:org") {
			t.Errorf("%s: %q", name, scope)
		}
	}
	r := newRig(t, oauth2.GitHub, withGroups)
	orgs := []any{}
	for i := range 250 {
		orgs = append(orgs, object{"login": fmt.Sprint("org-", i)})
	}
	r.site.Say("anna", providertest.GitHubOrgs, orgs)
	if c := r.works(); len(c.Groups) != 251 || c.Groups[249] != "org-249" || r.site.Count(providertest.GitHubOrgs) != 3 {
		t.Errorf("%d groups, %d requests", len(c.Groups), r.site.Count(providertest.GitHubOrgs))
	}
	// A list that never ends is no list, and half of one decides nothing.
	for len(orgs) < 1100 {
		orgs = append(orgs, object{"login": "more"})
	}
	r.site.Say("anna", providertest.GitHubOrgs, orgs)
	r.fails(broker.IdPBadResponse)
	// Odd entries are left out, and no name can be taken for a path.
	r.site.Say("anna", providertest.GitHubOrgs, []any{
		nil, 7, "x", []any{}, object{}, object{"login": 7}, object{"login": "Readers/admins"}, object{"login": "a\x00"}, object{"login": "fine"},
	})
	r.site.Say("anna", providertest.GitHubTeams, []any{
		object{"slug": "t"}, object{"slug": "t", "organization": "o"}, object{"slug": "t", "organization": object{"login": ""}},
		object{"slug": "t/u", "organization": object{"login": "o"}}, object{"slug": nil, "organization": object{"login": "o"}},
		object{"name": "T", "slug": "t", "organization": object{"login": "o"}},
	})
	if c := r.works(); !slices.Equal(c.Groups, []string{"fine", "o/t"}) {
		t.Errorf("%q", c.Groups)
	}
	for _, path := range []string{providertest.GitHubOrgs, providertest.GitHubTeams} {
		r.site.Respond(path, providertest.Body(403, "application/json", `{"message":"no"}`))
		r.fails(broker.IdPBadResponse)
		r.site.Respond(path, nil)
	}
}

// An address of the answer is not followed: the next page is counted.
func TestPagesAreCounted(t *testing.T) {
	var calls atomic.Int32
	bait := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(bait.Close)
	r := newRig(t, oauth2.GitHub, withGroups)
	r.site.Respond(providertest.GitHubOrgs, func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Link", "<"+bait.URL+`/user/orgs?page=2>; rel="next"`)
		return false
	})
	r.fails(broker.IdPBadResponse) // every page says that there is another
	if n := r.site.Count(providertest.GitHubOrgs); calls.Load() != 0 || n != 10 {
		t.Errorf("%d requests to the bait, %d to the site", calls.Load(), n)
	}
}

// The subject is the number. The name may be anybody's by tomorrow.
func TestGitHubSubject(t *testing.T) {
	for id, want := range map[string]string{
		"1": "1", "9007199254740993": "9007199254740993", "18446744073709551617": "18446744073709551617", // beyond 2^53 and 2^64
		"0": "", "-1": "", "1.5": "", "1e3": "", "-0": "", `"583231"`: "", `""`: "", "null": "", "true": "", "[1]": "", `{"id":1}`: "",
		strings.Repeat("9", 256): "",
	} {
		r := newRig(t, oauth2.GitHub, nil)
		r.site.Say("anna", providertest.GitHubUser, object{"id": json.RawMessage(id), "login": "anna", "node_id": "x", "sub": "s", "ID": 7})
		if want == "" {
			r.fails(broker.IdPBadResponse)
		} else if c := r.works(); c.Subject != want {
			t.Errorf("%s: %q", id, c.Subject)
		}
	}
	r := newRig(t, oauth2.GitHub, nil)
	r.site.Say("anna", providertest.GitHubUser, object{"login": "anna"})
	r.fails(broker.IdPBadResponse)
	r.site.Say("anna", providertest.GitHubUser, object{"id": 7, "login": nil, "name": 5})
	if c := r.works(); c.Subject != "7" || c.Username != "" || c.Name != "" {
		t.Errorf("%+v", c)
	}
}

func TestGitHubEmails(t *testing.T) {
	yes, no := true, false
	for name, c := range map[string]struct {
		list     any
		email    string
		verified *bool
	}{
		"two verified":      {[]any{address("a@x", false, true), address("b@x", true, true)}, "b@x", &yes},
		"unverified":        {[]any{address("a@x", true, false)}, "a@x", &no},
		"primary is not":    {[]any{address("a@x", true, false), address("b@x", false, true)}, "a@x", &no},
		"no primary":        {[]any{address("a@x", false, true), address("b@x", nil, true)}, "", nil},
		"primary as a text": {[]any{address("a@x", "true", true)}, "", nil},
		"verified as text":  {[]any{address("a@x", true, "true")}, "a@x", nil},
		"verified as 1":     {[]any{address("a@x", true, 1)}, "a@x", nil},
		"none":              {[]any{}, "", nil},
		"null":              {nil, "", nil},
		"odd entries":       {[]any{nil, 1, "a@x", []any{}, address("a@x", true, true)}, "a@x", &yes},
		"no address":        {[]any{address(nil, true, true)}, "", nil},
		"a NUL":             {[]any{address("a@x\x00", true, true)}, "", nil},
	} {
		r := newRig(t, oauth2.GitHub, nil)
		r.site.Say("anna", providertest.GitHubEmails, c.list)
		got := r.works()
		if got.Email != c.email || (got.EmailVerified == nil) != (c.verified == nil) || c.verified != nil && *got.EmailVerified != *c.verified {
			t.Errorf("%s: %q %v", name, got.Email, got.EmailVerified)
		}
	}
}

func TestDiscord(t *testing.T) {
	r := newRig(t, oauth2.Discord, nil)
	c := r.works()
	if c.Issuer != r.site.URL() || c.Subject != "80351110224678912" || c.Username != "anna" || c.Name != "Anna" || c.Email != "anna@example.org" ||
		c.EmailVerified == nil || !*c.EmailVerified || len(c.Groups) != 0 || r.site.Count(providertest.DiscordGuilds) != 0 {
		t.Errorf("%+v", c)
	}
	if q := r.authURL(broker.IdPAsk{Prompt: "login"}); q.Get("scope") != "identify email" || len(q) != 7 {
		t.Errorf("%v", q)
	}
	// Servers are known by their ids: anybody can make one of any name.
	r = newRig(t, oauth2.Discord, withGroups)
	if c := r.works(); !slices.Equal(c.Groups, []string{"197038439483310086"}) {
		t.Errorf("%q", c.Groups)
	}
	if scope := r.authURL(broker.IdPAsk{}).Get("scope"); scope != "identify email guilds" {
		t.Error(scope)
	}
	r.site.Respond(providertest.DiscordGuilds, providertest.Body(401, "", ""))
	r.fails(broker.IdPBadResponse)
}

func TestDiscordClaims(t *testing.T) {
	for name, c := range map[string]struct {
		change   object
		verified string
		code     broker.Code
	}{
		"unverified":          {object{"verified": false}, "false", ""},
		"verified as a text":  {object{"verified": "true"}, "absent", ""},
		"the standard's name": {object{"verified": nil, "email_verified": true}, "absent", ""},
		"no e-mail":           {object{"email": nil, "verified": true}, "absent", ""},
		"id as a number":      {object{"id": 80351110224678912}, "", broker.IdPBadResponse},
		"id 0":                {object{"id": "0"}, "", broker.IdPBadResponse},
		"no id":               {object{"id": nil}, "", broker.IdPBadResponse},
		"id is a name":        {object{"id": "anna"}, "", broker.IdPBadResponse},
		"negative":            {object{"id": "-5"}, "", broker.IdPBadResponse},
		"other digits":        {object{"id": "٣٤"}, "", broker.IdPBadResponse},
	} {
		r := newRig(t, oauth2.Discord, nil)
		user := object{"id": "1", "username": "anna", "email": "anna@example.org", "verified": true}
		maps.Copy(user, c.change)
		r.site.Say("anna", providertest.DiscordUser, user)
		if c.code != "" {
			r.fails(c.code)
			continue
		}
		verified := "absent"
		if got := r.works(); got.EmailVerified != nil {
			verified = fmt.Sprint(*got.EmailVerified)
		}
		if verified != c.verified {
			t.Errorf("%s: %s", name, verified)
		}
	}
}

// generic is GitHub's site, told of by its endpoints.
func generic(c *oauth2.Config) {
	c.Endpoints = oauth2.Endpoints{
		Authorization: c.Issuer + providertest.GitHubAuthorize, Token: c.Issuer + providertest.DiscordToken, Userinfo: c.Issuer + providertest.GitHubUser,
	}
	c.Claims = oauth2.ClaimNames{Subject: "ocs.data.id", Username: "ocs.data.display-name", Email: "mail", EmailVerified: "mail_ok", Groups: "ocs.data.groups"}
	c.Scopes = []string{"profile"}
}

func TestGeneric(t *testing.T) {
	r := newRig(t, oauth2.New, generic)
	say := func(id, mailOK any) {
		r.site.Say("anna", providertest.GitHubUser, object{
			"ocs": object{"data": object{"id": id, "display-name": "anna", "groups": []any{"a", object{"name": "b"}}}}, "mail": "anna@example.org", "mail_ok": mailOK,
		})
	}
	say("uid-anna", true)
	c := r.works()
	if c.Subject != "uid-anna" || c.Username != "anna" || c.Email != "anna@example.org" || c.EmailVerified == nil || !slices.Equal(c.Groups, []string{"a", "b"}) {
		t.Errorf("%+v", c)
	}
	if q := r.authURL(broker.IdPAsk{Prompt: "login", LoginHint: "x"}); q.Get("scope") != "profile" || len(q) != 7 {
		t.Errorf("%v", q)
	}
	say(json.RawMessage("9007199254740993"), "true")
	if c := r.works(); c.Subject != "9007199254740993" || c.EmailVerified != nil {
		t.Errorf("%+v", c)
	}
	for _, id := range []any{nil, "", 0, -1, 1.5, true, []any{"x"}, object{"x": 1}, "a\nb", "a\x00b", strings.Repeat("a", 256)} {
		say(id, true)
		r.fails(broker.IdPBadResponse)
	}
	say("uid-anna", true)
}

// A flag of the standard's name speaks of the claim of the standard's name.
func TestGenericStandardNames(t *testing.T) {
	r := newRig(t, oauth2.New, func(c *oauth2.Config) {
		generic(c)
		c.Claims = oauth2.ClaimNames{Email: "alias"}
		c.Endpoints.Emails = ""
	})
	r.site.Say("anna", providertest.GitHubUser, object{"sub": "s", "email": "anna@example.org", "email_verified": true, "alias": "root@example.org"})
	if c := r.works(); c.Email != "root@example.org" || c.EmailVerified != nil {
		t.Errorf("%+v", c)
	}
}

func TestNoTokensOfOpenID(t *testing.T) {
	r := newRig(t, oauth2.GitHub, nil)
	if _, err := r.VerifyIDToken(t.Context(), "a.b.c"); broker.CodeOf(err) != broker.CodeInvalid {
		t.Error(err)
	}
	if result, err := r.Recheck(t.Context(), "x", broker.RecheckByRefresh); err == nil || result.State != "" || !result.Untouched {
		t.Errorf("%+v, %v", result, err)
	}
	if _, err := r.VerifyLogoutToken(t.Context(), "a.b.c"); broker.CodeOf(err) != broker.InvalidRequest {
		t.Error(err)
	}
}

// The answer of the token endpoint, whose refusals GitHub says with 200.
func TestTokenEndpoint(t *testing.T) {
	form := "application/x-www-form-urlencoded"
	for _, c := range []struct {
		status     int
		kind, body string
		code       broker.Code
	}{
		{200, form, "error=bad_verification_code&error_description=The+code+passed+is+incorrect+or+expired.", broker.IdPRefused},
		{200, form, "error=incorrect_client_credentials", broker.IdPRefused},
		{200, "application/json", `{"error":"bad_verification_code"}`, broker.IdPRefused},
		{400, "application/json", `{"error":"invalid_grant"}`, broker.IdPRefused},
		{401, "application/json", `{"error":"invalid_client"}`, broker.IdPRefused},
		{403, "text/html", "blocked", broker.IdPRefused},
		{429, "application/json", `{"message":"slow down","retry_after":3}`, broker.TemporarilyUnavailable},
		{500, "text/html", "<html>", broker.TemporarilyUnavailable},
		{502, "", "", broker.TemporarilyUnavailable},
		{200, form, "", broker.IdPBadResponse},
		{200, form, "access_token=", broker.IdPBadResponse},
		{200, form, "access_token=x&token_type=mac", broker.IdPBadResponse},
		{200, form, "access_token=x%0d%0aEvil:+1&token_type=bearer", broker.IdPBadResponse},
		{200, form, "access_token=" + strings.Repeat("x", 17<<10), broker.IdPBadResponse},
		{200, "application/json", `{"access_token":`, broker.IdPBadResponse},
		{200, "application/json", `[]`, broker.IdPBadResponse},
		{204, "", "", broker.IdPBadResponse},
		{302, "", "", broker.IdPBadResponse},
	} {
		r := newRig(t, oauth2.GitHub, nil)
		r.site.Respond(providertest.GitHubToken, providertest.Body(c.status, c.kind, c.body))
		r.fails(c.code)
		if n := r.site.Count(providertest.GitHubUser); n != 0 {
			t.Errorf("%q: the profile was asked for", c.body)
		}
		r.site.Respond(providertest.GitHubToken, nil)
		r.works() // with nothing to wait for
	}
}

// The log says what is wrong with an access token, and nothing of the token.
func TestUnusableAccessTokenIsExplained(t *testing.T) {
	for answer, want := range map[string]string{
		"access_token=SECRET&token_type=mac":                                  "type",
		"access_token=SECRET%0d%0a&token_type=bearer":                         "characters",
		"token_type=bearer&access_token=SECRET" + strings.Repeat("x", 17<<10): "too long",
	} {
		r := newRig(t, oauth2.GitHub, nil)
		r.site.Respond(providertest.GitHubToken, providertest.Body(200, "application/x-www-form-urlencoded", answer))
		if _, err := r.login(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Faults of every endpoint: over soon, and told apart.
func TestFaults(t *testing.T) {
	limited := func(name, value string) providertest.Responder {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set(name, value)
			return providertest.Body(403, "application/json", `{"message":"API rate limit exceeded"}`)(w, r)
		}
	}
	faults := map[string]struct {
		how  providertest.Responder
		code broker.Code
	}{
		"rate limit":     {limited("X-RateLimit-Remaining", "0"), broker.TemporarilyUnavailable},
		"second limit":   {limited("Retry-After", "60"), broker.TemporarilyUnavailable},
		"429":            {providertest.Body(429, "", ""), broker.TemporarilyUnavailable},
		"500":            {providertest.Body(500, "", ""), broker.TemporarilyUnavailable},
		"503":            {providertest.Body(503, "text/html", "<html>"), broker.TemporarilyUnavailable},
		"cut off":        {providertest.CutOff(`{"id":1,`), broker.TemporarilyUnavailable},
		"403":            {limited("X-RateLimit-Remaining", "4999"), broker.IdPBadResponse},
		"401":            {providertest.Body(401, "", ""), broker.IdPBadResponse},
		"404":            {providertest.Body(404, "", ""), broker.IdPBadResponse},
		"redirect":       {providertest.RedirectTo(307, "/elsewhere"), broker.IdPBadResponse},
		"HTML":           {providertest.Body(200, "text/html", "<html>"), broker.IdPBadResponse},
		"nothing":        {providertest.Body(200, "application/json", ""), broker.IdPBadResponse},
		"a text":         {providertest.Body(200, "application/json", `"x"`), broker.IdPBadResponse},
		"trailing":       {providertest.Body(200, "application/json", `{"id":1,"login":"a"}{"id":2}`), broker.IdPBadResponse},
		"trailing, list": {providertest.Body(200, "application/json", `[] []`), broker.IdPBadResponse},
		"deep":           {providertest.Body(200, "application/json", strings.Repeat(`{"id":`, 100_000)), broker.IdPBadResponse},
	}
	paths := []string{providertest.GitHubUser, providertest.GitHubEmails, providertest.GitHubOrgs, providertest.GitHubTeams}
	for name, f := range faults {
		for _, path := range paths {
			r := newRig(t, oauth2.GitHub, withGroups)
			r.site.Respond(path, f.how)
			begun := time.Now()
			if _, err := r.login(); err == nil || broker.CodeOf(err) != f.code || time.Since(begun) > 3*time.Second {
				t.Errorf("%s at %s: %v, want %s", name, path, err, f.code)
			}
			r.site.Respond(path, nil)
			r.works()
		}
	}
}

// What is huge is cut off, and what stalls ends by time.
func TestBounds(t *testing.T) {
	paths := []string{providertest.GitHubToken, providertest.GitHubUser, providertest.GitHubTeams}
	for name, c := range map[string]struct {
		how providertest.Responder
		at  []string
	}{
		"64 MB": {providertest.Flood(64 << 20), paths}, "bomb": {providertest.GzipBomb(64 << 20), paths},
		"stall": {providertest.Stall, paths[:1]}, "drip": {providertest.Drip(strings.Repeat(" ", 1000), time.Second), paths[1:2]},
	} {
		for _, path := range c.at {
			t.Run(name+" at "+path, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, oauth2.GitHub, withGroups)
				r.site.Respond(path, c.how)
				begun := time.Now()
				claims, err := r.login()
				code := broker.CodeOf(err)
				if err == nil || code != broker.TemporarilyUnavailable && code != broker.IdPBadResponse || claims.Subject != "" || time.Since(begun) > 6*time.Second {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
				r.site.Respond(path, nil)
				r.works()
			})
		}
	}
}

// An outage between the way out and the way back, and the end of it.
func TestOutageInBetween(t *testing.T) {
	r := newRig(t, oauth2.GitHub, nil)
	res := r.answer("anna")
	r.site.SetDown(true)
	if _, err := r.Exchange(t.Context(), request, res); broker.CodeOf(err) != broker.TemporarilyUnavailable {
		t.Error(err)
	}
	r.site.SetDown(false)
	if _, err := r.Exchange(t.Context(), request, res); err != nil {
		t.Error(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Exchange(canceled, request, res); broker.CodeOf(err) != broker.TemporarilyUnavailable {
		t.Error(err)
	}
}

// Code, verifier, secret and token are in no error, and go to nobody else.
func TestSecretsStay(t *testing.T) {
	var calls atomic.Int32
	bait := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(bait.Close)
	r := newRig(t, oauth2.GitHub, nil)
	for _, name := range []string{"code", "code_verifier", "client_secret"} {
		secret := ""
		r.site.Respond(providertest.GitHubToken, func(w http.ResponseWriter, req *http.Request) bool {
			_ = req.ParseForm()
			secret = req.PostForm.Get(name)
			body, _ := json.Marshal(object{"error": "no: " + secret, "error_description": req.PostForm.Encode()})
			return providertest.Body(400, "application/json", string(body))(w, req)
		})
		if _, err := r.login(); secret == "" || broker.CodeOf(err) != broker.IdPRefused || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %q in %v", name, secret, err)
		}
	}
	for _, path := range []string{providertest.GitHubToken, providertest.GitHubUser, providertest.GitHubEmails} {
		r.site.Respond(providertest.GitHubToken, nil)
		r.site.Respond(path, providertest.RedirectTo(307, bait.URL))
		r.fails(broker.IdPBadResponse)
	}
	if calls.Load() != 0 {
		t.Errorf("%d requests went on", calls.Load())
	}
}

// What GitHub wants to see in every call.
func TestGitHubHeaders(t *testing.T) {
	r := newRig(t, oauth2.GitHub, withGroups)
	for _, path := range []string{providertest.GitHubUser, providertest.GitHubEmails, providertest.GitHubOrgs, providertest.GitHubTeams} {
		r.site.Respond(path, func(_ http.ResponseWriter, req *http.Request) bool {
			h := req.Header
			if h.Get("Accept") != "application/vnd.github+json" || h.Get("X-GitHub-Api-Version") != "2022-11-28" || h.Get("User-Agent") == "" ||
				len(h.Values("Authorization")) != 1 || !strings.HasPrefix(h.Get("Authorization"), "Bearer ") {
				t.Errorf("%s: %v", req.URL.Path, h)
			}
			return false
		})
	}
	r.works()
}
