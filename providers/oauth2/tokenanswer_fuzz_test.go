package oauth2_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oauth2"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// Whatever the token endpoint answers to a code: the API is asked for the person with
// a token that was said, and with that alone; without one there is nobody; and an error
// tells no secret.
func FuzzTokenAnswer(f *testing.F) {
	const code, secret = "the-code-of-one-login", "the-secret-of-a-client"
	for _, body := range []string{
		`{"access_token":"A","token_type":"bearer","scope":"a,b"}`, `{"access_token":"A","access_token":"B"}`, `{"access_token":"A","ACCESS_TOKEN":"B"}`, `{"access_token":["A"]}`, `{"access_token":7}`, `{"access_token":null}`, `{"access_token":""}`, "{}",
		`{"access_token":"A","token_type":"mac"}`, `{"access_token":"A","token_type":7}`, `{"access_token":"A\r\nX: y"}`, `{"access_token":"A B"}`, `{"access_token":"\u00e4"}`, `{"access_token":"PAD"}`, `{"access_token":"A","more":"PAD"}`,
		`{"access_token":"A","expires_in":"x"}`, `{"access_token":"A","expires_in":1e400}`, `{"access_token":"A","expires_in":-99999999999}`, `{"access_token":"A","error":"bad_verification_code"}`, `{"error":"` + code + `"}`, `{"error":"` + secret + `"}`, `{"error":"PAD"}`,
		"", "null", "[]", "{", `{"access_token":"A"}{}`, strings.Repeat("[", 5000), "access_token=A&token_type=bearer", "access_token=A&access_token=B", "access_token=%zz", "access_token=A;B", "error=bad_verification_code", "access_token=A&error=x", "ACCESS_TOKEN=A",
	} {
		for media := range uint8(4) {
			f.Add(uint16(200), media, uint16(1024*(len(body)%2)+1), body)
		}
		f.Add(uint16(400+100*(len(body)%2)), uint8(0), uint16(17), body)
	}
	f.Fuzz(func(t *testing.T, status uint16, media uint8, kib uint16, body string) {
		a := providertest.FuzzedAnswer(status, media, kib, body)
		var bearers []string
		client := &http.Client{Transport: transport(func(req *http.Request) *http.Response {
			if req.Method != http.MethodPost {
				bearers = append(bearers, req.Header.Get("Authorization"))
				return said(http.StatusOK, `{"sub":"s-anna"}`)
			}
			res := said(a.Status, a.Body)
			res.Header.Set("Content-Type", a.Media)
			return res
		})}
		p := oauth2.New(oauth2.Config{
			Issuer: "https://site.test", ClientID: "latchkey", ClientSecret: secret, HTTPClient: client,
			Endpoints: oauth2.Endpoints{Token: "https://site.test/token", Userinfo: "https://site.test/me"},
		})
		c, err := p.Exchange(t.Context(), request, broker.IdPResponse{Code: code})
		if err != nil {
			codes := []broker.Code{broker.IdPBadResponse, broker.IdPRefused, broker.TemporarilyUnavailable}
			if !slices.Contains(codes, broker.CodeOf(err)) || len(err.Error()) > 600 || c.Subject != "" || len(bearers) > 0 {
				t.Errorf("%d %q: %+v, %v", a.Status, a.Body, c, err)
			}
			if broker.CodeOf(err) == broker.TemporarilyUnavailable && a.Status < 429 {
				t.Errorf("%d is an outage: %v", a.Status, err)
			}
			if strings.Contains(err.Error(), code) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), request.Verifier) {
				t.Errorf("%d %q: the error tells a secret: %v", a.Status, a.Body, err)
			}
			return
		}
		if c.Subject != "s-anna" || !a.Succeeded() || len(bearers) != 1 {
			t.Fatalf("%d %q: %+v after %q", a.Status, a.Body, c, bearers)
		}
		if !a.Gave(bearers[0]) {
			t.Errorf("%q: the person was asked for with %q", a.Body, bearers[0])
		}
	})
}
