package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
)

const tourClientSecret = "the secret of the tour's client, long"

// Every way in and out, right and wrong, on the real program at log level debug
// with traces: no secret that passed is in the log, in what was said of an error,
// in a trace or in the metrics. The one exception is the one-time setup link.
func TestNothingSaysASecret(t *testing.T) {
	sink, services := newSink(t), newSecretServices(t)
	x := newFreshWorld(t, watchedMetrics+services.yaml+"clients:\n  - {client_id: tour, client_secret: \""+tourClientSecret+"\", redirect_uris: [\"https://app.example.org/cb\"], first_party: true, scope: \"openid latchkey:introspect\",\n"+
		"     grant_types: [authorization_code, refresh_token, client_credentials, \"urn:ietf:params:oauth:grant-type:device_code\"]}\n",
		map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20of-the-collector", "RATE_LIMIT_AUTH_MAX": "1000", "LATCHKEY_REDIS_URL": services.redis.URL(), "LATCHKEY_REGISTRATION_TOKEN": tourRegistrationToken})
	l := newLedger(t)
	l.setting("tracing.headers", "of-the-collector")
	l.note("client_secret of the provider", idpClientSecret)
	x.idp.Script(func(s *providertest.Script) {
		s.EditTokenAnswer = func(answer map[string]any) { l.json("the IdP's answer", answer) }
	})
	tour := &secretTour{watchedWorld: x, secretServices: services, l: l}
	tour.passwords()
	tour.apps()
	tour.clients()
	tour.keysAndLinks()
	tour.mailedLinks()
	tour.secondFactors()
	tour.registrations()
	tour.appsBehindProxies()
	tour.troubles()
	tour.redisGone()
	lasting := tour.app()
	tour.must2(lasting.password(t.Context(), "root", x.admin))
	for _, status := range []int{200, 302, 400, 401, 403, 404, 502, 503} {
		if l.kinds[status] == 0 {
			t.Errorf("the tour met no answer with %d: %v", status, l.kinds)
		}
	}
	said := x.metrics()
	x.stop()
	tour.stored()
	setup := regexp.MustCompile(`(?m)^.*"event":"setup\.needed".*$`).ReplaceAllString(x.log.String(), "")
	said += tour.newRootSecret(lasting)
	log := setup + x.log.String()
	said += tour.anotherInstallation()
	log += x.log.String()
	l.hasEverySetting()
	if len(l.secrets) < 60 {
		t.Errorf("the tour used only %d secrets", len(l.secrets))
	}
	l.isIn("the log", log)
	l.isIn("an error", strings.Join(l.errors, "\n"))
	l.isIn("the metrics or a command", said)
	l.isIn("a trace", sink.all())
	if len(sink.spans()) < 100 || !strings.Contains(log, `"level":"WARN"`) {
		t.Errorf("%d spans, and a log of %d bytes", len(sink.spans()), len(log))
	}
}

type secretTour struct {
	*watchedWorld
	*secretServices
	l *ledger
}

func (x *secretTour) app() *demoApp {
	return &demoApp{base: x.base, client: x.l.client(false)}
}

func (x *secretTour) must2(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// ownPage are the headers of a browser that sends a form of ours.
var ownPage = []string{"Sec-Fetch-Site", "same-origin"}

// passwords: the setup link's token, right and wrong passwords, on pages and by
// JSON, refreshes, a change, logouts.
func (x *secretTour) passwords() {
	ctx, l := x.t.Context(), x.l
	setup, err := url.QueryUnescape(x.log.find(x.t, `"event":"setup\.needed".*token=([^"&]+)`))
	x.must2(err)
	l.send(l.client(true), "POST", x.base+"/setup", []string{"token", setup + "x", "username", "root", "password", x.admin}, ownPage...)
	l.want(303, l.send(l.client(true), "POST", x.base+"/setup", []string{"token", setup, "username", "root", "password", x.admin}, ownPage...))
	l.want(404, l.send(l.client(true), "POST", x.base+"/setup", []string{"token", setup, "username", "root", "password", x.admin}, ownPage...))
	app := x.app()
	x.must2(app.password(ctx, "root", x.admin))
	for _, wrong := range []string{"a wrong password, and a long one", "correct horse batterx"} {
		if app := x.app(); app.password(ctx, "root", wrong) == nil {
			x.t.Fatal("a wrong password logged in")
		}
	}
	old := app.refresh
	x.must2(app.refreshTokens(ctx))
	for _, token := range []string{old + "x", strings.Replace(old, ".", ".A", 1), "no-token-at-all-but-long-enough"} {
		l.want(401, l.send(l.client(false), "POST", x.base+"/auth/refresh", nil, "X-Refresh-Token", token))
	}
	l.want(401, l.send(l.client(false), "GET", x.base+"/api/me", nil, "Authorization", "Bearer "+app.access+"x"))
	l.want(200, l.send(l.client(false), "GET", x.base+"/api/me?token="+app.access, nil))
	l.want(401, l.send(l.client(false), "GET", x.base+"/api/me?token="+app.access+"x", nil))

	browser := l.client(true)
	l.want(401, l.send(browser, "POST", x.base+"/login/password", []string{"username", "root", "password", "another wrong password"}, ownPage...))
	l.want(303, l.send(browser, "POST", x.base+"/login/password", []string{"username", "root", "password", x.admin}, ownPage...))
	l.want(200, l.send(browser, "GET", x.base+"/account", nil))
	l.send(browser, "GET", x.base+"/nowhere?token="+url.QueryEscape(app.access), nil)
	l.want(403, l.send(browser, "POST", x.base+"/session/end", []string{"all", "1"}, "Origin", "https://evil.example.org", "Sec-Fetch-Site", "cross-site"))

	fresh := "another long passphrase of root"
	for _, body := range []string{`{"password":"not this one, surely","newPassword":"` + fresh + `"}`, `{"password":"` + x.admin + `","newPassword":"short1234"}`, `{"password":"` + x.admin + `","newPassword":"` + fresh + `"}`} {
		l.sendBody(l.client(false), "PATCH", x.base+"/api/me/password", body, "Authorization", "Bearer "+app.access, "Content-Type", "application/json")
	}
	x.admin = fresh
	if _, code, _, err := app.refused(ctx); err != nil || code != "password_changed" {
		x.t.Fatal(code, err)
	}
	x.must2(app.password(ctx, "root", x.admin))
	x.must2(app.logout(ctx))
	if _, code, _, _ := app.refused(ctx); code != "logged_out" {
		x.t.Fatal(code)
	}
}

// apps: the mobile login, wrong verifiers and states, a code that is used twice.
func (x *secretTour) apps() {
	ctx, l := x.t.Context(), x.l
	app := x.app()
	_, err := app.begin(ctx, demoAppURI)
	x.must2(err)
	l.note("the app's verifier", app.verifier)
	browser := l.client(true)
	atIdP := l.want(302, l.send(browser, "GET", app.rebuilt, nil)).to
	callback, err := x.idp.Authorize(ctx, atIdP, "anna")
	x.must2(err)
	l.send(browser, "GET", strings.Replace(callback, "state=", "state=x", 1), nil)
	appURI := l.want(302, l.send(browser, "GET", callback, nil)).to
	l.send(browser, "GET", callback, nil) // once more
	wrong := *app
	wrong.verifier = strings.Repeat("w", 43)
	if wrong.redeem(ctx, appURI) == nil {
		x.t.Fatal("a wrong verifier redeemed a code")
	}
	x.must2(app.redeem(ctx, appURI))
	x.must2(app.refreshTokens(ctx))
	if _, err := app.whoAmI(ctx); err != nil {
		x.t.Fatal(err)
	}
	if app.redeem(ctx, appURI) == nil {
		x.t.Fatal("a code was redeemed twice")
	}
	_, code, _, _ := app.refused(ctx)
	if code != "code_reused" {
		x.t.Fatal(code)
	}
	l.send(browser, "GET", x.base+"/auth/openid/callback?error=server_error&error_description=said-by-a-stranger&state=some-state-of-nobody", nil)
}

// clients: secrets by Basic and in the form, right and wrong, introspection, the
// device grant, DPoP, revocation, logout.
func (x *secretTour) clients() {
	l, c := x.l, x.l.client(false)
	token, introspect := x.base+"/oauth2/token", x.base+"/oauth2/introspect"
	basic := func(secret string) []string {
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth("tour", secret)
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	grant := []string{"grant_type", "client_credentials"}
	l.want(401, l.send(c, "POST", token, grant, basic("a wrong secret of the client")...))
	l.want(401, l.send(c, "POST", token, append(grant, "client_id", "tour", "client_secret", "another wrong secret of it")))
	own := l.want(200, l.send(c, "POST", token, grant, basic(tourClientSecret)...)).text("access_token")
	l.want(200, l.send(c, "POST", introspect, []string{"token", own}, basic(tourClientSecret)...))
	l.want(200, l.send(c, "POST", introspect, []string{"token", "an-unknown-token-of-nobody"}, basic(tourClientSecret)...))
	l.want(401, l.send(c, "POST", introspect, []string{"token", own}, basic("a third wrong secret")...))
	l.want(400, l.send(c, "POST", token, []string{"grant_type", "authorization_code", "code", "a-code-that-nobody-gave", "redirect_uri", "https://app.example.org/cb", "code_verifier", strings.Repeat("v", 43)}, basic(tourClientSecret)...))
	l.want(400, l.send(c, "POST", token, []string{"grant_type", "refresh_token", "refresh_token", "a-refresh-token-of-nobody"}, basic(tourClientSecret)...))

	browser := l.client(true)
	l.want(303, l.send(browser, "POST", x.base+"/login/password", []string{"username", "root", "password", x.admin}, ownPage...))
	verifier := strings.Repeat("tour-verifier-", 4)
	l.note("the client's verifier", verifier)
	ask := x.base + "/oauth2/authorize?" + url.Values{"response_type": {"code"}, "client_id": {"tour"}, "redirect_uri": {"https://app.example.org/cb"}, "scope": {"openid offline_access"},
		"state": {"the-state-of-the-tour"}, "nonce": {"the-nonce-of-the-tour"}, "code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"}}.Encode()
	to, _ := url.Parse(l.want(303, l.send(browser, "GET", ask, nil)).to)
	redeem := []string{"grant_type", "authorization_code", "code", to.Query().Get("code"), "redirect_uri", "https://app.example.org/cb", "code_verifier", verifier}
	prove := func(nonce string) []string {
		return append(basic(tourClientSecret), "DPoP", proofOf(x.t, token, nonce))
	}
	first := l.want(400, l.send(c, "POST", token, redeem, prove("")...)) // it has to bring a nonce
	a := l.want(200, l.send(c, "POST", token, redeem, prove(first.header.Get("DPoP-Nonce"))...))
	l.want(400, l.send(c, "POST", token, redeem, basic(tourClientSecret)...)) // once more
	l.send(c, "GET", x.base+"/oauth2/userinfo", nil, "Authorization", "DPoP "+a.text("access_token"), "DPoP", "no-proof-at-all-but-long")
	l.send(c, "POST", x.base+"/oauth2/revoke", []string{"token", a.text("refresh_token")}, basic(tourClientSecret)...)

	device := l.want(200, l.send(c, "POST", x.base+"/oauth2/device_authorization", []string{"scope", "openid"}, basic(tourClientSecret)...))
	poll := []string{"grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", device.text("device_code")}
	l.want(400, l.send(c, "POST", token, poll, basic(tourClientSecret)...))
	l.want(400, l.send(browser, "POST", x.base+"/device", []string{"user_code", "WDJB-MJHT"}, ownPage...))
	l.want(303, l.send(browser, "POST", x.base+"/device", []string{"user_code", device.text("user_code"), "decision", "allow"}, ownPage...))
	time.Sleep(5100 * time.Millisecond) // the interval of RFC 8628 section 3.5: who asks sooner is slowed down
	polled := l.want(200, l.send(c, "POST", token, poll, basic(tourClientSecret)...))
	l.send(browser, "GET", x.base+"/oauth2/logout?id_token_hint="+url.QueryEscape(polled.text("id_token"))+"&state=a-state-of-the-logout", nil)
	l.send(browser, "GET", x.base+"/oauth2/logout?id_token_hint="+url.QueryEscape(polled.text("id_token"))+"x", nil)
}

// keysAndLinks: API keys and password links.
func (x *secretTour) keysAndLinks() {
	l, c := x.l, x.l.client(false)
	var made struct {
		APIKey string `json:"apiKey"`
	}
	x.must2(json.Unmarshal([]byte(x.must("", "apikey", "create", "root", "--name", "script", "--json")), &made))
	l.want(200, l.send(c, "GET", x.base+"/api/me", nil, "Authorization", "Bearer "+made.APIKey))
	last := made.APIKey[len(made.APIKey)-1]
	l.want(401, l.send(c, "GET", x.base+"/api/me", nil, "Authorization", "Bearer "+made.APIKey[:len(made.APIKey)-1]+string(last^1)))
	l.want(403, l.send(c, "GET", x.base+"/api/users", nil, "Authorization", "Bearer "+made.APIKey))

	link := regexp.MustCompile(`http://\S+`).FindString(x.must("", "user", "reset-link", "root"))
	token, choose := x.opens(strings.Trim(link, `"`))
	l.want(400, choose("weak-one"))
	x.admin = "one more passphrase of root"
	l.want(303, choose(x.admin))
	l.want(400, l.send(l.client(true), "POST", x.base+"/password", []string{"token", token, "password", x.admin}, ownPage...))
	l.send(c, "GET", x.base+"/setup?token=a-setup-token-of-nobody", nil)
}

// troubles: an IdP that echoes what it was sent in its errors, that answers
// nonsense with secrets in it, and that is gone.
func (x *secretTour) troubles() {
	l := x.l
	for _, fault := range []struct {
		status int
		body   string
	}{
		{500, `{"error":"server_error","error_description":"%s"}`},
		{400, `{"error":"invalid_grant","error_description":"%s"}`},
		{401, `{"error":"invalid_client","error_description":"%s"}`},
		{502, `<html>%s</html>`},
		{200, `{"access_token":"%s","id_token":"%s","token_type":"Bearer"}`},
		{200, `access_token=%s`},
	} {
		x.idp.Script(func(s *providertest.Script) {
			s.Respond = map[string]providertest.Responder{providertest.EndpointToken: func(w http.ResponseWriter, r *http.Request) bool {
				_ = r.ParseForm()
				l.values("sent to the IdP", r.PostForm)
				_, secret, _ := r.BasicAuth()
				echo := strings.Join([]string{r.PostForm.Get("code"), r.PostForm.Get("code_verifier"), secret, r.Header.Get("Authorization"), "a-token-of-the-broken-idp"}, " ")
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(fault.status)
				_, _ = w.Write([]byte(strings.ReplaceAll(fault.body, "%s", echo)))
				return true
			}}
		})
		l.note("the broken IdP", "a-token-of-the-broken-idp")
		x.webLogin()
	}
	x.idp.Script(func(s *providertest.Script) { s.Respond = nil })
	x.idp.SetDown(true)
	l.send(l.client(true), "GET", x.base+"/auth/openid?callback="+url.QueryEscape(x.base+"/"), nil)
	x.idp.SetDown(false)
}

// webLogin is a browser's login at the IdP, however it ends.
func (x *secretTour) webLogin() {
	browser := x.l.client(true)
	atIdP := x.l.want(302, x.l.send(browser, "GET", x.base+"/auth/openid?callback="+url.QueryEscape(x.base+"/"), nil)).to
	callback, err := x.idp.Authorize(x.t.Context(), atIdP, "anna")
	x.must2(err)
	x.l.send(browser, "GET", callback, nil)
}

// stored are the secrets that stand on the disk.
func (x *secretTour) stored() {
	folder := x.env["LATCHKEY_DATA_DIR"]
	raw, err := os.ReadFile(filepath.Join(folder, "secret.key"))
	x.must2(err)
	x.l.setting("previous_secret_keys", strings.TrimSpace(string(raw))) // later
	store, err := storage.Open(x.t.Context(), storage.Options{URL: "sqlite:" + filepath.Join(folder, "latchkey.db")})
	x.must2(err)
	defer store.Close()
	u, err := store.UserByUsername(x.t.Context(), "root")
	x.must2(err)
	x.l.note("the hash of a password", string(u.PasswordHash))
	x.l.note("the end of a hash of a password", string(u.PasswordHash[len(u.PasswordHash)-20:]))
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// proofOf is a DPoP proof for a request, with a key of its own.
func proofOf(t *testing.T, address, nonce string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	claims, _ := json.Marshal(map[string]any{"jti": rand.Text(), "htm": "POST", "htu": address, "iat": time.Now().Unix(), "nonce": nonce})
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
