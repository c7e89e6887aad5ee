package web_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
)

// secretsOfARun walks every way through the provider, to its end and only
// begun, rightly and wrongly, and returns what was secret on the way.
func secretsOfARun(t *testing.T, x *site, idp *providertest.IdP) map[string]string {
	t.Helper()
	secrets := map[string]string{
		"root secret": harness.Secret, "web1": webSecret, "web2": web2Secret, "verifier": verifier, "password": harness.PasswordOf("alice"), "registration token": registrationToken, "mistyped secret": "a secret mistyped",
		"secret of the IdP": "the IdP's client secret",
	}
	keep := func(name string, g granted) granted {
		for kind, token := range map[string]string{"access": g.access, "refresh": g.refresh, "ID": g.id} {
			if token != "" {
				parts := strings.Split(token, ".")
				secrets[name+": "+kind+" token"], secrets[name+": signature of the "+kind+" token"] = token, parts[2]
			}
		}
		return g
	}
	b := x.loggedIn("alice")
	code := x.codeFor(b, "web1", cb1)
	g := keep("code", x.redeem("web1", cb1, code).granted())
	x.redeem("web1", cb1, code).want(400)
	unused := x.codeFor(b, "web1", cb1)
	x.redeem("web1", cb1, unused, "code_verifier", strings.Repeat("wrong-verifier", 4)).want(400)
	secrets["code"], secrets["unused code"], secrets["wrong verifier"] = code, unused, strings.Repeat("wrong-verifier", 4)
	x.callToken([]string{"grant_type", "refresh_token", "refresh_token", g.refresh}, basic("web1", "a secret mistyped")).want(401)
	x.callToken([]string{"grant_type", "refresh_token", "refresh_token", g.refresh + "x"}, basic("web1", webSecret)).want(400)
	g, _ = x.clientLogin("web1", cb1)
	keep("second", g)
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
		x.do("POST", path, form("token", g.access), basic("web2", web2Secret)).want(200)
		x.do("POST", path+"?token="+g.refresh, form("token", g.refresh), basic("web2", web2Secret)).want(400)
	}
	x.do("GET", "/api/me?token="+g.access).want(401)
	x.do("GET", "/oauth2/logout?id_token_hint="+g.id+"x").want(400)
	// One that waits for a consent, one that waits for a login, with all that a client can say.
	waiting := request("asking", "https://asking.test/cb", "state", "the state of who waits", "nonce", "the nonce of who waits")
	page := b.authorize(waiting).want(200)
	secrets["pending id"] = hidden(page, "id")
	stranger := x.newBrowser()
	stranger.open("/oauth2/authorize?" + request("web1", cb1, "prompt", "login", "id_token_hint", g.id).Encode()).want(200)
	for who, jar := range map[string]map[string]string{"alice": b.jar, "stranger": stranger.jar} {
		for name, value := range jar {
			if name == "__Host-latchkey_session" {
				value = value[37:] // behind the sid
			}
			secrets[who+"'s cookie "+name] = value
		}
	}
	pushed := x.do("POST", "/oauth2/par", body("application/x-www-form-urlencoded", request("web1", cb1).Encode()), basic("web1", webSecret)).want(201).text("request_uri")
	secrets["pushed request"] = pushed[strings.LastIndex(pushed, ":")+1:]
	for _, done := range []bool{true, false} {
		d := x.do("POST", "/oauth2/device_authorization", form("client_id", "nat1", "scope", "openid")).want(200)
		name := fmt.Sprintf("device, done %v", done)
		secrets[name], secrets[name+", typed"] = d.text("device_code"), strings.ReplaceAll(d.text("user_code"), "-", "")
		secrets[name+", shown"] = d.text("user_code")
		if done {
			b.follow(b.post("/device", "user_code", d.text("user_code"), "decision", "allow")).want(200)
			keep("device", x.callToken([]string{"grant_type", broker.GrantDeviceCode, "device_code", d.text("device_code"), "client_id", "nat1"}).granted())
		}
	}
	p := newProver(x)
	bound := keep("bound", p.bound())
	proof := p.prove("POST", tokenURL, nil)
	secrets["proof"] = proof
	x.callToken(refreshForm(bound.refresh), dpop(proof)).want(200)
	x.callToken(refreshForm(bound.refresh), dpop(proof)).want(400)
	x.userinfo(bound.access).want(401)
	power := keep("power", x.power("root"))
	keep("exchanged", x.exchange("power", power.access, broker.TokenTypeAccess, "audience", "https://api.test").granted())
	keep("own", x.callToken([]string{"grant_type", "client_credentials"}, basic("api", webSecret)).granted())
	token := sdk(t, idp, "the nonce of the app", nil)
	secrets["ID token of the IdP"], secrets["nonce of the app"] = token, "the nonce of the app"
	x.exchange("nat1", token, broker.TokenTypeID, "nonce", "wrong").want(400)
	keep("exchanged ID token", x.exchange("nat1", token, broker.TokenTypeID, "nonce", "the nonce of the app").granted())
	x.exchange("nat1", token, broker.TokenTypeID, "nonce", "the nonce of the app").want(400)
	logout, err := idp.MintLogoutToken("latchkey", "s-anna", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets["logout token"] = logout
	for _, status := range []int{200, 400} {
		x.do(http.MethodPost, "/auth/openid/backchannel-logout", form("logout_token", logout)).want(status)
	}
	bad := logout[:len(logout)-10] + "AAAAAAAAAA"
	secrets["bad logout token"] = bad
	x.do(http.MethodPost, "/auth/openid/backchannel-logout", form("logout_token", bad)).want(400)
	secrets["registered client's secret"] = x.do("POST", "/oauth2/register", bearer(registrationToken), jsonBody(`{"redirect_uris":["https://dyn.test/cb"]}`)).want(201).text("client_secret")
	root := x.login("root")
	made := x.do("POST", "/api/clients", bearer(root.access), jsonBody(`{"client_id":"made","redirect_uris":["https://made.test/cb"]}`)).want(201)
	secrets["made client's secret"] = made.text("client_secret")
	secrets["its next secret"] = x.do("POST", "/api/clients/made/secret", bearer(root.access)).want(200).text("client_secret")
	x.Clock.Advance(grace + time.Minute)
	keep("rotated", x.refreshAt("web1", g.refresh).granted())
	x.do("POST", "/oauth2/revoke", form("token", g.refresh), basic("web1", webSecret)).want(200)
	return secrets
}

