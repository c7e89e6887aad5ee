package web

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the front of the OpenID provider: what browsers see of it.

const pendingLife = 15 * time.Minute

// authorizationRequest reads an authorization request; each parameter at most
// once (RFC 6749 section 3.1).
func authorizationRequest(values url.Values) (r broker.AuthorizationRequest, err error) {
	for name, field := range map[string]*string{
		"client_id": &r.ClientID, "response_type": &r.ResponseType, "response_mode": &r.ResponseMode, "redirect_uri": &r.RedirectURI,
		"scope": &r.Scope, "state": &r.State, "nonce": &r.Nonce, "prompt": &r.Prompt, "max_age": &r.MaxAge, "login_hint": &r.LoginHint,
		"id_token_hint": &r.IDTokenHint, "acr_values": &r.ACRValues, "ui_locales": &r.UILocales, "claims": &r.Claims,
		"code_challenge": &r.CodeChallenge, "code_challenge_method": &r.CodeChallengeMethod, "dpop_jkt": &r.DPoPThumbprint,
		"resource": &r.Resource, "idp_hint": &r.IdPHint, "request_uri": &r.RequestURI, "request": &r.Request,
	} {
		if *field, err = once(values, name); err != nil {
			return r, err
		}
	}
	return r, nil
}

// once reads a parameter that must not be repeated.
func once(values url.Values, name string) (string, error) {
	got := values[name]
	switch {
	case len(got) > 1:
		return "", badRequest("the parameter " + name + " is repeated")
	case len(got) == 0:
		return "", nil
	case !utf8.ValidString(got[0]) || strings.ContainsRune(got[0], 0) || len(got[0]) > maxParameter:
		return "", badRequest("the parameter " + name + " is not valid text, or too long")
	}
	return got[0], nil
}

// authorizePage is GET /oauth2/authorize.
func (s *Server) authorizePage(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	r, err := authorizationRequest(c.Request.URL.Query())
	if err != nil {
		return err
	}
	who, err := s.whoIsThere(c)
	if err != nil {
		return err
	}
	r.Device, r.Browser = device(c), s.keptSecret(c, r.RequestURI)
	step, err := s.broker.Authorize(c.Request.Context(), r, who)
	if err != nil {
		return s.refusedAuthorization(c, r, err)
	}
	if r.Browser != "" {
		s.clearKept(c, r.RequestURI)
	}
	return s.carryOut(c, step)
}

func (s *Server) refusedAuthorization(c *gin.Context, r broker.AuthorizationRequest, err error) error {
	if code := broker.CodeOf(err); code == broker.InvalidRedirectURI || code == broker.ClientUnknown {
		s.cfg.Log.WarnContext(c.Request.Context(), "an app that is not set up correctly; add it, or the redirect_uri, to the clients if it is meant to be used",
			"event", "authorization.refused", "code", string(code), "client_id", bounded(r.ClientID), "redirect_uri", bounded(r.RedirectURI))
	}
	return err
}

// authorizeForm is POST /oauth2/authorize. It comes from other sites, without
// our cookies (SameSite=Lax), so that it is kept, and goes on as a GET, with them.
func (s *Server) authorizeForm(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	form, err := formOf(c)
	if err != nil {
		return err
	}
	r, err := authorizationRequest(form)
	if err != nil {
		return err
	}
	r.Device = device(c)
	kept, answer, err := s.broker.KeepAuthorization(c.Request.Context(), r, s.cookieless(c))
	if err != nil {
		return s.refusedAuthorization(c, r, err)
	}
	if answer != nil {
		return s.answerClient(c, answer)
	}
	s.setKept(c, kept)
	onward := url.Values{"client_id": {r.ClientID}, "request_uri": {kept.ID}}
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/oauth2/authorize?"+onward.Encode())
	return nil
}

// whoIsThere is who is logged in at this browser, or nil. Trouble is an error.
func (s *Server) whoIsThere(c *gin.Context) (*broker.Principal, error) {
	p, err := s.pagePrincipal(c)
	if err != nil {
		return nil, onlyTrouble(err)
	}
	return &p, nil
}

// carryOut does what an authorization request needs next.
func (s *Server) carryOut(c *gin.Context, step broker.Step) error {
	switch {
	case step.Answer != nil:
		return s.answerClient(c, step.Answer)
	case step.Waiting.Secret != "":
		s.setFlow(c, step.Waiting.ID, step.Waiting.Secret, pendingLife)
	}
	if step.Consent {
		if step.Waiting.Secret != "" { // the page has a URL of its own, that can be loaded again
			c.Redirect(http.StatusSeeOther, s.continueURL(step.Waiting.ID))
			return nil
		}
		return s.consentPage(c, step.Waiting, nil)
	}
	c.Redirect(http.StatusSeeOther, s.loginURL(c, step.Waiting))
	return nil
}

func (s *Server) continueURL(id string) string { return s.broker.PublicURL() + continuePath(id) }

func continuePath(id string) string { return "/oauth2/continue?id=" + url.QueryEscape(id) }

// loginURL leads to the login page, or with a hint of the client at once to the
// IdP, and back to the request. Whoever has just logged out stays at the door.
func (s *Server) loginURL(c *gin.Context, w *broker.Waiting) string {
	back := url.QueryEscape(s.continueURL(w.ID))
	stays := readCookie(c, s.hostName(c, cookieStay)) != ""
	if w.IdPHint != "" && !stays && w.Client.TakesWay(w.IdPHint) && s.providerName(w.IdPHint) != "" {
		return s.broker.PublicURL() + "/auth/" + url.PathEscape(w.IdPHint) + "?callback=" + back
	}
	return s.broker.PublicURL() + "/login?next=" + back
}

