package web

import (
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the list of clients (/admin/clients). How a client is made is in
// officeconnect.go, its own page in officeclient.go.

const (
	clientsPath = "/admin/clients"
	// clientsShown is how many clients of the database are on a page of the list.
	clientsShown = 50
)

// clientPath is the page of a client. Its id may have any visible character.
func clientPath(id string) string { return clientsPath + "/" + url.PathEscape(id) }

// clientRow is a client in the list.
type clientRow struct {
	ID, Name, Path string
	Kind, Origin   *text
	ReadOnly       bool
	Changed        *moment // nil: it stands in the configuration
}

type clientsView struct {
	Rows    []clientRow
	BuiltIn []builtIn
	Pager   pager
}

// builtIn is a client that every Latchkey has.
type builtIn struct {
	ID, Path string
	About    *text
}

var builtIns = []builtIn{
	{broker.AppClientID, clientPath(broker.AppClientID), say("Logins by the JSON API and in the browser at Latchkey itself: your account, the administration, apps that speak the API.")},
	{broker.CLIClientID, clientPath(broker.CLIClientID), say("The command <code>latchkey login</code> on somebody’s own computer.")},
}

func isBuiltIn(id string) bool { return id == broker.AppClientID || id == broker.CLIClientID }

var clientsDone = map[string]*text{"deleted": say("The client was deleted, and its sessions ended.")}

// clientsPage lists the clients: on the first page those of the configuration,
// and after them those of the database, by id.
func (s *Server) clientsPage(c *gin.Context, p broker.Principal) error {
	q, err := query(c, "next", "done")
	if err != nil {
		return err
	}
	list, err := s.broker.Clients(c.Request.Context(), q["next"], clientsShown)
	if err != nil {
		return err
	}
	view, stored, last := clientsView{}, 0, ""
	for _, client := range list {
		if !client.ReadOnly {
			stored, last = stored+1, client.ID
		}
		if !isBuiltIn(client.ID) {
			view.Rows = append(view.Rows, s.clientRow(client))
		}
	}
	if stored < clientsShown {
		last = ""
	}
	if q["next"] == "" {
		view.BuiltIn = builtIns
	}
	view.Pager = pagerOf(c, last)
	page := office(c, p, say("Clients"))
	page.View, page.Notice = view, whatWasDone(c, clientsDone)
	return s.show(c, http.StatusOK, "office_clients", page)
}

func (s *Server) clientRow(client broker.Client) clientRow {
	row := clientRow{
		ID: client.ID, Name: client.DisplayName(), Path: clientPath(client.ID), Kind: clientKind(&client), Origin: clientOrigin(&client), ReadOnly: client.ReadOnly,
	}
	if !client.ReadOnly {
		row.Changed = new(s.moment(client.UpdatedAt))
	}
	return row
}

// clientKind says what kind of program a client is.
func clientKind(c *broker.Client) *text {
	code, device := c.MayUse(broker.GrantAuthorizationCode), c.MayUse(broker.GrantDeviceCode)
	switch {
	case !code && device:
		return say("device without a keyboard")
	case !code:
		return say("service")
	case c.Public() && c.Native():
		return say("app on a phone or computer")
	case c.Public():
		return say("app in the browser")
	case c.TokenEndpointAuthMethod == broker.AuthPrivateKeyJWT:
		return say("web app with a key")
	}
	return say("web app with a secret")
}

// clientOrigin says where a client comes from.
func clientOrigin(c *broker.Client) *text {
	switch {
	case isBuiltIn(c.ID):
		return say("built in")
	case c.ReadOnly:
		return say("configuration")
	case c.Registered:
		return say("registered itself")
	}
	return say("made here")
}
