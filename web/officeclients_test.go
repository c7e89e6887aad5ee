package web_test

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// rootsOffice is a browser in which somebody has just logged in, and the site with
// the clients of testClients.
func rootsOffice(t testing.TB, name string, s setup) *browser {
	t.Helper()
	b := newProvider(t, s).newBrowser()
	b.post("/login/password", "username", name, "password", harness.PasswordOf(name)).want(303)
	return b
}

var shownSecret = regexp.MustCompile(`lks_[A-Za-z0-9_-]{43}`)

func TestClientsAreConnectedByForm(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	empty := b.open("/admin/clients").want(200)
	for _, want := range []string{"web1", "latchkey-app", "latchkey-cli", "configuration", `href="/admin/clients/spa"`} {
		if !strings.Contains(empty.Body, want) {
			t.Errorf("the list lacks %q", want)
		}
	}
	b.open("/admin/connect").want(200)
	page := b.open("/admin/connect/grafana").want(200)
	if !strings.Contains(page.Body, `name="client_uri"`) || !strings.Contains(page.Body, `value="grafana"`) {
		t.Errorf("the form: %s", page.Body)
	}
	made := b.submit("/admin/connect/grafana", "client_name", "Our <b>graphs", "client_uri", "https://grafana.example.org/", "client_id", "grafana", "first_party", "1").want(200)
	secrets := shownSecret.FindAllString(made.Body, -1)
	if len(secrets) < 2 {
		t.Fatalf("no secret: %s", made.Body)
	}
	for _, want := range []string{
		"root_url = https://grafana.example.org/", "client_secret = " + secrets[0], "auth_url = " + publicURL + "/oauth2/authorize", "Our &lt;b&gt;graphs",
	} {
		if !strings.Contains(made.Body, want) {
			t.Errorf("the answer lacks %q", want)
		}
	}
	if made.Header.Get("Cache-Control") != "no-store" {
		t.Error("the answer with the secret may be stored")
	}
	c, err := b.Broker.FindClient(t.Context(), "grafana")
	if err != nil || c.SecretHash != broker.HashClientSecret(secrets[0]) || c.SoftwareID != "grafana" || !c.FirstParty ||
		len(c.RedirectURIs) != 1 || c.RedirectURIs[0] != "https://grafana.example.org/login/generic_oauth" {
		t.Errorf("%+v %v", c, err)
	}
	later := b.open("/admin/clients/grafana").want(200)
	if shownSecret.MatchString(later.Body) || !strings.Contains(later.Body, "client_secret = CLIENT_SECRET") {
		t.Errorf("the page afterwards: %s", later.Body)
	}
	if list := b.open("/admin/clients"); !strings.Contains(list.Body, "Our &lt;b&gt;graphs") || shownSecret.MatchString(list.Body) {
		t.Errorf("the list: %s", list.Body)
	}
	for _, secret := range secrets {
		if strings.Contains(b.log.String(), secret) || strings.Contains(b.log.String(), secret[4:]) {
			t.Error("the secret is in the log")
		}
	}
}

