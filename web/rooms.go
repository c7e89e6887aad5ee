package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is what the pages behind the door have in common: the room (the
// account of whoever is logged in) and the office (administration).

// The shapes of pages; the zero shape is the door, one column in the middle.
const (
	shapeRoom   = "room"
	shapeOffice = "office"
)

// place is an entry of a navigation.
type place struct {
	Path string
	Text *text
	Here bool
}

var (
	roomPlaces = []place{
		{Path: "/account", Text: say("Devices")},
		{Path: "/account/identities", Text: say("Logins")},
		{Path: "/account/password", Text: say("Password")},
		{Path: "/account/factors", Text: say("Second factors")},
		{Path: "/account/api-keys", Text: say("API keys")},
		{Path: "/account/data", Text: say("Your data")},
	}
	officePlaces = []place{
		{Path: "/admin", Text: say("Overview")},
		{Path: "/admin/users", Text: say("Users")},
		{Path: "/admin/sessions", Text: say("Sessions")},
		{Path: "/admin/clients", Text: say("Clients")},
		{Path: "/admin/providers", Text: say("Providers")},
		{Path: "/admin/keys", Text: say("Signing keys")},
		{Path: "/admin/audit", Text: say("Audit log")},
	}
)

// member is for pages of whoever is logged in; anybody else is led to the login
// and back. What is posted comes from a page of this very origin.
func (s *Server) member(h principalHandler) gin.HandlerFunc {
	return s.as(asPage, func(c *gin.Context) error {
		if c.Request.Method != http.MethodGet {
			if err := s.sameOrigin(c); err != nil {
				return err
			}
		}
		p, err := s.pagePrincipal(c)
		if err != nil {
			return s.toLogin(c, err)
		}
		return h(c, p)
	})
}

// officer is [Server.member] for the pages of administrators.
func (s *Server) officer(h principalHandler) gin.HandlerFunc {
	return s.member(func(c *gin.Context, p broker.Principal) error {
		if !p.User.Role.IsAdmin() {
			return &broker.Error{Code: broker.Forbidden, Message: "this page is for administrators"}
		}
		actAs(c, p)
		return h(c, p)
	})
}

// room is a page of the account.
func room(c *gin.Context, p broker.Principal, title *text) page {
	return inside(c, p, shapeRoom, title, roomPlaces)
}

// office is a page of the administration.
func office(c *gin.Context, p broker.Principal, title *text) page {
	out := inside(c, p, shapeOffice, title, officePlaces)
	out.InSetup = readCookie(c, cookieSetup) != ""
	return out
}

func inside(c *gin.Context, p broker.Principal, shape string, title *text, places []place) page {
	return page{
		Title: title, Shape: shape, User: &p.User, Nav: here(places, c.FullPath()),
		// Logging out may lead on to the IdP; to ask it for the address could take long.
		outward: p.Session.ProviderID != "",
	}
}

// here marks the place that a route belongs to: the longest path that it is
// below of.
func here(places []place, route string) []place {
	out, at := make([]place, len(places)), -1
	copy(out, places)
	for i, one := range places {
		if (route == one.Path || strings.HasPrefix(route, one.Path+"/")) && (at < 0 || len(one.Path) > len(places[at].Path)) {
			at = i
		}
	}
	if at >= 0 {
		out[at].Here = true
	}
	return out
}

// done leads back to a page below the base, where [whatWasDone] says what was
// done. A reload does it no second time.
func (s *Server) done(c *gin.Context, path, code string) error {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+path+separator+"done="+url.QueryEscape(code))
	return nil
}

// whatWasDone is the sentence of a page's table for the code in its address;
// anybody can write such an address, so it says nothing but what the table has.
func whatWasDone(c *gin.Context, table map[string]*text) *text { return table[c.Query("done")] }

// pager leads through a list: the URLs of the next page and of the first, empty
// where there is none.
type pager struct{ Next, First string }

// pagerOf makes the pager of a list whose filters stand in the address; next is
// what the broker gave with this page.
func pagerOf(c *gin.Context, next string) pager {
	to := func(next string) string {
		q := c.Request.URL.Query()
		q.Del("done")
		if q.Del("next"); next != "" {
			q.Set("next", next)
		}
		return "?" + q.Encode()
	}
	p := pager{}
	if next != "" {
		p.Next = to(next)
	}
	if c.Query("next") != "" {
		p.First = to("")
	}
	return p
}
