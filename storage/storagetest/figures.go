package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var figureTests = []test{
	{"figures are added and replaced", addFigures},
	{"of additions at once none is lost", addFiguresParallel},
	{"figures are summed up by steps from midnight", sumFigures},
	{"logins are counted by hour and provider", countLogins},
	{"ends are counted by hour and cause", countEnds},
	{"live sessions are counted by client and provider", countLive},
	{"old figures are swept", sweepFigures},
}

var hour0 = t0.Truncate(time.Hour)

func figure(name string, hours int, label string, n int64) broker.Figure {
	return broker.Figure{Name: name, Hour: hour0.Add(time.Duration(hours) * time.Hour), Label: label, N: n}
}

// figures are those of two names.
func (s *suite) figures(step time.Duration) string {
	s.Helper()
	list := must(s.Store.Figures(ctx, broker.FigureQuery{
		Names: []string{broker.FigureRefreshes, broker.FigureEnds}, From: hour0.Add(-48 * time.Hour), Until: hour0.Add(48 * time.Hour), Step: step,
	}))(s)
	return asText(list)
}

func asText(list []broker.Figure) string {
	out := []string{}
	for _, f := range list {
		out = append(out, fmt.Sprintf("%s %s %q %d", f.Name, f.Hour.Format("02T15"), f.Label, f.N))
	}
	return strings.Join(out, ", ")
}

func addFigures(s *suite) {
	s.ok(s.Store.AddFigures(ctx, nil))
	s.ok(s.Store.AddFigures(ctx, []broker.Figure{figure("refresh", 0, "same", 3), figure("refresh", 0, "advance", 1), figure("live", 0, "", 9)}))
	s.ok(s.Store.AddFigures(ctx, []broker.Figure{figure("refresh", 0, "same", 4), figure("refresh", 1, "same", 1)}))
	s.ok(s.Store.SetFigures(ctx, []broker.Figure{figure("refresh", 0, "advance", 0), figure("end", 0, "logged_out", 2)}))
	same(s, s.figures(time.Hour), `end 02T03 "logged_out" 2, refresh 02T03 "advance" 0, refresh 02T03 "same" 7, refresh 02T04 "same" 1`)
}

func addFiguresParallel(s *suite) {
	for _, err := range inParallel(takers, func(i int) error {
		list := []broker.Figure{figure("refresh", 0, "same", 1), figure("refresh", 0, "advance", 1)}
		if i%2 == 0 { // in another order, which may not hold each other up for ever
			list[0], list[1] = list[1], list[0]
		}
		return s.Store.AddFigures(ctx, list)
	}) {
		s.ok(err)
	}
	same(s, s.figures(time.Hour), fmt.Sprintf(`refresh 02T03 "advance" %d, refresh 02T03 "same" %d`, takers, takers))
}

func sumFigures(s *suite) {
	list := []broker.Figure{}
	for h := -30; h < 30; h++ {
		list = append(list, figure("end", h, "logged_out", 1))
	}
	s.ok(s.Store.SetFigures(ctx, append(list, figure("end", 2, "session_expired", 5), figure("end", 48, "logged_out", 1), figure("end", -49, "logged_out", 1))))
	same(s, s.figures(6*time.Hour), `end 31T18 "logged_out" 3, end 01T00 "logged_out" 6, end 01T06 "logged_out" 6, end 01T12 "logged_out" 6, end 01T18 "logged_out" 6, `+
		`end 02T00 "logged_out" 6, end 02T00 "session_expired" 5, end 02T06 "logged_out" 6, end 02T12 "logged_out" 6, end 02T18 "logged_out" 6, end 03T00 "logged_out" 6, end 03T06 "logged_out" 3`)
}

func countLogins(s *suite) {
	s.user("anna")
	for i, at := range []time.Duration{0, 30 * time.Minute, time.Hour, 2 * time.Hour} {
		s.session(fmt.Sprint("m", i), "id of anna", func(n *broker.Session) { n.CreatedAt = hour0.Add(at) })
	}
	s.session("m4", "id of anna", func(n *broker.Session) { n.CreatedAt, n.ProviderID = hour0, "" })
	s.session("a", "id of anna", func(n *broker.Session) { n.CreatedAt = hour0 }) // not among the ids
	s.ok(second(s.Store.EndSessions(ctx, broker.SessionFilter{ID: "m0"}, ending(broker.LoggedOut, false, t0))))
	got := must(s.Store.CountLogins(ctx, hour0, hour0.Add(2*time.Hour), "m", "n"))(s)
	same(s, len(got), 3)
	s.ok(s.Store.SetFigures(ctx, got))
	list := must(s.Store.Figures(ctx, broker.FigureQuery{Names: []string{"login"}, From: hour0, Until: hour0.Add(3 * time.Hour), Step: time.Hour}))(s)
	same(s, asText(list), `login 02T03 "" 1, login 02T03 "provider" 2, login 02T04 "provider" 1`)
}

func countEnds(s *suite) {
	s.user("anna")
	end := func(id string, cause broker.EndCause, at time.Duration) {
		s.session(id, "id of anna")
		s.ok(second(s.Store.EndSessions(ctx, broker.SessionFilter{ID: id}, ending(cause, false, hour0.Add(at)))))
	}
	end("1", broker.LoggedOut, 0)
	end("2", broker.LoggedOut, time.Hour-time.Millisecond)
	end("3", broker.TokenReused, time.Minute)
	end("4", broker.LoggedOut, time.Hour)
	end("5", broker.LoggedOut, 2*time.Hour)
	end("6", broker.LoggedOut, -time.Millisecond)
	s.session("live", "id of anna")
	s.ok(s.Store.SetFigures(ctx, must(s.Store.CountEnds(ctx, hour0, hour0.Add(2*time.Hour)))(s)))
	same(s, s.figures(time.Hour), `end 02T03 "logged_out" 2, end 02T03 "token_reused" 1, end 02T04 "logged_out" 1`)
}

func countLive(s *suite) {
	same(s, len(must(s.Store.CountLive(ctx, t0))(s)), 0)
	s.crowd()
	s.ok(second(s.Store.EndSessions(ctx, broker.SessionFilter{ID: "a3"}, ending(broker.LoggedOut, false, t0))))
	got := map[string]int64{}
	for _, c := range must(s.Store.CountLive(ctx, t0.Add(time.Minute)))(s) { // when those of bob have expired
		got[c.ClientID+" "+c.ProviderID] = c.N
	}
	same(s, got, map[string]int64{"client provider": 1, broker.AppClientID + " ": 1})
}

func sweepFigures(s *suite) {
	s.ok(s.Store.SetFigures(ctx, []broker.Figure{figure("end", -2, "logged_out", 1), figure("end", -1, "logged_out", 1), figure("refresh", -2, "same", 1), figure("live", -2, "", 1)}))
	same(s, must(s.Store.Sweep(ctx, broker.Sweep{FiguresBefore: hour0.Add(-time.Hour), Limit: 2}))(s), 2)
	same(s, must(s.Store.Sweep(ctx, broker.Sweep{FiguresBefore: hour0.Add(-time.Hour), Limit: 2}))(s), 1)
	same(s, s.figures(time.Hour), `end 02T02 "logged_out" 1`)
}
