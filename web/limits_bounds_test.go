package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// P04: strangers who fail for alice keep her out of nothing that is hers: not of
// a network that she was in before, even if she logged out there, not of a browser
// that is logged in, wherever it is now, and not of changing her password.
func TestP04LockOutIsNoWeapon(t *testing.T) {
	x := newSite(t, setup{failures: 5})
	const away = "198.51.100.200"
	home := x.login("alice", from("[2001:db8:1:2::5]"))
	x.do(http.MethodPost, "/logout", refreshHeader(home.refresh)).want(200)
	phone, laptop, mallory := x.login("alice", from("192.0.2.10")), x.inBrowser("alice"), x.inBrowser("root")
	for i := range 8 {
		x.sendLogin("alice", "wrong", from("203.0.113."+strconv.Itoa(i)))
	}
	x.sendLogin("alice", harness.PasswordOf("alice"), from(away)).refused(429, broker.RateLimited, web.VerdictRetry)
	x.sendLogin("alice", harness.PasswordOf("alice"), from("[2001:db8:1:3::5]")).want(429)
	x.login("alice", from("[2001:db8:1:2:ffff::9]"))
	x.login("alice", from("192.0.2.10"))
	page := []string{"username", "alice", "password", harness.PasswordOf("alice")}
	mallory.send(http.MethodPost, "/login/password", form(page...), from(away)).want(429)
	laptop.send(http.MethodPost, "/login/password", form(page...), from(away)).want(303)
	x.changePassword(phone.access, harness.PasswordOf("alice"), "a new password of alice", from("198.51.100.201")).want(200)
}

// A stolen access token guesses no password, from however many addresses.
func TestP04StolenSessionGuessesNoPassword(t *testing.T) {
	x := newSite(t, setup{failures: 5})
	p := x.login("alice")
	refused := 0
	for i := range 12 {
		if x.changePassword(p.access, "wrong", "a new password of alice", from("203.0.113."+strconv.Itoa(i))).Status == 429 {
			refused++
		}
	}
	if refused != 7 {
		t.Errorf("%d of 12 guesses were refused, want 7", refused)
	}
	x.refresh(p.refresh).pair()
}

// One IPv6 network is one address, however many of its addresses guess.
func TestP02OneNetworkIsOneAddress(t *testing.T) {
	x := newSite(t, setup{failures: 5})
	for i := range 5 {
		x.sendLogin(fmt.Sprint("nobody", i), "wrong", from(fmt.Sprintf("[2001:db8:1:2:%x::1]", i))).want(401)
	}
	x.sendLogin("alice", harness.PasswordOf("alice"), from("[2001:db8:1:2:ffff::1]")).want(429)
	x.login("alice", from("[2001:db8:1:3::1]"))
}

// Behind several trusted proxies it is the address that the outermost of them saw
// which counts, whatever a client wrote before it.
func TestP02ForgedForwardedForBehindSeveralProxies(t *testing.T) {
	x := newSite(t, setup{failures: 5, web: trust("192.0.2.1/32", "10.0.0.0/8", "2001:db8:ffff::/48")})
	const attacker, inner = "203.0.113.9", "10.0.0.7"
	through := func(client string) option {
		return func(r *http.Request) {
			r.Header.Set(peerHeader, inner+":4711")
			r.Header["X-Forwarded-For"] = []string{client + ", 192.0.2.1, 2001:db8:ffff::1"}
		}
	}
	forged := []string{
		"198.51.100.1, ", "10.0.0.8, ", "192.0.2.1, 10.0.0.9, ", "127.0.0.1, ", "::1, ", "not an address, ", ", , ", "198.51.100.1:80, ", strings.Repeat("10.0.0.1, ", 100), "::ffff:",
	}
	for n, before := range forged {
		want := http.StatusUnauthorized
		if n >= 5 {
			want = http.StatusTooManyRequests
		}
		x.sendLogin(fmt.Sprint("nobody", n), "wrong", through(before+attacker)).want(want)
	}
	twice := func(r *http.Request) {
		through(attacker)(r)
		r.Header["X-Forwarded-For"] = append([]string{"198.51.100.1, 198.51.100.2"}, r.Header["X-Forwarded-For"]...)
	}
	x.sendLogin("alice", harness.PasswordOf("alice"), twice).want(429)
	x.sendLogin("alice", harness.PasswordOf("alice"), through("203.0.113.10")).want(200)
	x.sendLogin("alice", harness.PasswordOf("alice"), from(attacker), header("X-Forwarded-For", "203.0.113.10")).want(429) // past the proxies
	x.sendLogin("alice", harness.PasswordOf("alice"), from(inner)).want(200)                                               // a proxy itself failed at nothing
}