// continuePage goes on with a request that waited for a login.
func (s *Server) continuePage(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	q, err := query(c, "id", "chosen")
	if err != nil {
		return err
	}
	who, err := s.whoIsThere(c)
	if err != nil {
		return err
	}
	step, err := s.broker.ContinueAuthorization(c.Request.Context(), q["id"], s.flowSecret(c, q["id"]), who, q["chosen"] != "")
	if err != nil {
		return err
	}
	if step.Answer != nil {
		s.setCookie(c, s.flowCookie(c, q["id"]), "", 0)
	}
	return s.carryOut(c, step)
}

// flowSecret is this browser's secret for a request that waits.
func (s *Server) flowSecret(c *gin.Context, id string) string {
	return readCookie(c, s.flowCookie(c, id))
}

// consentPage asks about a client; err is what was wrong with the proof that it was
// let in with, nil: nothing.
func (s *Server) consentPage(c *gin.Context, w *broker.Waiting, err error) error {
	who, trouble := s.pagePrincipal(c)
	if trouble != nil {
		return trouble
	}
	ask, trouble := s.letIn(c, who, &w.Client)
	if trouble != nil {
		return trouble
	}
	p := page{
		Title: say("Continue to {app}", w.Client.DisplayName()), locales: w.UILocales, User: &who.User, Token: w.ID, Client: clientView(&w.Client, w.RedirectURI),
		Scopes: scopeSentences(w.Scope), Onward: s.broker.PublicURL() + "/login?switch=1&next=" + url.QueryEscape(s.continueURL(w.ID)),
		View: &ask, outward: true, popup: true,
	}
	if err != nil {
		return s.retry(c, "consent", p, &[]input{}, nil, err, &ask)
	}
	return s.show(c, http.StatusOK, "consent", p)
}

// consentForm is the person's decision. What is allowed stands in the record of
// the request, not in the form.
func (s *Server) consentForm(c *gin.Context) error {
	if err := s.ownForm(c); err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	form, err := formOf(c)
	if err != nil {
		return err
	}
	f := map[string]string{}
	for _, name := range []string{"id", "decision", fieldProof, fieldAgain} {
		if f[name], err = once(form, name); err != nil {
			return err
		}
	}
	if f[fieldAgain] != "" {
		c.Redirect(http.StatusSeeOther, s.loginAgain(continuePath(f["id"])))
		return nil
	}
	if f["decision"] != "allow" && f["decision"] != "deny" {
		return badRequest("the form is not complete")
	}
	who, err := s.whoIsThere(c)
	if err != nil {
		return err
	}
	said := broker.Reply{Allow: f["decision"] == "allow", Given: f[fieldProof], Device: device(c)}
	step, err := s.broker.DecideConsent(c.Request.Context(), f["id"], s.flowSecret(c, f["id"]), who, said)
	if ofProof(err) != err || broker.CodeOf(err) == broker.RateLimited {
		return s.consentAgain(c, f["id"], who, err)
	}
	if err != nil {
		return err
	}
	if step.Answer != nil {
		s.setCookie(c, s.flowCookie(c, f["id"]), "", 0)
	}
	return s.carryOut(c, step)
}

func (s *Server) consentAgain(c *gin.Context, id string, who *broker.Principal, err error) error {
	w, trouble := s.broker.WaitingAuthorization(c.Request.Context(), id, s.flowSecret(c, id), who)
	if trouble != nil {
		return trouble
	}
	return s.consentPage(c, w, err)
}

// answerClient sends the browser to the client with its answer (RFC 6749 section
// 4.1.2; OAuth 2.0 Form Post Response Mode).
func (s *Server) answerClient(c *gin.Context, a *broker.Answer) error {
	c.Header("Cache-Control", "no-store")
	if a.Code != "" {
		c.Header("Latchkey-Code", string(a.Code))
	}
	if a.FormPost {
		fields := []field{}
		for _, name := range []string{"code", "error", "error_description", "state", "iss"} {
			if a.Params.Has(name) {
				fields = append(fields, field{name, a.Params.Get(name)})
			}
		}
		site, app := whereTo(a.RedirectURI)
		return s.show(c, http.StatusOK, "form_post", page{
			// #nosec G203 -- a redirect URI that its client registered, whose scheme was judged then
			Title: say("Back to the app"), Client: &client{Site: site, App: app}, Action: template.URL(a.RedirectURI), Fields: fields,
			outward: true, popup: true,
		})
	}
	c.Redirect(http.StatusSeeOther, withParams(a.RedirectURI, a.Params))
	return nil
}

// withParams adds parameters to a redirect URI, which may have some.
func withParams(uri string, q url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + q.Encode()
}

// waitingFor finds the authorization request that a login is for, by the URL to
// go on to; nil where it is for none.
func (s *Server) waitingFor(c *gin.Context, next string) *broker.Waiting {
	u, err := url.Parse(next)
	if err != nil || !strings.HasSuffix(u.Path, "/oauth2/continue") {
		return nil
	}
	id := u.Query().Get("id")
	who, err := s.whoIsThere(c)
	if err != nil {
		return nil
	}
	w, err := s.broker.WaitingAuthorization(c.Request.Context(), id, s.flowSecret(c, id), who)
	if err != nil {
		return nil
	}
	return w
}
