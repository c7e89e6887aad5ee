package providertest

import (
	"crypto/rand"
	"maps"
	"net/http"
)

// newRefreshToken is one that lives until it is revoked.
func (p *IdP) newRefreshToken(g grant) string {
	token := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh[token] = g
	return token
}

// useRefreshToken finds the grant of a refresh token (RFC 6749 section 6). What
// comes of it has no nonce, and no new refresh token unless tokens rotate.
func (p *IdP) useRefreshToken(client Client, token string, s Script) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.refresh[token]
	if !ok || g.clientID != client.ID {
		return grant{}, false
	}
	if s.RotateRefreshTokens {
		delete(p.refresh, token)
	}
	g.nonce, g.offline = "", s.RotateRefreshTokens
	return g, true
}

// Revoke ends all that somebody was given refresh tokens for.
func (p *IdP) Revoke(subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.refresh, func(_ string, g grant) bool { return g.user.Subject == subject })
}

// RefreshTokens are those that would be taken, for a search for them elsewhere.
func (p *IdP) RefreshTokens() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for token := range p.refresh {
		out = append(out, token)
	}
	return out
}

// introspect is about refresh tokens alone (RFC 7662).
func (p *IdP) introspect(w http.ResponseWriter, r *http.Request, _ Script) {
	if err := r.ParseForm(); err != nil {
		tokenError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	client, authenticated := p.authenticate(r)
	if !authenticated {
		tokenError(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	p.mu.Lock()
	g, ok := p.refresh[r.PostForm.Get("token")]
	p.mu.Unlock()
	if !ok || g.clientID != client.ID {
		writeJSON(w, http.StatusOK, map[string]any{"active": false})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"active": true, "client_id": client.ID, "sub": g.user.Subject, "scope": g.scope})
}
