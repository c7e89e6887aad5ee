package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// field is one hidden field of a form.
type field struct{ Name, Value string }

// client is what a page says of a client.
type client struct {
	Name   string
	Long   bool   // too long for the size of a heading
	Site   string // the host that the browser goes to, or ""
	App    bool   // it goes to an app on the person's own device
	Policy string // URL, or ""
	Terms  string // URL, or ""
}

// clientView shows a client. Names are chosen by whoever registered it, so that
// the place that the browser goes to stands beside.
func clientView(c *broker.Client, redirectURI string) *client {
	view := &client{Name: c.DisplayName(), Policy: c.PolicyURI, Terms: c.TermsURI}
	view.Long = utf8.RuneCountInString(view.Name) > 32
	view.Site, view.App = whereTo(redirectURI)
	return view
}

// whereTo says where a redirect URI leads: a site, or an app on this device.
func whereTo(redirectURI string) (site string, app bool) {
	u, err := url.Parse(redirectURI)
	if err != nil || u.Scheme == "" {
		return "", false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "localhost" || err == nil && addr.IsLoopback() {
		return "", true
	}
	return u.Host, false
}

// scopeSentences say what a client will get, for a person.
func scopeSentences(scope string) (out []*text) {
	own := slices.DeleteFunc(strings.Fields(scope), func(s string) bool { return slices.Contains(knownScopes, s) })
	for _, s := range []struct {
		scope string
		text  *text
	}{
		{broker.ScopeProfile, say("see your name and username")},
		{broker.ScopeEmail, say("see your e-mail address")},
		{broker.ScopeGroups, say("see the groups that you are in")},
		{broker.ScopeForward, say("open the web apps behind Latchkey that you may open")},
		{broker.ScopeAPI, say("use Latchkey in your name: your devices and your password")},
		{broker.ScopeAdmin, say("administer Latchkey in your name, as far as you may yourself")},
	} {
		if hasScope(scope, s.scope) {
			out = append(out, s.text)
		}
	}
	if len(own) > 0 {
		out = append(out, say("act in your name at its own service: {scopes}", strings.Join(own, ", ")))
	}
	return out
}

// knownScopes are those that mean something here. Others are the client's.
var knownScopes = []string{
	broker.ScopeOpenID, broker.ScopeProfile, broker.ScopeEmail, broker.ScopeGroups, broker.ScopeOfflineAccess, broker.ScopeAPI,
	broker.ScopeAdmin, broker.ScopeIntrospect, broker.ScopeForward,
}

// devicePage is where a person types the code that a device shows (RFC 8628
// section 3.3). With a code, it asks.
func (s *Server) devicePage(c *gin.Context) error {
	q, err := query(c, "user_code", "done")
	if err != nil {
		return err
	}
	code := bounded(q["user_code"])
	who, err := s.whoIsThere(c)
	if err != nil {
		return err
	}
	if q["done"] != "" {
		return s.show(c, http.StatusOK, "device", page{Title: say("Connect a device"), Done: q["done"], User: userOf(who)})
	}
	if who == nil {
		next := s.broker.PublicURL() + "/device"
		if code != "" {
			next += "?user_code=" + url.QueryEscape(code)
		}
		c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/login?next="+url.QueryEscape(next))
		return nil
	}
	p := page{Title: say("Connect a device"), User: &who.User, Values: map[string]string{"user_code": code}}
	if code == "" {
		return s.show(c, http.StatusOK, "device", p)
	}
	return s.askAboutDevice(c, p, *who, nil)
}

func userOf(who *broker.Principal) *broker.User {
	if who == nil {
		return nil
	}
	return &who.User
}

// askAboutDevice shows who is asking, so that nobody connects a stranger's
// device by a link that was sent to them. err is what was wrong with the proof that it
// was connected with, nil: nothing.
func (s *Server) askAboutDevice(c *gin.Context, p page, who broker.Principal, err error) error {
	d, trouble := s.broker.FindDevice(c.Request.Context(), p.Values["user_code"], device(c))
	if trouble != nil {
		return s.again(c, "device", p, trouble)
	}
	p.Client, p.Scopes, p.Token = clientView(&d.Client, ""), scopeSentences(d.Scope), d.UserCode
	ask, trouble := s.letIn(c, who, nil)
	if trouble != nil {
		return trouble
	}
	if p.View = &ask; err != nil {
		return s.retry(c, "device", p, &[]input{}, nil, err, &ask)
	}
	return s.show(c, http.StatusOK, "device", p)
}

// deviceForm takes the code, and then the decision.
func (s *Server) deviceForm(c *gin.Context) error {
	if err := s.ownForm(c); err != nil {
		return err
	}
	f, err := fields(c, "user_code", "decision", fieldProof, fieldAgain)
	if err != nil {
		return err
	}
	if f["user_code"] == nil {
		return badRequest("the form is not complete")
	}
	code := bounded(*f["user_code"])
	who, err := s.pagePrincipal(c)
	if err != nil {
		return s.toLogin(c, err)
	}
	if or(f[fieldAgain]) != "" {
		c.Redirect(http.StatusSeeOther, s.loginAgain("/device?user_code="+url.QueryEscape(code)))
		return nil
	}
	p := page{Title: say("Connect a device"), User: &who.User, Values: map[string]string{"user_code": code}}
	if f["decision"] == nil {
		return s.askAboutDevice(c, p, who, nil)
	}
	said := broker.Reply{Allow: *f["decision"] == "allow", Given: or(f[fieldProof]), Device: device(c)}
	if !said.Allow && *f["decision"] != "deny" {
		return badRequest("the form is not complete")
	}
	err = s.broker.DecideDevice(c.Request.Context(), who, code, said)
	if ofProof(err) != err || broker.CodeOf(err) == broker.RateLimited {
		return s.askAboutDevice(c, p, who, err)
	}
	if err != nil {
		return s.again(c, "device", p, err)
	}
	done := "denied"
	if said.Allow {
		done = "allowed"
	}
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/device?done="+done)
	return nil
}

func logoutRequest(values url.Values) (r broker.LogoutRequest, err error) {
	for name, field := range map[string]*string{
		"id_token_hint": &r.IDTokenHint, "client_id": &r.ClientID, "post_logout_redirect_uri": &r.PostLogoutRedirectURI, "state": &r.State,
		"ui_locales": &r.UILocales,
	} {
		if *field, err = once(values, name); err != nil {
			return r, err
		}
	}
	return r, nil
}

// logoutPage is GET /oauth2/logout (OIDC RP-Initiated Logout section 2). Where the
// person is to be asked, the page that asks has an address without the request.
func (s *Server) logoutPage(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	r, err := logoutRequest(c.Request.URL.Query())
	if err != nil {
		return err
	}
	who, err := s.whoIsThere(c)
	if err != nil {
		return err
	}
	plan, err := s.broker.PlanLogout(c.Request.Context(), r, who)
	if err != nil {
		return err
	}
	if plan.Confirm {
		return s.keepLogout(c, plan)
	}
	return s.logOut(c, plan, who)
}

// logoutFromClient is the same by POST. It comes from the client's site without
// our cookies, and goes on where they are sent.
func (s *Server) logoutFromClient(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	form, err := formOf(c)
	if err != nil {
		return err
	}
	r, err := logoutRequest(form)
	if err != nil {
		return err
	}
	plan, err := s.broker.PlanLogout(c.Request.Context(), r, nil)
	if err != nil {
		return err
	}
	return s.keepLogout(c, plan)
}

func (s *Server) keepLogout(c *gin.Context, plan broker.LogoutPlan) error {
	kept, err := s.broker.KeepLogout(c.Request.Context(), plan, device(c))
	if err != nil {
		return err
	}
	s.setKept(c, kept)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+logoutConfirmPath+"?id="+url.QueryEscape(kept.ID))
	return nil
}

