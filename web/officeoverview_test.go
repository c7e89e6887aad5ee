package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// The overview says what happened, from figures alone.
func TestOverview(t *testing.T) {
	x := newSite(t, setup{})
	root := cookies(x.pageLogin("root"))
	x.do(http.MethodGet, "/admin", root).want(200).secure(false).says("Nothing yet: figures come within five minutes.", "Not counted yet.", "No identity provider and no app is connected yet.")
	x.do(http.MethodGet, "/admin", cookies(x.pageLogin("alice"))).want(403)

	for range 3 {
		x.Login(t, "alice")
		_, _ = x.Broker.LoginPassword(t.Context(), "alice", "wrong", broker.Device{IP: "192.0.2.1"})
	}
	if _, err := x.Broker.EndSessions(t.Context(), broker.SessionFilter{ID: x.Login(t, "alice").Session.ID}, broker.TokenReused, false, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Broker.KeepFigures(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.Clock.Advance(4 * time.Minute)
	page := x.do(http.MethodGet, "/admin", root).want(200).secure(false)
	page.says("Sessions were counted: 4 minutes ago", "Wrong name or password", "Two devices used one login", "Browsers, and apps of the JSON API")
	if !strings.Contains(page.Body, `<p class="sum" id="live">5</p>`) { // root, alice on the page, and three logins
		t.Error("the live sessions are not 5")
	}
	for _, span := range []string{"24h", "7d", "30d", "nonsense"} {
		x.do(http.MethodGet, "/admin?span="+span, root).want(200).says("Figures as a table")
	}
}

// Clients that register themselves may call themselves as they like.
func TestOverviewEscapesNamesOfClients(t *testing.T) {
	x := newSite(t, setup{})
	now, hostile := x.Clock.Now(), "<script>alert(1)</script>\u202e"
	for _, err := range []error{
		x.Store.InsertClient(t.Context(), broker.Client{ID: `"><img>`, Name: hostile, CreatedAt: now, UpdatedAt: now}),
		x.Store.SetFigures(t.Context(), []broker.Figure{
			{Name: broker.FigureLiveClients, Hour: now.Truncate(time.Hour), Label: `"><img>`, N: 1},
			{Name: broker.FigureLiveProviders, Hour: now.Truncate(time.Hour), Label: `"><img>`, N: 1},
			{Name: broker.FigureLoginRefused, Hour: now.Truncate(time.Hour), Label: `"><img>`, N: 1},
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.Store.InitFact(t.Context(), "figures", fmt.Sprintf(`{"next":0,"until":%d,"census":%[1]d}`, now.UnixMilli())); err != nil {
		t.Fatal(err)
	}
	body := x.do(http.MethodGet, "/admin", cookies(x.pageLogin("root"))).want(200).secure(false).Body
	if strings.Contains(body, "<img>") || strings.Contains(body, "<script>alert") || !strings.Contains(body, "<bdi>&lt;script&gt;") {
		t.Error("a name is not escaped")
	}
}
