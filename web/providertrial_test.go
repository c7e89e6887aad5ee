package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// trialAt is the office in front of an IdP that a test can bend; its provider is
// openid.
func trialAt(t testing.TB) (x *site, idp *providertest.IdP, root, alice *browser) {
	t.Helper()
	idp = startIdP(t)
	s := setup{idp: idp, broker: addsProviders}
	x = newSite(t, s)
	return x, idp, x.inBrowser("root"), x.inBrowser("alice")
}

func TestTrialOnAPage(t *testing.T) {
	x, idp, root, _ := trialAt(t)
	root.send("GET", "/admin/providers/openid", htmlOnly).want(200).says("Try the connection", "What to register there").saysNot("Save the settings")
	root.submit("/admin/providers/openid/check").want(200).says(
		"Everything that can be tried without a login is in order", "It knows the client id and the redirect URI", "It took the client id and the secret", "Its clock and this one agree")
	root.send("GET", "/admin/providers", htmlOnly).says("answers")

	idp.SetClient(providertest.Client{ID: "latchkey", Secret: "another", RedirectURIs: []string{"https://id.example.org/wrong"}})
	root.submit("/admin/providers/openid/check").want(200).says("Something is wrong", "Probably the redirect URI "+publicURL+"/auth/openid/callback is not registered there", "It refused the client id or the secret: invalid_client").
		saysNot("the IdP's client secret")
	german := root.send("POST", "/admin/providers/openid/check", fromPage, htmlOnly, header("Accept-Language", "de"))
	german.want(200).says("Wahrscheinlich ist die Redirect-URI "+publicURL+"/auth/openid/callback dort nicht eingetragen", "falsch")

	token := bearer(x.login("root").access)
	a := x.do("POST", "/api/providers/openid/check", token).want(200)
	var trial broker.Trial
	if err := json.Unmarshal([]byte(a.Body), &trial); err != nil || trial.Result != broker.CheckFailed || len(trial.Steps) != 12 || strings.Contains(a.Body, "the IdP's client secret") {
		t.Errorf("%s %v", a.Body, err)
	}
	x.do("POST", "/api/providers/nobody/check", token).refused(404, broker.ProviderUnknown, "")
	x.do("POST", "/api/providers/openid/check", token, jsonBody(`{"secret":"x"}`)).want(400)
	root.submit("/admin/providers/nobody/check").want(404)
	idp.SetDown(true)
	root.submit("/admin/providers/openid/check").want(200).says("takes no connection", "does not answer since")
}

// A01: whoever is no administrator tries nothing, nor does another site.
func TestA01Trial(t *testing.T) {
	x, idp, root, alice := trialAt(t)
	before := idp.Count(providertest.EndpointDiscovery)
	for _, path := range []string{"/admin/providers/openid/check", "/admin/providers/openid/dry-run"} {
		alice.submit(path, "claims", "{}").refused(403, broker.Forbidden, "")
		root.send("POST", path, form(), header("Sec-Fetch-Site", "cross-site"), htmlOnly).refused(403, broker.CrossSite, "")
		x.do("POST", path, fromPage, htmlOnly).location()
		if to := root.send("GET", path, htmlOnly).location().Path; to != "/admin/providers/openid" {
			t.Errorf("GET %s leads to %s", path, to)
		}
	}
	x.do("POST", "/api/providers/openid/check", bearer(x.login("alice").access)).refused(403, broker.Forbidden, "")
	if n := idp.Count(providertest.EndpointDiscovery); n != before {
		t.Errorf("it was asked %d times", n-before)
	}
}