const logoutConfirmPath = "/oauth2/logout/confirm"

// confirmLogoutPage goes on with a logout request that was kept.
func (s *Server) confirmLogoutPage(c *gin.Context) error {
	q, err := query(c, "id")
	if err != nil {
		return err
	}
	return s.logoutKept(c, q["id"], false)
}

// logoutForm is the person's yes. What is asked for stands in the record of the
// request, not in the form.
func (s *Server) logoutForm(c *gin.Context) error {
	if err := s.ownForm(c); err != nil {
		return err
	}
	form, err := formOf(c)
	if err != nil {
		return err
	}
	id, err := once(form, "id")
	if err != nil {
		return err
	}
	return s.logoutKept(c, id, true)
}

func (s *Server) logoutKept(c *gin.Context, id string, confirmed bool) error {
	c.Header("Cache-Control", "no-store")
	who, err := s.whoIsThere(c)
	if err != nil {
		return err
	}
	plan, err := s.broker.KeptLogout(c.Request.Context(), id, s.keptSecret(c, id), who)
	if err == nil && plan.Confirm && !confirmed {
		return s.askToLogOut(c, id, plan, who)
	}
	if err == nil {
		err = s.logOut(c, plan, who)
	}
	if broker.CodeOf(err) == broker.InvalidState && who == nil { // a second click, or a login that ran out: what it wanted is so
		s.clearSession(c)
		c.Redirect(http.StatusSeeOther, s.afterLogout())
		return nil
	}
	if err == nil {
		s.clearKept(c, id)
	}
	return err
}

func (s *Server) logOut(c *gin.Context, plan broker.LogoutPlan, who *broker.Principal) error {
	to := s.afterLogout() + "?ended=" + string(broker.LoggedOut)
	if who != nil {
		if idp := s.broker.EndSessionURL(c.Request.Context(), who.Session, s.afterLogout()); idp != "" {
			to = idp
		}
	}
	if err := s.broker.LogoutBrowser(c.Request.Context(), plan, who, device(c)); err != nil {
		return err
	}
	s.clearSession(c)
	if plan.RedirectURI != "" {
		to = plan.RedirectURI
		if plan.State != "" {
			to = withParams(to, url.Values{"state": {plan.State}})
		}
	}
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

func (s *Server) askToLogOut(c *gin.Context, id string, plan broker.LogoutPlan, who *broker.Principal) error {
	p := page{Title: say("Log out?"), locales: plan.UILocales, User: &who.User, Token: id, outward: true, popup: true}
	if plan.Client != nil {
		p.Client = clientView(plan.Client, plan.RedirectURI)
	}
	return s.show(c, http.StatusOK, "logout", p)
}
