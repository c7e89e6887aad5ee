package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the page of one session in the office, and the forms that end
// sessions.

const (
	followersShown = 10
	timelineShown  = 30
)

// sessionView is everything that is known of a session.
type sessionView struct {
	sessionRow
	Method                *text
	Methods               string
	LoggedIn, Idle, Limit moment
	Advanced, Issued      moment
	Turn, Fork            int     // generation and branch of its refresh token
	Endless               bool    // it has no greatest age
	Over                  *moment // nil: it is live
	Held                  *text   // both uses of a login that two held
	Children              []sessionRow
	Events                []eventRow
}

var sessionsDone = map[string]*text{
	"ended": say("The session has ended."), "wiped": say("The session has ended, and the app is asked to remove its data when it comes back."),
	"all": say("The sessions have ended."),
}

// sessionPage is GET /admin/sessions/:id.
func (s *Server) sessionPage(c *gin.Context, p broker.Principal) error {
	out, err := s.sessionView(c, p)
	if err != nil {
		return err
	}
	out.Notice = whatWasDone(c, sessionsDone)
	return s.show(c, http.StatusOK, "office_session", out)
}

func (s *Server) sessionView(c *gin.Context, p broker.Principal) (out page, err error) {
	id, err := rowID(c)
	if err != nil {
		return out, err
	}
	ctx, now := c.Request.Context(), s.broker.Now()
	x, err := s.broker.FindSession(ctx, id)
	if broker.CodeOf(err) == broker.NotFound {
		return out, &broker.Error{Code: broker.NotFound, Message: "there is no such session any more; what it has left is in the audit log"}
	}
	if err != nil {
		return out, err
	}
	children, _, err := s.broker.PageSessions(ctx, broker.SessionFilter{ParentID: id}, broker.Page{Limit: followersShown})
	if err != nil {
		return out, err
	}
	events, _, err := s.broker.PageEvents(ctx, broker.EventFilter{SessionID: id}, broker.Page{Limit: timelineShown})
	if err != nil {
		return out, err
	}
	rows, err := s.sessionRows(c, append([]broker.UserSession{x}, children...), p)
	if err != nil {
		return out, err
	}
	v := sessionView{
		sessionRow: rows[0], Children: rows[1:], Method: s.loginMethod(x.Session), Methods: strings.Join(x.AMR, " "), LoggedIn: s.moment(x.AuthTime),
		Idle: s.moment(x.IdleExpiresAt), Limit: s.moment(x.AbsExpiresAt), Endless: x.AbsExpiresAt.Sub(x.CreatedAt) > 9*365*24*time.Hour,
		Advanced: s.moment(x.AdvancedAt), Issued: s.moment(x.IssuedAt), Turn: int(x.Generation), Fork: int(x.Branch), Events: s.eventRows(events, map[string]string{p.User.ID: p.User.Username, x.UserID: x.Username}),
	}
	if x.Ended(now) != "" {
		v.Over = new(s.moment(x.OverAt()))
	}
	for _, e := range events {
		if e.Name == broker.EventOfRefresh(broker.OutcomeReuse) {
			v.Held = heldByTwo(e)
		}
	}
	out = office(c, p, say("Session"))
	out.View = v
	return out, nil
}

// endOne ends a session for an administrator; NotFound where it is over.
func (s *Server) endOne(c *gin.Context, id string, wipe bool) (int, error) {
	n, err := s.broker.EndSessions(c.Request.Context(), broker.SessionFilter{ID: id}, broker.RevokedByAdmin, wipe, device(c).IP)
	if err == nil && n == 0 {
		err = &broker.Error{Code: broker.NotFound, Message: "there is no live session of this id"}
	}
	return n, err
}

// endSessionOffice is the form that ends a session.
func (s *Server) endSessionOffice(c *gin.Context, p broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	f, err := onlyFields(c, "wipe")
	if err != nil {
		return err
	}
	wipe, done := or(f["wipe"]) != "", "ended"
	if wipe {
		done = "wiped"
	}
	if _, err := s.endOne(c, id, wipe); err != nil {
		out, trouble := s.sessionView(c, p)
		if trouble != nil {
			return trouble
		}
		return s.again(c, "office_session", out, err)
	}
	return s.done(c, sessionsPath+"/"+url.PathEscape(id), done)
}

// endAll asks before every session of a user, a client or a provider ends.
type endAll struct {
	Name, Value string // the field
	Count       int
	More        bool // there are more
	Own         bool // the administrator's own is one of them
}

// mostCounted is how far the sessions are counted that would end.
const mostCounted = 300

// endAllOf is offered where one of the three is all that a list is narrowed by.
func (s *Server) endAllOf(c *gin.Context, q params, f broker.SessionFilter, p broker.Principal) (*endAll, error) {
	var all *endAll
	for name, value := range map[string]string{"user": f.UserID, "client": f.ClientID, "provider": f.ProviderID} {
		if value == "" {
			continue
		}
		if all != nil {
			return nil, nil
		}
		all = &endAll{Name: name, Value: value}
	}
	if all == nil || q["ip"]+q["cause"] != "" || q["state"] == "ended" {
		return nil, nil
	}
	var err error
	all.Count, all.More, err = s.broker.CountSessions(c.Request.Context(), broker.SessionFilter{UserID: f.UserID, ClientID: f.ClientID, ProviderID: f.ProviderID}, mostCounted)
	all.Own = p.User.ID == f.UserID || p.Session.ClientID == f.ClientID || f.ProviderID != "" && p.Session.ProviderID == f.ProviderID
	if err != nil || all.Count == 0 {
		return nil, err
	}
	return all, nil
}

// endSessionsOffice is the form that ends every session of a user, a client or a
// provider.
func (s *Server) endSessionsOffice(c *gin.Context, _ broker.Principal) error {
	f, err := onlyFields(c, "user", "client", "provider", "wipe")
	if err != nil {
		return err
	}
	filter := broker.SessionFilter{UserID: or(f["user"]), ClientID: or(f["client"]), ProviderID: or(f["provider"])}
	if filter == (broker.SessionFilter{}) {
		return badRequest("name a user, a client or a provider")
	}
	if _, err := s.broker.EndSessions(c.Request.Context(), filter, broker.RevokedByAdmin, or(f["wipe"]) != "", device(c).IP); err != nil {
		return err
	}
	return s.done(c, sessionsPath, "all")
}
