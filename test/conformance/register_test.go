package conformance

import (
	"maps"
	"net/http"
	"strings"
)

// registration is a client that asks to be registered (RFC 7591), as the suite
// does. differ are members that differ.
func (m *run) registration(differ map[string]any) answer {
	m.Helper()
	endpoint := m.meta.text("registration_endpoint")
	if endpoint == "" {
		m.Fatal("discovery: no registration_endpoint")
	}
	body := map[string]any{
		"client_name": "A client that registers itself " + random(8), "grant_types": []string{"authorization_code"},
		"response_types": []string{"code"}, "redirect_uris": []string{callback("registered")}, "contacts": []string{"certification@suite.test"},
		"token_endpoint_auth_method": "client_secret_basic", "jwks": map[string]any{"keys": []any{publicJWK(newKey())}},
	}
	maps.Copy(body, differ)
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(asJSON(body)))
	if err != nil {
		m.Fatal(err)
	}
	req.Header = bearer(registrationToken)
	req.Header.Set("Content-Type", "application/json")
	return m.send(req)
}

// register registers a client and reads the answer (RFC 7591 section 3.2.1).
func (m *run) register(differ map[string]any) client {
	m.Helper()
	a := m.registration(differ)
	if a.status != http.StatusCreated || a.text("client_id") == "" || a.text("client_secret") == "" {
		m.Fatalf("the registration is answered with %d %s", a.status, a.raw)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		m.Errorf("Cache-Control: %s", a.header.Get("Cache-Control"))
	}
	if expires, ok := a.body["client_secret_expires_at"].(float64); !ok || expires != 0 {
		m.Errorf("client_secret_expires_at is %v", a.body["client_secret_expires_at"])
	}
	uris, _ := a.body["redirect_uris"].([]any)
	if len(uris) == 0 {
		m.Fatalf("redirect_uris are %v", a.body["redirect_uris"])
	}
	redirect, _ := uris[0].(string)
	return client{id: a.text("client_id"), secret: a.text("client_secret"), method: "client_secret_basic", redirect: redirect}
}
