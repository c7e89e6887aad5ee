package web_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// T08: who is disabled, deleted or demoted is so at once, at every door.
func TestT08DisabledDeletedDemoted(t *testing.T) {
	for what, do := range map[string]func(x *site, id string) error{
		"disabled": func(x *site, id string) error { return x.Broker.SetDisabled(context.Background(), id, true) },
		"deleted":  func(x *site, id string) error { return x.Broker.DeleteUser(context.Background(), id) },
	} {
		x := newProvider(t, setup{broker: powerful})
		x.User(t, "bert", broker.RoleAdmin)
		g, app, b := x.power("bert"), x.login("bert"), x.loggedIn("bert")
		code := x.codeFor(b, "power", powerURI)
		if err := do(x, claimsOf(t, g.access)["sub"].(string)); err != nil {
			t.Fatal(err)
		}
		x.nowhere(what, g.access)
		x.nowhere(what+", app", app.access)
		x.refreshAt("power", g.refresh).oauthError(400, "invalid_grant")
		x.refresh(app.refresh).want(401)
		x.redeem("power", powerURI, code).oauthError(400, "invalid_grant")
		if q := b.open("/oauth2/authorize?" + request("power", powerURI, "prompt", "none").Encode()).sentTo(powerURI); q.Get("error") != "login_required" {
			t.Errorf("%s: %v", what, q)
		}
	}
	x := newProvider(t, setup{broker: powerful})
	u := x.User(t, "bert", broker.RoleAdmin)
	g, app := x.power("bert"), x.login("bert")
	user := broker.RoleUser
	x.do("GET", "/api/clients", bearer(g.access)).want(200)
	if _, err := x.Broker.UpdateUser(context.Background(), u.ID, broker.UserChange{Role: &user}); err != nil {
		t.Fatal(err)
	}
	x.do("GET", "/api/clients", bearer(g.access)).want(403)
	x.do("GET", "/api/clients", bearer(app.access)).want(403)
	x.me(g.access).want(200)
}

// T09: a token of two generations ago has two holders, and ends the session.
func TestT09LateReplayAtTheTokenEndpoint(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g := x.power("alice")
	x.Clock.Advance(grace)
	rt1 := x.refreshAt("power", g.refresh).granted()
	x.Clock.Advance(grace)
	rt2 := x.refreshAt("power", rt1.refresh).granted()
	x.Clock.Advance(grace + time.Second)
	thief := x.callToken([]string{"grant_type", "refresh_token", "refresh_token", g.refresh, "client_id", "power"}, from("203.0.113.9"))
	thief.oauthError(400, "invalid_grant").refused(400, broker.TokenReused, "login")
	x.refreshAt("power", rt2.refresh).oauthError(400, "invalid_grant").refused(400, broker.TokenReused, "login")
	x.nowhere("after reuse", rt2.access)
	if log := x.log.String(); !strings.Contains(log, "refresh.reuse") || !strings.Contains(log, "203.0.113.9") {
		t.Error("the log does not say who replayed")
	}
}

// T10: thief and owner hold one token. Whoever moves on ends it for both.
func TestT10ThiefAndOwner(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	rt0 := x.power("alice")
	use := func(token string) granted {
		x.Clock.Advance(grace + time.Second)
		return x.refreshAt("power", token).granted()
	}
	x.Clock.Advance(grace)
	thief := use(rt0.refresh)
	owner := use(rt0.refresh)
	_ = use(thief.refresh)
	x.Clock.Advance(grace + time.Second)
	x.refreshAt("power", owner.refresh).oauthError(400, "invalid_grant").refused(400, broker.TokenReused, "login")
	if x.endCause(rt0.session) != broker.TokenReused {
		t.Error("the session lives")
	}
}

