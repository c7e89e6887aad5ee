package web_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

// mostGrowth is what a flood may add to a database, in bytes.
const mostGrowth = 100 << 20

// flooded is a site on a file, with the limits of the program, and how large the
// file is.
func flooded(t *testing.T) (x *site, size func() int64) {
	folder := t.TempDir()
	x = newProvider(t, setup{idp: startIdP(t), database: "sqlite:" + folder + "/latchkey.db", broker: func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.SessionLimit = limiter, 100
		c.Limits.Starts = broker.Quota{Max: 5000, Window: 10 * time.Minute, Own: true}
	}})
	return x, func() (sum int64) {
		files, err := filepath.Glob(folder + "/latchkey.db*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if info, err := os.Stat(name); err == nil { // the log comes and goes
				sum += info.Size()
			}
		}
		return sum
	}
}

// beginApps begins that many logins of an app from an address, each as long as it
// may be, and returns how many were let.
func (x *site) beginApps(ip string, tries int) (let int) {
	x.t.Helper()
	for n := range tries {
		_, err := x.Broker.BeginApp(context.Background(), broker.AppRequest{
			ProviderID: "openid", ResponseType: "code", RedirectURI: "audiobookshelf://oauth", CodeChallenge: challenge("x"), CodeChallengeMethod: "S256",
			State: ip + strings.Repeat("0", 480) + strconv.Itoa(n), Device: broker.Device{IP: ip},
		})
		if err == nil {
			let++
		} else if !errors.Is(err, broker.RateLimited) {
			x.t.Fatal(err)
		}
	}
	return let
}

// X03: of a hundred thousand logins that one address begins, and ends none of, 5000
// leave a row, and the others cost no statement. A quarter of an hour later their room
// is free for those of another.
func TestX03FloodOfStartsIsBounded(t *testing.T) {
	x, size := flooded(t)
	before, begun := size(), x.Statements.Load()
	if let, asked := x.beginApps("203.0.113.1", 100_000), x.Statements.Load()-begun; let != 5000 || asked > 2*5000 {
		t.Errorf("%d were let, and %d statements asked", let, asked)
	}
	grown := size() - before
	t.Logf("100000 logins that were begun: %d kB", grown>>10)
	if grown > mostGrowth/5 {
		t.Errorf("the database grew by %d kB", grown>>10)
	}
	x.Clock.Advance(15*time.Minute + time.Second)
	if err := x.Broker.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	before = size()
	if let := x.beginApps("203.0.113.2", 5000); let != 5000 {
		t.Errorf("the neighbour: %d", let)
	}
	if grown := size() - before; grown > 1<<20 {
		t.Errorf("the next ones took another %d kB: the first are not gone", grown>>10)
	}
}

// X03: a request of a client may keep tens of kilobytes. It counts for several then,
// so that an address fills no more with long ones than with short ones.
func TestX03LongRequestsCountForSeveral(t *testing.T) {
	x, size := flooded(t)
	before, let := size(), 0
	long := strings.Repeat(`"`, 7000) // which JSON makes twice as long
	request := form(pairsOf(request("web1", cb1, "state", long, "nonce", long, "login_hint", strings.Repeat("x", 7000)))...)
	for {
		a := x.do(http.MethodPost, "/oauth2/authorize", from("203.0.113.1"), request)
		if a.Status == http.StatusTooManyRequests {
			break
		}
		if let++; a.Status >= 400 || let > 1000 {
			t.Fatalf("request %d: %d %.200s", let, a.Status, a.Body)
		}
	}
	grown := size() - before
	t.Logf("%d long requests: %d kB", let, grown>>10)
	if grown > mostGrowth/2 {
		t.Errorf("the database grew by %d kB", grown>>10)
	}
	x.do(http.MethodPost, "/oauth2/authorize", from("203.0.113.2"), request).want(303)
}

func pairsOf(q url.Values) (out []string) {
	for name, values := range q {
		out = append(out, name, values[0])
	}
	return out
}

// X03: of the logins of one user the hundred that were used last live, and ten
// thousand of them fit.
func TestX03LoginsOfOneUserAreBounded(t *testing.T) {
	x, size := flooded(t)
	before := size()
	const logins = 1000
	first, last := "", ""
	for n := range logins {
		x.Clock.Advance(time.Second)
		if last = x.Login(t, "alice").RefreshToken.Reveal(); n == logins-100 {
			first = last
		}
	}
	if live := len(x.sessions("alice", true)); live != 100 {
		t.Errorf("%d sessions live, want 100", live)
	}
	x.refresh(first).want(200)
	x.refresh(last).want(200)
	grown := size() - before
	t.Logf("%d logins: %d kB", logins, grown>>10)
	if grown*10_000/logins > mostGrowth {
		t.Errorf("the database grew by %d kB", grown>>10)
	}
}

// X04: phones behind one address come back at once, ten thousand times in all, next to somebody who
// guesses passwords there. Each is served, and none is told to wait.
func TestX04EverybodyComesBackBehindOneAddress(t *testing.T) {
	const phones, rounds, lines, nat = 1000, 10, 64, "203.0.113.1"
	x := newSite(t, setup{failures: 3, database: "sqlite:" + t.TempDir() + "/latchkey.db"})
	tokens := make([]string, phones)
	for n := range tokens {
		tokens[n] = x.Login(t, "alice").RefreshToken.Reveal()
	}
	// storm lets each phone refresh once, where the address is shut.
	storm := func() time.Duration {
		x.Clock.Advance(grace) // so that each moves on, and writes
		for range 3 {
			x.sendLogin("alice", "wrong", from(nat))
		}
		x.sendLogin("alice", harness.PasswordOf("alice"), from(nat)).want(429)
		work, refused := make(chan *string), atomic.Int64{}
		var all sync.WaitGroup
		begun := time.Now()
		for range lines {
			all.Go(func() {
				for token := range work {
					a, err := x.try(http.MethodPost, "/auth/refresh", refreshHeader(*token), from(nat))
					if err != nil || a.Status != http.StatusOK {
						refused.Add(1)
						continue
					}
					*token = a.text("user.refreshToken")
				}
			})
		}
		for n := range tokens {
			work <- &tokens[n]
		}
		close(work)
		all.Wait()
		if n := refused.Load(); n > 0 {
			t.Errorf("%d of %d were not served", n, phones)
		}
		return time.Since(begun)
	}
	took := time.Duration(0)
	for range rounds {
		took += storm()
	}
	t.Logf("%d refreshes, %d at once, took %v", rounds*phones, lines, took)
}

// durableOnce counts what is noted as used once and waits for the disk.
type durableOnce struct {
	broker.Store
	n atomic.Int64
}

func (d *durableOnce) UseOnce(ctx context.Context, id string, expiresAt time.Time) (bool, error) {
	d.n.Add(1)
	return d.Store.UseOnce(ctx, id, expiresAt)
}

// X03: whoever makes keys sends proof after proof. Each counts once, and none waits for
// the disk.
func TestX03FloodOfProofsWaitsForNoDisk(t *testing.T) {
	store := &durableOnce{}
	x := newProvider(t, setup{broker: func(c *broker.Config) { store.Store, c.Store = c.Store, store }})
	for range 50 {
		proof := newProver(x).proven()
		x.callToken(codeForm("nobody's"), proof).oauthError(400, "invalid_grant")
		x.callToken(codeForm("nobody's"), proof).oauthError(400, "invalid_dpop_proof")
	}
	if n := store.n.Load(); n > 0 {
		t.Errorf("%d proofs wait for the disk", n)
	}
}
