package web

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file connects an app (/admin/connect): first what it is, then what only
// whoever runs it knows. The answer shows the secret, this once, and what to type
// into the app.

// offer is something that can be connected: a known app, or a kind of program.
type offer struct {
	ID    string
	Name  *text
	About *text
	App   *knownApp // nil: a kind
	// asks are the fields of its form besides name and id.
	asks []input
	base broker.Client
}

var (
	askRedirects = input{
		Name: "redirect_uris", Type: "textarea", Label: say("Redirect URIs"), Required: true, Code: true, Max: 8 << 10,
		Help: say("Where the app wants people back after the login, as its documentation says, one a line. They are compared character by character."),
	}
	askPostLogout = input{
		Name: "post_logout_redirect_uris", Type: "textarea", Label: say("Redirect URIs after logout"), Code: true, Max: 8 << 10,
		Help: say("Where the app may lead people after a logout, one a line."),
	}
	askScope = input{
		Name: "scope", Label: say("Scopes"), Code: true, Max: 1024, Help: say("What it may ask for, separated by spaces."),
	}
	askFirstParty = input{Name: "first_party", Type: "checkbox", Label: say("It is our own: nobody is asked whether it may know them"), Checked: true}
)

// kinds of programs, for whatever is not known.
var kinds = []offer{
	{
		ID: "web", Name: say("Web app with a secret"), About: say("Runs on a server, which keeps the secret: most apps that you host yourself."),
		asks: []input{askRedirects, askPostLogout, askFirstParty}, base: broker.Client{ApplicationType: broker.ApplicationWeb},
	},
	{
		ID: "browser", Name: say("App in the browser"), About: say("Runs in the browser alone and can keep no secret: a single-page app. PKCE protects it."),
		asks: []input{askRedirects, askPostLogout, askFirstParty},
		base: broker.Client{ApplicationType: broker.ApplicationWeb, TokenEndpointAuthMethod: broker.AuthNone},
	},
	{
		ID: "native", Name: say("App on a phone or computer"), About: say("Is installed on people’s own devices and can keep no secret. PKCE protects it."),
		asks: []input{askRedirects, askFirstParty},
		base: broker.Client{ApplicationType: broker.ApplicationNative, TokenEndpointAuthMethod: broker.AuthNone},
	},
	{
		ID: "device", Name: say("Device without a keyboard"), About: say("A television, a console, a command: it shows a code, which people type on their phone."),
		asks: []input{askFirstParty},
		base: broker.Client{
			ApplicationType: broker.ApplicationNative, TokenEndpointAuthMethod: broker.AuthNone, GrantTypes: []string{broker.GrantDeviceCode, broker.GrantRefreshToken},
		},
	},
	{
		ID: "service", Name: say("Service"), About: say("A program that acts for itself: nobody logs in to it, and it has no session."),
		asks: []input{askScope},
		base: broker.Client{ApplicationType: broker.ApplicationWeb, GrantTypes: []string{broker.GrantClientCredentials}},
	},
}

// offerOf finds what is to be connected: a known app or a kind, by its id.
func offerOf(id string) (offer, bool) {
	if app := knownAppOf(id); app != nil {
		return offer{
			ID: app.ID, Name: &text{key: app.Name}, App: app, asks: []input{{
				Name: "client_uri", Label: say("Address of the app"), Required: true, Code: true, Max: 512, Placeholder: app.Example,
				Help: say("Where its pages begin, as people open them in the browser."),
			}, askFirstParty},
		}, true
	}
	i := slices.IndexFunc(kinds, func(o offer) bool { return o.ID == id })
	if i < 0 {
		return offer{}, false
	}
	return kinds[i], true
}

// form is the form of an offer, as it is shown first.
func (o offer) form() []input {
	name := input{Name: "client_name", Label: say("Name"), Required: true, Max: broker.MaxName, Help: say("People read it when they log in.")}
	id := input{
		Name: "client_id", Label: say("Client ID"), Code: true, Max: 128, Help: say("By this the app says who it is. It cannot be changed later. Empty: it is made of the name."),
	}
	if o.App != nil {
		name.Value, id.Value = o.App.Name, o.App.ID
	}
	return append(append([]input{name}, o.asks...), id)
}

// client is the client that a form of this offer describes. What is wrong with it
// the broker says, but for what only the form asks.
func (o offer) client(typed map[string]*string) (broker.Client, error) {
	c := o.base
	if o.App != nil {
		address, ok := addressOf(or(typed["client_uri"]))
		if !ok {
			return c, &broker.Error{Code: broker.InvalidClientMetadata, Field: "client_uri", Message: "an address such as https://app.example.org, without ? and #"}
		}
		c = o.App.client(address)
	} else {
		c.RedirectURIs, c.PostLogoutRedirectURIs = lines(or(typed["redirect_uris"])), lines(or(typed["post_logout_redirect_uris"]))
		c.Scope = strings.Join(strings.Fields(or(typed["scope"])), " ")
	}
	c.Name, c.FirstParty = strings.TrimSpace(or(typed["client_name"])), or(typed["first_party"]) != ""
	if c.Name == "" {
		return c, &broker.Error{Code: broker.InvalidClientMetadata, Field: "client_name", Message: "a name is needed"}
	}
	c.ID = cmp.Or(strings.TrimSpace(or(typed["client_id"])), idOf(c.Name))
	if strings.ContainsFunc(c.ID, func(r rune) bool { return !unreserved(r) }) {
		return c, &broker.Error{Code: broker.InvalidClientMetadata, Field: "client_id", Message: "letters a to z, digits, and the signs - . _ ~"}
	}
	return c, nil
}