// startsOf are the ways to begin a login that then waits for a person.
func startsOf(x *site) map[string]func(ip string) *answer {
	app := newApp(x)
	opened := app.open(app.start(nil).location())
	encoded := func(q url.Values) option { return body("application/x-www-form-urlencoded", q.Encode()) }
	return map[string]func(ip string) *answer{
		"an app's login": func(ip string) *answer {
			return x.do("GET", "/auth/openid?response_type=code&redirect_uri=audiobookshelf%3A%2F%2Foauth&code_challenge_method=S256&code_challenge="+app.challenge, from(ip))
		},
		"the browser of an app": func(ip string) *answer { return x.do("GET", opened, from(ip)) },
		"a browser's login": func(ip string) *answer {
			return x.do("GET", "/auth/openid?callback="+url.QueryEscape(publicURL+"/"), from(ip))
		},
		"a client's request": func(ip string) *answer {
			return x.do("GET", "/oauth2/authorize?"+request("web1", cb1).Encode(), from(ip))
		},
		"a pushed request": func(ip string) *answer {
			return x.do("POST", "/oauth2/par", encoded(request("web1", cb1)), basic("web1", webSecret), from(ip))
		},
		"a device": func(ip string) *answer {
			return x.do("POST", "/oauth2/device_authorization", form("client_id", "nat1"), from(ip))
		},
	}
}

// X03: an address begins so many logins and no more; who refreshes or has a
// password is not concerned, nor is the neighbour.
func TestX03StartsOfAnAddressAreBounded(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t), broker: func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits.Starts = limiter, broker.Quota{Max: 4, Window: 10 * time.Minute, Own: true}
	}})
	n := 0
	for name, start := range startsOf(x) {
		n++
		flood := "203.0.113." + strconv.Itoa(n)
		for range 4 {
			if a := start(flood); a.Status >= 400 {
				t.Fatalf("%s: %d %s", name, a.Status, a.Body)
			}
		}
		before := x.Statements.Load()
		a := start(flood)
		// An app whose login is known is told in its own redirect.
		told := a.Status == 429 && a.Header.Get("Retry-After") != "" && a.Header.Get("RateLimit-Policy") == "4;w=600"
		told = told || a.Status == 302 && strings.HasPrefix(a.Header.Get("Location"), "audiobookshelf://oauth?error=temporarily_unavailable")
		if !told || a.Header.Get("Latchkey-Code") != string(broker.RateLimited) {
			t.Errorf("%s: %d %v %s", name, a.Status, a.Header, a.Body)
		}
		if asked := x.Statements.Load() - before; asked > 1 {
			t.Errorf("%s: a refusal cost %d statements", name, asked)
		}
		if a := start("203.0.113.200"); n <= 4 && a.Status >= 400 {
			t.Errorf("%s: the neighbour: %d", name, a.Status)
		}
		p := x.login("alice", from(flood))
		x.refresh(p.refresh, from(flood)).pair()
	}
	x.Clock.Advance(2*time.Minute + 30*time.Second)
	if a := startsOf(x)["a device"]("203.0.113.1"); a.Status != 200 {
		t.Errorf("later: %d", a.Status)
	}
}

// What an administrator makes Latchkey ask of the world is bounded for each.
func TestX03TrialsOfAnAdministratorAreBounded(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t), broker: func(c *broker.Config) {
		addsProviders(c)
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits.Trials = limiter, broker.Quota{Max: 2, Window: 10 * time.Minute, Own: true}
	}})
	x.User(t, "second", broker.RoleAdmin)
	token, other := bearer(x.login("root").access), bearer(x.login("second").access)
	root := x.inBrowser("root")
	root.open("/admin/setup").want(200).says("Test IdP takes the client id") // a look is no trial of hers
	x.do("POST", "/api/providers/openid/check", token).want(200)
	root.submit("/admin/providers/openid/check").want(200)
	if a := x.do("POST", "/api/providers/openid/check", token).refused(429, broker.RateLimited, web.VerdictRetry); a.Header.Get("Retry-After") != "300" {
		t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
	}
	root.submit("/admin/providers/openid/check").want(429)
	x.do("POST", "/api/providers/openid/check", other).want(200)
	x.do("GET", "/api/providers/openid", token).want(200)
}

// gate holds every password that is to be compared, and says how many wait.
type gate struct {
	broker.PasswordHasher
	open    chan struct{}
	waiting sync.WaitGroup
}

func (g *gate) Verify(ctx context.Context, hash broker.PasswordHash, password string) (ok, rehash bool, err error) {
	g.waiting.Done()
	<-g.open
	return g.PasswordHasher.Verify(ctx, hash, password)
}

