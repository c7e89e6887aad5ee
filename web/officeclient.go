package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the page of one client: what to type into the app, and what can
// be changed.

// clientPageView is what the page of a client shows.
type clientPageView struct {
	ID, Name, Path string
	Kind, Origin   *text
	About          *text // of what is built in
	Fixed          bool  // built in, or of the configuration
	Paste          pasteView
	Warnings       []*text            // about its redirect URIs
	Form, More     []input            // what is changed often, and the rest
	Ways, Grants   []input            // of the rest: ways to log in, and grant types
	Open           bool               // the rest is open: something in it is wrong
	Renew          bool               // it has a secret
	Ticket         string             // of the form that renews it
	Proofs         map[string]*stepUp // by what is to be done
	Sessions       string             // where its sessions are
}

// parts are the parts of the form.
func (v *clientPageView) parts() []*[]input { return []*[]input{&v.Form, &v.More, &v.Ways, &v.Grants} }

// pasteView is what is typed into an app, for the template "paste".
type pasteView struct {
	// Secret is there once, in the answer that made it.
	Secret string
	// General is what every OpenID library asks for.
	General []pasted
	// App is what a known app asks for; nil: we do not know which app it is.
	App      *knownApp
	Settings []pasted
	Blocks   []block
	// Hidden says that [hiddenSecret] stands for the secret in them.
	Hidden bool
	// Open is where the app can be tried: an https URL.
	Open string
}

// pasted is a value to be copied, or what Say says, beside the field of the app
// (Field) or what we call it (Label).
type pasted struct {
	Label        *text
	Field, Value string
	Say          *text
}

// pasteOf is what to type into a client's app. The secret is empty but in the
// answer that made it.
func (s *Server) pasteOf(c *broker.Client, secret string) pasteView {
	v := pasteView{Secret: secret, General: s.generalPaste(c, secret)}
	if c.Registered { // it says itself who it is and where; nothing of that is pasted anywhere
		return v
	}
	if strings.HasPrefix(c.URI, "https://") {
		v.Open = c.URI
	}
	if v.App = knownAppOf(c.SoftwareID); v.App == nil {
		return v
	}
	in := s.pasteIn(c, secret)
	fill := func(text string) string {
		v.Hidden = v.Hidden || secret == "" && strings.Contains(text, "{secret}")
		return in.Replace(text)
	}
	for _, one := range v.App.Settings {
		v.Settings = append(v.Settings, pasted{Field: one.Field, Value: fill(one.Value), Say: one.Say})
	}
	for _, one := range v.App.Blocks {
		v.Blocks = append(v.Blocks, block{one.Name, fill(one.Text)})
	}
	return v
}

// generalPaste is what any client has to know of Latchkey.
func (s *Server) generalPaste(c *broker.Client, secret string) []pasted {
	at := s.endpoints()
	out := []pasted{
		{Label: say("Issuer"), Value: at["issuer"]}, {Label: say("Discovery document"), Value: at["discovery"]},
		{Label: say("Client ID"), Value: c.ID},
	}
	switch {
	case secret != "":
		out = append(out, pasted{Label: say("Client secret"), Value: secret})
	case c.SecretHash != "":
		out = append(out, pasted{Label: say("Client secret"), Say: say("was shown once, when it was made; only its hash is kept")})
	case c.Public():
		out = append(out, pasted{Label: say("Client secret"), Say: say("none: a public client")})
	}
	if c.MayUse(broker.GrantAuthorizationCode) {
		out = append(out, pasted{Label: say("Authorization endpoint"), Value: at["authorize"]})
	}
	if c.MayUse(broker.GrantDeviceCode) {
		out = append(out, pasted{Label: say("Device authorization endpoint"), Value: at["device"]})
	}
	out = append(out, pasted{Label: say("Token endpoint"), Value: at["token"]})
	if c.MayUse(broker.GrantAuthorizationCode) || c.MayUse(broker.GrantDeviceCode) {
		out = append(out, pasted{Label: say("Userinfo endpoint"), Value: at["userinfo"]}, pasted{Label: say("Logout endpoint"), Value: at["logout"]})
	}
	out = append(out, pasted{Label: say("Key set (JWKS)"), Value: at["jwks"]}, pasted{Label: say("Scopes"), Value: c.Scope})
	if c.MayUse(broker.GrantAuthorizationCode) {
		out = append(out, pasted{Label: say("PKCE method"), Value: "S256"})
	}
	return append(out, pasted{Label: say("Signature of ID tokens"), Value: cmp.Or(c.IDTokenAlg, "RS256")})
}

