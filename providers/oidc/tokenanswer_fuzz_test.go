package oidc_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// What a client sends to the token endpoint, and no error says again.
const (
	fuzzedIssuer, sentCode, sentSecret = "https://idp.test", "the-code-of-one-login", "the-secret-of-a-client"
	sentRefresh                        = "the-refresh-token-of-one-login"
)

// mostRead is what is read of an answer at most; see docs/limits.md.
const mostRead = 1 << 20

// scripted is an OpenID provider without a network, whose token endpoint says what a
// test says. It notes the access tokens that its userinfo was asked with, and how much
// was read of the token endpoint's answer.
type scripted struct {
	key ed25519.PrivateKey
	now time.Time
	providertest.TokenAnswer
	bearers []string
	read    int
}

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	status, media, body := http.StatusOK, providertest.MediaJSON, ""
	switch req.URL.Path {
	case "/.well-known/openid-configuration":
		body = `{"issuer":"` + fuzzedIssuer + `","authorization_endpoint":"https://idp.test/a","token_endpoint":"https://idp.test/t","jwks_uri":"https://idp.test/k",
			"userinfo_endpoint":"https://idp.test/u","id_token_signing_alg_values_supported":["EdDSA"]}`
	case "/k":
		keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: "k", Algorithm: "EdDSA", Use: "sig"}}})
		if err != nil {
			return nil, err
		}
		body = string(keys)
	case "/u":
		s.bearers = append(s.bearers, req.Header.Get("Authorization"))
		body = `{"sub":"s-anna","groups":["a"]}`
	case "/t":
		status, media, body = s.Status, s.Media, s.Body
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {media}}, Request: req, Body: io.NopCloser(&counted{strings.NewReader(body), &s.read}),
	}, nil
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *int
}

func (c *counted) Read(into []byte) (int, error) {
	n, err := c.Reader.Read(into)
	*c.n += n
	return n, err
}

func (s *scripted) idToken(key ed25519.PrivateKey, nonce string) string {
	at := s.now.Unix()
	return signedText(key, `{"alg":"EdDSA","kid":"k"}`, fmt.Sprintf(`{"iss":%q,"aud":"latchkey","sub":"s-anna","nonce":%q,"iat":%d,"exp":%d}`, fuzzedIssuer, nonce, at, at+300))
}

