package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/test/upgrade/stored"
)

// clientSession is a login in a browser, and of a client there.
func (s *scene) clientSession(ctx context.Context) error {
	raw, err := s.run(ctx, "", "client", "create", webClient, "--redirect-uri", webRedirect, "--first-party", "--json")
	if err != nil {
		return err
	}
	var made struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	if err := json.Unmarshal(raw, &made); err != nil {
		return err
	}
	s.d.Client = stored.Client{ID: made.ClientID, Secret: made.ClientSecret}
	return s.redeem(stored.Session{Kind: "of a client", UserAgent: "Stored/1 (of a client)"})
}

// redeem logs carl in to the client, and keeps the session. headers are more of
// them for the request for tokens.
func (s *scene) redeem(x stored.Session, headers ...string) error {
	code, err := browse(webClient, "carl", "another "+passwordOf("carl"))
	if err != nil {
		return err
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {verifier}}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(s.d.Client.ID)+":"+url.QueryEscape(s.d.Client.Secret)))
	_, raw, err := ask(http.DefaultClient, "POST", "/oauth2/token", http.StatusOK, strings.NewReader(form.Encode()),
		append(headers, "Content-Type", "application/x-www-form-urlencoded", "Authorization", basic, "User-Agent", x.UserAgent)...)
	if err != nil {
		return err
	}
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	x.User, x.ClientID, x.ID, x.Access, x.Refresh = "carl", webClient, sessionOf(answer.Refresh), answer.Access, answer.Refresh
	s.d.Sessions = append(s.d.Sessions, x)
	return nil
}

// browse logs in to a client, in a browser with its cookies, and gives the code.
func browse(client, user, password string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: noRedirects.CheckRedirect}
	query := url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {webRedirect}, "scope": {"openid profile offline_access"},
		"state": {"state"}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"}}
	at, form := publicURL+"/oauth2/authorize?"+query.Encode(), url.Values(nil)
	for range 8 {
		method, headers := "GET", []string{}
		if form != nil {
			method, headers = "POST", []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", publicURL, "Sec-Fetch-Site", "same-origin"}
		}
		res, raw, err := visit(browser, method, at, form, headers)
		if err != nil {
			return "", err
		}
		if to, err := res.Location(); err == nil {
			if strings.HasPrefix(to.String(), webRedirect) {
				return to.Query().Get("code"), nil
			}
			at, form = to.String(), nil
			continue
		}
		if form != nil {
			return "", fmt.Errorf("the login answers %d: %s", res.StatusCode, raw)
		}
		form = url.Values{"username": {user}, "password": {password}}
		if _, rest, found := strings.Cut(string(raw), `name="next" value="`); found {
			value, _, _ := strings.Cut(rest, `"`)
			form.Set("next", strings.ReplaceAll(value, "&amp;", "&"))
		}
		at = publicURL + "/login/password"
	}
	return "", fmt.Errorf("the browser goes round in circles")
}

func visit(browser *http.Client, method, at string, form url.Values, headers []string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, at, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := browser.Do(req)
	if err != nil {
		return nil, nil, err
	}
	return drained(res)
}

// boundSession is one of the client that is bound to a key (DPoP, RFC 9449).
func (s *scene) boundSession(context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	print, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	proof, err := prove(key, "")
	if err != nil {
		return err
	}
	// The first proof lacks the nonce, which the refusal tells.
	res, _, err := ask(http.DefaultClient, "POST", "/oauth2/token", http.StatusBadRequest,
		strings.NewReader(url.Values{"grant_type": {"authorization_code"}, "client_id": {webClient}}.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "DPoP", proof, "Authorization",
		"Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(s.d.Client.ID)+":"+url.QueryEscape(s.d.Client.Secret))))
	if err != nil {
		return err
	}
	if proof, err = prove(key, res.Header.Get("DPoP-Nonce")); err != nil {
		return err
	}
	return s.redeem(stored.Session{Kind: "bound to a key", UserAgent: "Stored/1 (bound)", ProvenKey: base64.RawURLEncoding.EncodeToString(print)}, "DPoP", proof)
}

func prove(key *ecdsa.PrivateKey, nonce string) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return "", err
	}
	claims := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": publicURL + "/oauth2/token", "iat": time.Now().Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	raw, _ := json.Marshal(claims) // of strings and a number
	signed, err := signer.Sign(raw)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
