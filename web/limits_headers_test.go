package web_test

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

const limitOfEach = 3

// limited is a site where every limit is reached after limitOfEach.
func limited(t *testing.T) *site {
	quota := broker.Quota{Max: limitOfEach, Window: 10 * time.Minute}
	return newProvider(t, setup{idp: startIdP(t), broker: func(c *broker.Config) {
		addsProviders(c)
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.RegistrationToken = limiter, registrationToken
		c.MailSender, c.LetterWriter = &postbox{}, letters(t)
		c.Limits = broker.Limits{Failures: quota, Starts: quota, Codes: quota, Exports: quota, Trials: quota, Registrations: quota}
	}})
}

// failing is a route that counts failures: good is a request that succeeds, bad the
// nth that fails. Where right is true, what was good here before stays so.
type failing struct {
	good  func(ip string) *answer
	bad   func(ip string, n int) *answer
	right bool
}

func failingRoutes(x *site) map[string]failing {
	page := func(user, password, ip string) *answer {
		return x.do(http.MethodPost, "/login/password", form("username", user, "password", password), from(ip))
	}
	change := func(fits bool, ip string) *answer {
		p := x.login("root", from("198.51.100.1"))
		current, fresh := harness.PasswordOf("root"), harness.PasswordOf("root")
		if !fits {
			current = "wrong"
		}
		return x.changePassword(p.access, current, fresh, from(ip))
	}
	_, key := x.keyFor("alice", nil)
	x.User(x.t, "keyed", broker.RoleUser)
	passkey := x.passkeyOf("keyed")
	other := *harness.NewSoftKey(x.t, publicURL)
	other.ID, other.UserHandle = passkey.ID, passkey.UserHandle
	client := func(path, secret, ip string) *answer {
		id := map[string]string{"/oauth2/introspect": "asking"}[path]
		return x.do(http.MethodPost, path, form("token", "x"), basic(cmp.Or(id, "web1"), secret), from(ip))
	}
	routes := map[string]failing{
		"POST /login": {good: func(ip string) *answer { return x.sendLogin("alice", harness.PasswordOf("alice"), from(ip)) },
			bad: func(ip string, n int) *answer { return x.sendLogin(fmt.Sprint("nobody", n), "wrong", from(ip)) }},
		"POST /login/password": {good: func(ip string) *answer { return page("alice", harness.PasswordOf("alice"), ip) },
			bad: func(ip string, n int) *answer { return page(fmt.Sprint("nobody", n), "wrong", ip) }},
		"POST /login/passkey": {good: func(ip string) *answer { return x.passkeyFrom(ip, passkey) },
			bad: func(ip string, _ int) *answer { return x.passkeyFrom(ip, &other) }},
		"PATCH /api/me/password": {good: func(ip string) *answer { return change(true, ip) }, bad: func(ip string, _ int) *answer { return change(false, ip) }},
		"an API key": {right: true, good: func(ip string) *answer { return x.do(http.MethodGet, "/api/me", bearer(key), from(ip)) },
			bad: func(ip string, n int) *answer {
				return x.do(http.MethodGet, "/api/me", bearer(withSecret(key, fmt.Sprintf("%043d", n))), from(ip))
			}},
		"POST /oauth2/register": {bad: func(ip string, n int) *answer {
			return x.do(http.MethodPost, "/oauth2/register", bearer(fmt.Sprint("guess ", n)), jsonBody("{}"), from(ip))
		}},
	}
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
		routes["POST "+path] = failing{right: true, good: func(ip string) *answer { return client(path, webSecret, ip) },
			bad: func(ip string, n int) *answer { return client(path, fmt.Sprint("guess ", path, n), ip) }}
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/par", "/oauth2/device_authorization"} {
		routes["POST "+path] = failing{bad: func(ip string, n int) *answer { return client(path, fmt.Sprint("guess ", path, n), ip) }}
	}
	return routes
}

// countingRoutes are those of which each request counts.
func countingRoutes(x *site) map[string]func(ip string) *answer {
	routes := startsOf(x)
	routes["a passkey"] = func(ip string) *answer {
		return x.do(http.MethodPost, "/login/passkey/options", form(), fromPage, header("Accept", "application/json"), from(ip))
	}
	routes["a request by POST"] = func(ip string) *answer {
		return x.do(http.MethodPost, "/oauth2/authorize", body("application/x-www-form-urlencoded", request("web1", cb1).Encode()), from(ip))
	}
	routes["a forgotten password"] = func(ip string) *answer {
		return x.forgets(ip+"@example.org", from(ip))
	}
	routes["a client that registers itself"] = func(ip string) *answer {
		return x.do(http.MethodPost, "/oauth2/register", bearer(registrationToken), jsonBody(`{"redirect_uris":["https://dyn.test/cb"]}`), from(ip))
	}
	x.User(x.t, "second", broker.RoleAdmin)
	token := bearer(x.login("second").access)
	routes["a trial"] = func(string) *answer { return x.do(http.MethodPost, "/api/providers/openid/check", token) }
	b := x.loggedIn("alice")
	routes["a code"] = func(string) *answer { return b.authorize(request("web1", cb1)) }
	routes["a download"] = func(string) *answer { return b.sends(ownDataPath) }
	return routes
}