// Whatever the token endpoint answers to a code or a refresh token: a login is made only
// of an ID token that the provider has signed for it, a login is over only where that
// is said, what is sent on is what was said, and an error tells no secret.
func FuzzTokenAnswer(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"A","token_type":"Bearer","id_token":"GOOD","refresh_token":"R","expires_in":3600}`, `{"access_token":"A","token_type":"Bearer"}`, `{"id_token":"GOOD"}`,
		`{"access_token":"A","id_token":"STRANGERS"}`, `{"access_token":"A","id_token":"ANOTHERS"}`, `{"access_token":"A","id_token":"STRANGERS","id_token":"GOOD"}`, `{"access_token":"A","id_token":"GOOD","ID_TOKEN":"STRANGERS"}`,
		`{"access_token":["A"],"id_token":["GOOD"]}`, `{"access_token":7,"id_token":"GOOD"}`, `{"access_token":"A","id_token":{"GOOD":1}}`, `{"access_token":"A","id_token":null}`, `{"access_token":null,"id_token":"GOOD"}`,
		`{"access_token":"A","id_token":"GOOD","expires_in":"3600"}`, `{"access_token":"A","id_token":"GOOD","expires_in":-1}`, `{"access_token":"A","id_token":"GOOD","expires_in":1e400}`, `{"access_token":"A","id_token":"GOOD","expires_in":99999999999}`,
		`{"access_token":"A","id_token":"GOOD","expires_in":{}}`, `{"access_token":"A","id_token":"GOOD","expires_in":3.5}`, `{"access_token":"A","id_token":"GOOD","token_type":"mac"}`, `{"access_token":"A","id_token":"GOOD","token_type":["Bearer"]}`,
		`{"access_token":"A\r\nX: y","id_token":"GOOD"}`, `{"access_token":"A B","id_token":"GOOD"}`, `{"access_token":"A","id_token":"GOOD","error":"invalid_grant"}`, `{"error":"invalid_grant"}`, `{"error":["invalid_grant"]}`, `{"ERROR":"invalid_grant"}`,
		`{"error":"` + sentCode + `"}`, `{"error":"` + sentRefresh + `","error_description":"` + sentSecret + `"}`, `{"error":"` + strings.Repeat("e", 9000) + `"}`, "", "null", "[]", `"GOOD"`, "GOOD", "{", strings.Repeat("[", 5000), `{"access_token":"A","id_token":"GOOD"}{}`,
		"access_token=A&token_type=bearer&id_token=GOOD&refresh_token=R", "access_token=A&id_token=STRANGERS&id_token=GOOD", "error=invalid_grant", "access_token=%zz", "access_token=1&id_token=2", "access_token=A;id_token=GOOD",
	} {
		for i, status := range []uint16{200, 400} {
			f.Add(status, uint8(0), uint16(0), body)
			f.Add(status+uint16(len(body)%4), uint8(1+(len(body)+i)%3), uint16(0), body)
		}
	}
	for _, status := range []uint16{100, 201, 204, 299, 302, 401, 403, 429, 500, 503} {
		f.Add(status, uint8(0), uint16(0), `{"access_token":"A","token_type":"Bearer","id_token":"GOOD"}`)
		f.Add(status, uint8(0), uint16(0), `{"error":"invalid_grant"}`)
	}
	for _, kib := range []uint16{1, 1023, 1024, 1025, 4000} {
		f.Add(uint16(200), uint8(0), kib, `{"access_token":"A","id_token":"GOOD","more":"PAD"}`)
		f.Add(uint16(200), uint8(0), kib, `{"access_token":"PAD","id_token":"GOOD"}`)
		f.Add(uint16(400), uint8(0), kib, `{"error":"PAD"}`)
	}
	key, stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	mint := &scripted{now: now}
	good := mint.idToken(key, request.Nonce)
	words := strings.NewReplacer("GOOD", good, "STRANGERS", mint.idToken(stranger, request.Nonce), "ANOTHERS", mint.idToken(key, strings.Repeat("o", 43)))
	f.Fuzz(func(t *testing.T, status uint16, media uint8, kib uint16, body string) {
		body = words.Replace(body)
		s := &scripted{key: key, now: now, TokenAnswer: providertest.FuzzedAnswer(status, media, kib, body)}
		p := oidc.New(oidc.Config{
			Issuer: fuzzedIssuer, ClientID: "latchkey", ClientSecret: sentSecret, Offline: true, HTTPClient: &http.Client{Transport: s}, Now: func() time.Time { return now },
		})
		exchanged(t, s, p, good)
		rechecked(t, s, p, good)
		if s.read > 2*mostRead+64<<10 { // two answers, and what else it says
			t.Errorf("%d bytes were read", s.read)
		}
	})
}

// isToken reports whether a text is an ID token of the login: that one, however its
// last bits are spelled.
func isToken(text, good string) bool {
	text = strings.NewReplacer("\r", "", "\n", "").Replace(text)
	return len(text) == len(good) && text[:len(text)-1] == good[:len(good)-1]
}

func exchanged(t *testing.T, s *scripted, p *oidc.Provider, good string) {
	t.Helper()
	c, err := p.Exchange(context.Background(), request, broker.IdPResponse{Code: sentCode})
	if err != nil {
		toldApart(t, s, err, good, sentCode, request.Verifier)
		if c.Subject != "" || c.RefreshToken != "" || c.Issuer != "" {
			t.Errorf("%v, and yet %+v", err, c)
		}
		if broker.CodeOf(err) == broker.TemporarilyUnavailable && s.Status < 429 {
			t.Errorf("%d is an outage: %v", s.Status, err)
		}
		return
	}
	tokens := s.Says("id_token")
	if !s.Succeeded() || len(tokens) == 0 || !slices.ContainsFunc(tokens, func(x string) bool { return isToken(x, good) }) || c.Subject != "s-anna" || c.Issuer != fuzzedIssuer {
		t.Errorf("%d %q logs in %+v", s.Status, s.Body, c)
	}
	if c.RefreshToken != "" && !slices.Contains(s.Says("refresh_token"), c.RefreshToken.Reveal()) {
		t.Errorf("%q gives the refresh token %q", s.Body, c.RefreshToken.Reveal())
	}
	if len(s.bearers) != 1 {
		t.Fatalf("userinfo was asked with %q", s.bearers)
	}
	if !s.Gave(s.bearers[0]) {
		t.Errorf("%q: userinfo was asked with %q", s.Body, s.bearers[0])
	}
}

func rechecked(t *testing.T, s *scripted, p *oidc.Provider, good string) {
	t.Helper()
	r, err := p.Recheck(context.Background(), sentRefresh, broker.RecheckByRefresh)
	if err != nil {
		toldApart(t, s, err, good, sentRefresh)
		if r.State != "" || r.Subject != "" {
			t.Errorf("%v, and yet %+v", err, r)
		}
		return
	}
	switch r.State {
	case broker.UpstreamEnded:
		if s.Status < 400 || s.Status > 499 || !slices.Contains(s.Says("error"), "invalid_grant") {
			t.Errorf("%d %q ends a login", s.Status, s.Body)
		}
	case broker.UpstreamAlive:
		known := slices.ContainsFunc(s.Says("id_token"), func(x string) bool { return strings.Contains(x, good[:60]) })
		if !s.Succeeded() || r.Subject != "" && (r.Subject != "s-anna" || !known) {
			t.Errorf("%d %q says that %q is logged in", s.Status, s.Body, r.Subject)
		}
		if raw, _ := object(s.Body)["id_token"].(string); raw != "" && r.Subject == "" && s.Media == providertest.MediaJSON {
			t.Errorf("%q: nobody has looked at the ID token", s.Body)
		}
	default:
		t.Errorf("%d %q: %+v", s.Status, s.Body, r)
	}
	if r.Token != "" && !slices.Contains(s.Says("refresh_token"), r.Token.Reveal()) {
		t.Errorf("%q gives the refresh token %q", s.Body, r.Token.Reveal())
	}
}

// toldApart holds an error against what it may say. sent are the secrets of the request.
func toldApart(t *testing.T, s *scripted, err error, sent ...string) {
	t.Helper()
	codes := []broker.Code{broker.IdPBadResponse, broker.IdPRefused, broker.NonceMismatch, broker.TemporarilyUnavailable}
	if !slices.Contains(codes, broker.CodeOf(err)) || len(err.Error()) > 600 {
		t.Errorf("%d %q: %v", s.Status, s.Body, err)
	}
	for _, secret := range append(sent, sentSecret) {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%d %q: the error tells %q: %v", s.Status, s.Body, secret, err)
		}
	}
}
