package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// place is a lab before a real Latchkey, at an address where apps find it.
type place struct {
	t         *testing.T
	lab       *Lab
	idp       *providertest.IdP
	rig       *harness.Rig
	url       string
	scenarios []Scenario
	told      func() // when the lab says what to do
}

func newPlace(t *testing.T, patience time.Duration, scenarios []Scenario) *place {
	t.Helper()
	front := httptest.NewUnstartedServer(nil)
	x := &place{t: t, url: "http://" + front.Listener.Addr().String(), scenarios: scenarios, told: func() {}}
	clock := NewClock(scenarios)
	x.idp = providertest.Start(t, providertest.Config{
		Now:     clock.IdPNow,
		Users:   []providertest.User{{Subject: "1", Username: "anna", Email: "anna@example.org", EmailVerified: true, Groups: []string{"readers"}}},
		Clients: []providertest.Client{{ID: "latchkey", Secret: "s", RedirectURIs: []string{x.url + "/auth/openid/callback"}}},
	})
	x.rig = harness.New(t, "", func(c *broker.Config) {
		c.PublicURL, c.Now = x.url, clock.Now
		c.Providers = []broker.Provider{{
			ProviderSettings: broker.ProviderSettings{
				ID: "openid", Name: "OpenID", Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent,
			},
			IdP: oidc.New(oidc.Config{Issuer: x.idp.Issuer(), ClientID: "latchkey", ClientSecret: "s", Now: clock.Now}),
		}}
		c.Lifetimes = broker.Lifetimes{Access: 2 * time.Minute, Refresh: 30 * 24 * time.Hour, MaxAge: 400 * 24 * time.Hour, Grace: time.Second, Retention: 24 * time.Hour}
	})
	x.rig.User(t, "robin", broker.RoleUser)
	handler, err := web.New(web.Config{Broker: x.rig.Broker, LocalLogin: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		t.Fatal(err)
	}
	behind := httptest.NewServer(handler)
	t.Cleanup(behind.Close)
	upstream, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	x.lab = New(Config{
		Upstream: upstream, Clock: clock, IdP: x.idp, AccessLife: 2 * time.Minute, Patience: patience, Tell: func(line string) {
			t.Log(line)
			x.told()
		},
		EndSessions: func(ctx context.Context) error {
			_, err := x.rig.Broker.EndSessions(ctx, broker.SessionFilter{All: true}, broker.RevokedByAdmin, false, "")
			return err
		},
	})
	front.Config.Handler = x.lab
	front.Start()
	t.Cleanup(front.Close)
	return x
}

// use runs so many processes of an app until stop or the end of the test.
func (x *place) use(processes int, h habits) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	tokens := &shelf{}
	for range processes {
		a := &app{habits: h, base: x.url, shelf: tokens, client: &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}}
		running.Go(func() { a.live(ctx) })
		x.t.Cleanup(a.client.CloseIdleConnections)
	}
	stop = func() {
		cancel()
		running.Wait()
	}
	x.t.Cleanup(stop)
	return stop
}

// chosen are built-in scenarios; none named: all.
func chosen(t *testing.T, names ...string) (out []Scenario) {
	t.Helper()
	for _, s := range BuiltIn() {
		if len(names) == 0 || slices.Contains(names, s.Name) {
			out = append(out, s.Faster(10))
		}
	}
	if len(out) == 0 || len(names) > 0 && len(out) != len(names) {
		t.Fatalf("there are not all of %q", names)
	}
	return out
}

func (x *place) run() map[string]Check {
	x.t.Helper()
	report, err := x.lab.Run(x.t.Context(), x.scenarios)
	if err != nil {
		x.t.Fatal(err)
	}
	out := map[string]Check{}
	for _, c := range report.Checks {
		out[c.Name] = c
	}
	return out
}

// text is what a report says of one check.
func text(c Check) string {
	var out strings.Builder
	r := Report{}
	r.add(c)
	r.Text(&out)
	for _, x := range c.Seen {
		out.WriteString("\n" + x.String())
	}
	return out.String()
}

// TestReferenceAppPasses: an app that keeps the rules passes every check, in two
// processes as well.
func TestReferenceAppPasses(t *testing.T) {
	t.Parallel()
	x := newPlace(t, 10*time.Second, chosen(t))
	x.use(2, habits{})
	for _, c := range x.run() {
		if c.Result != Passed {
			t.Errorf("%s", text(c))
		}
	}
}

// TestAppThatLogsOutFails: an app that logs its user out whenever a refresh fails is
// found out where something fails, and nowhere else.
func TestAppThatLogsOutFails(t *testing.T) {
	t.Parallel()
	one := slices.DeleteFunc(chosen(t), func(s Scenario) bool { return s.Name == "two-processes" })
	x := newPlace(t, 10*time.Second, one)
	x.use(1, habits{logsOut: true})
	planted := []string{"foreign-page", "half-answer", "half-close", "lost-answer", "starting", "too-many-requests"}
	for _, c := range x.run() {
		want := Passed
		if slices.Contains(planted, c.Name) {
			want = Failed
		}
		if c.Result != want || want == Failed && !strings.Contains(c.Reason, "gave its session up") {
			t.Errorf("want %s: %s", want, text(c))
		}
	}
}

