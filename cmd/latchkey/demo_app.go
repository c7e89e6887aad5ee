package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// demoApp does what the official Audiobookshelf app does: it rebuilds the URL
// that it is given, follows no redirects, shares no cookies with the browser
// and sends an empty body when it refreshes.
type demoApp struct {
	base     string
	client   *http.Client
	verifier string
	state    string
	rebuilt  string
	access   string
	refresh  string
}

func newDemoApp(base string) *demoApp {
	return &demoApp{base: base, client: noRedirects(nil)}
}

func noRedirects(jar http.CookieJar) *http.Client {
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// demoBrowser is the system browser: a jar of its own.
type demoBrowser struct{ client *http.Client }

func newDemoBrowser() *demoBrowser {
	jar, _ := cookiejar.New(nil) // never fails without options
	return &demoBrowser{noRedirects(jar)}
}

// follow opens a URL and returns where it redirects to.
func (b *demoBrowser) follow(ctx context.Context, target string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	res, err := b.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	to := res.Header.Get("Location")
	if to == "" {
		return "", fmt.Errorf("%s answered %d and no redirect", req.URL.Path, res.StatusCode)
	}
	return to, nil
}

// call sends one request and reads a JSON answer of status 200 into into.
func (a *demoApp) call(ctx context.Context, method, path string, body io.Reader, headers map[string]string, into any) error {
	res, err := a.send(ctx, method, path, body, headers)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s answered %d %s", method, strings.SplitN(path, "?", 2)[0], res.StatusCode, text)
	}
	return json.Unmarshal(text, into)
}

func (a *demoApp) send(ctx context.Context, method, path string, body io.Reader, headers map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	return a.client.Do(req)
}

func (a *demoApp) status(ctx context.Context) ([]string, error) {
	var s struct {
		IsInit      bool     `json:"isInit"`
		Language    string   `json:"language"`
		AuthMethods []string `json:"authMethods"`
	}
	err := a.call(ctx, http.MethodGet, "/status", nil, nil, &s)
	if err == nil && (!s.IsInit || s.Language == "") {
		err = errors.New("the status lacks isInit or language")
	}
	return s.AuthMethods, err
}

// begin asks for the login URL and rebuilds it from the seven parameters that
// the app keeps.
func (a *demoApp) begin(ctx context.Context, redirectURI string) (string, error) {
	raw := make([]byte, 42)
	_, _ = rand.Read(raw) // never fails
	a.verifier = hex.EncodeToString(raw)
	sum := sha256.Sum256([]byte(a.verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	res, err := a.send(ctx, http.MethodGet, "/auth/openid?"+url.Values{
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "redirect_uri": {redirectURI},
		"client_id": {"Audiobookshelf-App"}, "response_type": {"code"},
	}.Encode(), nil, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	given, err := res.Location()
	if err != nil {
		return "", fmt.Errorf("the start answered %d and no redirect", res.StatusCode)
	}
	q := given.Query()
	a.state = q.Get("state")
	keep := url.Values{}
	for _, name := range []string{"response_type", "client_id", "scope", "state", "redirect_uri"} {
		if q.Get(name) == "" {
			return "", fmt.Errorf("the start's URL has no %s", name)
		}
		keep.Set(name, q.Get(name))
	}
	keep.Set("code_challenge", challenge)
	keep.Set("code_challenge_method", "S256")
	a.rebuilt = given.Scheme + "://" + given.Host + given.Path + "?" + keep.Encode()
	return given.String(), nil
}

type demoTokens struct {
	User struct {
		ID           string `json:"id"`
		Username     string `json:"username"`
		AccessToken  string `json:"accessToken"`
		RefreshToken string `json:"refreshToken"`
	} `json:"user"`
}

func (a *demoApp) keep(t demoTokens) error {
	if t.User.AccessToken == "" || t.User.RefreshToken == "" {
		return errors.New("the answer lacks an access or a refresh token")
	}
	a.access, a.refresh = t.User.AccessToken, t.User.RefreshToken
	return nil
}

// redeem is what the app does when the browser calls it by its URI.
func (a *demoApp) redeem(ctx context.Context, appURI string) error {
	u, err := url.Parse(appURI)
	if err != nil {
		return err
	}
	q := u.Query()
	if q.Get("error") != "" {
		return fmt.Errorf("the app was sent an error: %s (%s)", q.Get("error"), q.Get("error_description"))
	}
	if q.Get("state") != a.state {
		return errors.New("wrong state")
	}
	var t demoTokens
	err = a.call(ctx, http.MethodGet, "/auth/openid/callback?"+url.Values{
		"state": {a.state}, "code": {q.Get("code")}, "code_verifier": {a.verifier},
	}.Encode(), nil, nil, &t)
	if err != nil {
		return err
	}
	return a.keep(t)
}

func (a *demoApp) password(ctx context.Context, username, password string) error {
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		return err
	}
	var t demoTokens
	err = a.call(ctx, http.MethodPost, "/login", strings.NewReader(string(body)),
		map[string]string{"Content-Type": "application/json", "X-Return-Tokens": "true"}, &t)
	if err != nil {
		return err
	}
	return a.keep(t)
}

func (a *demoApp) refreshTokens(ctx context.Context) error {
	var t demoTokens
	if err := a.call(ctx, http.MethodPost, "/auth/refresh", nil, a.refreshHeaders(), &t); err != nil {
		return err
	}
	return a.keep(t)
}

func (a *demoApp) refreshHeaders() map[string]string {
	return map[string]string{"X-Refresh-Token": a.refresh, "Content-Type": "application/json"}
}

func (a *demoApp) whoAmI(ctx context.Context) (string, error) {
	bearer := map[string]string{"Authorization": "Bearer " + a.access}
	var t demoTokens
	if err := a.call(ctx, http.MethodPost, "/api/authorize", nil, bearer, &t); err != nil {
		return "", err
	}
	var me struct {
		Username string `json:"username"`
	}
	err := a.call(ctx, http.MethodGet, "/api/me", nil, bearer, &me)
	if err == nil && me.Username != t.User.Username {
		err = errors.New("/api/me and /api/authorize disagree")
	}
	return me.Username, err
}

func (a *demoApp) logout(ctx context.Context) error {
	var out map[string]any
	return a.call(ctx, http.MethodPost, "/logout", nil, a.refreshHeaders(), &out)
}

// refused refreshes once more and returns how that was refused.
func (a *demoApp) refused(ctx context.Context) (status int, code, verdict string, err error) {
	res, err := a.send(ctx, http.MethodPost, "/auth/refresh", nil, a.refreshHeaders())
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	return res.StatusCode, res.Header.Get("Latchkey-Code"), res.Header.Get("Latchkey-Verdict"), nil
}

// generation reads the generation of the app's refresh token, or -1.
func (a *demoApp) generation() int64 {
	var claims struct {
		Generation *int64 `json:"g"`
	}
	parts := strings.Split(a.refresh, ".")
	if len(parts) != 3 {
		return -1
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims.Generation == nil {
		return -1
	}
	return *claims.Generation
}

// describe decodes a token's claims, and leaves its signature out.
func (a *demoApp) describe(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "(not a JWT)"
	}
	head, _ := base64.RawURLEncoding.DecodeString(parts[0])
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return string(head) + "." + string(claims)
}