// No secret, code or token of the provider is in the log, or in the database as
// it was given out.
func TestNoSecretOfTheProviderAtRest(t *testing.T) {
	idp := startIdP(t)
	file := filepath.Join(t.TempDir(), "latchkey.db")
	x := exchangeSite(t, "sqlite:"+file, idp, func(c *broker.Config) { c.RegistrationToken = registrationToken })
	x.User(t, "root", broker.RoleRoot)
	x.User(t, "alice", broker.RoleUser)
	secrets := secretsOfARun(t, x, idp)
	dump, log := harness.Dump(t, "sqlite:"+file), x.log.String()
	for _, there := range []string{"alice", "s-anna", "asking", "the state of who waits"} {
		if !bytes.Contains(dump, []byte(there)) {
			t.Errorf("the dump does not hold %q: it is not the whole database", there)
		}
	}
	if !strings.Contains(log, "session.ended") || !strings.Contains(log, "idp.logout") {
		t.Error("the log is empty of what happened")
	}
	for name, secret := range secrets {
		if len(secret) < 8 {
			t.Fatalf("%s: %q is too short to look for", name, secret)
		}
		for _, form := range []string{secret, url.QueryEscape(secret)} {
			if strings.Contains(log, form) {
				t.Errorf("the log holds the %s", name)
			}
			if bytes.Contains(dump, []byte(form)) {
				t.Errorf("the dump holds the %s", name)
			}
		}
	}
	t.Logf("%d secrets sought in %d bytes of dump and %d of log", len(secrets), len(dump), len(log))
}