// TestBadHabitsAreFound: each expectation fails an app that breaks it.
func TestBadHabitsAreFound(t *testing.T) {
	t.Parallel()
	x := newPlace(t, 3*time.Second, chosen(t))
	all := inOrder(x.scenarios)
	for _, c := range []struct {
		scenario string
		habits   habits
		reason   string // "": there is no verdict
	}{ // in the order of the scenarios, because clocks go forward
		{"clock-behind", habits{readsExp: true}, "nobody had refused it"},
		{"lost-answer", habits{deaf: true}, ""}, // it never refreshes
		{"rotation", habits{forgetful: true}, "does not store"},
		{"too-many-requests", habits{hasty: true}, "asked to wait for 1s"},
		{"ended", habits{clings: true}, "it loops"},
		{"clock-ahead", habits{deaf: true}, "did not refresh"},
		{"both-expired", habits{clings: true}, "it loops"},
	} {
		x.scenarios = slices.DeleteFunc(slices.Clone(all), func(s Scenario) bool { return s.Name != c.scenario })
		x.scenarios[0].Watch = Duration(2 * time.Second)
		// Nobody logs in before the clock of the scenario is set.
		var use sync.Once
		stop := func() {}
		x.told = func() { use.Do(func() { stop = x.use(1, c.habits) }) }
		got := x.run()[c.scenario]
		stop()
		want := Failed
		if c.reason == "" {
			want = NotTried
		}
		if got.Result != want || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%+v: %s", c.habits, text(got))
		}
	}
}

// TestLiesHaveToBeTold: with lies alone, an app is tried by a login that hears one, from
// the start of the check. One with a password hears none.
func TestLiesHaveToBeTold(t *testing.T) {
	t.Parallel()
	x := newPlace(t, 10*time.Second, nil)
	for _, c := range []struct {
		lies  string
		login bool // through the provider
		want  Result
	}{
		{`{token: {id_token: null}}`, true, Passed},
		{`{token: {id_token: null}}`, false, NotTried},
		{`{down: true}`, false, NotTried},
		{`{down: true}`, true, Passed},
		{`{userinfo: {sub: another}}`, true, NotTried}, // the ID token has everything
	} {
		s := Scenario{
			Name: "lies", Untried: "nobody logged in", Patience: Duration(300 * time.Millisecond), Watch: Duration(10 * time.Second),
			IdP: lying(t, c.lies), Expect: Expect{Works: true},
		}
		x.scenarios = []Scenario{s}
		var use sync.Once
		stop := func() {}
		x.told = func() {
			use.Do(func() {
				if c.login {
					x.logIn()
				}
				stop = x.use(1, habits{})
			})
		}
		got := x.run()["lies"]
		stop()
		if got.Result != c.want || c.want == NotTried && got.Reason != s.Untried {
			t.Errorf("%s, login %v: %s", c.lies, c.login, text(got))
		}
	}
}

// TestNothingIsTried: there is no verdict about an app that nobody uses, none about
// two processes where there is one, and none of a check that is cut short.
func TestNothingIsTried(t *testing.T) {
	t.Parallel()
	x := newPlace(t, 50*time.Millisecond, chosen(t))
	x.use(1, habits{idle: true})
	for _, c := range x.run() {
		if c.Result != NotTried || c.Reason != "the app was not used with a session" || len(c.Seen) != 0 {
			t.Errorf("%s", text(c))
		}
	}
	x.lab.cfg.Patience, x.scenarios = time.Second, chosen(t, "two-processes")
	x.use(1, habits{})
	if c := x.run()["two-processes"]; c.Result != NotTried || !strings.Contains(c.Reason, "twice at once") {
		t.Errorf("%s", text(c))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report, err := x.lab.Run(ctx, x.scenarios)
	if err != nil || report.NotTried != 1 || report.Checks[0].Reason != "the lab was ended" {
		t.Errorf("%v %+v", err, report)
	}
}

// TestReportHasNoTokens and says expired as Latchkey does: the lab answers in its
// place.
func TestReportHasNoTokens(t *testing.T) {
	t.Parallel()
	x := newPlace(t, time.Second, chosen(t, "lost-answer"))
	a := &app{base: x.url, shelf: &shelf{}, client: &http.Client{Timeout: 5 * time.Second}}
	a.login(t.Context())
	access, refresh := a.shelf.read()
	ask := func() (int, http.Header, []byte) {
		return a.send(t.Context(), http.MethodGet, "/api/me", "Authorization", "Bearer "+access, "")
	}
	x.lab.proxy.stale.expire(time.Now())
	status, header, body := ask()
	x.lab.proxy.stale.expire(time.Time{})
	x.lab.cfg.Clock.set(10 * time.Minute)
	wantStatus, wantHeader, wantBody := ask()
	if status != wantStatus || string(body) != string(wantBody) || wantStatus != http.StatusUnauthorized {
		t.Errorf("%d %s, and Latchkey says %d %s", status, body, wantStatus, wantBody)
	}
	for name := range expiredAnswer.Headers {
		if header.Get(name) != wantHeader.Get(name) {
			t.Errorf("%s is %q, and Latchkey says %q", name, header.Get(name), wantHeader.Get(name))
		}
	}
	if date, err := http.ParseTime(wantHeader.Get("Date")); err != nil || time.Until(date) < 9*time.Minute {
		t.Errorf("Date is %q, and the clock is ten minutes ahead", wantHeader.Get("Date"))
	}
	record, _ := x.lab.proxy.current()
	if seen := fmt.Sprintf("%+v", record.seen()); strings.Contains(seen, access) || strings.Contains(seen, refresh) || !strings.Contains(seen, "/api/me") {
		t.Error("the record has tokens, or nothing at all")
	}
}