// A03: whatever an IdP says in a trial is a text, and short.
func TestA03TrialOfAHostileIdP(t *testing.T) {
	_, idp, root, _ := trialAt(t)
	const evil = `"><script>alert(1)</script>`
	asking := func(what string, script func(*providertest.Script), texts ...string) {
		idp.Script(func(s *providertest.Script) {
			*s = providertest.Script{Respond: map[string]providertest.Responder{}}
			script(s)
		})
		a := root.submit("/admin/providers/openid/check").want(200).says(texts...)
		if strings.Contains(a.Body, "<script>") || len(a.Body) > 60<<10 || strings.Contains(a.Body, "\u202e") {
			t.Errorf("%s: %d bytes %s", what, len(a.Body), a.Body)
		}
	}
	edit := func(change func(m map[string]any)) func(*providertest.Script) {
		return func(s *providertest.Script) { s.EditDiscovery = change }
	}
	asking("an issuer of HTML", edit(func(m map[string]any) { m["issuer"] = evil }), evil)
	asking("an issuer of a megabyte", edit(func(m map[string]any) { m["issuer"] = strings.Repeat("\u202ex", 10_000) }), "is of the issuer x")
	asking("lists of HTML", edit(func(m map[string]any) {
		m["response_types_supported"] = []string{evil}
		m["token_endpoint_auth_methods_supported"] = []string{strings.Repeat(evil, 100)}
		m["id_token_signing_alg_values_supported"] = []string{evil}
	}), "it lists "+evil)
	asking("ten megabytes", func(s *providertest.Script) {
		s.Respond[providertest.EndpointDiscovery] = func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(make([]byte, 10<<20))
			return true
		}
	}, "is too large")
	asking("an error of HTML", func(s *providertest.Script) {
		s.Respond[providertest.EndpointAuthorize] = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, publicURL+"/auth/openid/callback?error=%3Cscript%3E", http.StatusFound)
			return true
		}
	}, "unnamed_error")
	asking("a way to the metadata of a cloud", func(s *providertest.Script) {
		s.Respond[providertest.EndpointDiscovery] = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
			return true
		}
	}, "leads on to http://169.254.169.254/latest/meta-data/, where Latchkey does not follow")
	asking("endpoints in our own network", edit(func(m map[string]any) {
		m["jwks_uri"], m["token_endpoint"], m["authorization_endpoint"] = "http://169.254.169.254/k", "http://10.0.0.1/t", "http://[::1]:1/a"
	}), "http://169.254.169.254/k is at a private address", "http://10.0.0.1/t is at a private address", "http://[::1]:1/a is at a private address")
}

// S: an added provider is asked at public addresses alone, in a trial too.
func TestSTrialOfAnAddedProvider(t *testing.T) {
	x, idp, root, _ := trialAt(t)
	s := broker.ProviderSettings{ID: "inside", Issuer: strings.Replace(idp.Issuer(), "127.0.0.1", "localhost.evil.test", 1), ClientID: "c", InsecureHTTP: true}
	if _, err := x.Broker.CreateProvider(t.Context(), s, ""); err != nil {
		t.Fatal(err)
	}
	before := idp.Count(providertest.EndpointDiscovery)
	root.submit("/admin/providers/inside/check").want(200).says("Something is wrong")
	if idp.Count(providertest.EndpointDiscovery) != before {
		t.Error("it was asked")
	}
}

func TestDryRunOnAPage(t *testing.T) {
	x, idp, root, _ := trialAt(t)
	root.send("GET", "/admin/providers/openid", htmlOnly).says(`"preferred_username": "anna"`)
	const anna = `{"sub":"s-1","preferred_username":"Anna","name":"Anna A.","email":"a@x.test","email_verified":true,"groups":["<b>"]}`
	try := func(claims string) *answer { return root.submit("/admin/providers/openid/dry-run", "claims", claims) }
	try(anna).want(200).says("The login is new here: the account Anna would be made for it.", "Anna A.", "provision: create", "<b>").saysNot("<td><b>")
	try(strings.Replace(anna, "true", "false", 1)).want(200).says("The login is refused: the e-mail address is not verified. What decides it: require_verified_email: if_present.")
	try(`{}`).want(200).says("The login is refused")
	try(`{"sub":`).want(400).says("Must be a JSON object", `{"sub":`)
	try("no.token").want(400)
	try("").want(400)
	expired, err := idp.MintIDToken("latchkey", "anna", "", func(_, c map[string]any) { c["exp"] = 1; c["name"] = "Anna From A Token" })
	if err != nil {
		t.Fatal(err)
	}
	try(expired).want(200).says("exp", "wrong", "Anna From A Token")
	if _, err := x.Broker.FindUser(t.Context(), "anna"); broker.CodeOf(err) != broker.NotFound {
		t.Error("a dry run made somebody")
	}
}

func addsProviders(c *broker.Config) {
	c.NewIdP = func(p broker.ProviderSettings, secret string, trusted bool) broker.IdP {
		cfg := oidc.Config{Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: secret, Now: c.Now}
		if !trusted {
			cfg.HTTPClient = oidc.NewPublicHTTPClient()
		}
		return oidc.New(cfg)
	}
}
