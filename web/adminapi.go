package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is what the routes of the admin API have in common.

// actAs names the administrator of a request for everything that is done in it.
func actAs(c *gin.Context, p broker.Principal) { actProving(c, p, "") }

// actProving is [actAs] with what the administrator gave as proof to be there.
func actProving(c *gin.Context, p broker.Principal, given string) {
	at := device(c)
	actor := broker.Actor{ID: p.User.ID, Role: p.User.Role, IP: at.IP, Proving: &broker.Proving{Principal: p, Given: given, Device: at}}
	c.Request = c.Request.WithContext(broker.WithActor(c.Request.Context(), actor))
}

// asAdminRefusal refuses whoever is no administrator: what is wrong with a token
// as RFC 6750 says it, the rest as a problem.
func asAdminRefusal(s *Server, c *gin.Context, e *broker.Error, a answer) {
	if a.status == http.StatusUnauthorized || e.Code == broker.InsufficientScope || e.Code == broker.InvalidDPoPProof {
		asBearer(s, c, e, a)
		return
	}
	asProblem(s, c, e, a)
}

// asProblem says an error of the admin API as RFC 9457 does; field names what is
// wrong with the request.
func asProblem(_ *Server, c *gin.Context, e *broker.Error, a answer) {
	detail := e.Message
	if detail == "" {
		detail = a.text
	}
	problem := gin.H{"type": "about:blank", "title": a.text, "status": a.status, "detail": detail, "code": string(e.Code)}
	if field := cmp.Or(e.Field, fieldOf[e.Code]); field != "" {
		problem["field"] = field
	}
	if faults, ok := errors.AsType[broker.Faults](e.Err); ok {
		problem["errors"] = faults // all of them, where there are several
	}
	body, _ := json.Marshal(problem)
	c.Data(a.status, "application/problem+json", body)
}

// fieldOf are the codes that are about one field wherever they come from.
var fieldOf = map[broker.Code]string{
	broker.WeakPassword: "password", broker.UsernameTaken: "username", broker.InvalidUsername: "username", broker.ClientExists: "client_id",
}

// badField is a fault of one field or parameter of a request.
func badField(field, message string) error {
	return &broker.Error{Code: broker.InvalidRequest, Field: field, Message: message}
}

// params are the query parameters of a list.
type params map[string]string

// readParams takes the parameters that a list knows; another one is a fault: a
// mistyped filter must not list everything.
func readParams(c *gin.Context, known ...string) (params, error) {
	known = append(known, "limit", "next")
	for name := range c.Request.URL.Query() {
		if !slices.Contains(known, name) {
			return nil, badField(shown(name), "this list has no such parameter; it has "+strings.Join(known, ", "))
		}
	}
	return query(c, known...)
}

// page reads limit and next.
func (p params) page(standard, most int) (broker.Page, error) {
	page := broker.Page{Next: p["next"], Limit: standard}
	if text, given := p["limit"]; given {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return page, badField("limit", "a number from 1 to "+strconv.Itoa(most))
		}
		page.Limit = n
	}
	return page, nil
}

// flag reads a parameter that is true, false or not there.
func (p params) flag(name string) (*bool, error) {
	switch p[name] {
	case "":
		return nil, nil
	case "true", "false":
		is := p[name] == "true"
		return &is, nil
	}
	return nil, badField(name, "true or false")
}

// moment reads a time: RFC 3339, or Unix milliseconds as the API writes them.
func (p params) moment(name string) (time.Time, error) {
	text := p[name]
	if text == "" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() { // which would be no bound
		return at, badField(name, "a time as 2026-01-31T12:00:00Z, or Unix milliseconds")
	}
	return at, nil
}

const maxShown = 64

// shown is what a caller sent, as an answer repeats it.
func shown(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxShown)], "")
}

// rowID is the id in a route. What cannot be one is not found.
func rowID(c *gin.Context) (string, error) {
	id := c.Param("id")
	if len(id) > maxShown || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &broker.Error{Code: broker.NotFound}
	}
	return id, nil
}

// millis is a time as the API writes it; the zero time is null.
func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}
