package oidc

import (
	"crypto/rsa"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// Whatever an IdP publishes of itself: it is of the issuer that was asked, and nothing is sent
// anywhere but to hosts that it names, over TLS where the issuer has it.
func FuzzMetadata(f *testing.F) {
	const issuer = "https://idp.test"
	with := func(more string) string {
		return `{"issuer":"` + issuer + `","authorization_endpoint":"https://idp.test/a","token_endpoint":"https://idp.test/t","jwks_uri":"https://idp.test/k"` + more + `}`
	}
	for _, seed := range []string{
		with(""), "", "null", "[]", "{}", `{"issuer":"https://idp.test/"}`, with(`,"issuer":"https://evil.test"`), with(`,"ISSUER":"https://evil.test"`), with(`,"token_endpoint":"http://idp.test/t"`),
		with(`,"token_endpoint":"https://u:p@idp.test/t"`), with(`,"token_endpoint":null`), with(`,"token_endpoint":7`), with(`,"userinfo_endpoint":"file:///etc/passwd"`), with(`,"end_session_endpoint":"//idp.test"`),
		with(`,"introspection_endpoint":"https:///x"`), with(`,"id_token_signing_alg_values_supported":["none",null]`), with(`,"scopes_supported":{}`), strings.Repeat("[", 5000), with(`,"jwks_uri":"HTTPS://idp.test/\u0000"`), with("") + "x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMetadata(issuer, raw)
		if err != nil {
			if m != nil || len(err.Error()) > 200 {
				t.Errorf("%q is refused as %+v, %v", raw, m, err)
			}
			return
		}
		if m.Issuer != issuer {
			t.Errorf("%q is of %q", raw, m.Issuer)
		}
		for i, endpoint := range []string{m.AuthorizationEndpoint, m.TokenEndpoint, m.JWKSURI, m.UserinfoEndpoint, m.EndSessionEndpoint, m.IntrospectionEndpoint} {
			if endpoint == "" && i > 2 {
				continue // optional
			}
			if u, err := url.Parse(endpoint); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || !strings.EqualFold(endpoint[:min(8, len(endpoint))], "https://") {
				t.Errorf("%q has the endpoint %q", raw, endpoint)
			}
		}
		kept, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseMetadata(issuer, kept); err != nil || again.TokenEndpoint != m.TokenEndpoint || again.IssParameter != m.IssParameter {
			t.Errorf("%q is kept as %s, which is %+v, %v", raw, kept, again, err)
		}
	})
}

// Whatever an IdP publishes as its keys: what is kept are public keys that can verify, none that
// is for something else, and the same when they are read again.
func FuzzKeys(f *testing.F) {
	const ec = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	for _, one := range []string{
		ec + `}`, ec + `,"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`, ec + `,"use":"enc"}`, ec + `,"use":"sig","alg":"none","kid":"k"}`, `{"kty":"oct","k":"AAAA"}`, `{"kty":"RSA","n":"AQAB","e":"AQAB"}`,
		`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, `{"kty":"OKP","crv":"Ed25519","x":""}`, ec + `,"x5c":["AAAA"]}`, ec + `,"x5u":"https://evil.test"}`, "null", "7", `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`,
	} {
		f.Add([]byte(`{"keys":[` + one + `]}`))
		f.Add([]byte(`{"keys":[` + one + `,` + ec + `,"kid":"b"}]}`))
	}
	for _, seed := range []string{"", "null", "[]", `{"keys":null}`, `{"keys":{}}`, `{"KEYS":[]}`, strings.Repeat(`{"keys":[`, 2000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := parseKeys(raw)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%q: %d keys, %v", raw, len(keys), err)
		}
		if err != nil {
			return
		}
		for _, k := range keys {
			if n, rsa := k.Key.(*rsa.PublicKey); !k.IsPublic() || !k.Valid() || k.Use == "enc" || rsa && n.Size() < 256 {
				t.Errorf("%q: %+v is kept", raw, k)
			}
		}
		text, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseKeys(text)
		if err != nil || len(again) != len(keys) {
			t.Fatalf("%q is kept as %s: %v", raw, text, err)
		}
		for i := range keys {
			if !reflect.DeepEqual(keys[i].Key, again[i].Key) || keys[i].KeyID != again[i].KeyID {
				t.Errorf("%q: %+v, and again %+v", raw, keys[i], again[i])
			}
		}
	})
}