// A reload of the answer makes no second client, and a fault stands at its field
// with what was typed.
func TestClientFaultsStandAtTheirFields(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	web := func(pairs ...string) []string {
		return append([]string{"client_name", "My App", "redirect_uris", "https://app.test/cb", "first_party", "1"}, pairs...)
	}
	b.submit("/admin/connect/web", web()...).want(200)
	again := b.submit("/admin/connect/web", web()...).want(409)
	wrong(t, again, "client_id")
	for name, x := range map[string]struct {
		what  string
		pairs []string
		field string
	}{
		"address":        {"grafana", []string{"client_name", "G", "client_uri", "javascript:alert(1)", "client_id", "g"}, "client_uri"},
		"query":          {"grafana", []string{"client_name", "G", "client_uri", "https://g.test/?a", "client_id", "g"}, "client_uri"},
		"quotes":         {"oauth2-proxy", []string{"client_name", "G", "client_uri", `https://g.test/"x`, "client_id", "g"}, "client_uri"},
		"no name":        {"web", []string{"client_name", " ", "redirect_uris", "https://app.test/cb"}, "client_name"},
		"wildcard":       {"web", []string{"client_name", "A", "redirect_uris", "https://*.test/cb"}, "redirect_uris"},
		"no redirect":    {"native", []string{"client_name", "A", "redirect_uris", ""}, "redirect_uris"},
		"logout":         {"web", []string{"client_name", "A", "redirect_uris", "https://app.test/cb", "post_logout_redirect_uris", "https://x/#y"}, "post_logout_redirect_uris"},
		"id":             {"web", []string{"client_name", "A", "redirect_uris", "https://app.test/cb", "client_id", "a b"}, "client_id"},
		"a fixed client": {"web", []string{"client_name", "A", "redirect_uris", "https://app.test/cb", "client_id", "web1"}, "client_id"},
		"scope":          {"service", []string{"client_name", "A", "scope", `a"b`}, "scope"},
	} {
		a := b.submit("/admin/connect/"+x.what, x.pairs...)
		if a.Status != 400 && a.Status != 409 {
			t.Errorf("%s: %d", name, a.Status)
		}
		wrong(t, a, x.field)
		for i := 0; i < len(x.pairs); i += 2 {
			if typed := html.EscapeString(x.pairs[i+1]); strings.TrimSpace(typed) != "" && !strings.Contains(a.Body, typed) {
				t.Errorf("%s: %q is not kept", name, typed)
			}
		}
	}
	b.submit("/admin/connect/nothing", "client_name", "A").want(404)
	german := b.send(http.MethodPost, "/admin/connect/web", form("client_name", "A", "redirect_uris", "*"), fromPage, header("Accept-Language", "de"))
	german.says(`"*" braucht ein Schema in Kleinbuchstaben`)
}

// wrong checks that a page says what is wrong at one field, and at no other.
func wrong(t testing.TB, a *answer, field string) {
	t.Helper()
	at := regexp.MustCompile(`id="([a-z_]+)-problem"`).FindAllStringSubmatch(a.Body, -1)
	if len(at) != 1 || at[0][1] != field {
		t.Errorf("the fault of %s is said at %v: %s", field, at, a.Body)
	}
}

