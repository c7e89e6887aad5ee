package providertest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const redirectURI = "http://rp.test/cb?tenant=1"

func testConfig() Config {
	return Config{
		Users: []User{
			{Subject: "s1", Username: "alice", Name: "Alice A.", Email: "alice@x.test", EmailVerified: true, Groups: []string{"staff"}},
			{Subject: "s2", Username: `m<"&+é>`, Email: "m@x.test", EmailVerified: "true", Extra: map[string]any{"roles": "admin"}},
		},
		Clients: []Client{
			{ID: "rp", Secret: "s:cr%t+", RedirectURIs: []string{redirectURI, "http://rp.test/other"}},
			{ID: "rp2", Secret: "other", RedirectURIs: []string{redirectURI}},
			{ID: "public", RedirectURIs: []string{redirectURI}, TokenAuth: "none"},
		},
	}
}

// relyingParty is somebody else's client.
type relyingParty struct {
	t        *testing.T
	idp      *IdP
	provider *oidc.Provider
	oauth2.Config
	verifier string
}

func newRelyingParty(t *testing.T, idp *IdP) *relyingParty {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), idp.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	return &relyingParty{t: t, idp: idp, provider: provider, verifier: oauth2.GenerateVerifier(), Config: oauth2.Config{
		ClientID:     "rp",
		ClientSecret: "s:cr%t+",
		RedirectURL:  redirectURI,
		Endpoint:     provider.Endpoint(),
		Scopes:       []string{"openid", "profile", "email"},
	}}
}

func (rp *relyingParty) authURL() string {
	return rp.AuthCodeURL("state1", oidc.Nonce("nonce1"), oauth2.S256ChallengeOption(rp.verifier))
}

// callback logs somebody in and returns the parameters that come back.
func (rp *relyingParty) callback(username string) url.Values {
	rp.t.Helper()
	callback, err := rp.idp.Authorize(rp.t.Context(), rp.authURL(), username)
	if err != nil {
		rp.t.Fatal(err)
	}
	rest, ok := strings.CutPrefix(callback, redirectURI+"&")
	if !ok {
		rp.t.Fatalf("sent to %s", callback)
	}
	params, err := url.ParseQuery(rest)
	if err != nil {
		rp.t.Fatal(err)
	}
	return params
}

func (rp *relyingParty) redeem(code string) (*oauth2.Token, error) {
	return rp.Exchange(rp.t.Context(), code, oauth2.VerifierOption(rp.verifier))
}

// login returns alice's tokens, and the ID token as it is on the wire.
func (rp *relyingParty) login() (*oauth2.Token, string) {
	rp.t.Helper()
	token, err := rp.redeem(rp.callback("alice").Get("code"))
	if err != nil {
		rp.t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	return token, raw
}

func (rp *relyingParty) verify(raw string) (*oidc.IDToken, error) {
	return rp.provider.Verifier(&oidc.Config{ClientID: rp.ClientID, Now: rp.idp.now}).Verify(rp.t.Context(), raw)
}

func TestLogin(t *testing.T) {
	for _, test := range []struct {
		client, secret string
		style          oauth2.AuthStyle
	}{
		{"rp", "s:cr%t+", oauth2.AuthStyleInHeader},
		{"rp", "s:cr%t+", oauth2.AuthStyleInParams},
		{"public", "", oauth2.AuthStyleInParams},
	} {
		rp := newRelyingParty(t, Start(t, testConfig()))
		rp.ClientID, rp.ClientSecret, rp.Endpoint.AuthStyle = test.client, test.secret, test.style

		params := rp.callback("alice")
		if params.Get("state") != "state1" || params.Get("iss") != rp.idp.Issuer() || len(params) != 3 {
			t.Errorf("the callback has %v", params)
		}
		token, err := rp.redeem(params.Get("code"))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := token.Extra("id_token").(string)
		idToken, err := rp.verify(raw)
		if err != nil {
			t.Fatal(err)
		}
		if idToken.Subject != "s1" || idToken.Nonce != "nonce1" {
			t.Errorf("the ID token is for %q with the nonce %q", idToken.Subject, idToken.Nonce)
		}
		if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
			t.Error(err)
		}
		var claims map[string]any
		if err := idToken.Claims(&claims); err != nil {
			t.Fatal(err)
		}
		expectClaims(t, claims, `{"email":"alice@x.test","email_verified":true,"groups":["staff"],"name":"Alice A.","preferred_username":"alice","amr":["pwd"]}`)
		for _, name := range []string{"sid", "auth_time", "iat", "exp"} {
			if claims[name] == nil {
				t.Errorf("no %s in %v", name, claims)
			}
		}
		info, err := rp.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
		if err != nil || info.Subject != "s1" || info.Email != "alice@x.test" || !info.EmailVerified {
			t.Errorf("userinfo: %+v, %v", info, err)
		}
	}
}

