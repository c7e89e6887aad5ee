package upgrade

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/web"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var ctx = context.Background()

const off = 60 * 24 * time.Hour // twice the idle time

// upgraded is this program on a stored database.
type upgraded struct {
	*testing.T
	*harness.Rig
	url  string
	d    stored.Database
	from http.Handler
}

// every is each schema; kept are those before and after the service's own time was
// kept.
var every, kept = []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, stored.LastSchema}, []int64{1, 3, 8, stored.LastSchema}

// onEach opens stored databases by this program, some time after the earlier one
// ended.
func onEach(t *testing.T, schemas []int64, after time.Duration, test func(u *upgraded)) {
	t.Helper()
	for _, schema := range schemas {
		for _, kind := range []string{"sqlite", "postgres"} {
			t.Run(fmt.Sprintf("%d/%s", schema, kind), func(t *testing.T) {
				url := "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db")
				if kind == "postgres" {
					url = pgtest.Shared(t).NewDatabase(t)
				}
				d, err := stored.Put(ctx, schema, url)
				if err != nil {
					t.Fatal(err)
				}
				u := &upgraded{T: t, url: url, d: d}
				clock := harness.NewClock()
				clock.Set(d.At.Add(after).Sub(clock.Now()))
				u.open(clock)
				test(u)
			})
		}
	}
}

// open starts the program, by its clock.
func (u *upgraded) open(clock *harness.Clock) {
	u.Helper()
	u.Rig = harness.NewAt(u.T, clock, u.url, func(c *broker.Config) {
		c.PublicURL, c.Secrets = u.d.PublicURL, harness.Secrets(u.T, u.d.Secret)
		imported, err := tokens.NewImportedSecret([]byte(absfile.Secret))
		if err != nil {
			u.Fatal(err)
		}
		c.Imported = imported
	})
	if _, err := u.Broker.Beat(ctx); err != nil {
		u.Fatal(err)
	}
	var err error
	if u.from, err = web.New(web.Config{Broker: u.Broker, LocalLogin: true}); err != nil {
		u.Fatal(err)
	}
}

// ask asks over HTTP.
func (u *upgraded) ask(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	u.Helper()
	req := httptest.NewRequest(method, u.d.PublicURL+path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res := httptest.NewRecorder()
	u.from.ServeHTTP(res, req)
	return res
}

// refresh presents a token of a session as its client does, and wants an outcome.
func (u *upgraded) refresh(x stored.Session, token string, want broker.Outcome) *broker.Login {
	u.Helper()
	if x.ProvenKey != "" {
		want = broker.OutcomeBound // to its key: its tokens need not rotate
	}
	device := broker.Device{IP: "192.0.2.1", UserAgent: x.UserAgent}
	var login *broker.Login
	var err error
	if x.ClientID == broker.AppClientID {
		login, err = u.Broker.Refresh(ctx, token, x.ClientID, device)
	} else {
		client, wrong := u.Broker.AuthenticateClient(ctx, broker.ClientCredentials{Method: broker.AuthBasic, ID: u.d.Client.ID, Secret: u.d.Client.Secret}, device)
		if wrong != nil {
			u.Fatalf("the client: %v", wrong)
		}
		if x.ProvenKey != "" {
			if _, err := u.Broker.RefreshClient(ctx, broker.Caller{Client: client, Device: device}, token, "", ""); broker.CodeOf(err) != broker.KeyMismatch {
				u.Errorf("the session %q goes on without its key: %v", x.Kind, err)
			}
		}
		login, err = u.Broker.RefreshClient(ctx, broker.Caller{Client: client, ProvenKey: x.ProvenKey, Device: device}, token, "", "")
	}
	if err != nil {
		u.Fatalf("a refresh of the session %q: %v", x.Kind, err)
	}
	if login.Outcome != want || login.Session.ID != x.ID {
		u.Errorf("a refresh of the session %q: outcome %s of %s, want %s of %s", x.Kind, login.Outcome, login.Session.ID, want, x.ID)
	}
	return login
}

func (u *upgraded) living() []stored.Session {
	return slices.DeleteFunc(slices.Clone(u.d.Sessions), func(x stored.Session) bool { return x.Cause != "" })
}

// TestEverySchemaIsUpgraded: this program opens the database of every earlier
// schema. Whoever was logged in goes on, by the rule; whoever was not is told why.
func TestEverySchemaIsUpgraded(t *testing.T) {
	onEach(t, every, 2*time.Minute, func(u *upgraded) {
		u.keepsRows()
		u.endedStayEnded()
		u.accessTokensCount()
		u.devicesAreListed()
		u.tokensWorkSoon()
		u.importedDeviceComes()
		u.passwordsWork()
		u.factorsWork()
		// The machine is off for long: nobody is logged out by it.
		u.Clock.Advance(off)
		u.open(u.Clock)
		u.tokensWorkLater()
		u.endedStayEnded()
	})
}

// TestLateUpgradeLogsNobodyOut: the machine was off for long between the programs.
func TestLateUpgradeLogsNobodyOut(t *testing.T) {
	onEach(t, kept, off, func(u *upgraded) {
		u.tokensWorkLater()
		u.endedStayEnded()
	})
}

// keepsRows: no row is lost and none comes of itself, but for what a start writes.
func (u *upgraded) keepsRows() {
	u.Helper()
	driver, dsn := "postgres", u.url
	if file, ok := storage.IsSQLite(u.url); ok {
		driver, dsn = "sqlite3", "file:"+file
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		u.Fatal(err)
	}
	defer db.Close()
	tables := []string{}
	for table := range u.d.Rows {
		tables = append(tables, table)
	}
	rows, err := stored.CountRows(ctx, db, tables)
	if err != nil {
		u.Fatal(err)
	}
	grows := []string{"facts", "revisions", "replicas", "signing_keys", "uptime"}
	for table, want := range u.d.Rows {
		if n := rows[table]; n != want && (!slices.Contains(grows, table) || n < want) {
			u.Errorf("%s has %d rows, want %d", table, n, want)
		}
	}
}

func (u *upgraded) endedStayEnded() {
	u.Helper()
	for _, x := range u.d.Sessions {
		if x.Cause == "" {
			continue
		}
		res := u.ask("POST", "/auth/refresh", "", "X-Refresh-Token", x.Refresh)
		verdict := "login"
		if x.Wipe {
			verdict = "wipe"
		}
		if res.Code != http.StatusUnauthorized || res.Header().Get("Latchkey-Code") != x.Cause || res.Header().Get("Latchkey-Verdict") != verdict {
			u.Errorf("the session %q is answered %d %v, want 401, %s and %s", x.Kind, res.Code, res.Header(), x.Cause, verdict)
		}
		if res := u.ask("GET", "/api/me", "", "Authorization", "Bearer "+x.Access); res.Code != http.StatusUnauthorized {
			u.Errorf("an access token of the session %q is answered %d", x.Kind, res.Code)
		}
	}
}

// accessTokensCount: what the earlier program signed is good while it lives.
func (u *upgraded) accessTokensCount() {
	u.Helper()
	for _, x := range u.living() {
		if x.ClientID != broker.AppClientID {
			continue
		}
		if res := u.ask("GET", "/api/me", "", "Authorization", "Bearer "+x.Access); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `"`+x.User) {
			u.Errorf("the access token of the session %q is answered %d %s", x.Kind, res.Code, res.Body)
		}
	}
	if u.d.APIKey != "" {
		if res := u.ask("GET", "/api/me", "", "Authorization", "Bearer "+u.d.APIKey); res.Code != http.StatusOK {
			u.Errorf("the API key is answered %d %s", res.Code, res.Body)
		}
	}
}

