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

// listKeys is GET /api/keys: what signs, what is published to sign later, and
// what has signed. Of a key there is its name and its state, and nothing else.
func (s *Server) listKeys(c *gin.Context, _ broker.Principal) error {
	type keyJSON struct {
		ID        string `json:"kid"`
		Algorithm string `json:"alg"`
		State     string `json:"state"`
		Signs     bool   `json:"signs"` // access tokens, now
		CreatedAt *int64 `json:"createdAt"`
		ActiveAt  *int64 `json:"activeAt"`
		RetiredAt *int64 `json:"retiredAt"`
	}
	out := []keyJSON{}
	for _, k := range s.broker.SigningKeys() {
		out = append(out, keyJSON{k.ID, k.Algorithm, string(k.State), k.Signs, millis(k.CreatedAt), millis(k.ActiveAt), millis(k.RetiredAt)})
	}
	c.JSON(http.StatusOK, gin.H{"keys": out})
	return nil
}

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
	f = broker.EventFilter{SessionID: q["session"], ClientID: q["client"], IP: q["ip"], Name: q["name"], NamePrefix: q["name_prefix"]}
	if f.From, err = q.moment("from"); err != nil {
		return f, page, err
	}
	if f.Until, err = q.moment("to"); err != nil {
		return f, page, err
	}
	if f.UserID, err = s.userParam(c, q["user"]); err != nil {
		return f, page, err
	}
	f.Actor, err = s.userParam(c, q["actor"])
	return f, page, err
}

// writeLines names the next page in a Link (RFC 8288), because every line is an
// event.
func (s *Server) writeLines(c *gin.Context, events []broker.Event, next string) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for _, e := range events {
		_ = encoder.Encode(toEventJSON(e)) // into memory, and it always marshals
	}
	if next != "" {
		q := c.Request.URL.Query()
		q["next"] = []string{next}
		to := url.URL{Path: c.Request.URL.Path, RawQuery: q.Encode()}
		c.Header("Link", fmt.Sprintf(`<%s%s>; rel="next"`, s.broker.PublicURL(), to.String()))
	}
	c.Data(http.StatusOK, jsonLines, body.Bytes())
}
