package web_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
)

// idpSite is a site with one IdP, whose user anna has never logged in, and with
// all that must not be in its log.
type idpSite struct {
	*site
	idp *providertest.IdP

	mu      sync.Mutex
	secrets []string
}

func idpStart(t testing.TB, change func(*broker.Provider)) *idpSite {
	t.Helper()
	x := &idpSite{idp: startIdP(t), secrets: []string{"the IdP's client secret"}}
	x.site = openSite(t, setup{idp: x.idp, broker: func(c *broker.Config) {
		if change != nil {
			change(&c.Providers[0])
		}
	}})
	x.idp.Script(x.spy)
	return x
}

// spy notes what is sent to the token endpoint.
func (x *idpSite) spy(s *providertest.Script) {
	if s.Respond[providertest.EndpointToken] != nil {
		return
	}
	s.Respond[providertest.EndpointToken] = func(_ http.ResponseWriter, r *http.Request) bool {
		_ = r.ParseForm()
		x.secret(r.PostForm.Get("code"), r.PostForm.Get("code_verifier"))
		return false
	}
	edit := s.EditTokenAnswer
	s.EditTokenAnswer = func(answer map[string]any) {
		if edit != nil {
			edit(answer)
		}
		for _, name := range []string{"access_token", "id_token"} {
			if token, ok := answer[name].(string); ok && len(token) > 20 {
				x.secret(token)
			}
		}
	}
}

func (x *idpSite) lie(change func(*providertest.Script)) {
	x.idp.Script(func(s *providertest.Script) {
		*s = providertest.Script{Respond: map[string]providertest.Responder{}}
		if change != nil {
			change(s)
		}
		x.spy(s)
	})
}

func (x *idpSite) secret(values ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, v := range values {
		if v != "" {
			x.secrets = append(x.secrets, v)
		}
	}
}

// idpTally is what a login adds to.
type idpTally struct{ users, identities, sessions int }

func (x *idpSite) tally() (n idpTally) {
	x.t.Helper()
	users, err := x.Store.ListUsers(context.Background(), broker.UserPage{By: broker.ByUsername, Limit: 1000})
	if err != nil {
		x.t.Fatal(err)
	}
	n.users = len(users)
	for _, u := range users {
		list, err := x.Store.IdentitiesOfUser(context.Background(), u.ID)
		if err != nil {
			x.t.Fatal(err)
		}
		n.identities += len(list)
	}
	if _, n.sessions, err = x.Store.ListSessions(context.Background(), broker.SessionFilter{All: true}, 0, 1); err != nil {
		x.t.Fatal(err)
	}
	return n
}

// begin is a browser's own login up to the IdP.
func (x *idpSite) begin() (atIdP string, flow []*http.Cookie) {
	x.t.Helper()
	a := x.do(http.MethodGet, "/auth/openid?callback=/")
	atIdP = a.location().String()
	x.secret(idpQuery(x.t, atIdP).Get("state"))
	return atIdP, a.cookies
}

func (x *idpSite) visit(atIdP, username string) (callback string) {
	x.t.Helper()
	callback, err := x.idp.Authorize(context.Background(), atIdP, username)
	if err != nil {
		x.t.Fatal(err)
	}
	x.secret(idpQuery(x.t, callback).Get("code"))
	return callback
}

// browse is a browser's whole login, and its last answer.
func (x *idpSite) browse(username string) *answer {
	x.t.Helper()
	atIdP, flow := x.begin()
	return x.do(http.MethodGet, x.visit(atIdP, username), cookies(flow))
}

func idpQuery(t testing.TB, target string) url.Values {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// noLogin expects a refusal that left nothing behind.
func (x *idpSite) noLogin(a *answer, before idpTally, status int, code broker.Code) {
	x.t.Helper()
	if a.Status != status || a.Header.Get("Latchkey-Code") != string(code) || a.Header.Get("Location") != "" {
		x.t.Errorf("%s: %d %s to %q, want %d %s", a.request, a.Status, a.Header.Get("Latchkey-Code"), a.Header.Get("Location"), status, code)
	}
	for _, c := range a.cookies {
		if c.MaxAge >= 0 {
			x.t.Errorf("a cookie: %s", c)
		}
	}
	if after := x.tally(); after != before {
		x.t.Errorf("rows: before %+v, after %+v", before, after)
	}
	x.quiet(a.Body)
}

// quiet looks for secrets in the log and in what a browser was shown.
func (x *idpSite) quiet(shown string) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	log := x.log.String()
	for _, s := range x.secrets {
		for _, form := range []string{s, url.QueryEscape(s)} {
			if strings.Contains(log, form) {
				x.t.Errorf("in the log: %q\n%s", form, log)
			}
			if strings.Contains(shown, form) {
				x.t.Errorf("in the answer: %q", form)
			}
		}
	}
	if strings.Contains(log, "request.panic") {
		x.t.Errorf("a panic: %s", log)
	}
}

func (x *idpSite) honest() {
	x.t.Helper()
	x.lie(nil)
	a := x.browse("anna")
	if a.location(); a.cookie("refresh_token") == nil {
		x.t.Errorf("the honest login: %d %s", a.Status, a.Body)
	}
}

type idpLie struct {
	name string
	tell func(x *idpSite, s *providertest.Script)
	code broker.Code // empty: the login works
}

var idpStatus = map[broker.Code]int{
	broker.IdPBadResponse: 502, broker.NonceMismatch: 400, broker.IssuerMismatch: 400, broker.IdPRefused: 403,
	broker.TemporarilyUnavailable: 503, broker.AccessDenied: 403,
}

// idpLies runs each lie against a site of its own; an honest login follows,
// with nothing to wait for.
func idpLies(t *testing.T, lies []idpLie) {
	t.Helper()
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			x := idpStart(t, nil)
			x.lie(func(s *providertest.Script) { l.tell(x, s) })
			begun, before := time.Now(), x.tally()
			a := x.browse("anna")
			if l.code == "" {
				if a.location(); a.cookie("refresh_token") == nil || x.tally() != (idpTally{1, 1, 1}) {
					t.Errorf("refused: %d, %+v", a.Status, x.tally())
				}
				return
			}
			x.noLogin(a, before, idpStatus[l.code], l.code)
			if l.code != broker.TemporarilyUnavailable {
				x.WantRefused(t, string(l.code)+" 1 openid openid latchkey-app - 127.0.0.1")
			} else {
				x.WantRefused(t)
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			x.honest()
		})
	}
}

// claim changes the ID token's claims; nil removes one.
func idpClaim(pairs ...any) func(*idpSite, *providertest.Script) {
	return func(_ *idpSite, s *providertest.Script) {
		s.EditIDToken = func(claims map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i+1] == nil {
					delete(claims, pairs[i].(string))
				} else {
					claims[pairs[i].(string)] = pairs[i+1]
				}
			}
		}
	}
}

func idpAt(d time.Duration) int64 { return harness.NewClock().Now().Add(d).Unix() }