// devicesAreListed: anna sees what she is logged in with, and what ended and why.
func (u *upgraded) devicesAreListed() {
	u.Helper()
	want, over := map[string]string{}, map[string]string{}
	for _, x := range u.d.Sessions {
		if x.User == "anna" && x.Cause == "" {
			want[x.ID] = x.UserAgent
		} else if x.User == "anna" {
			over[x.ID] = x.Cause
		}
	}
	p, err := u.Broker.Authenticate(ctx, u.living()[0].ID)
	if err != nil {
		u.Fatal(err)
	}
	live, past, next, err := u.Broker.Devices(ctx, p, broker.Page{Limit: 50})
	if err != nil || next != "" || len(live) != len(want) || len(past) != len(over) {
		u.Fatalf("%d devices and %d that ended (%v), want %d and %d", len(live), len(past), err, len(want), len(over))
	}
	for _, s := range live {
		if want[s.ID] != s.UserAgent {
			u.Errorf("the device %s is %q, want %q", s.ID, s.UserAgent, want[s.ID])
		}
	}
	for _, s := range past {
		if over[s.ID] != string(s.Cause) {
			u.Errorf("the device %s ended by %q, want %q", s.ID, s.Cause, over[s.ID])
		}
	}
}

// tokensWorkSoon: within the grace the rule answers the pair that stands, to the
// token and to the one before it.
func (u *upgraded) tokensWorkSoon() {
	u.Helper()
	for _, x := range u.living() {
		u.refresh(x, x.Refresh, broker.OutcomeSame)
		if x.Previous != "" {
			got := u.refresh(x, x.Previous, broker.OutcomeConverge)
			wantPair(u, x, got.RefreshToken.Reveal(), x.Refresh)
		}
	}
}

// wantPair compares generation and branch of two refresh tokens.
func wantPair(u *upgraded, x stored.Session, got, want string) {
	u.Helper()
	read := func(raw string) tokens.RefreshClaims {
		claims, err := harness.Secrets(u.T, u.d.Secret).ParseRefresh(raw, u.Clock.Now())
		if err != nil {
			u.Fatal(err)
		}
		return claims
	}
	if g, w := read(got), read(want); g.Generation != w.Generation || g.Branch != w.Branch {
		u.Errorf("the session %q is given generation %d, branch %d, want %d, %d", x.Kind, g.Generation, g.Branch, w.Generation, w.Branch)
	}
}

func (u *upgraded) passwordsWork() {
	u.Helper()
	for _, x := range u.d.Users {
		raw, _ := json.Marshal(map[string]string{"username": x.Name, "password": x.Password})
		res, want := u.ask("POST", "/login", string(raw), "X-Return-Tokens", "true"), http.StatusOK
		if x.Disabled || x.TOTP != "" || x.Passkey != nil {
			want = http.StatusUnauthorized
		}
		if res.Code != want {
			u.Errorf("a login of %s is answered %d %s, want %d", x.Name, res.Code, res.Body, want)
		}
	}
}

// tokensWorkLater: the newest token of each session rotates once; where its answer
// is lost, the one before it is answered again.
func (u *upgraded) tokensWorkLater() {
	u.Helper()
	for _, x := range u.living() {
		if x.Kind == "rotated" {
			// The answer with the newest token never arrived.
			u.refresh(x, x.Previous, broker.OutcomeReissue)
			continue
		}
		next := u.refresh(x, x.Refresh, broker.OutcomeAdvance)
		again := u.refresh(x, x.Refresh, broker.OutcomeConverge)
		wantPair(u, x, again.RefreshToken.Reveal(), next.RefreshToken.Reveal())
	}
}