// unreserved characters mean the same in every file, form and URL (RFC 3986
// section 2.3).
func unreserved(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~", r)
}

// idOf makes an id of a name; empty where nothing of the name can stand in one.
func idOf(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r > unicode.MaxASCII || !unreserved(r) })
	id := strings.Join(words, "-")
	return strings.Trim(id[:min(len(id), 64)], "-.")
}

// connectView is the choice (Apps, Kinds), or the form of an Offer.
type connectView struct {
	Apps  []knownApp
	Kinds []offer
	Offer offer
	Form  []input
	Proof stepUp
	// Secret says that the answer will have one.
	Secret bool
}

// connectPage asks what is to be connected.
func (s *Server) connectPage(c *gin.Context, p broker.Principal) error {
	page := clientsOffice(c, p, say("Connect an app"))
	page.View = connectView{Apps: knownApps, Kinds: kinds}
	return s.show(c, http.StatusOK, "office_connect", page)
}

// clientsOffice is a page that belongs to the clients, wherever it is.
func clientsOffice(c *gin.Context, p broker.Principal, title *text) page {
	page := office(c, p, title)
	page.Nav = here(officePlaces, clientsPath)
	return page
}

func (s *Server) connectFormPage(c *gin.Context, p broker.Principal) error {
	page, view, err := s.connecting(c, p)
	if err != nil {
		return err
	}
	if typed := s.typedBefore(c, p, connectPath(view.Offer.ID)); typed != nil {
		view.Form, page.Notice = filled(view.Form, typed), backAgain
	}
	return s.show(c, http.StatusOK, "office_connect", page)
}

func connectPath(what string) string { return "/admin/connect/" + what }

func (s *Server) connecting(c *gin.Context, p broker.Principal) (page, *connectView, error) {
	o, ok := offerOf(c.Param("what"))
	if !ok {
		return page{}, nil, &broker.Error{Code: broker.NotFound, Message: "there is no such app here"}
	}
	ask, err := s.stepUp(c, p, "new-client")
	view := &connectView{Offer: o, Form: o.form(), Proof: ask, Secret: o.base.TokenEndpointAuthMethod != broker.AuthNone && (o.App == nil || !o.App.Public)}
	page := clientsOffice(c, p, o.Name)
	if o.App != nil {
		page.Title = say("Connect {app}", o.App.Name)
	}
	page.View = view
	return page, view, err
}

// connectForm makes the client. Its page is the answer, not a redirect, because
// it shows the secret.
func (s *Server) connectForm(c *gin.Context, p broker.Principal) error {
	page, view, err := s.connecting(c, p)
	if err != nil {
		return err
	}
	typed, gone, err := s.provenFields(c, p, connectPath(view.Offer.ID), namesIn(nil, view.Form)...)
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(typed[fieldProof]))
	asked, err := view.Offer.client(typed)
	if err != nil {
		return s.retryClient(c, "office_connect", page, typed, err, &view.Form)
	}
	made, secret, err := s.broker.CreateClient(c.Request.Context(), asked)
	if err != nil {
		return s.retryClient(c, "office_connect", page, typed, ofProof(err), &view.Form, &view.Proof.Inputs)
	}
	return s.showMade(c, p, made, secret, say("{app} is registered. Now type this into it.", made.DisplayName()))
}

// retryClient is [Server.retry] for a form about a client, in one or more parts:
// a fault of the broker begins with the name of the field, which stands above it
// already.
func (s *Server) retryClient(c *gin.Context, name string, p page, typed map[string]*string, err error, parts ...*[]input) error {
	at := err
	if !hasField("redirect_uris", parts...) { // they are made of the address
		at = ofTheAddress(err)
	}
	p.atField = refill(typed, at, func(_ *input, e *broker.Error) *text {
		said := *e
		said.Message = strings.TrimPrefix(said.Message, e.Field+": ")
		return sentence(&said, answers[e.Code])
	}, parts...)
	return s.again(c, name, p, err)
}

// ofTheAddress is an error about redirect URIs as one about the address that they
// were made of.
func ofTheAddress(err error) error {
	e, ok := errors.AsType[*broker.Error](err)
	if !ok || e.Field != "redirect_uris" {
		return err
	}
	at := *e
	at.Field, at.Message = "client_uri", strings.TrimPrefix(e.Message, "redirect_uris: ")
	return &at
}

// hasField reports whether a form has a field, in any of its parts.
func hasField(name string, parts ...*[]input) bool {
	return slices.ContainsFunc(parts, func(part *[]input) bool {
		return slices.ContainsFunc(*part, func(i input) bool { return i.Name == name })
	})
}
