package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the office's list of sessions.

const (
	sessionsPath    = "/admin/sessions"
	sessionsPerPage = 30
)

// sessionRow is a session in a list of the office.
type sessionRow struct {
	broker.Session
	Username      string // empty: the user is gone
	Look          deviceLook
	Client        string // its name; empty: the JSON API's own
	Provider      string // its name; empty: a password
	Created, Used moment
	State         pill
	Upstream      *pill // what the provider last said; nil: it is not asked again
	Current       bool  // the administrator's own, in this browser
}

func (s *Server) sessionRow(x broker.UserSession, client string, p broker.Principal) sessionRow {
	row := sessionRow{
		Session: x.Session, Username: x.Username, Look: lookOf(x.Session, client), Client: client, Provider: s.providerOr(x.ProviderID),
		Created: s.moment(x.CreatedAt), Used: s.moment(x.LastSeenAt), State: pill{"good", say("live")}, Current: x.ID == p.Session.ID,
	}
	if cause := x.Ended(s.broker.Now()); cause != "" {
		row.State = pill{"", causeWords[cause]}
		if cause == broker.TokenReused || cause == broker.CodeReused {
			row.State.Class = "bad"
		}
	}
	if x.Upstream != nil {
		row.Upstream = new(upstreamPills[x.Upstream.StateAt(s.broker.Now())])
	}
	return row
}

// upstreamPills say what is known of a login at an IdP.
var upstreamPills = map[broker.UpstreamState]pill{
	broker.UpstreamAlive:   {"good", say("still logged in there")},
	broker.UpstreamEnded:   {"bad", say("ended there")},
	broker.UpstreamUnknown: {"warn", say("not known whether it stands there")},
}

// sessionRows are the rows of a list, with the names of their clients.
func (s *Server) sessionRows(c *gin.Context, list []broker.UserSession, p broker.Principal) (out []sessionRow, err error) {
	ids := []string{}
	for _, x := range list {
		ids = append(ids, x.ClientID)
	}
	names, err := s.broker.ClientNames(c.Request.Context(), ids)
	if err != nil {
		return nil, err
	}
	for _, x := range list {
		out = append(out, s.sessionRow(x, nameOfClient(x.Session, names), p))
	}
	return out, nil
}

type sessionsView struct {
	Filters  []input
	Filtered bool
	Rows     []sessionRow
	Pager    pager
	EndAll   *endAll
}

// sessionFilter reads what a list of sessions is narrowed by, for the API and the
// page.
func (s *Server) sessionFilter(c *gin.Context, q params) (f broker.SessionFilter, err error) {
	f = broker.SessionFilter{ClientID: q["client"], ProviderID: q["provider"], IP: q["ip"], EndCause: broker.EndCause(q["cause"])}
	switch q["state"] {
	case "":
	case "live":
		f.LiveAt = s.broker.Now()
	case "ended":
		f.OverAt = s.broker.Now()
	default:
		return f, badField("state", "live or ended")
	}
	f.UserID, err = s.userParam(c, q["user"])
	return f, err
}

// sessionsPage is GET /admin/sessions.
func (s *Server) sessionsPage(c *gin.Context, p broker.Principal) error {
	q, at, err := readPage(c, sessionsPerPage, "user", "client", "provider", "ip", "state", "cause")
	if err != nil {
		return err
	}
	f, err := s.sessionFilter(c, q)
	if err != nil {
		return err
	}
	list, next, err := s.broker.PageSessions(c.Request.Context(), f, at)
	if err != nil {
		return err
	}
	view := sessionsView{Filters: s.sessionFilters(q), Pager: pagerOf(c, next), Filtered: f != broker.SessionFilter{}}
	if view.Rows, err = s.sessionRows(c, list, p); err != nil {
		return err
	}
	if view.EndAll, err = s.endAllOf(c, q, f, p); err != nil {
		return err
	}
	out := office(c, p, say("Sessions"))
	out.Notice, out.View = whatWasDone(c, sessionsDone), view
	return s.show(c, http.StatusOK, "office_sessions", out)
}

func (s *Server) sessionFilters(q params) []input {
	causes := []option{{Text: say("any")}}
	for _, cause := range broker.EndCauses {
		causes = append(causes, option{Value: string(cause), Text: causeWords[cause]})
	}
	list := []input{
		{Name: "user", Label: say("Username or ID"), Value: q["user"]},
		{Name: "client", Label: say("Client ID"), Value: q["client"]},
		{Name: "ip", Label: say("Address at the login"), Value: q["ip"]},
		{Name: "state", Label: say("State"), Value: q["state"], Options: []option{{Text: say("any")}, {Value: "live", Text: say("live")}, {Value: "ended", Text: say("ended")}}},
		{Name: "cause", Label: say("Cause of the end"), Value: q["cause"], Options: causes},
	}
	if providers := s.providerOptions(); len(providers) > 1 {
		list = append(list, input{Name: "provider", Label: say("Provider"), Value: q["provider"], Options: providers})
	}
	return list
}
