package e2e

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// eventful has every event in the audit log, about one person and one app.
func eventful(t *testing.T, rig *harness.Rig) {
	t.Helper()
	users, err := rig.Store.ListUsers(t.Context(), broker.UserPage{By: broker.ByUsername, UserFilter: broker.UserFilter{Role: broker.RoleAdmin}, Limit: 1})
	if err != nil || len(users) != 1 {
		t.Fatal(users, err)
	}
	u := users[0]
	list := []broker.Event{}
	for i, name := range broker.EventNames {
		list = append(list, broker.Event{
			ID: fmt.Sprintf("event-%02d", i), At: rig.Clock.Now().Add(-time.Duration(i) * 97 * time.Minute), Name: name, UserID: u.ID, ClientID: "shelf", Actor: []string{"", u.ID}[i%2],
			SessionID: "0190a000-0000-7000-8000-000000000000", IP: "192.0.2.17", Detail: map[string]string{"provider": "first", "cause": string(broker.TokenReused), "method": "first", "user_agent": u.Name, "count": "7", "code": string(broker.InvalidCredentials)},
		})
	}
	if err := rig.Store.InsertEvents(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

// lively has every event, and makes the figures of a month: quiet nights, busy evenings, a day on which
// somebody guessed passwords.
func lively(t *testing.T, rig *harness.Rig) {
	t.Helper()
	eventful(t, rig)
	now := rig.Clock.Now()
	list := []broker.Figure{}
	add := func(name string, hour time.Time, label string, n float64) {
		if n >= 1 {
			list = append(list, broker.Figure{Name: name, Hour: hour, Label: label, N: int64(n)})
		}
	}
	for h := range 30 * 24 {
		hour := now.Truncate(time.Hour).Add(-time.Duration(h) * time.Hour)
		day := 1.2 - math.Cos(float64(hour.Hour()-3)/12*math.Pi) + 0.3*math.Sin(float64(h))
		add(broker.FigureLogins, hour, "first", 6*day)
		add(broker.FigureLogins, hour, "", 1.4*day)
		add(broker.FigureRefreshes, hour, string(broker.OutcomeAdvance), 410*day)
		add(broker.FigureRefreshes, hour, string(broker.OutcomeConverge), 3*day)
		add(broker.FigureLoginRefused, hour, string(broker.InvalidCredentials), day+map[bool]float64{true: 40}[h/24 == 4 || h == 7])
		add(broker.FigureLoginRefused, hour, string(broker.GroupNotAllowed), map[bool]float64{true: 1}[h%9 == 0])
		add(broker.FigureLoginRefused, hour, string(broker.RateLimited), map[bool]float64{true: 12}[h/24 == 4 || h == 7])
		add(broker.FigureRefreshRefused, hour, string(broker.SessionExpired), day)
		add(broker.FigureRefreshRefused, hour, string(broker.TokenReused), map[bool]float64{true: 1}[h%50 == 3])
		add(broker.FigureEnds, hour, string(broker.LoggedOut), 2*day)
		add(broker.FigureEnds, hour, string(broker.SessionExpired), day)
		add(broker.FigureEnds, hour, string(broker.RevokedByUser), map[bool]float64{true: 1}[h%17 == 0])
		add(broker.FigureEnds, hour, string(broker.TokenReused), map[bool]float64{true: 1}[h%50 == 3])
	}
	hour := now.Truncate(time.Hour)
	add(broker.FigureLive, hour, "", 12_345)
	for label, n := range map[string]float64{broker.AppClientID: 8_211, "shelf": 2_911, "tv": 1_020, "gone": 103} {
		add(broker.FigureLiveClients, hour, label, n)
	}
	for i := range 12 {
		add(broker.FigureLiveClients, hour, fmt.Sprintf("app-%d", i), float64(20-i))
	}
	for label, n := range map[string]float64{"": 1_502, "first": 9_800, "second": 1_043} {
		add(broker.FigureLiveProviders, hour, label, n)
	}
	if err := rig.Store.SetFigures(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	counted := fmt.Sprintf(`{"next":%d,"until":%[2]d,"census":%[2]d}`, now.Add(time.Minute).UnixMilli(), now.Add(-3*time.Minute).UnixMilli())
	if _, err := rig.Store.InitFact(t.Context(), "figures", counted); err != nil {
		t.Fatal(err)
	}
}