// expectClaims checks that what is in want is in got.
func expectClaims(t *testing.T, got map[string]any, want string) {
	t.Helper()
	var wanted map[string]any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	for name, value := range wanted {
		if toJSON(t, got[name]) != toJSON(t, value) {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestScopeDecidesClaims(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	rp.Scopes = []string{"openid"}
	token, err := rp.redeem(rp.callback(`m<"&+é>`).Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	_, claims := wire(t, raw)
	expectClaims(t, claims, `{"sub":"s2","roles":"admin","email":null,"email_verified":null,"name":null,"groups":null}`)

	rp.Scopes = []string{"openid", "email"}
	if token, err = rp.redeem(rp.callback(`m<"&+é>`).Get("code")); err != nil {
		t.Fatal(err)
	}
	raw, _ = token.Extra("id_token").(string)
	_, claims = wire(t, raw)
	expectClaims(t, claims, `{"email":"m@x.test","email_verified":"true"}`)
}

func TestCodeIsRefused(t *testing.T) {
	now := time.Now()
	cfg := testConfig()
	cfg.Now = func() time.Time { return now }
	rp := newRelyingParty(t, Start(t, cfg))

	good := func() url.Values {
		return url.Values{
			"grant_type": {"authorization_code"}, "code": {rp.callback("alice").Get("code")},
			"redirect_uri": {redirectURI}, "code_verifier": {rp.verifier},
			"client_id": {"rp"}, "client_secret": {"s:cr%t+"},
		}
	}
	status, answer := postToken(t, rp, good())
	if status != http.StatusOK {
		t.Fatalf("the good request: %d %s", status, answer)
	}
	for name, test := range map[string]struct {
		change func(form url.Values)
		status int
		error  string
	}{
		"wrong verifier":  {func(f url.Values) { f.Set("code_verifier", oauth2.GenerateVerifier()) }, 400, "invalid_grant"},
		"no verifier":     {func(f url.Values) { f.Del("code_verifier") }, 400, "invalid_grant"},
		"reuse":           {func(f url.Values) { postToken(t, rp, f) }, 400, "invalid_grant"},
		"too late":        {func(url.Values) { now = now.Add(time.Minute) }, 400, "invalid_grant"},
		"other redirect":  {func(f url.Values) { f.Set("redirect_uri", "http://rp.test/other") }, 400, "invalid_grant"},
		"other client":    {func(f url.Values) { f.Set("client_id", "rp2"); f.Set("client_secret", "other") }, 400, "invalid_grant"},
		"wrong secret":    {func(f url.Values) { f.Set("client_secret", "x") }, 401, "invalid_client"},
		"no secret":       {func(f url.Values) { f.Del("client_secret") }, 401, "invalid_client"},
		"public's secret": {func(f url.Values) { f.Set("client_id", "public") }, 401, "invalid_client"},
		"unknown client":  {func(f url.Values) { f.Set("client_id", "x") }, 401, "invalid_client"},
		"grant type":      {func(f url.Values) { f.Set("grant_type", "password") }, 400, "unsupported_grant_type"},
	} {
		form := good()
		test.change(form)
		status, answer := postToken(t, rp, form)
		if status != test.status || answer != `{"error":"`+test.error+`"}` {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

func postToken(t *testing.T, rp *relyingParty, form url.Values) (int, string) {
	t.Helper()
	res, err := http.PostForm(rp.Endpoint.TokenURL, form)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, readAll(t, res)
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

func TestAuthorizationIsRefused(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	for _, test := range []struct{ name, value, error string }{
		{"response_type", "token", "unsupported_response_type"},
		{"response_mode", "form_post", "invalid_request"},
		{"scope", "profile", "invalid_scope"},
		{"code_challenge", "", "invalid_request"},
		{"code_challenge_method", "plain", "invalid_request"},
		{"prompt", "none", "login_required"},
		{"request", "x", "request_not_supported"},
		{"request_uri", "http://rp.test/r", "request_uri_not_supported"},
		{"client_id", "x", ""},
		{"redirect_uri", redirectURI + "&", ""},
		{"redirect_uri", "", ""},
	} {
		u, err := url.Parse(rp.authURL())
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		query.Set(test.name, test.value)
		u.RawQuery = query.Encode()
		callback, err := rp.idp.Authorize(t.Context(), u.String(), "alice")
		if test.error == "" {
			if err == nil || !strings.Contains(err.Error(), "400") {
				t.Errorf("%s=%s: sent to %q, %v", test.name, test.value, callback, err)
			}
			continue
		}
		want := redirectURI + "&" + url.Values{"error": {test.error}, "iss": {rp.idp.Issuer()}, "state": {"state1"}}.Encode()
		if callback != want {
			t.Errorf("%s=%s: %q, %v; want %q", test.name, test.value, callback, err, want)
		}
	}
	if params := rp.callback(""); params.Get("error") != "access_denied" || params.Get("state") != "state1" || params.Has("code") {
		t.Errorf("after Cancel: %v", params)
	}
	if _, err := rp.idp.Authorize(t.Context(), rp.authURL(), "bob"); err == nil {
		t.Error("somebody pressed a button that is not there")
	}
}

func TestUserinfoNeedsToken(t *testing.T) {
	rp := newRelyingParty(t, Start(t, testConfig()))
	for _, header := range []string{"", "Bearer", "Bearer x", "Basic x"} {
		req := httptest.NewRequest(http.MethodGet, rp.provider.UserInfoEndpoint(), nil)
		req.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		rp.idp.ServeHTTP(w, req)
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("%q: %d %v", header, w.Code, w.Header())
		}
	}
}

func TestEndSession(t *testing.T) {
	idp := Start(t, testConfig())
	for query, want := range map[string]string{
		"": "",
		"post_logout_redirect_uri=http://rp.test/bye":             "http://rp.test/bye",
		"post_logout_redirect_uri=http://rp.test/bye?a=b&state=s": "http://rp.test/bye?a=b&state=s",
		"post_logout_redirect_uri=http://evil.test/":              "",
		"post_logout_redirect_uri=http://rp.test@evil.test/":      "",
		"post_logout_redirect_uri=http://x@rp.test/":              "",
		"post_logout_redirect_uri=//rp.test/":                     "",
		"post_logout_redirect_uri=javascript:alert(1)":            "",
	} {
		w := httptest.NewRecorder()
		idp.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/logout?"+query, nil))
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%q leads to %q, want %q", query, got, want)
		}
	}
}

func TestIssuerWithPath(t *testing.T) {
	mux := http.NewServeMux()
	site := httptest.NewServer(mux)
	defer site.Close()
	cfg := testConfig()
	cfg.Issuer = site.URL + "/idp/"
	idp, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/idp/", idp)
	rp := newRelyingParty(t, idp)
	_, raw := rp.login()
	if _, err := rp.verify(raw); err != nil {
		t.Error(err)
	}
	idp.SetDown(true)
	if res, err := http.Get(site.URL + "/idp" + pathJWKS); err == nil {
		t.Errorf("down, it answers %s", res.Status)
	}
	idp.SetDown(false)
	if _, err := oidc.NewProvider(t.Context(), idp.Issuer()); err != nil {
		t.Error(err)
	}
}

func TestBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no issuer":   {},
		"no site":     {Issuer: "idp.test"},
		"query":       {Issuer: "http://idp.test/?a=b"},
		"no username": {Issuer: "http://idp.test", Users: []User{{Subject: "s"}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
