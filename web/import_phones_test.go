package web_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage/absdb"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/web"
)

// believing lets a site hold the secret of the imported system, and run by a
// clock that outlives it.
func believing(t testing.TB, clock *harness.Clock) func(*broker.Config) {
	secret, err := tokens.NewImportedSecret([]byte(absfile.Secret))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *broker.Config) { c.Imported, c.Now = secret, clock.Now }
}

func (x *site) importFile(f *absfile.File) *broker.ImportReport {
	x.t.Helper()
	from, err := absdb.Read(context.Background(), f.Path)
	if err != nil {
		x.t.Fatal(err)
	}
	report, err := x.Broker.Import(context.Background(), from, broker.ImportOptions{Partial: true})
	if err != nil {
		x.t.Fatal(err)
	}
	return report
}

// importedPhone is an app that was logged in at the old system. It holds the
// token that it last stored.
type importedPhone struct {
	old, token string
	session    string
}

// refresh presents the token. Where the answer is lost the phone keeps the
// token that it has. It returns 1 for a phone that was logged out.
func (p *importedPhone) refresh(t testing.TB, x *site, lost bool) int32 {
	a, err := x.try(http.MethodPost, "/auth/refresh", refreshHeader(p.token), jsonBody(""))
	if err != nil {
		t.Error(err)
		return 0
	}
	if a.Status != http.StatusOK {
		t.Errorf("%s: status %d, code %q: %s", p.session, a.Status, a.Header.Get("Latchkey-Code"), a.Body)
		return 1
	}
	if !lost {
		token, _ := a.at("user.refreshToken")
		p.token = token.(string)
	}
	return 0
}

// eachPhone does something on many phones at once and adds up what comes back.
func eachPhone(phones []*importedPhone, do func(i int, p *importedPhone) int32) int {
	var sum atomic.Int32
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				sum.Add(do(i, phones[i]))
			}
		})
	}
	for i := range phones {
		next <- i
	}
	close(next)
	wg.Wait()
	return int(sum.Load())
}