// R43, P06: two hundred logins wait for their hash, and each refresh is answered
// meanwhile, with the one statement that it always costs.
func TestR43WaitingLoginsHoldUpNoRefresh(t *testing.T) {
	const crowd, phones = 200, 20
	var g *gate
	x := newSite(t, setup{failures: 1000, database: "sqlite:" + t.TempDir() + "/latchkey.db", broker: func(c *broker.Config) {
		g = &gate{PasswordHasher: c.Hasher, open: make(chan struct{})}
	}})
	pairs := []pair{}
	for range phones {
		pairs = append(pairs, x.login("alice"))
	}
	blocked := openSite(t, setup{failures: 1000, broker: func(c *broker.Config) {
		c.Store, c.Hasher, c.Now = x.Store, g, x.Clock.Now
	}})
	g.waiting.Add(crowd)
	var all sync.WaitGroup
	results := make(chan int, crowd)
	for i := range crowd {
		all.Go(func() {
			a, err := blocked.try(http.MethodPost, "/login", jsonBody(`{"username":"alice","password":"wrong"}`), from("192.0.2."+strconv.Itoa(i%10)))
			if err != nil {
				t.Error(err)
				return
			}
			results <- a.Status
		})
	}
	g.waiting.Wait()
	x.Clock.Advance(grace)
	for i, p := range pairs {
		before := x.Statements.Load()
		blocked.refresh(p.refresh, from("192.0.2."+strconv.Itoa(i%10))).pair()
		if n := x.Statements.Load() - before; n != 1 {
			t.Errorf("a refresh cost %d statements", n)
		}
	}
	if len(results) != 0 {
		t.Errorf("%d logins were answered", len(results))
	}
	close(g.open)
	all.Wait()
	close(results)
	for status := range results {
		if status != 401 {
			t.Errorf("a login: %d", status)
		}
	}
}

// P06: of one address 64 passwords wait at once, and no more: the next is told to come
// again, at once. A neighbour's is compared, and the address has its places back.
func TestP06PasswordsOfAnAddressAtOnceAreBounded(t *testing.T) {
	const most, crowded = 64, "2001:db8:1:2::"
	var g *gate
	x := newSite(t, setup{broker: func(c *broker.Config) {
		g = &gate{PasswordHasher: c.Hasher, open: make(chan struct{})}
		c.Hasher = g
	}})
	open := sync.OnceFunc(func() { close(g.open) })
	t.Cleanup(open)
	send := func(ip string) *answer {
		a, err := x.try(http.MethodPost, "/login", jsonBody(`{"username":"alice","password":"wrong"}`), from("["+ip+"]"))
		if err != nil {
			t.Error(err)
			return &answer{}
		}
		return a
	}
	var all sync.WaitGroup
	waits := func(ip string) {
		g.waiting.Add(1)
		all.Go(func() {
			a := send(ip)
			if a.Status != 401 {
				t.Errorf("a login of %s: %d", ip, a.Status)
			}
			if a.Status == 503 {
				g.waiting.Done() // it did not come as far
			}
		})
	}
	for i := range most {
		waits(fmt.Sprint(crowded, i+1))
	}
	g.waiting.Wait()
	g.waiting.Add(1) // for one that comes through
	x.sendLogin("alice", "wrong", from("["+crowded+"ffff]")).refused(503, broker.TemporarilyUnavailable, web.VerdictRetry)
	g.waiting.Done()
	waits("2001:db8:1:3::1")
	g.waiting.Wait()
	open()
	all.Wait()
	g.waiting.Add(1)
	if a := send(crowded + "1"); a.Status != 401 {
		t.Errorf("later: %d", a.Status)
	}
}

// X03: trials count over all replicas.
func TestX03TrialsOverReplicas(t *testing.T) {
	limited := func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		addsProviders(c)
		c.Limiter, c.Limits.Trials = limiter, broker.DefaultTrials
		c.Limits.Trials.Max = 3
	}
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp, database: "sqlite:" + t.TempDir() + "/latchkey.db", broker: limited})
	other := openSite(t, setup{idp: idp, broker: func(c *broker.Config) {
		c.Store, c.Now = x.Store, x.Clock.Now
		limited(c)
	}})
	token := bearer(x.login("root").access)
	for n, where := range []*site{x, other, x} {
		if a := where.do("POST", "/api/providers/openid/check", token); a.Status != 200 {
			t.Fatalf("trial %d: %d %s", n, a.Status, a.Body)
		}
	}
	other.do("POST", "/api/providers/openid/check", token).refused(429, broker.RateLimited, web.VerdictRetry)
}