// clientViewOf is the page's view of a client.
func (s *Server) clientViewOf(c *broker.Client, secret string) clientPageView {
	v := clientPageView{
		ID: c.ID, Name: c.DisplayName(), Path: clientPath(c.ID), Kind: clientKind(c), Origin: clientOrigin(c), Fixed: c.ReadOnly, Paste: s.pasteOf(c, secret),
	}
	v.Warnings, v.Renew, v.Sessions = redirectWarnings(c), c.SecretHash != "", "/admin/sessions?client="+url.QueryEscape(c.ID)
	if !c.ReadOnly {
		v.Form, v.More = s.editForm(c)
		v.Ways, v.Grants = s.waysOf(c), grantsOf(c)
	}
	for _, one := range builtIns {
		if one.ID == c.ID {
			v.About = one.About
		}
	}
	return v
}

// redirectWarnings are about redirect URIs that are allowed, and weaker than they
// could be.
func redirectWarnings(c *broker.Client) (out []*text) {
	known := knownAppOf(c.SoftwareID) != nil // whose scheme is its makers' choice
	for _, uri := range c.RedirectURIs {
		u, err := url.Parse(uri)
		switch {
		case err != nil:
		case u.Scheme == "http" && !broker.LoopbackName(u.Hostname()):
			out = append(out, say("{uri} is not https: whoever is on the way there can read the answer to a login.", uri))
		case u.Scheme == "http" && u.Hostname() == "localhost":
			out = append(out, say("{uri} can lead elsewhere on some computers; 127.0.0.1 cannot (RFC 8252).", uri))
		case u.Scheme != "https" && u.Scheme != "http" && !strings.Contains(u.Scheme, ".") && !known:
			out = append(out, say("{uri}: any app on the device can use this scheme too. One such as org.example.app is less likely to be taken (RFC 8252).", uri))
		}
	}
	return out
}

// clientIn is the client that the address names.
func (s *Server) clientIn(c *gin.Context) (broker.Client, error) {
	id := strings.TrimPrefix(c.Param("id"), "/")
	if id == broker.AppClientID { // it has no face at /oauth2, and no settings
		return broker.Client{ID: id, ReadOnly: true}, nil
	}
	return s.broker.FindClient(c.Request.Context(), id)
}

var clientDone = map[string]*text{
	"saved": say("Saved. It counts on every server within a second."),
	"twice": say("This form was sent already, so no other secret was made. A secret is shown once, where it is made: if you did not copy it, make another."),
}

// clientPage is GET /admin/clients/ID.
func (s *Server) clientPage(c *gin.Context, p broker.Principal) error {
	found, err := s.clientIn(c)
	if err != nil {
		return err
	}
	page, err := s.pageOfClient(c, p, &found, "")
	if err != nil {
		return err
	}
	page.Notice = whatWasDone(c, clientDone)
	view := page.View.(*clientPageView)
	if typed := s.typedBefore(c, p, view.Path); view.Proofs[or(typed[fieldAgain])] != nil {
		view.Proofs[or(typed[fieldAgain])].Open, page.Notice = true, backAgain
		if or(typed[fieldAgain]) == doSave {
			for _, part := range view.parts() {
				*part = filled(*part, typed)
			}
		}
	}
	return s.show(c, http.StatusOK, "office_client", page)
}