// Five hundred phones come over from Audiobookshelf. A tenth of them never got
// the last answer there, a tenth of the answers here are lost and asked for
// again an hour later, the server restarts and the file is imported again in
// the middle: nobody is logged out, and no old token stays alive.
func Test500ImportedPhones(t *testing.T) {
	const n = 500
	onBothDatabases(t, func(t *testing.T, database string) {
		clock := harness.NewClock()
		s := setup{database: database, broker: believing(t, clock)}
		f, err := absfile.Make(filepath.Join(t.TempDir(), "absdatabase.sqlite"), n, clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		x := openSite(t, s)
		if r := x.importFile(f); r.Users.Imported != n || r.Sessions.Imported != n || len(r.Notes) != 0 {
			t.Fatalf("%+v", r)
		}
		phones := []*importedPhone{}
		for _, held := range f.Sessions {
			p := &importedPhone{old: held.Refresh, token: held.Refresh, session: held.ID}
			if held.Previous != "" {
				p.old, p.token = held.Previous, held.Previous
			}
			phones = append(phones, p)
		}
		clock.Advance(5 * time.Minute)
		lost := func(i int) bool { return i%10 == 7 }
		logouts := eachPhone(phones[:n/2], func(i int, p *importedPhone) int32 { return p.refresh(t, x, lost(i)) })

		x.stop()
		x = openSite(t, s)
		if r := x.importFile(f); r.Users.Imported+r.Sessions.Imported+r.Sessions.Refused != 0 || r.Sessions.Unchanged != n {
			t.Fatalf("the second import: %+v", r)
		}
		logouts += eachPhone(phones[n/2:], func(i int, p *importedPhone) int32 { return p.refresh(t, x, lost(i)) })
		clock.Advance(time.Hour)
		retried := eachPhone(phones, func(_ int, p *importedPhone) int32 {
			if p.token != p.old {
				return 0
			}
			logouts := p.refresh(t, x, false)
			return 1 - logouts
		})
		if retried != n/10 {
			t.Errorf("%d phones asked again an hour later, want %d", retried, n/10)
		}
		for range 2 {
			clock.Advance(time.Hour)
			logouts += eachPhone(phones, func(_ int, p *importedPhone) int32 { return p.refresh(t, x, false) })
		}
		if logouts != 0 {
			t.Fatalf("%d of %d phones were logged out", logouts, n)
		}
		dead := eachPhone(phones, func(_ int, p *importedPhone) int32 {
			a, err := x.try(http.MethodPost, "/auth/refresh", refreshHeader(p.old), jsonBody(""))
			if err != nil || a.Status != 401 || a.Header.Get("Latchkey-Code") != string(broker.TokenReused) {
				t.Errorf("%s: the old token is alive: %+v %v", p.session, a, err)
				return 0
			}
			return 1
		})
		t.Logf("%d phones, %d answers asked for again, %d logged out, %d old tokens dead", n, retried, logouts, dead)
	})
}

func importedSite(t *testing.T, n int, change func(*broker.Config)) (*site, *absfile.File) {
	t.Helper()
	clock := harness.NewClock()
	x := openSite(t, setup{broker: func(c *broker.Config) {
		believing(t, clock)(c)
		if change != nil {
			change(c)
		}
	}})
	x.Clock = clock
	f, err := absfile.Make(filepath.Join(t.TempDir(), "absdatabase.sqlite"), n, clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	x.importFile(f)
	return x, f
}

// A browser holds the old token in the cookie of the same name.
func TestImportedTokenInACookie(t *testing.T) {
	x, f := importedSite(t, 4, nil)
	a := x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", f.Sessions[3].Refresh)).want(200)
	if fresh := a.cookie("refresh_token"); fresh == nil || fresh.Value == f.Sessions[3].Refresh {
		t.Errorf("cookie: %v", fresh)
	}
	out := x.do(http.MethodPost, "/logout", cookie("refresh_token", f.Sessions[3].Refresh)).want(200)
	if gone := out.cookie("refresh_token"); gone == nil || gone.MaxAge >= 0 {
		t.Errorf("cookie: %v", gone)
	}
	x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", f.Sessions[3].Refresh)).refused(401, broker.LoggedOut, web.VerdictLogin)
}

func TestLogoutOfAllDevicesWithAnImportedToken(t *testing.T) {
	x, f := importedSite(t, 4, nil)
	a := x.do(http.MethodPost, "/auth/refresh", refreshHeader(f.Sessions[3].Refresh)).want(200)
	x.do(http.MethodPost, "/logout?allDevices=1", refreshHeader(f.Sessions[3].Refresh)).want(200)
	x.do(http.MethodGet, "/api/me", bearer(a.text("user.accessToken"))).want(401)
}

// A password change ends the device that came over too, whichever token names it.
func TestPasswordChangeWithAnImportedToken(t *testing.T) {
	x, f := importedSite(t, 4, nil)
	u, s := f.Users[3], f.Sessions[3]
	a := x.do(http.MethodPost, "/auth/refresh", refreshHeader(s.Refresh)).want(200)
	changed := x.do(http.MethodPatch, "/api/me/password", bearer(a.text("user.accessToken")), refreshHeader(s.Refresh),
		jsonBody(toJSON(map[string]string{"password": u.Password, "newPassword": "a long new password of reader 3"}))).want(200)
	x.do(http.MethodPost, "/auth/refresh", refreshHeader(changed.text("user.refreshToken"))).want(200)
	x.do(http.MethodPost, "/auth/refresh", refreshHeader(s.Refresh)).refused(401, broker.PasswordChanged, web.VerdictLogin)
}

// The database is away: nobody is told that an old token is bad, or that a
// logout was done.
func TestOutageWithAnImportedToken(t *testing.T) {
	x, f := importedSite(t, 4, nil)
	if err := x.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/auth/refresh", "/logout"} {
		x.do(http.MethodPost, path, refreshHeader(f.Sessions[3].Refresh)).refused(503, broker.TemporarilyUnavailable, web.VerdictRetry)
	}
	if strings.Contains(x.log.String(), f.Sessions[3].Refresh) {
		t.Error("the token is in the log")
	}
}
