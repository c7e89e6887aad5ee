package providertest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

func (p *IdP) token(w http.ResponseWriter, r *http.Request, s Script) {
	if err := r.ParseForm(); err != nil {
		tokenError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	client, authenticated := p.authenticate(r)
	if !authenticated {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		tokenError(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	var g grant
	var ok bool
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		g, ok = p.redeem(client, r.PostForm, s)
	case "refresh_token":
		g, ok = p.useRefreshToken(client, r.PostForm.Get("refresh_token"), s)
	default:
		tokenError(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	if !ok {
		tokenError(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	answer, err := p.issue(client, g, s)
	if err != nil { // a script's edit
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func tokenError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}

// authenticate finds the client by HTTP Basic or by the form, not by both.
func (p *IdP) authenticate(r *http.Request) (Client, bool) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, pass, basic := r.BasicAuth(); basic {
		basicID, err1 := url.QueryUnescape(user)
		basicSecret, err2 := url.QueryUnescape(pass)
		if err1 != nil || err2 != nil || secret != "" || id != "" && id != basicID {
			return Client{}, false
		}
		id, secret = basicID, basicSecret
	}
	client, known := p.client(id)
	if !known {
		return Client{}, false
	}
	switch client.TokenAuth {
	case "none":
		return client, secret == ""
	case "private_key_jwt":
		return client, secret == "" && p.proves(client, r.PostForm)
	}
	same := subtle.ConstantTimeCompare([]byte(secret), []byte(client.Secret)) == 1
	return client, same && secret != ""
}

// redeem takes a code. Whoever presents one spends it, rightly or not.
func (p *IdP) redeem(client Client, form url.Values, s Script) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	code := form.Get("code")
	g, found := p.codes[code]
	delete(p.codes, code)
	ok := found && p.now().Before(g.expires) &&
		g.clientID == client.ID &&
		g.redirectURI == form.Get("redirect_uri") &&
		(s.IgnorePKCE || verifies(g.challenge, form.Get("code_verifier")))
	return g, ok
}

func verifies(challenge, verifier string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return len(verifier) >= 43 && len(verifier) <= 128 &&
		challenge == base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p *IdP) issue(client Client, g grant, s Script) (map[string]any, error) {
	now := p.now()
	access := rand.Text()
	answer := map[string]any{
		"access_token": access,
		"token_type":   "Bearer",
		"expires_in":   int(tokenLife.Seconds()),
		"scope":        g.scope,
	}
	if !s.OmitIDToken {
		idToken, err := p.idToken(client, g, s, access)
		if err != nil {
			return nil, err
		}
		answer["id_token"] = idToken
	}
	if g.offline {
		answer["refresh_token"] = p.newRefreshToken(g)
	}
	g.expires = now.Add(tokenLife)
	p.mu.Lock()
	store(p.tokens, now, access, g)
	p.mu.Unlock()
	edit(s.EditTokenAnswer, answer)
	return answer, nil
}

func (p *IdP) idToken(client Client, g grant, s Script, access string) (string, error) {
	now := p.now()
	hash := sha256.Sum256([]byte(access))
	claims := g.user.claims(g.scope)
	claims["iss"] = p.issuer
	claims["aud"] = client.ID
	claims["iat"] = now.Unix()
	claims["exp"] = now.Add(tokenLife).Unix()
	claims["auth_time"] = g.authTime.Unix()
	claims["amr"] = []string{"pwd"}
	claims["sid"] = g.sid
	claims["at_hash"] = base64.RawURLEncoding.EncodeToString(hash[:16])
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	edit(s.EditIDToken, claims)
	return p.sign(s, client, claims)
}

func (p *IdP) userinfo(w http.ResponseWriter, r *http.Request, s Script) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	p.mu.Lock()
	g, found := p.tokens[token]
	p.mu.Unlock()
	if !strings.EqualFold(scheme, "Bearer") || !found || !p.now().Before(g.expires) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		tokenError(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	claims := g.user.claims(g.scope)
	edit(s.EditUserinfo, claims)
	writeJSON(w, http.StatusOK, claims)
}