// standsAt holds the RateLimit headers of an answer against the contract and the
// draft of the IETF: where none is left, the reset is when Retry-After says.
func (a *answer) standsAt(remaining int, refused bool) {
	a.t.Helper()
	h := a.Header
	if h.Get("RateLimit-Policy") != strconv.Itoa(limitOfEach)+";w=600" || h.Get("RateLimit-Limit") != strconv.Itoa(limitOfEach) ||
		h.Get("RateLimit-Remaining") != strconv.Itoa(remaining) || len(h.Values("RateLimit-Remaining")) != 1 {
		a.t.Errorf("%s: %d: %v, want %d left", a.request, a.Status, limitHeadersOf(h), remaining)
	}
	retry := ""
	if a.Status == http.StatusTooManyRequests { // at a redirect it would hold up the redirect (RFC 9110 section 10.2.3)
		retry = h.Get("RateLimit-Reset")
	}
	if reset, err := strconv.Atoi(h.Get("RateLimit-Reset")); err != nil || reset > 600 || (reset == 0) != (remaining == limitOfEach) || h.Get("Retry-After") != retry {
		a.t.Errorf("%s: %d: %v", a.request, a.Status, limitHeadersOf(h))
	}
	if remaining == 0 && h.Get("RateLimit-Reset") != "200" { // a third of the window, by a clock that stands
		a.t.Errorf("%s: the next one is free after %s s, want 200", a.request, h.Get("RateLimit-Reset"))
	}
	if told := h.Get("Latchkey-Code") == string(broker.RateLimited); told != refused {
		a.t.Errorf("%s: %d %s", a.request, a.Status, h.Get("Latchkey-Code"))
	}
}

func limitHeadersOf(h http.Header) (out []string) {
	for name, values := range h {
		if strings.HasPrefix(name, "Ratelimit") || strings.HasPrefix(name, "X-Ratelimit") || name == "Retry-After" {
			out = append(out, name+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(out)
	return out
}

// Every answer of a limited route says where whoever asked stands: a success, a
// failure and a refusal.
func TestLimitedRoutesSayWhereOneStands(t *testing.T) {
	x := limited(t)
	failing, counting, n := failingRoutes(x), countingRoutes(x), 0
	for name, route := range failing {
		n++
		ip := "203.0.113." + strconv.Itoa(n)
		t.Run(name, func(t *testing.T) {
			if route.good != nil {
				a := route.good(ip)
				if a.t = t; a.Status >= 400 {
					t.Fatalf("%d %s", a.Status, a.Body)
				}
				a.standsAt(limitOfEach, false)
			}
			for i := range limitOfEach {
				a := route.bad(ip, i)
				if a.t = t; a.Status != 400 && a.Status != 401 {
					t.Fatalf("%d %s", a.Status, a.Body)
				}
				a.standsAt(limitOfEach-1-i, false)
			}
			a := route.bad(ip, limitOfEach)
			a.t = t
			a.want(429).standsAt(0, true)
			if route.good != nil && !route.right {
				route.good(ip).want(429)
			}
		})
	}
	for name, start := range counting {
		n++
		ip := "203.0.113." + strconv.Itoa(n)
		t.Run(name, func(t *testing.T) {
			for i := range limitOfEach {
				a := start(ip)
				if a.t = t; a.Status >= 400 {
					t.Fatalf("%d %s", a.Status, a.Body)
				}
				a.standsAt(limitOfEach-1-i, false)
			}
			a := start(ip)
			a.t = t
			a.standsAt(0, true)
		})
	}
	for _, tally := range x.Broker.Tallies() {
		kind, decision := tally.Labels[0], tally.Labels[1]
		counted := slices.Contains([]string{"starts", "codes", "exports", "trials", "registrations", "forgotten"}, kind)
		if tally.Name == broker.TallyLimits && (kind == "other" || counted && decision == broker.TallyFailed) {
			t.Errorf("the metrics say of %s: %s", kind, decision)
		}
	}
}

// A refresh has no limit: it asks for none, and says none. Nor does what asks for
// nothing.
func TestUnlimitedRoutesSayNoLimit(t *testing.T) {
	x := limited(t)
	p := x.login("alice")
	for range 2 * limitOfEach {
		x.sendLogin("nobody", "wrong")
	}
	x.Clock.Advance(grace)
	before := x.Statements.Load()
	good := x.refresh(p.refresh).want(200)
	if n := x.Statements.Load() - before; n != 1 {
		t.Errorf("a refresh cost %d statements", n)
	}
	for _, a := range []*answer{
		good, x.refresh("garbage").want(401), x.do(http.MethodPost, "/auth/refresh").want(401), x.me(p.access).want(200), x.me("garbage").want(401),
		x.do(http.MethodPost, "/logout", refreshHeader(p.refresh)).want(200), x.do(http.MethodGet, "/status").want(200), x.do(http.MethodGet, "/login").want(200),
	} {
		if said := limitHeadersOf(a.Header); len(said) > 0 {
			t.Errorf("%s: %v", a.request, said)
		}
	}
}

// Nobody learns from his own login, or from asking for a link, how often strangers
// fail for the account.
func TestLimitOfAnAccountIsNotTold(t *testing.T) {
	x := limited(t)
	x.login("alice", from("192.0.2.10"))
	for i := range 2 {
		x.sendLogin("alice", "wrong", from("203.0.113."+strconv.Itoa(i)))
		x.forgets("alice", from("203.0.113."+strconv.Itoa(i)))
	}
	x.sendLogin("alice", harness.PasswordOf("alice"), from("198.51.100.7")).want(200).standsAt(limitOfEach, false)
	x.sendLogin("alice", "wrong", from("198.51.100.7")).want(401).standsAt(limitOfEach-1, false)
	x.sendLogin("alice", harness.PasswordOf("alice"), from("192.0.2.10")).want(200).standsAt(limitOfEach, false)
	x.forgets("alice", from("198.51.100.8")).standsAt(limitOfEach-1, false)
}
