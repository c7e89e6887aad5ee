package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// client is a client of the provider. Those that nobody registered at run time
// stand in the configuration.
type client struct {
	id, secret string
	method     string
	redirect   string
	afterwards string // post_logout_redirect_uri
	logout     string // backchannel_logout_uri
	key        *ecdsa.PrivateKey
	pkce       bool
	dpop       bool
}

// callback is a redirect URI as the suite has it.
func callback(alias string) string { return elsewhere + "/test/a/" + alias + "/callback" }

func postLogout(alias string) string {
	return elsewhere + "/test/a/" + alias + "/post_logout_redirect"
}

var newKey = sync.OnceValue(func() *ecdsa.PrivateKey { return makeKey() })

func makeKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

var (
	client1   = client{id: "client", secret: "the secret of client, which is long", method: "client_secret_basic", redirect: callback("client"), afterwards: postLogout("client")}
	client2   = client{id: "client2", secret: "the secret of client2, which is long", method: "client_secret_basic", redirect: callback("client2") + "?dummy1=lorem&dummy2=ipsum", afterwards: postLogout("client2")}
	byPost    = client{id: "client-post", secret: "the secret of client-post, which is long", method: "client_secret_post", redirect: callback("client-post")}
	public    = client{id: "public", method: "none", redirect: callback("public"), pkce: true}
	byKey     = client{id: "private-key", method: "private_key_jwt", redirect: callback("private-key"), key: newKey()}
	byProof   = client{id: "dpop", secret: "the secret of dpop, which is very long", method: "client_secret_basic", redirect: callback("dpop"), pkce: true, dpop: true}
	listening = client{id: "backchannel", secret: "the secret of backchannel, which is long", method: "client_secret_basic", redirect: callback("backchannel"), afterwards: postLogout("backchannel"), logout: "backchannel_logout"}
)

// registrations are the clients for the configuration.
func registrations() (out []map[string]any) {
	for _, c := range []client{client1, client2, byPost, public, byKey, byProof, listening} {
		r := map[string]any{
			"client_id": c.id, "client_name": "Client " + c.id, "redirect_uris": []string{c.redirect}, "token_endpoint_auth_method": c.method,
		}
		if c.secret != "" {
			r["client_secret"] = c.secret
		}
		if c.afterwards != "" {
			r["post_logout_redirect_uris"] = []string{c.afterwards}
		}
		if c.logout != "" {
			r["backchannel_logout_uri"] = logouts.url
		}
		if c.key != nil {
			r["jwks"] = map[string]any{"keys": []any{publicJWK(c.key)}}
		}
		if c.dpop {
			r["dpop_bound_access_tokens"] = true
		}
		out = append(out, r)
	}
	return out
}

// publicJWK is a public key as plain JSON.
func publicJWK(key *ecdsa.PrivateKey) map[string]any {
	text, err := json.Marshal(jose.JSONWebKey{Key: key.Public(), KeyID: thumbprint(key), Algorithm: "ES256", Use: "sig"})
	out := map[string]any{}
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

func thumbprint(key *ecdsa.PrivateKey) string {
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// signed signs claims with a header of one's own.
func signed(key *ecdsa.PrivateKey, header map[jose.HeaderKey]any, claims map[string]any) string {
	options := &jose.SignerOptions{ExtraHeaders: header}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	object, err := signer.Sign(text)
	if err != nil {
		panic(err)
	}
	raw, err := object.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return raw
}

// assertion is a client assertion of private_key_jwt.
func (m *run) assertion(c client) string {
	now := time.Now().Unix()
	return signed(c.key, map[jose.HeaderKey]any{"kid": thumbprint(c.key)}, map[string]any{
		"iss": c.id, "sub": c.id, "aud": m.op.issuer, "jti": random(30), "iat": now, "exp": now + 60,
	})
}

// authenticate adds to a request what proves which client sends it.
func (m *run) authenticate(c client, header http.Header, form url.Values) {
	switch c.method {
	case "client_secret_basic":
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(c.secret))
	case "client_secret_post":
		form.Set("client_id", c.id)
		form.Set("client_secret", c.secret)
	case "private_key_jwt":
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", m.assertion(c))
	default:
		form.Set("client_id", c.id)
	}
}

// random is text of n characters that survive everywhere.
func random(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(strings.ToLower(rand.Text()[:1]) + rand.Text())
	}
	return b.String()[:n]
}

// answer is an answer to a program.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any // nil: not a JSON object
}

func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

// call sends a request of a program.
func (m *run) call(method, target string, header http.Header, form url.Values) answer {
	m.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		m.Fatal(err)
	}
	if header != nil {
		req.Header = header.Clone()
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return m.send(req)
}

func (m *run) send(req *http.Request) answer {
	m.Helper()
	res, err := m.client().Do(req)
	if err != nil {
		m.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		m.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		_ = json.NewDecoder(bytes.NewReader(raw)).Decode(&a.body)
	}
	return a
}

// client is what programs call with. It follows no redirect.
func (m *run) client() *http.Client {
	t := transport(m.op.tls)
	t.DisableKeepAlives = true
	return &http.Client{
		Transport: t, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