// A01, CSRF: neither a user nor another site registers a client.
func TestClientsAreForAdministrators(t *testing.T) {
	b := rootsOffice(t, "alice", setup{})
	made := []string{"client_name", "Mine", "redirect_uris", "https://evil.test/cb", "client_id", "mine"}
	for _, path := range []string{"/admin/clients", "/admin/clients/web1", "/admin/connect", "/admin/connect/web"} {
		b.open(path).want(403)
	}
	b.submit("/admin/connect/web", made...).want(403)
	stranger := b.site.newBrowser()
	if a := stranger.submit("/admin/connect/web", made...); a.Status != 303 && a.Status != 302 {
		t.Errorf("a stranger: %d", a.Status)
	}
	root := b.site.newBrowser()
	root.post("/login/password", "username", "root", "password", harness.PasswordOf("root")).want(303)
	root.send(http.MethodPost, "/admin/connect/web", form(made...), header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test")).want(403)
	root.send(http.MethodPost, "/admin/connect/web", form(made...)).want(403)
	if _, err := b.Broker.FindClient(t.Context(), "mine"); broker.CodeOf(err) != broker.NotFound {
		t.Errorf("the client was made: %v", err)
	}
}

func TestClientsAreListedInPages(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	for i := range 120 {
		if _, _, err := b.Broker.CreateClient(t.Context(), broker.Client{ID: fmt.Sprintf("c%03d", i), Name: strings.Repeat("\u202e<i>", 20), RedirectURIs: []string{"https://app.test/cb"}}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	path := "/admin/clients"
	for range 4 {
		a := b.open(path).want(200)
		if strings.Contains(a.Body, "<i>") {
			t.Fatal("a name is not escaped")
		}
		for _, id := range regexp.MustCompile(`<bdi>(c\d{3})</bdi>`).FindAllStringSubmatch(a.Body, -1) {
			if seen[id[1]] {
				t.Errorf("%s stands in two pages", id[1])
			}
			seen[id[1]] = true
		}
		next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(a.Body)
		if next == nil {
			break
		}
		path = "/admin/clients" + html.UnescapeString(next[1])
	}
	if len(seen) != 120 {
		t.Errorf("%d clients were listed", len(seen))
	}
}

// fieldsOf are the fields of a form of a page, as a browser would send them.
func fieldsOf(a *answer, id string) (out []string) {
	form := regexp.MustCompile(`(?s)<form[^>]* id="` + id + `">.*?</form>`).FindString(a.Body)
	for _, f := range regexp.MustCompile(`<input[^>]*>`).FindAllString(form, -1) {
		if attribute(f, "type") == "checkbox" && !strings.Contains(f, " checked") {
			continue
		}
		out = append(out, attribute(f, "name"), attribute(f, "value"))
	}
	for _, f := range regexp.MustCompile(`(?s)(<textarea[^>]*>)\n(.*?)</textarea>`).FindAllStringSubmatch(form, -1) {
		out = append(out, attribute(f[1], "name"), html.UnescapeString(f[2]))
	}
	for _, f := range regexp.MustCompile(`(?s)(<select[^>]*>)(.*?)</select>`).FindAllStringSubmatch(form, -1) {
		for _, o := range regexp.MustCompile(`<option[^>]*>`).FindAllString(f[2], -1) {
			if strings.Contains(o, " selected") {
				out = append(out, attribute(f[1], "name"), attribute(o, "value"))
			}
		}
	}
	return out
}

func attribute(tag, name string) string {
	found := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if found == nil {
		return ""
	}
	return html.UnescapeString(found[1])
}

// differ are fields with what differs; an empty value leaves one out.
func differ(fields []string, other ...string) (out []string) {
	values := map[string]string{}
	for _, list := range [][]string{fields, other} {
		for i := 0; i < len(list); i += 2 {
			values[list[i]] = list[i+1]
		}
	}
	for name, value := range values {
		if value != "" {
			out = append(out, name, value)
		}
	}
	return out
}

// everything is a client with every field.
func everything() broker.Client {
	return broker.Client{
		ID: "all/of-it?", Name: "Every <b>thing", URI: "https://app.test", LogoURI: "https://app.test/logo", PolicyURI: "https://app.test/policy", TermsURI: "https://app.test/terms",
		Contacts: []string{"a@app.test", "<b@app.test>"}, SoftwareID: "something else", RedirectURIs: []string{"https://app.test/cb", "http://home.test/cb", "myapp:/cb", "http://localhost/cb"},
		PostLogoutRedirectURIs: []string{"https://app.test/out"}, ApplicationType: broker.ApplicationWeb, TokenEndpointAuthMethod: broker.AuthPost,
		GrantTypes: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantDeviceCode}, Scope: "openid things", IDTokenAlg: "ES256", ClaimsInIDToken: true,
		BackchannelLogoutURI: "https://app.test/bye", DPoPBound: true, RequirePAR: true, FirstParty: true, Providers: []string{"local"}, Resources: []string{"https://api.test"},
		AllowedOrigins: []string{"https://two.test"}, AccessTTL: 900, RefreshTTL: 90, SessionMaxAge: 30 * 24 * 60 * 60, MaxUpstreamAge: 3600,
	}
}

// A form that is sent as it was shown changes nothing, whatever the client has.
func TestClientFormKeepsEverything(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	made, _, err := b.Broker.CreateClient(t.Context(), everything())
	if err != nil {
		t.Fatal(err)
	}
	const path = "/admin/clients/all%2Fof-it%3F"
	page := b.open(path).want(200)
	b.submit(path, fieldsOf(page, "client")...).want(303)
	got, err := b.Broker.FindClient(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	made.UpdatedAt = got.UpdatedAt
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", made) {
		t.Errorf("got  %+v\nwant %+v", got, made)
	}
}

func TestClientIsChanged(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	if _, _, err := b.Broker.CreateClient(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	const path = "/admin/clients/all%2Fof-it%3F"
	page := b.open(path).want(200)
	for _, want := range []string{"http://home.test/cb</bdi> is not https", "myapp:/cb</bdi>: any app", "http://localhost/cb</bdi> can lead elsewhere", "/admin/sessions?client=all%2fof-it%3f", "Every &lt;b&gt;thing"} {
		if !strings.Contains(strings.ToLower(page.Body), strings.ToLower(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	fields := fieldsOf(page, "client")
	b.submit(path, differ(fields, "redirect_uris", "https://app.test/new", "access_ttl", "1h30m", "session_max_age", "", "grant_device", "", "dpop_bound_access_tokens", "")...).want(303)
	got, err := b.Broker.FindClient(t.Context(), "all/of-it?")
	if err != nil || len(got.RedirectURIs) != 1 || got.RedirectURIs[0] != "https://app.test/new" || got.AccessTTL != 5400 || got.SessionMaxAge != 0 ||
		len(got.GrantTypes) != 2 || got.DPoPBound || !got.RequirePAR || got.SecretHash == "" {
		t.Errorf("%+v %v", got, err)
	}
	if done := b.open(path + "?done=saved"); !strings.Contains(done.Body, "Saved.") {
		t.Error("nothing says that it is saved")
	}
	for field, other := range map[string][]string{
		"redirect_uris": {"redirect_uris", "nothing"}, "access_ttl": {"access_ttl", "2d"}, "refresh_ttl": {"refresh_ttl", "soon"}, "policy_uri": {"policy_uri", "javascript:1"},
		"allowed_origins": {"allowed_origins", "https://a.test/path"}, "client_name": {"client_name", ""}, "way_local": {"way_local", ""}, "jwks": {"jwks", "{}"},
		"id_token_signed_response_alg": {"id_token_signed_response_alg", "HS256"}, "scope": {"scope", `"`}, "application_type": {"application_type", "x"},
	} {
		a := b.submit(path, differ(fields, append([]string{"scope", "openid kept"}, other...)...)...).want(400)
		wrong(t, a, field)
		if field != "scope" && !strings.Contains(a.Body, `value="openid kept"`) {
			t.Errorf("%s: what was typed is lost", field)
		}
		often := field == "redirect_uris" || field == "client_name" || field == "scope"
		if strings.Contains(a.Body, `class="more" open`) == often {
			t.Errorf("%s: the rest is open: %v", field, !often)
		}
	}
	b.submit(path, append(fields, "software_id", "x")...).want(400)
	b.submit(path, "do", "nothing").want(400)
}

// The secret stands in one answer alone, and the old one ends.
func TestClientSecretIsShownOnce(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	_, old, err := b.Broker.CreateClient(t.Context(), broker.Client{ID: "app", Name: "App", RedirectURIs: []string{"https://app.test/cb"}})
	if err != nil {
		t.Fatal(err)
	}
	ticket := hidden(b.open("/admin/clients/app"), "ticket")
	a := b.submit("/admin/clients/app", "do", "secret", "ticket", ticket).want(200)
	shown := shownSecret.FindAllString(a.Body, -1)
	if len(shown) == 0 || shown[0] == old || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("no new secret: %v", shown)
	}
	got, err := b.Broker.FindClient(t.Context(), "app")
	if err != nil || got.SecretHash != broker.HashClientSecret(shown[0]) {
		t.Errorf("%+v %v", got, err)
	}
	// A reload makes no other one, which nobody would type into the app.
	b.follow(b.submit("/admin/clients/app", "do", "secret", "ticket", ticket).want(303)).want(200).says("This form was sent already, so no other secret was made.")
	b.submit("/admin/clients/app", "do", "secret").want(303)
	if again, err := b.Broker.FindClient(t.Context(), "app"); err != nil || again.SecretHash != got.SecretHash {
		t.Errorf("%+v %v", again, err)
	}
	for _, path := range []string{"/admin/clients/app", "/admin/clients"} {
		if body := b.open(path).Body; strings.Contains(body, shown[0]) || strings.Contains(body, got.SecretHash) {
			t.Errorf("%s has the secret", path)
		}
	}
	if strings.Contains(b.log.String(), shown[0]) {
		t.Error("the log has the secret")
	}
}

func TestClientIsDeletedWithItsSessions(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	if _, _, err := b.Broker.CreateClient(t.Context(), broker.Client{ID: "app", Name: "App", FirstParty: true, RedirectURIs: []string{"https://app.test/cb"}, TokenEndpointAuthMethod: broker.AuthNone}); err != nil {
		t.Fatal(err)
	}
	alice := b.site.newBrowser()
	answered := alice.authorize(request("app", "https://app.test/cb"))
	tokens := b.post("/oauth2/token", "grant_type", "authorization_code", "client_id", "app", "code", answered.sentTo("https://app.test/cb").Get("code"), "redirect_uri", "https://app.test/cb", "code_verifier", verifier).want(200)
	if page := b.open("/admin/clients/app"); !strings.Contains(page.Body, "client_removed") {
		t.Error("the page does not say how its sessions end")
	}
	if a := b.submit("/admin/clients/app", "do", "delete").want(303); a.Header.Get("Location") != publicURL+"/admin/clients?done=deleted" {
		t.Errorf("it leads to %s", a.Header.Get("Location"))
	}
	b.open("/admin/clients/app").want(404)
	refused := b.post("/oauth2/token", "grant_type", "refresh_token", "client_id", "app", "refresh_token", tokens.text("refresh_token"))
	if refused.Status < 400 {
		t.Errorf("the session lives: %s", refused.Body)
	}
	list, _, err := b.Broker.SessionsBy(t.Context(), broker.SessionFilter{ClientID: "app"}, 0, 10)
	if err != nil || len(list) != 1 || list[0].EndCause != broker.ClientRemoved {
		t.Errorf("%+v %v", list, err)
	}
}

// Neither built-in clients nor those of the configuration are changed by a form.
func TestFixedClientsAreReadOnly(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	for _, id := range []string{"web1", broker.CLIClientID, broker.AppClientID} {
		page := b.open("/admin/clients/" + id).want(200)
		if strings.Contains(page.Body, `name="do"`) {
			t.Errorf("%s has a form", id)
		}
		for _, do := range []string{"save", "secret", "delete"} {
			b.submit("/admin/clients/"+id, "do", do).want(409)
		}
	}
	if page := b.open("/admin/clients/web1").Body; !strings.Contains(page, "stands in the configuration") || strings.Contains(page, broker.HashClientSecret(webSecret)) {
		t.Errorf("the page of a configured client: %s", page)
	}
	b.open("/admin/clients/nobody").want(404)
	b.submit("/admin/clients/nobody", "do", "delete").want(404)
}

// A01, CSRF: neither a user nor another site changes a client.
func TestClientChangesAreForAdministrators(t *testing.T) {
	b := rootsOffice(t, "alice", setup{})
	made, secret, err := b.Broker.CreateClient(t.Context(), broker.Client{ID: "app", Name: "App", RedirectURIs: []string{"https://app.test/cb"}})
	if err != nil {
		t.Fatal(err)
	}
	root := b.site.newBrowser()
	root.post("/login/password", "username", "root", "password", harness.PasswordOf("root")).want(303)
	for _, do := range []string{"save", "secret", "delete"} {
		b.submit("/admin/clients/app", "do", do, "client_name", "Mine").want(403)
		root.send(http.MethodPost, "/admin/clients/app", form("do", do, "client_name", "Mine"), header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test")).want(403)
		root.send(http.MethodPost, "/admin/clients/app", form("do", do, "client_name", "Mine")).want(403)
	}
	b.open("/admin/keys").want(403)
	got, err := b.Broker.FindClient(t.Context(), "app")
	if err != nil || got.Name != made.Name || got.SecretHash != broker.HashClientSecret(secret) {
		t.Errorf("%+v %v", got, err)
	}
}

// A program that registered itself is pasted nowhere, whatever it says it is.
func TestRegisteredClientIsNoKnownApp(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	c, _, err := b.Broker.RegisterClient(t.Context(), broker.Client{Name: "Grafana", SoftwareID: "grafana", URI: "https://evil.test", RedirectURIs: []string{"https://evil.test/cb"}}, broker.Device{})
	if err != nil {
		t.Fatal(err)
	}
	if page := b.open("/admin/clients/" + c.ID).want(200); strings.Contains(page.Body, "root_url") || strings.Contains(page.Body, `href="https://evil.test`) {
		t.Errorf("it is believed: %s", page.Body)
	}
}

func TestKeysPage(t *testing.T) {
	b := rootsOffice(t, "root", setup{})
	page := b.open("/admin/keys").want(200)
	for _, k := range b.Broker.SigningKeys() {
		if !strings.Contains(page.Body, k.ID) || !strings.Contains(page.Body, k.Algorithm) {
			t.Errorf("the page lacks the key %s", k.ID)
		}
	}
	if !strings.Contains(page.Body, publicURL+"/.well-known/jwks.json") || strings.Count(page.Body, "signs access tokens") != 1 {
		t.Errorf("the page: %s", page.Body)
	}
}
