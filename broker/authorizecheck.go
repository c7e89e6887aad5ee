package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Response modes that are offered (OAuth 2.0 Form Post Response Mode). Empty is
// query.
const (
	responseQuery    = "query"
	responseFormPost = "form_post"
)

// Bounds of an authorization request, in bytes.
const (
	maxRequestParam = 8192 // state and nonce too: they come back byte for byte
	maxClaims       = 8192
	maxClaimNames   = 30
	maxHint         = 256
)

// authorizationAsked is an authorization request that was understood.
type authorizationAsked struct {
	client       *Client
	request      AuthorizationRequest
	scope        string // what of it is granted
	prompt       []string
	maxAge       *int64
	hintSubject  string
	badHint      bool
	essentialACR []string
	extra        SessionRequest
	waited       bool // it waited for the person, so that SeenSession means something
	taken        bool // it was kept under a request_uri, which is used up
	chosen       bool // the person chose to go on with the account
}

// checkAuthorization judges everything but where the answer goes.
func (b *Broker) checkAuthorization(c *Client, r AuthorizationRequest) (authorizationAsked, error) {
	asked := authorizationAsked{client: c, request: r}
	for _, check := range []func(*authorizationAsked) error{
		b.checkResponse, checkPKCE, b.checkPrompt, b.checkScope, checkClaimsParameter,
	} {
		if err := check(&asked); err != nil {
			return asked, err
		}
	}
	return asked, nil
}

func invalidRequest(message string) *Error { return refuse(InvalidRequest, message) }

func (b *Broker) checkResponse(a *authorizationAsked) error {
	r := &a.request
	mode := r.ResponseMode
	if mode != "" && mode != responseQuery && mode != responseFormPost {
		r.ResponseMode = ""
		return invalidRequest("response_mode is query or form_post")
	}
	switch {
	case r.Request != "":
		return refuse(RequestNotSupported, "request objects are not supported; push the request instead (RFC 9126)")
	case r.RequestURI != "":
		return refuse(RequestURINotSupported, "only a request_uri of our own is supported (RFC 9126)")
	case r.ResponseType == "":
		return invalidRequest("response_type is missing")
	case r.ResponseType != "code":
		return refuse(UnsupportedResponseType, "only the response_type code is supported")
	case !a.client.MayUse(GrantAuthorizationCode):
		return refuse(UnauthorizedClient, "this client is not registered for authorization_code")
	case len(r.State) > maxRequestParam || len(r.Nonce) > maxRequestParam || len(r.LoginHint) > maxRequestParam:
		return invalidRequest("state, nonce and login_hint have at most 8192 bytes")
	}
	return nil
}

// checkPKCE asks S256 of public clients and refuses plain for all (RFC 9700
// section 2.1.1).
func checkPKCE(a *authorizationAsked) error {
	r := a.request
	switch {
	case r.CodeChallenge == "" && r.CodeChallengeMethod != "":
		return invalidRequest("code_challenge_method without code_challenge")
	case r.CodeChallenge == "" && a.client.Public():
		return invalidRequest("code_challenge is required (PKCE, RFC 7636)")
	case r.CodeChallenge != "" && r.CodeChallengeMethod != "S256":
		return invalidRequest("code_challenge_method must be S256")
	case r.CodeChallenge != "" && (len(r.CodeChallenge) != 43 || strings.ContainsFunc(r.CodeChallenge, notBase64URL)):
		return invalidRequest("code_challenge has 43 base64url characters")
	case r.DPoPThumbprint != "" && (len(r.DPoPThumbprint) != 43 || strings.ContainsFunc(r.DPoPThumbprint, notBase64URL)):
		return invalidRequest("dpop_jkt has 43 base64url characters")
	}
	return nil
}

func (b *Broker) checkPrompt(a *authorizationAsked) error {
	a.prompt = strings.Fields(a.request.Prompt)
	for _, prompt := range a.prompt {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, prompt) {
			return invalidRequest("prompt is none, login, consent or select_account")
		}
	}
	if slices.Contains(a.prompt, "none") && len(a.prompt) > 1 {
		return invalidRequest("prompt=none stands alone")
	}
	if text := a.request.MaxAge; text != "" {
		age, err := strconv.ParseInt(text, 10, 64)
		if err != nil || age < 0 || text[0] == '+' || text[0] == '-' {
			return invalidRequest("max_age is a number of seconds")
		}
		a.maxAge = &age
		if age == 0 && !slices.Contains(a.prompt, "none") { // OpenID Connect Core section 3.1.2.1: as prompt=login
			a.prompt = append(a.prompt, "login")
		}
	}
	if hint := a.request.IDTokenHint; hint != "" {
		claims, err := b.keys.Load().ParseIDToken(hint, b.cfg.PublicURL)
		a.request.HintSubject, a.badHint = claims.Subject, err != nil
		// The request may be kept: no token with it, only whom it names.
		if a.request.IDTokenHint = ""; a.badHint {
			a.request.IDTokenHint = "bad"
		}
	}
	a.hintSubject = a.request.HintSubject
	return nil
}

func (b *Broker) checkScope(a *authorizationAsked) error {
	if len(a.request.Scope) > maxScopeBytes || strings.ContainsFunc(a.request.Scope, func(r rune) bool { return r != ' ' && notVisibleASCII(r) }) {
		return refuse(InvalidScope, "scope has at most 1024 printable ASCII characters")
	}
	a.scope = a.client.grantScope(a.request.Scope)
	a.extra.Resource = a.request.Resource
	return b.checkResource(a.client, a.request.Resource)
}

