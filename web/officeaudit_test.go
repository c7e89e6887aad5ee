package web_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

func (x *site) event(id string, at time.Duration, change broker.Event) {
	x.t.Helper()
	change.ID, change.At = id, x.Clock.Now().Add(at)
	if err := x.Store.InsertEvent(x.t.Context(), change); err != nil {
		x.t.Fatal(err)
	}
}

func TestAuditPage(t *testing.T) {
	x := newSite(t, setup{})
	root := cookies(x.pageLogin("root"))
	alice, err := x.Broker.FindUser(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	admin, _ := x.Broker.FindUser(t.Context(), "root")
	for i := range 120 {
		x.event(fmt.Sprintf("e%03d", i), -time.Duration(i)*time.Hour, broker.Event{Name: broker.EventUserDisabled, UserID: alice.ID, Actor: admin.ID, IP: "192.0.2.9"})
	}
	page := x.do(http.MethodGet, "/admin/audit", root).want(200).secure(false)
	page.says("The account of alice was disabled.", "by root", "logged in to Latchkey with a password")
	x.do(http.MethodGet, "/admin/audit", cookies(x.pageLogin("alice"))).want(403)
	count := func(query string) int {
		t.Helper()
		return strings.Count(x.do(http.MethodGet, "/admin/audit?"+query, root).want(200).Body, `<div class="what">`)
	}
	day := x.Clock.Now().Format(time.DateOnly)
	for query, want := range map[string]int{
		"": 12, "user=alice&event=user.disabled&actor=root": 12, "event=user.disabled&ip=192.0.2.10": 0, "event=user.&user=nobody": 0,
		"event=user.disabled&from=" + day + "&to=" + day: 4, "event=user.disabled&session=none": 0, "client=none": 0, "event=user.disabled&user=&from=&to=&ip=": 12,
	} {
		if got := count(query); got != want {
			t.Errorf("%q: %d events, want %d", query, got, want)
		}
	}
	// Pages meet every event once.
	at, seen := "/admin/audit?event=user.disabled", 0
	for at != "" {
		body := x.do(http.MethodGet, at, root).want(200).Body
		seen += strings.Count(body, `<div class="what">`)
		_, rest, more := strings.Cut(body, `rel="next" href="`)
		if at = ""; more {
			query, _, _ := strings.Cut(rest, `"`)
			at = "/admin/audit" + strings.ReplaceAll(query, "&amp;", "&")
		}
	}
	if seen != 120 {
		t.Errorf("%d events on all pages", seen)
	}
	x.do(http.MethodGet, "/admin/audit?from=yesterday&user=alice", root).want(400).says("A date as 2026-01-31").inertField("user", "alice")
	x.do(http.MethodGet, "/admin/audit?next=forged", root).want(400)
}

// inertField wants a field to keep what was typed.
func (a *answer) inertField(name, value string) {
	a.t.Helper()
	if !strings.Contains(a.Body, `name="`+name+`" type="text" value="`+value+`"`) {
		a.t.Errorf("%s: the field %s lost %q", a.request, name, value)
	}
}

func TestAuditExport(t *testing.T) {
	x := newSite(t, setup{})
	root := cookies(x.pageLogin("root"))
	hostile := []string{`=HYPERLINK("https://evil.example")`, "+1", "-1", "@SUM(1)", "\t=1", "a \"b\", c\nd"}
	for i, text := range hostile {
		x.event(fmt.Sprint("h", i), time.Duration(i)*time.Second, broker.Event{Name: broker.EventClientCreated, ClientID: text, Detail: map[string]string{"name": text}})
	}
	x.do(http.MethodGet, "/admin/audit/export?event=client.created", root).want(200).secure(false).says("6 events, from", "Download as JSON Lines").saysNot("to the next file")
	for path, kind := range map[string]string{"events.csv": "text/csv; charset=utf-8", "events.jsonl": "application/x-ndjson"} {
		x.do(http.MethodGet, "/admin/audit/"+path, cookies(x.pageLogin("alice"))).want(403)
		file := x.do(http.MethodGet, "/admin/audit/"+path+"?event=client.created", root).want(200)
		if file.Header.Get("Content-Type") != kind || !strings.HasPrefix(file.Header.Get("Content-Disposition"), "attachment; ") || file.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, file.Header)
		}
		if path == "events.jsonl" {
			if n := strings.Count(file.Body, "\n"); n != len(hostile) {
				t.Errorf("%d lines", n)
			}
			continue
		}
		rows, err := csv.NewReader(strings.NewReader(file.Body)).ReadAll()
		if err != nil || len(rows) != len(hostile)+1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsRune("=+-@\t", rune(cell[0])) {
					t.Errorf("a spreadsheet computes %q", cell)
				}
			}
		}
	}
	body := x.do(http.MethodGet, "/admin/audit?event=client.created", root).want(200).Body
	if strings.Contains(body, `a "b", c`) {
		t.Error("a name is not escaped")
	}
}

// What fits no file goes on in the next one, and no event is in two.
func TestAuditExportGoesOn(t *testing.T) {
	x := newSite(t, setup{})
	events := []broker.Event{}
	for i := range broker.MaxEvents + 7 {
		events = append(events, broker.Event{ID: fmt.Sprintf("m%06d", i), At: x.Clock.Now().Add(time.Duration(i) * time.Millisecond), Name: broker.EventIdPAnswers})
	}
	if err := x.Store.InsertEvents(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	root := cookies(x.pageLogin("root"))
	page := x.do(http.MethodGet, "/admin/audit/export?event=idp.answers", root).want(200).says("to the next file")
	_, rest, _ := strings.Cut(page.Body, `<a href="?`)
	query, _, _ := strings.Cut(rest, `"`)
	next := strings.ReplaceAll(query, "&amp;", "&")
	if q, err := url.ParseQuery(next); err != nil || q.Get("event") != "idp.answers" || q.Get("next") == "" {
		t.Fatal(next)
	}
	first := x.do(http.MethodGet, "/admin/audit/events.jsonl?event=idp.answers", root).want(200)
	second := x.do(http.MethodGet, "/admin/audit/events.jsonl?"+next, root).want(200)
	if a, b := strings.Count(first.Body, "\n"), strings.Count(second.Body, "\n"); a != broker.MaxEvents || b != 7 || !strings.Contains(second.Body, "m000000") {
		t.Errorf("%d and %d lines", a, b)
	}
	x.do(http.MethodGet, "/admin/audit/export?"+next, root).want(200).saysNot("to the next file")
}
