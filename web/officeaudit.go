package web

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	auditPath    = "/admin/audit"
	eventsOfPage = 12
)

// auditView is a page of the audit log.
type auditView struct {
	Form     []input
	Filtered bool
	Rows     []auditRow
	Pager    pager
	Export   string // the page of the export, with these filters
}

// auditRow is an event as a person reads it.
type auditRow struct {
	broker.Event
	What   *text
	When   *text
	By     *text // nil: nobody but whom it is about
	Detail []auditDetail
}

type auditDetail struct{ Name, Value string }

// auditGroups are the events that are about one thing, by how their names begin.
var auditGroups = []option{
	{Value: "session.", Text: say("Logins, and ends of sessions")}, {Value: "refresh.", Text: say("Refreshes out of the ordinary")},
	{Value: "user.", Text: say("Accounts")}, {Value: "identity.", Text: say("Linked logins")}, {Value: "client.", Text: say("Apps")},
	{Value: "provider.", Text: say("Settings of identity providers")}, {Value: "apikey.", Text: say("API keys")},
}

var auditFields = []string{"user", "event", "from", "to", "actor", "client", "session", "ip"}

func auditForm() []input {
	events := slices.Concat([]option{{Text: say("All events")}}, auditGroups)
	for _, name := range broker.EventNames {
		events = append(events, option{Value: name, Name: name})
	}
	return []input{
		{Name: "user", Label: say("Person"), Code: true, Placeholder: "anna"},
		{Name: "event", Label: say("Event"), Type: "select", Options: events},
		{Name: "from", Label: say("From (UTC)"), Type: "date"},
		{Name: "to", Label: say("To, that day included (UTC)"), Type: "date"},
		{Name: "actor", Label: say("Done by the administrator"), Code: true},
		{Name: "client", Label: say("ID of the app"), Code: true},
		{Name: "session", Label: say("ID of the session"), Code: true},
		{Name: "ip", Label: say("Address"), Code: true},
	}
}

// auditQuery reads the filters of the page from its address, with what was typed.
func (s *Server) auditQuery(c *gin.Context) (f broker.EventFilter, typed map[string]*string, err error) {
	q, err := query(c, append(auditFields, "next")...)
	typed = map[string]*string{}
	for _, name := range auditFields {
		q[name] = strings.TrimSpace(q[name])
		typed[name] = new(q[name])
	}
	if err != nil {
		return f, typed, err
	}
	if f, err = s.eventFilter(c, q); err != nil {
		return f, typed, err
	}
	if f.Name = q["event"]; strings.HasSuffix(f.Name, ".") {
		f.Name, f.NamePrefix = "", f.Name
	}
	if f.From, err = params(q).day("from"); err != nil {
		return f, typed, err
	}
	if f.Until, err = params(q).day("to"); !f.Until.IsZero() {
		f.Until = f.Until.AddDate(0, 0, 1)
	}
	return f, typed, err
}

// day reads a date, as browsers send it; it begins in UTC.
func (p params) day(name string) (time.Time, error) {
	if p[name] == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.DateOnly, p[name])
	if err != nil || at.IsZero() {
		return time.Time{}, badField(name, "a date as 2026-01-31")
	}
	return at, nil
}

// officeAudit is GET /admin/audit.
func (s *Server) officeAudit(c *gin.Context, p broker.Principal) error {
	view := &auditView{Form: auditForm()}
	out := office(c, p, say("Audit log"))
	out.View = view
	f, typed, err := s.auditQuery(c)
	var events []broker.Event
	next := ""
	if err == nil {
		events, next, err = s.broker.PageEvents(c.Request.Context(), f, broker.Page{Next: c.Query("next"), Limit: eventsOfPage})
	}
	filters := url.Values{}
	for name, value := range typed {
		if *value != "" {
			filters.Set(name, *value)
			view.Filtered = true
		}
	}
	if err != nil {
		return s.retry(c, "office_audit", out, &view.Form, typed, err)
	}
	view.Form, view.Pager = filled(view.Form, typed), pagerOf(c, next)
	view.Export = auditPath + "/export?" + filters.Encode()
	if view.Rows, err = s.auditRows(c, events); err != nil {
		return err
	}
	return s.show(c, http.StatusOK, "office_audit", out)
}