// T11: fifty refreshes at once on two replicas are one refresh.
func TestT11ConcurrentDoubleSpendAtTheTokenEndpoint(t *testing.T) {
	database := "sqlite:" + t.TempDir() + "/latchkey.db"
	one := newProvider(t, setup{database: database, broker: powerful})
	two := openSite(t, setup{database: database, broker: func(c *broker.Config) { c.Clients = testClients(t); powerful(c) }})
	g := one.power("alice")
	one.Clock.Advance(grace)
	two.Clock.Advance(grace)
	var mu sync.Mutex
	var group sync.WaitGroup
	got := map[[2]float64]int{}
	for i := range 50 {
		x := one
		if i%2 == 1 {
			x = two
		}
		group.Go(func() {
			a, err := x.try(http.MethodPost, "/oauth2/token", form("grant_type", "refresh_token", "refresh_token", g.refresh, "client_id", "power"))
			if err != nil || a.Status != 200 {
				t.Errorf("%v %+v", err, a)
				return
			}
			_, generation, branch := generation(t, a.text("refresh_token"))
			mu.Lock()
			defer mu.Unlock()
			got[[2]float64{generation, branch}]++
		})
	}
	group.Wait()
	if len(got) != 1 || got[[2]float64{1, 0}] != 50 {
		t.Errorf("answers by generation and branch: %v", got)
	}
	if s, _, err := one.Store.SessionByID(t.Context(), g.session); err != nil || s.Generation != 1 || s.Branch != 0 {
		t.Errorf("the row: %+v %v", s.Rotation, err)
	}
}

// T13: what a token does not say with its MAC, it does not say.
func TestT13ForgedOrForeignGenerationAtTheTokenEndpoint(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g, root := x.power("alice"), x.power("root")
	edit := func(pairs ...any) string {
		parts := strings.Split(g.refresh, ".")
		return parts[0] + "." + segment(toJSON(with(claimsOf(t, g.refresh), pairs...))) + "." + parts[2]
	}
	foreign := func(claims map[string]any) string {
		token, err := harness.Secrets(t, "the root secret of another deployment").Current().MintRefresh(tokens.RefreshClaims{
			Subject: claims["sub"].(string), ClientID: "power", SessionID: claims["sid"].(string), Generation: 1, IssuedAt: x.Clock.Now().Unix(), ExpiresAt: int64(claims["exp"].(float64)), ID: "x",
		})
		if err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	gone := newProvider(t, setup{broker: powerful}).power("alice").refresh // of this root secret, without a row here
	before := len(x.sessions("alice", false)) + len(x.sessions("root", false))
	for what, token := range map[string]string{
		"50 ahead": edit("g", 50), "root's session": edit("sid", root.session), "another client": edit("client_id", "web1"), "another end": edit("exp", 1<<40),
		"another deployment": foreign(claimsOf(t, g.refresh)), "another deployment, root": foreign(claimsOf(t, root.refresh)), "no row": gone, "cut": g.refresh[:len(g.refresh)-2], "empty segments": "..",
	} {
		a := x.refreshAt("power", token)
		if a.oauthError(400, "invalid_grant"); t.Failed() {
			t.Fatal(what)
		}
		x.do("POST", "/oauth2/revoke", form("token", token, "client_id", "power")).want(200)
	}
	if after := len(x.sessions("alice", false)) + len(x.sessions("root", false)); after != before {
		t.Errorf("%d rows, before %d", after, before)
	}
	x.alive("power", g)
	x.alive("power", root)
}

// T15: no token is taken from a URL, but for the one way of the JSON contract.
func TestT15TokensInURLs(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g, app := x.power("root"), x.login("root")
	for _, path := range []string{
		"/api/me?access_token=" + g.access, "/oauth2/userinfo?access_token=" + g.access, "/oauth2/userinfo?token=" + g.access, "/api/clients?access_token=" + g.access,
	} {
		x.do("GET", path).want(401)
		x.do("POST", "/oauth2/userinfo?access_token="+g.access).want(401)
	}
	x.do("POST", "/oauth2/userinfo", form("access_token", g.access)).want(401)
	x.do("POST", "/auth/refresh?refresh_token="+app.refresh).want(401)
	x.do("POST", "/auth/refresh?token="+app.refresh).want(401)
	x.do("POST", "/api/authorize?token="+app.access).want(401)
	x.do("DELETE", "/api/me/sessions/"+app.session+"?token="+app.access).want(401)
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
		x.do("POST", path+"?grant_type=refresh_token&refresh_token="+g.refresh+"&token="+g.refresh+"&client_id=power").oauthError(400, "invalid_request")
		x.do("POST", path+"?refresh_token="+g.refresh+"&token="+g.refresh, form("grant_type", "refresh_token", "client_id", "power")).oauthError(400, "invalid_request")
	}
	x.do("GET", "/api/me?token="+app.access).want(200) // the JSON contract's own
	for _, token := range []string{g.access, g.refresh, app.access, app.refresh} {
		if strings.Contains(x.log.String(), token) || strings.Contains(x.log.String(), strings.Split(token, ".")[2]) {
			t.Error("a token of a URL is in the log")
		}
	}
	x.alive("power", g)
}