// checkResource lets a client ask only for the audiences that it is registered
// for (RFC 8707 section 2).
func (b *Broker) checkResource(c *Client, resource string) error {
	if resource == "" || resource == b.cfg.PublicURL || slices.Contains(c.Resources, resource) {
		return nil
	}
	return refuse(InvalidTarget, "this client is not registered for that resource")
}

type claimRequest struct {
	Essential bool     `json:"essential"`
	Value     string   `json:"value"`
	Values    []string `json:"values"`
}

// checkClaimsParameter reads the claims parameter (OIDC Core section 5.5). What
// it asks for is voluntary, but for an essential acr.
func checkClaimsParameter(a *authorizationAsked) error {
	if a.request.Claims == "" {
		return nil
	}
	var asked struct {
		Userinfo map[string]json.RawMessage `json:"userinfo"`
		IDToken  map[string]json.RawMessage `json:"id_token"`
	}
	if len(a.request.Claims) > maxClaims || json.Unmarshal([]byte(a.request.Claims), &asked) != nil {
		return invalidRequest("claims is not a JSON object as in OpenID Connect Core section 5.5")
	}
	if raw, ok := asked.IDToken["acr"]; ok {
		var acr claimRequest
		if err := json.Unmarshal(raw, &acr); err != nil && string(raw) != "null" {
			return invalidRequest("claims: acr is not usable")
		}
		if acr.Value != "" {
			acr.Values = append(acr.Values, acr.Value)
		}
		if acr.Essential {
			a.essentialACR = acr.Values
		}
	}
	if raw, ok := asked.IDToken["sub"]; ok {
		var subject claimRequest
		if json.Unmarshal(raw, &subject) == nil && subject.Value != "" && a.hintSubject == "" {
			a.hintSubject = subject.Value
		}
	}
	a.extra.UserinfoClaims, a.extra.IDTokenClaims = claimNames(asked.Userinfo), claimNames(asked.IDToken)
	return nil
}

// claimNames keeps the names of the claims that we know, sorted.
func claimNames(asked map[string]json.RawMessage) (names []string) {
	for name := range asked {
		if slices.Contains(userClaimNames, name) && len(names) < maxClaimNames {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// takePushed replaces a request_uri of ours by what was pushed under it, once
// (RFC 9126 section 4), or kept under it for this very browser. Everything else
// in the request is then ignored.
func (b *Broker) takePushed(ctx context.Context, c *Client, r AuthorizationRequest) (AuthorizationRequest, error) {
	name, ours := strings.CutPrefix(r.RequestURI, requestURIPrefix)
	if !ours {
		if c.RequirePAR {
			return r, refuse(InvalidRequest, "this client has to push its requests (RFC 9126)")
		}
		return r, nil
	}
	var p PendingAuthorization
	browser := ""
	if r.Browser != "" {
		browser = hash("browser", r.Browser)
	}
	err := b.retry(ctx, func() (err error) {
		p, err = b.cfg.Store.TakePending(ctx, hash("pushed", name), browser, c.ID, b.now())
		return err
	})
	if errors.Is(err, NotFound) {
		return r, refuse(InvalidRequestURI, "this request_uri is not known, was used, or is older than 90 seconds; begin again in the app")
	}
	p.Request.Device, p.Request.begun = r.Device, r.Browser != ""
	return p.Request, err
}

const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// Pushed is the answer to a pushed authorization request.
type Pushed struct {
	RequestURI string
	ExpiresIn  int64 // seconds
}

// PushAuthorization keeps an authorization request for its client (RFC 9126).
// It is checked as it would be at the authorization endpoint.
func (b *Broker) PushAuthorization(ctx context.Context, c Client, r AuthorizationRequest) (Pushed, error) {
	switch {
	case r.RequestURI != "":
		return Pushed{}, invalidRequest("request_uri cannot be pushed")
	case r.ClientID != "" && r.ClientID != c.ID:
		return Pushed{}, invalidRequest("client_id is another client's")
	case !c.RedirectAllowed(r.RedirectURI):
		return Pushed{}, refuse(InvalidRedirectURI, "the redirect_uri is not registered")
	}
	r.ClientID = c.ID
	asked, err := b.checkAuthorization(&c, r)
	if err != nil {
		return Pushed{}, err
	}
	if err := b.begins(ctx, r.Device, asked.request); err != nil {
		return Pushed{}, err
	}
	name, now := b.newSecret(32), b.now()
	err = b.retry(ctx, func() error {
		return b.cfg.Store.InsertPending(ctx, PendingAuthorization{
			ID: hash("pushed", name), ClientID: c.ID, Request: asked.request, CreatedAt: now, ExpiresAt: now.Add(pushedLife),
		})
	})
	return Pushed{RequestURI: requestURIPrefix + name, ExpiresIn: int64(pushedLife.Seconds())}, err
}

// waiting describes the request to the pages.
func (a *authorizationAsked) waiting() *Waiting {
	w := &Waiting{
		Client: *a.client, Scope: a.scope, RedirectURI: a.request.RedirectURI, IdPHint: a.request.IdPHint, MaxAge: a.maxAge,
		UILocales: a.request.UILocales, LoginHint: cleanText(a.request.LoginHint, maxHint),
	}
	for _, prompt := range []string{"login", "select_account"} {
		if slices.Contains(a.prompt, prompt) {
			w.Prompt = prompt
			break
		}
	}
	return w
}

// authorization is what the person's yes gives.
func (a *authorizationAsked) authorization(who *Principal) Authorization {
	out := who.authorization()
	out.Scope, out.Request, out.Nonce = a.scope, a.extra, a.request.Nonce
	out.FollowsParent, out.DPoPThumbprint = !a.client.Native(), a.request.DPoPThumbprint
	return out
}
