package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey-id/latchkey/broker"
)

// op is a server that answers as it is told to.
type op struct {
	*httptest.Server
	t   *testing.T
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	answers  []http.HandlerFunc // of the token endpoint, each once; the last stays
	revoke   http.HandlerFunc
	device   http.HandlerFunc
	change   func(map[string]any) // of the metadata
	requests []url.Values         // at the token endpoint
	revoked  []url.Values
	asked    url.Values // the last authorization request
}

func newOP(t *testing.T, answers ...http.HandlerFunc) *op {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &op{t: t, key: key, answers: answers}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", o.metadata)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", o.token)
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		o.mu.Lock()
		o.revoked = append(o.revoked, r.PostForm)
		answer := o.revoke
		o.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	})
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) { o.device(w, r) })
	o.Server = httptest.NewServer(mux)
	t.Cleanup(o.Close)
	return o
}

func (o *op) metadata(w http.ResponseWriter, _ *http.Request) {
	m := map[string]any{
		"issuer": o.URL, "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token", "jwks_uri": o.URL + "/keys",
		"revocation_endpoint": o.URL + "/revoke", "device_authorization_endpoint": o.URL + "/device",
		"authorization_response_iss_parameter_supported": true, "id_token_signing_alg_values_supported": []string{"none", "HS256", "ES256"},
	}
	if o.change != nil {
		o.change(m)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(m)
}

func (o *op) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	o.mu.Lock()
	o.requests = append(o.requests, r.PostForm)
	answer := o.answers[0]
	if len(o.answers) > 1 {
		o.answers = o.answers[1:]
	}
	o.mu.Unlock()
	answer(w, r)
}

// sent are the values of one field of all token requests.
func (o *op) sent(field string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := []string{}
	for _, form := range o.requests {
		out = append(out, form.Get(field))
	}
	return strings.Join(out, " ")
}

// answer is a JSON answer.
func answer(status int, body map[string]any, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

func pair(access, refresh string) map[string]any {
	return map[string]any{"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 3600, "scope": "openid"}
}

func invalidGrant(more map[string]any) http.HandlerFunc {
	body := map[string]any{"error": "invalid_grant", "error_description": "no"}
	for k, v := range more {
		body[k] = v
	}
	return answer(http.StatusBadRequest, body)
}

// lost takes the request and lets the answer get lost.
func lost(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

func (o *op) idToken(claims map[string]any) string {
	all := map[string]any{
		"iss": o.URL, "aud": broker.CLIClientID, "sub": "u1", "preferred_username": "robin", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for k, v := range claims {
		all[k] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: o.key, KeyID: "k"}}, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		o.t.Fatal(err)
	}
	return raw
}

// nativeCLI runs commands of the native client over one folder.
func nativeCLI(t *testing.T) *cli {
	return &cli{t: t, env: map[string]string{"LATCHKEY_CLIENT_DIR": t.TempDir()}}
}

// loggedIn is a login at o, with an access token that has so long to live.
func (c *cli) loggedIn(o *op, left time.Duration) (*nativeStore, nativeKey) {
	c.t.Helper()
	s := &nativeStore{dir: c.env["LATCHKEY_CLIENT_DIR"]}
	k := nativeKey{o.URL, broker.CLIClientID}
	err := s.begin(nativeSession{
		nativeKey: k, Subject: "u1", Username: "robin", AccessToken: "A1", RefreshToken: "R1", TokenType: "Bearer",
		ObtainedAt: time.Now().Add(left - time.Hour), ExpiresAt: time.Now().Add(left),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return s, k
}

// kept is the refresh token in the store, or "".
func kept(t *testing.T, s *nativeStore, k nativeKey) string {
	t.Helper()
	session, err := s.load(k)
	if err != nil && err != errNotLoggedIn {
		t.Fatal(err)
	}
	return session.RefreshToken
}

// underWay is a command that has been started.
type underWay struct {
	stdout, stderr *tail
	code           chan int
	stop           func()
}

func (c *cli) start(args ...string) *underWay {
	ctx, stop := context.WithCancel(c.t.Context())
	u := &underWay{&tail{}, &tail{}, make(chan int, 1), stop}
	go func() {
		u.code <- run(ctx, args, func(k string) string { return c.env[k] }, c.environ(), strings.NewReader(""), u.stdout, u.stderr)
	}()
	return u
}

func (u *underWay) wait(t *testing.T) (int, string) {
	t.Helper()
	select {
	case code := <-u.code:
		return code, u.stdout.String() + u.stderr.String()
	case <-time.After(40 * time.Second):
		t.Fatalf("the command does not end:\n%s", u.stderr.String())
		return 0, ""
	}
}

func files(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %o", f.Name(), info.Mode().Perm()))
	}
	return strings.Join(out, "\n")
}