// What is done with a client.
const (
	doSave   = "save"
	doSecret = "secret"
	doDelete = "delete"
)

func (s *Server) pageOfClient(c *gin.Context, p broker.Principal, found *broker.Client, secret string) (page, error) {
	page := clientsOffice(c, p, &text{key: "{name}", values: []any{found.DisplayName()}})
	view := s.clientViewOf(found, secret)
	view.Ticket, view.Proofs = s.broker.FormTicket(p.User.ID), map[string]*stepUp{}
	ask, err := s.stepUp(c, p, doSave)
	view.Proofs[doSave] = &ask
	for _, do := range []string{doSecret, doDelete} {
		view.Proofs[do] = new(ask.bare(do))
	}
	page.View = &view
	return page, err
}

// clientForm is POST /admin/clients/ID: do says what is done with it.
func (s *Server) clientForm(c *gin.Context, p broker.Principal) error {
	found, err := s.clientIn(c)
	if err != nil {
		return err
	}
	page, err := s.pageOfClient(c, p, &found, "")
	if err != nil {
		return err
	}
	if found.ReadOnly { // of which the broker would say the same, once the form were whole
		return s.again(c, "office_client", page, &broker.Error{Code: broker.ReadOnlyClient, Message: "this client is built in or stands in the configuration"})
	}
	view := page.View.(*clientPageView)
	typed, gone, err := s.provenFields(c, p, view.Path, namesIn([]string{"do", "ticket"}, view.Form, view.More, view.Ways, view.Grants)...)
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(typed[fieldProof]))
	switch or(typed["do"]) {
	case doSave:
		return s.saveClient(c, page, found, typed)
	case doSecret:
		return s.renewSecret(c, p, page, found, cmp.Or(or(typed["ticket"]), "none"))
	case doDelete:
		if err := s.broker.DeleteClient(c.Request.Context(), found.ID); err != nil {
			return s.clientAgain(c, page, doDelete, err)
		}
		return s.done(c, clientsPath, "deleted")
	}
	return badRequest("the field do is not known here")
}

func (s *Server) renewSecret(c *gin.Context, p broker.Principal, page page, found broker.Client, ticket string) error {
	secret, err := s.broker.RotateClientSecret(c.Request.Context(), found.ID, ticket)
	if errors.Is(err, broker.FormUsed) && !wantsJSON(c) {
		return s.done(c, clientPath(found.ID), "twice")
	}
	if err != nil {
		return s.clientAgain(c, page, doSecret, err)
	}
	return s.showMade(c, p, found, secret, say("The secret is new, and the old one has stopped working."))
}

// clientAgain shows the page with what was refused in a form without fields but the
// proof.
func (s *Server) clientAgain(c *gin.Context, page page, do string, err error) error {
	proof := page.View.(*clientPageView).Proofs[do]
	proof.Open = true
	return s.retry(c, "office_client", page, &[]input{}, nil, err, proof)
}

func (s *Server) saveClient(c *gin.Context, page page, found broker.Client, typed map[string]*string) error {
	changed, err := s.edited(found, typed)
	if err == nil {
		_, err = s.broker.UpdateClient(c.Request.Context(), changed)
	}
	if err == nil {
		return s.done(c, clientPath(found.ID), "saved")
	}
	view := page.View.(*clientPageView)
	for _, e := range faultsOf(err) {
		view.Open = view.Open || hasField(e.Field, view.parts()[1:]...)
	}
	return s.retryClient(c, "office_client", page, typed, ofProof(err), append(view.parts(), &view.Proofs[doSave].Inputs)...)
}

// showMade answers with a secret, this once: what a redirect leads to would have
// to have it in its URL, or we to keep it.
func (s *Server) showMade(c *gin.Context, p broker.Principal, made broker.Client, secret string, notice *text) error {
	page, err := s.pageOfClient(c, p, &made, secret)
	if err != nil {
		return err
	}
	page.Notice = notice
	return s.show(c, http.StatusOK, "office_client", page)
}
