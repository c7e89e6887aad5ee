package web

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// adminSessionJSON is a session as administrators see it, of any user, ended too.
type adminSessionJSON struct {
	sessionJSON
	UserID      string   `json:"userId"`
	Username    string   `json:"username"` // empty: the user is gone
	ParentID    string   `json:"parentId,omitempty"`
	AMR         []string `json:"amr"`
	Scope       string   `json:"scope"`
	CreatedIP   string   `json:"createdIp"`
	AuthTime    int64    `json:"authTime"`
	SenderBound bool     `json:"senderBound"` // its tokens are bound to a key (RFC 9449)
	AbsoluteEnd int64    `json:"absoluteEnd"`
	Live        bool     `json:"live"`
	EndedAt     *int64   `json:"endedAt"`
	EndCause    string   `json:"endCause"`
	Wipe        bool     `json:"wipe"`
}

func (s *Server) toAdminSessionJSON(x broker.UserSession, current string) adminSessionJSON {
	cause := x.Ended(s.broker.Now())
	return adminSessionJSON{
		sessionJSON: toSessionJSON(x.Session, current, s.broker.Now()), UserID: x.UserID, Username: x.Username, ParentID: x.ParentID,
		AMR: orNone(x.AMR), Scope: x.Scope, CreatedIP: x.CreatedIP, AuthTime: x.AuthTime.UnixMilli(), SenderBound: x.DPoPThumbprint != "",
		AbsoluteEnd: x.AbsExpiresAt.UnixMilli(), Live: cause == "", EndedAt: millis(x.EndedAt), EndCause: string(cause), Wipe: x.Wipe,
	}
}

// listSessions is GET /api/sessions, the newest first.
func (s *Server) listSessions(c *gin.Context, p broker.Principal) error {
	q, err := readParams(c, "user", "client", "provider", "ip", "state", "cause")
	if err != nil {
		return err
	}
	page, err := q.page(standardPage, broker.MaxPage)
	if err != nil {
		return err
	}
	f, err := s.sessionFilter(c, q)
	if err != nil {
		return err
	}
	list, next, err := s.broker.PageSessions(c.Request.Context(), f, page)
	if err != nil {
		return err
	}
	out := []adminSessionJSON{}
	for _, x := range list {
		out = append(out, s.toAdminSessionJSON(x, p.Session.ID))
	}
	c.JSON(http.StatusOK, withNext(gin.H{"sessions": out}, next))
	return nil
}

// userParam is the ID of a user who is named by ID or username. One who is gone
// has left sessions and events, under the ID.
func (s *Server) userParam(c *gin.Context, nameOrID string) (string, error) {
	if nameOrID == "" {
		return "", nil
	}
	u, err := s.broker.FindUser(c.Request.Context(), nameOrID)
	if errors.Is(err, broker.NotFound) {
		return nameOrID, nil
	}
	return u.ID, err
}

func (s *Server) showSession(c *gin.Context, p broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	x, err := s.broker.FindSession(c.Request.Context(), id)
	if err == nil {
		c.JSON(http.StatusOK, s.toAdminSessionJSON(x, p.Session.ID))
	}
	return err
}

// endSession is DELETE /api/sessions/:id; with ?wipe=1 the app is asked to remove
// its data.
func (s *Server) endSession(c *gin.Context, _ broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	wipe := c.Query("wipe")
	if wipe != "" && wipe != "0" && wipe != "1" {
		return badField("wipe", "0 or 1")
	}
	n, err := s.endOne(c, id, wipe == "1")
	if err == nil {
		c.JSON(http.StatusOK, gin.H{"ended": n})
	}
	return err
}

// endSessions is POST /api/sessions/end: every session that fits all that the
// body names, or, where it says so, every session that there is.
func (s *Server) endSessions(c *gin.Context, _ broker.Principal) error {
	var userID, clientID, providerID *string
	var all, wipe *bool
	err := members(c, map[string]any{"userId": &userID, "clientId": &clientID, "providerId": &providerID, "all": &all, "wipe": &wipe})
	if err != nil {
		return err
	}
	for field, name := range map[string]*string{"userId": userID, "clientId": clientID, "providerId": providerID} {
		if name != nil && *name == "" { // every session would fit it
			return badField(field, "is empty; leave it out")
		}
	}
	f := broker.SessionFilter{UserID: or(userID), ClientID: or(clientID), ProviderID: or(providerID), All: or(all)}
	if named := f.UserID+f.ClientID+f.ProviderID != ""; named == f.All {
		return badField("all", "name userId, clientId or providerId, or say all: true, and not both")
	}
	n, err := s.broker.EndSessions(c.Request.Context(), f, broker.RevokedByAdmin, or(wipe), device(c).IP)
	if err == nil {
		c.JSON(http.StatusOK, gin.H{"ended": n})
	}
	return err
}
