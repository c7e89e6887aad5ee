package main

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// scripted is a set-up whose provider lies or fails.
func scripted(s providertest.Script) func(*world) {
	return func(w *world) { w.idp("").Script(func(script *providertest.Script) { *script = s }) }
}

// described is a set-up whose provider says something else of itself.
func described(edit func(m map[string]any)) func(*world) {
	return scripted(providertest.Script{EditDiscovery: edit})
}

func answers(endpoint string, r providertest.Responder) func(*world) {
	return scripted(providertest.Script{Respond: map[string]providertest.Responder{endpoint: r}})
}

var brokenProviders = []setup{
	{id: "provider_no_host", make: func(w *world) { w.provider("https://idp.invalid", "") }},
	{id: "provider_refuses_connection", make: func(w *world) { w.idp("").SetDown(true) }},
	{id: "provider_silent", make: func(w *world) {
		answers(providertest.EndpointDiscovery, providertest.Stall)(w)
		w.change = func(d *doctor) { d.limit = time.Second }
	}},
	{id: "provider_certificate", make: func(w *world) {
		address := freeAddress(w.t)
		cert, key := w.certificate("localhost", time.Now().Add(-time.Hour))
		w.siteTLS(address, cert, key)
		w.provider("https://"+address, "")
	}},
	{id: "provider_private", make: func(w *world) {
		w.stored(broker.ProviderSettings{ID: "added", Name: "Added", Issuer: "https://127.0.0.1:1", ClientID: "x", AllowPrivate: true})
		w.sql(`UPDATE providers SET document = replace(document, '"allow_private":true', '"allow_private":false')`)
	}},
	{id: "provider_unusable", make: func(w *world) {
		w.stored(broker.ProviderSettings{ID: "added", Name: "Added", Issuer: "https://127.0.0.1:1", ClientID: "x", AllowPrivate: true})
		w.sql(`UPDATE providers SET secret = 'of another root secret'`)
	}},
	{id: "provider_unreachable", make: func(w *world) {
		address := freeAddress(w.t)
		w.site(address, cut)
		w.provider("http://"+address, "")
	}},
	{id: "provider_answer", make: answers(providertest.EndpointDiscovery, providertest.Body(404, "text/html", "no"))},
	{id: "provider_answer", make: answers(providertest.EndpointDiscovery, providertest.Body(200, "text/html", "<h1>Welcome</h1>"))},
	{id: "provider_answer", make: answers(providertest.EndpointDiscovery, providertest.Flood(20<<20))},
	{id: "provider_leads_on", make: answers(providertest.EndpointDiscovery, providertest.RedirectTo(302, "https://login.example.org/"))},
	{id: "provider_lacks", make: described(func(m map[string]any) { delete(m, "token_endpoint") })},
	{id: "issuer_mismatch", make: described(func(m map[string]any) { m["issuer"] = m["issuer"].(string) + "/" })},
	{id: "issuer_mismatch", make: described(func(m map[string]any) { m["issuer"] = "https://login.example.org" })},
	{id: "provider_no_code_flow", make: described(func(m map[string]any) { m["response_types_supported"] = []string{"id_token"} })},
	{id: "provider_no_pkce", make: described(func(m map[string]any) { m["code_challenge_methods_supported"] = []string{"plain"} })},
	{id: "provider_other_auth", make: func(w *world) {
		w.idp(", token_endpoint_auth: client_secret_post").Script(func(s *providertest.Script) {
			s.EditDiscovery = func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"} }
		})
	}},
	{id: "provider_scopes", make: func(w *world) { w.idp(", scopes: [openid, profile, email, groups]") }},
	{id: "provider_no_refresh", make: func(w *world) {
		w.idp(", recheck: 1h").Script(func(s *providertest.Script) {
			s.EditDiscovery = func(m map[string]any) { m["grant_types_supported"] = []string{"authorization_code"} }
		})
	}},
	{id: "provider_claims", make: func(w *world) {
		w.idp(", allowed_groups: [family], claims: {groups: realm_access.roles}").Script(func(s *providertest.Script) {
			s.EditDiscovery = func(m map[string]any) { m["claims_supported"] = []string{"sub", "email"} }
		})
	}},
	{id: "provider_no_keys", make: scripted(providertest.Script{EditJWKS: func(set map[string]any) { set["keys"] = []any{} }})},
	{id: "provider_algorithms", make: described(func(m map[string]any) { m["id_token_signing_alg_values_supported"] = []string{"HS256"} })},
	{id: "provider_clock", make: func(w *world) {
		p, err := providertest.New(providertest.Config{Issuer: "http://" + w.listen, Now: func() time.Time { return time.Now().Add(-5 * time.Minute) }})
		w.must(err)
		address := w.listen
		w.listen = freeAddress(w.t)
		w.set("LATCHKEY_LISTEN", w.listen)
		w.set("LATCHKEY_PUBLIC_URL", "http://"+w.listen)
		p.SetClient(providertest.Client{ID: "latchkey", Secret: "s3cret of the IdP", RedirectURIs: []string{"http://" + w.listen + "/auth/home/callback"}})
		w.site(address, p)
		w.provider("http://"+address, "")
	}},
	{id: "redirect_uri_unregistered", make: func(w *world) {
		w.idp("").SetClient(providertest.Client{ID: "latchkey", Secret: "s3cret of the IdP", RedirectURIs: []string{w.env["LATCHKEY_PUBLIC_URL"] + "/auth/home/callback/"}})
	}},
	{id: "redirect_uri_unknown", make: answers(providertest.EndpointAuthorize, providertest.Body(200, "text/html", "log in first"))},
	{id: "provider_refuses_request", make: answers(providertest.EndpointAuthorize, func(rw http.ResponseWriter, r *http.Request) bool {
		return providertest.RedirectTo(302, r.URL.Query().Get("redirect_uri")+"?error=unauthorized_client&state="+url.QueryEscape(r.URL.Query().Get("state")))(rw, r)
	})},
	{id: "client_secret_refused", make: func(w *world) { w.idp(", client_secret: of another client") }},
	{id: "client_secret_unknown", make: answers(providertest.EndpointToken, providertest.Body(500, "text/plain", "oops"))},
	{id: "provider_no_grant", make: answers(providertest.EndpointToken, providertest.Body(400, "application/json", `{"error":"unauthorized_client"}`))},
}

// stored adds a provider while running, as an administrator does.
func (w *world) stored(s broker.ProviderSettings) {
	w.t.Helper()
	w.write("latchkey.yaml", w.yaml, 0o600)
	w.must(w.program(&strings.Builder{}).withBroker(w.t.Context(), func(b *broker.Broker) error {
		_, err := b.CreateProvider(w.t.Context(), s, "s3cret of the IdP")
		return err
	}))
}

// siteTLS serves nothing by TLS.
func (w *world) siteTLS(address, cert, key string) {
	w.t.Helper()
	s := &http.Server{Addr: address, Handler: notFound, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.ListenAndServeTLS(cert, key) }()
	w.t.Cleanup(func() { _ = s.Close() })
	waitFor(w.t, address, &strings.Builder{})
}
