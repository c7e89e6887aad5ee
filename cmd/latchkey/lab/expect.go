package lab

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// finding is what one expectation says of what was seen so far.
type finding struct {
	broken string // why the app has failed; "": it has not
	open   string // what is still missing; "": nothing
}

var met = finding{}

// view is what expectations look at.
type view struct {
	all     []Exchange // since the check began
	trigger time.Time  // when the first thing went wrong
	fresh   time.Duration
}

func (v view) after(kind Kind) []Exchange { return of(since(v.all, v.trigger), kind) }

// judge holds everything that was seen against everything that is expected. open
// is what would fail the app if the time were over.
func (e Expect) judge(v view) (broken, open string) {
	for _, find := range []func(view) finding{
		e.stays, e.storesTokens, e.heedsRetryAfter, e.tries, e.needless, e.refused, e.refreshes, e.works, e.logsIn,
	} {
		f := find(v)
		if f.broken != "" {
			return f.broken, ""
		}
		if open == "" {
			open = f.open
		}
	}
	return "", open
}

// good are the refreshes by which the app has got new tokens, after the trigger.
func (v view) good() (out []Exchange) {
	for _, x := range v.after(KindRefresh) {
		if x.renewed() {
			out = append(out, x)
		}
	}
	return out
}

func (e Expect) refreshes(v view) finding {
	n := len(v.good())
	switch {
	case n >= e.Refreshes:
		return met
	case len(v.after(KindRefresh)) == 0:
		return finding{open: "the app did not refresh"}
	}
	return finding{open: fmt.Sprintf("%d of %d refreshes came through: the app did not try again", n, e.Refreshes)}
}

func (e Expect) works(v view) finding {
	if !e.Works {
		return met
	}
	good := v.good()
	for _, x := range v.after(KindAPI) {
		if x.ok() && (e.Refreshes == 0 || len(good) > 0 && x.Begun.After(good[0].Begun)) {
			return met
		}
	}
	return finding{open: "the app did not use its API again"}
}

func (e Expect) stays(v view) finding {
	if !e.Stays {
		return met
	}
	for _, x := range since(v.all, v.trigger) {
		if x.Kind == KindLogin || x.Kind == KindLogout {
			return finding{broken: fmt.Sprintf("the app gave its session up: %s %s, and the session was alive", x.Method, x.Path)}
		}
	}
	return met
}

// storing is how long an app may take to store what it was given, unless it uses it
// sooner.
const storing = 500 * time.Millisecond

// storesTokens looks for requests with a token older than one that the app had
// before. Answers that crossed may be stored in either order.
func (e Expect) storesTokens(v view) finding {
	if !e.StoresTokens {
		return met
	}
	gifts := v.gifts()
	for _, x := range since(v.all, v.trigger) {
		if x.Token == "" || x.Kind != KindRefresh && x.Kind != KindAPI {
			continue
		}
		if gifts.replaced(x) {
			return finding{broken: fmt.Sprintf("%s %s came with a token that a newer one had replaced: the app does not store what it is given", x.Method, x.Path)}
		}
	}
	return met
}

// gift is an answer with tokens.
type gift struct {
	Exchange
	had time.Time // from when the app had them for sure
}

type gifts []gift

func (v view) gifts() (out gifts) {
	used := map[string]time.Time{} // when an access token was seen first
	for _, x := range v.all {
		if _, known := used[x.Token]; !known && x.Kind == KindAPI {
			used[x.Token] = x.Begun
		}
	}
	for _, x := range v.all {
		if !x.renewed() {
			continue
		}
		had := x.Ended.Add(storing)
		if at, ok := used[x.GaveAccess]; ok && at.Before(had) {
			had = at
		}
		out = append(out, gift{x, had})
	}
	return out
}

// replaced: the token of x was given before another one was asked for, which the
// app had before x. One that nobody gave since the check began was given before it.
func (list gifts) replaced(x Exchange) bool {
	var given, newest time.Time // when that of x arrived, when the latest was asked for
	for _, y := range list {
		if x.Kind == KindRefresh && y.GaveRefresh == x.Token || x.Kind == KindAPI && y.GaveAccess == x.Token {
			given = y.Ended
		}
		if y.had.Before(x.Begun) && y.Begun.After(newest) {
			newest = y.Begun
		}
	}
	return given.Before(newest)
}

// underWay is how soon after an answer a request may come that was on its way when
// that arrived, from another part of the app.
const underWay = 250 * time.Millisecond

func (e Expect) heedsRetryAfter(v view) finding {
	if !e.HeedsRetryAfter {
		return met
	}
	refreshes := v.after(KindRefresh)
	for _, asked := range refreshes {
		if asked.RetryAfter == 0 || !asked.Delivered {
			continue
		}
		excused := false // one is
		for _, x := range refreshes {
			wait := x.Begun.Sub(asked.Ended)
			switch {
			case wait <= 0 || wait >= asked.RetryAfter*9/10:
			case wait < underWay && !excused:
				excused = true
			default:
				return finding{broken: fmt.Sprintf("the app refreshed again after %s, and was asked to wait for %s (Retry-After)", wait.Round(10*time.Millisecond), asked.RetryAfter)}
			}
		}
	}
	return met
}

func (e Expect) tries(v view) finding {
	if e.Tries == 0 {
		return met
	}
	refreshes := v.after(KindRefresh)
	n := slices.IndexFunc(refreshes, Exchange.renewed)
	if n < 0 {
		n = len(refreshes)
	}
	if n > e.Tries {
		return finding{broken: fmt.Sprintf("the app refreshed %d times without success: its pauses have to grow", n)}
	}
	return met
}

func (e Expect) needless(v view) finding {
	if e.Needless == nil {
		return met
	}
	n := 0
	var last Exchange // the latest refresh that came through
	refused := true   // an API call, since then
	for _, x := range since(v.all, v.trigger) {
		switch {
		case x.Kind == KindAPI && x.Status == http.StatusUnauthorized:
			refused = true
		case x.Kind == KindRefresh && x.renewed():
			if !refused && x.Begun.After(last.Ended) && x.Begun.Sub(last.Ended) < v.fresh {
				n++
			}
			last, refused = x, false
		}
	}
	if n > *e.Needless {
		return finding{broken: fmt.Sprintf("the app refreshed %d times although its access token was new and nobody had refused it", n)}
	}
	return met
}

func (e Expect) logsIn(v view) finding {
	if !e.LogsIn || len(v.after(KindLogin)) > 0 {
		return met
	}
	return finding{open: "no login was begun: the app has to show it"}
}

// refused counts what comes until the login begins.
func (e Expect) refused(v view) finding {
	if e.Refused == nil {
		return met
	}
	refreshes, calls := 0, 0
	for _, x := range since(v.all, v.trigger) {
		if x.Kind == KindLogin {
			break
		}
		switch x.Kind {
		case KindRefresh:
			refreshes++
		case KindAPI:
			calls++
		}
	}
	if refreshes > e.Refused.Refreshes {
		return finding{broken: fmt.Sprintf("the app refreshed %d times with a session that is over: it loops", refreshes)}
	}
	if calls > e.Refused.Calls {
		return finding{broken: fmt.Sprintf("the app called the API %d times with a session that is over: it loops", calls)}
	}
	return met
}