// auditRows reads the names of all whom the events are about, in one statement of
// each kind.
func (s *Server) auditRows(c *gin.Context, events []broker.Event) (rows []auditRow, err error) {
	users, clients := []string{}, []string{}
	for _, e := range events {
		users, clients = append(users, e.UserID, e.Actor), append(clients, e.ClientID)
	}
	w := auditWords{s: s}
	if w.users, err = s.broker.Usernames(c.Request.Context(), users); err != nil {
		return nil, err
	}
	if w.clients, err = s.broker.ClientNames(c.Request.Context(), clients); err != nil {
		return nil, err
	}
	for _, e := range events {
		w.e = e
		row := auditRow{Event: e, What: w.sentence(), When: date(e.At), By: w.by()}
		for _, name := range slices.Sorted(maps.Keys(e.Detail)) {
			row.Detail = append(row.Detail, auditDetail{name, e.Detail[name]})
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// exportView is a part of an export: as many events as a file holds.
type exportView struct {
	N                  *text
	Newest, Oldest     *text
	Lines, Table, Next string
	Back               string
}

// officeAuditExport is GET /admin/audit/export: the files that the filtered events
// make, one page for each file.
func (s *Server) officeAuditExport(c *gin.Context, p broker.Principal) error {
	events, next, err := s.exported(c)
	if err != nil {
		return err
	}
	q := c.Request.URL.Query()
	view := exportView{N: grouped(int64(len(events))), Lines: auditPath + "/events.jsonl?" + q.Encode(), Table: auditPath + "/events.csv?" + q.Encode()}
	if n := len(events); n > 0 {
		view.Newest, view.Oldest = date(events[0].At), date(events[n-1].At)
	}
	view.Next = pagerOf(c, next).Next
	q.Del("next")
	view.Back = auditPath + "?" + q.Encode()
	out := office(c, p, say("Export of the audit log"))
	out.View = view
	return s.show(c, http.StatusOK, "office_audit_export", out)
}

// exported are the events of one file, and where the next one begins.
func (s *Server) exported(c *gin.Context) ([]broker.Event, string, error) {
	f, _, err := s.auditQuery(c)
	if err != nil {
		return nil, "", err
	}
	return s.broker.PageEvents(c.Request.Context(), f, broker.Page{Next: c.Query("next"), Limit: broker.MaxEvents})
}

// officeAuditLines is GET /admin/audit/events.jsonl: the same lines as of the API.
func (s *Server) officeAuditLines(c *gin.Context, _ broker.Principal) error {
	events, _, err := s.exported(c)
	if err == nil {
		s.download(c, jsonLines, "jsonl", eventLines(events))
	}
	return err
}

// officeAuditTable is GET /admin/audit/events.csv (RFC 4180).
func (s *Server) officeAuditTable(c *gin.Context, _ broker.Principal) error {
	events, _, err := s.exported(c)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	w := csv.NewWriter(&body)
	_ = w.Write([]string{"at", "name", "user_id", "actor", "client_id", "session_id", "ip", "detail", "id"}) // into memory, as all that follows
	for _, e := range events {
		detail, _ := json.Marshal(toEventJSON(e).Detail)
		row := []string{e.At.Format("2006-01-02T15:04:05.000Z"), e.Name, e.UserID, e.Actor, e.ClientID, e.SessionID, e.IP, string(detail), e.ID}
		for i := range row {
			row[i] = harmlessCell(row[i])
		}
		_ = w.Write(row)
	}
	w.Flush()
	s.download(c, "text/csv; charset=utf-8", "csv", body.Bytes())
	return nil
}

// harmlessCell keeps a spreadsheet from taking a cell for a formula: what strangers
// send stands in the log too.
func harmlessCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}

func (s *Server) download(c *gin.Context, mediaType, extension string, body []byte) {
	noStore(c)
	c.Header("Content-Disposition", `attachment; filename="latchkey-audit-`+s.broker.Now().Format(time.DateOnly)+"."+extension+`"`)
	c.Data(http.StatusOK, mediaType, body)
}