// dark is a store that writes nothing while it is down.
type dark struct {
	broker.Store
	down atomic.Bool
}

func (d *dark) Tx(ctx context.Context, do func(broker.Store) error) error {
	if d.down.Load() {
		return broker.Unavailable(errors.New("the store is down"))
	}
	return d.Store.Tx(ctx, do)
}

// O19: who asks about a token learns what is its own, and a revocation that
// failed is not called done.
func TestO19IntrospectionAndRevocationOracles(t *testing.T) {
	store := &dark{}
	x := newProvider(t, setup{broker: func(c *broker.Config) { store.Store, c.Store = c.Store, store }})
	g, _ := x.clientLogin("web1", cb1)
	app := x.login("alice")
	ask := func(token string, with option, more ...string) *answer {
		return x.do(http.MethodPost, "/oauth2/introspect", form(append([]string{"token", token}, more...)...), with)
	}
	one, two := basic("web1", webSecret), basic("web2", web2Secret)
	for what, token := range map[string]string{"access": g.access, "refresh": g.refresh} {
		ask(token, func(*http.Request) {}).oauthError(401, "invalid_client")
		ask(token, func(*http.Request) {}, "client_id", "spa").oauthError(401, "invalid_client") // a public client proves nothing
		ask(token, bearer(g.access)).oauthError(401, "invalid_client")
		for _, hint := range []string{"", "access_token", "refresh_token", "nonsense"} {
			a := ask(token, one, "token_type_hint", hint).want(200)
			if a.json()["active"] != true || a.text("client_id") != "web1" || a.text("sid") != g.session {
				t.Errorf("%s, hint %q: %s", what, hint, a.Body)
			}
		}
		if a := ask(token, basic("api", webSecret)).want(200); a.json()["active"] != true { // it has latchkey:introspect
			t.Errorf("%s by who may: %s", what, a.Body)
		}
	}
	for what, a := range map[string]*answer{
		"another's access token": ask(g.access, two), "another's refresh token": ask(g.refresh, two), "the app's": ask(app.access, one), "the app's refresh token": ask(app.refresh, one), "nonsense": ask("x", one),
		"an ID token": ask(g.id, one), "a changed one": ask(g.access[:len(g.access)-3]+"AAA", one), "a huge one": ask(strings.Repeat("a", 9000), one),
	} {
		if a.want(200); strings.TrimSpace(a.Body) != `{"active":false}` {
			t.Errorf("%s: %s", what, a.Body)
		}
	}
	ask("", one).oauthError(400, "invalid_request")
	revoke := func(token string, with option, more ...string) *answer {
		return x.do(http.MethodPost, "/oauth2/revoke", form(append([]string{"token", token}, more...)...), with)
	}
	for _, token := range []string{g.access, g.refresh} {
		revoke(token, two).want(200)
		revoke(token, func(*http.Request) {}, "client_id", "spa").want(200)
		revoke(token, func(*http.Request) {}, "client_id", "web1").oauthError(401, "invalid_client")
		revoke(token, func(*http.Request) {}).oauthError(401, "invalid_client")
	}
	revoke(app.refresh, one).want(200)
	revoke(app.access, one).want(200)
	revoke("unknown", one).want(200)
	revoke("", one).oauthError(400, "invalid_request")
	x.alive("web1", g)
	x.refresh(app.refresh).pair()
	for _, token := range []string{g.access, g.refresh} {
		store.down.Store(true)
		revoke(token, one).want(503)
		store.down.Store(false)
		if a := ask(token, one).want(200); a.json()["active"] != true {
			t.Errorf("after a revocation that failed: %s", a.Body)
		}
	}
	revoke(g.refresh, one, "token_type_hint", "access_token").want(200)
	for _, token := range []string{g.access, g.refresh} {
		if a := ask(token, one).want(200); strings.TrimSpace(a.Body) != `{"active":false}` {
			t.Errorf("after its revocation: %s", a.Body)
		}
	}
	x.userinfo(g.access).bearerError(401, "invalid_token")
	x.refreshAt("web1", g.refresh).refused(400, broker.LoggedOut, "login")
	revoke(g.refresh, one).want(200)
	second, _ := x.clientLogin("web1", cb1)
	revoke(second.access, one, "token_type_hint", "refresh_token").want(200)
	x.refreshAt("web1", second.refresh).refused(400, broker.LoggedOut, "login")
}
