package providertest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

func (p *IdP) discovery(w http.ResponseWriter, _ *http.Request, s Script) {
	algs := []string{AlgRS256} // which every provider must know
	if s.SignAlg == AlgES256 {
		algs = append(algs, AlgES256)
	}
	metadata := map[string]any{
		"issuer":                                           p.issuer,
		"authorization_endpoint":                           p.url(pathAuthorize),
		"token_endpoint":                                   p.url(pathToken),
		"userinfo_endpoint":                                p.url(pathUserinfo),
		"jwks_uri":                                         p.url(pathJWKS),
		"end_session_endpoint":                             p.url(pathEndSession),
		"response_types_supported":                         []string{"code"},
		"response_modes_supported":                         []string{"query"},
		"introspection_endpoint":                           p.url(pathIntrospect),
		"grant_types_supported":                            []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                          []string{"public"},
		"id_token_signing_alg_values_supported":            algs,
		"code_challenge_methods_supported":                 []string{"S256"},
		"token_endpoint_auth_methods_supported":            []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"},
		"token_endpoint_auth_signing_alg_values_supported": assertionAlgs,
		"authorization_response_iss_parameter_supported":   true,
		"request_uri_parameter_supported":                  false,
		"scopes_supported":                                 []string{"openid", "profile", "email", "offline_access"},
		"claims_supported": []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "amr", "sid",
			"name", "preferred_username", "email", "email_verified", "groups"},
	}
	edit(s.EditDiscovery, metadata)
	writeJSON(w, http.StatusOK, metadata)
}

func (p *IdP) jwks(w http.ResponseWriter, _ *http.Request, s Script) {
	p.mu.Lock()
	keys := p.keys
	p.mu.Unlock()

	set := []any{keys.published(AlgRS256)}
	if s.SignAlg == AlgES256 {
		set = append(set, keys.published(AlgES256))
	}
	if s.KeepOldKeys {
		for _, old := range keys.retired {
			set = append(set, old)
		}
	}
	jwks := map[string]any{"keys": append(set, s.ExtraJWKS...)}
	edit(s.EditJWKS, jwks)
	writeJSON(w, http.StatusOK, jwks)
}

// endSession has no session to end: every login asks anew. It returns the
// browser to where the client wants it.
func (p *IdP) endSession(w http.ResponseWriter, r *http.Request, _ Script) {
	if err := r.ParseForm(); err != nil {
		showProblem(w, http.StatusBadRequest, "The request cannot be read.")
		return
	}
	returnTo := r.Form.Get("post_logout_redirect_uri")
	if returnTo == "" {
		showProblem(w, http.StatusOK, "You are logged out.")
		return
	}
	target, err := url.Parse(returnTo)
	if err != nil || target.User != nil || !p.isClientOrigin(target) {
		showProblem(w, http.StatusBadRequest, "You are logged out. The site that sent you asked to return to a place that is not its own.")
		return
	}
	if state := r.Form.Get("state"); state != "" {
		addQuery(target, url.Values{"state": {state}})
	}
	w.Header().Set("Location", target.String())
	w.WriteHeader(http.StatusSeeOther)
}

// isClientOrigin says whether a client is at home on the site of target.
func (p *IdP) isClientOrigin(target *url.URL) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.clients, func(c Client) bool {
		return slices.ContainsFunc(c.RedirectURIs, func(uri string) bool {
			u, err := url.Parse(uri)
			return err == nil && u.Scheme == target.Scheme && u.Host == target.Host
		})
	})
}

func addQuery(u *url.URL, params url.Values) {
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += params.Encode()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // a script's edit
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
