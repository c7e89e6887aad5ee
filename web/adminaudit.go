package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// eventJSON is a line of the audit log.
type eventJSON struct {
	ID        string            `json:"id"`
	At        int64             `json:"at"`
	Name      string            `json:"name"`
	UserID    string            `json:"userId"`
	SessionID string            `json:"sessionId"`
	ClientID  string            `json:"client_id"`
	IP        string            `json:"ip"`
	Actor     string            `json:"actor"`
	Detail    map[string]string `json:"detail"`
}

func toEventJSON(e broker.Event) eventJSON {
	j := eventJSON{e.ID, e.At.UnixMilli(), e.Name, e.UserID, e.SessionID, e.ClientID, e.IP, e.Actor, e.Detail}
	if j.Detail == nil {
		j.Detail = map[string]string{}
	}
	return j
}

// JSON Lines, for programs that collect logs.
const jsonLines = "application/x-ndjson"

// listEvents is GET /api/audit, newest first: JSON, or for export JSON Lines.
func (s *Server) listEvents(c *gin.Context, _ broker.Principal) error {
	lines := strings.Contains(c.GetHeader("Accept"), jsonLines)
	f, page, err := s.eventQuery(c, lines)
	if err != nil {
		return err
	}
	events, next, err := s.broker.PageEvents(c.Request.Context(), f, page)
	if err != nil {
		return err
	}
	if lines {
		s.writeLines(c, events, next)
		return nil
	}
	out := []eventJSON{}
	for _, e := range events {
		out = append(out, toEventJSON(e))
	}
	c.JSON(http.StatusOK, withNext(gin.H{"events": out}, next))
	return nil
}

func (s *Server) eventQuery(c *gin.Context, lines bool) (f broker.EventFilter, page broker.Page, err error) {
	q, err := readParams(c, "user", "session", "client", "actor", "ip", "name", "name_prefix", "from", "to")
	if err != nil {
		return f, page, err
	}
	standard, most := standardPage, broker.MaxPage
	if lines {
		standard, most = broker.MaxEvents, broker.MaxEvents
	}
	if page, err = q.page(standard, most); err != nil {
		return f, page, err
	}
	if f, err = s.eventFilter(c, q); err != nil {
		return f, page, err
	}
	f.Name, f.NamePrefix = q["name"], q["name_prefix"]
	if f.From, err = q.moment("from"); err != nil {
		return f, page, err
	}
	f.Until, err = q.moment("to")
	return f, page, err
}

// eventFilter reads what the API and the page filter by alike.
func (s *Server) eventFilter(c *gin.Context, q params) (f broker.EventFilter, err error) {
	f = broker.EventFilter{SessionID: q["session"], ClientID: q["client"], IP: q["ip"]}
	if f.UserID, err = s.userParam(c, q["user"]); err != nil {
		return f, err
	}
	f.Actor, err = s.userParam(c, q["actor"])
	return f, err
}

// writeLines names the next page in a Link (RFC 8288), because every line is an
// event.
func (s *Server) writeLines(c *gin.Context, events []broker.Event, next string) {
	if next != "" {
		q := c.Request.URL.Query()
		q["next"] = []string{next}
		to := url.URL{Path: c.Request.URL.Path, RawQuery: q.Encode()}
		c.Header("Link", fmt.Sprintf(`<%s%s>; rel="next"`, s.broker.PublicURL(), to.String()))
	}
	c.Data(http.StatusOK, jsonLines, eventLines(events))
}

func eventLines(events []broker.Event) []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for _, e := range events {
		_ = encoder.Encode(toEventJSON(e)) // into memory, and it always marshals
	}
	return body.Bytes()
}
