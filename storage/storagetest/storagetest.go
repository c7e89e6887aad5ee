// Package storagetest is what every database must pass to serve Latchkey: each
// method of broker.Store with its refusals, single use under parallel takers,
// and transactions.
package storagetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// takers is how many ask at once for what only one may have.
const takers = 20

// t0 has milliseconds, the resolution of the database.
var t0 = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// Run runs the suite. open gives a store on a fresh, empty database and closes
// it when the test ends.
func Run(t *testing.T, open func(t *testing.T) *storage.Store) {
	t.Helper()
	for _, part := range []struct {
		name  string
		tests []test
	}{
		{"users", userTests}, {"identities", identityTests}, {"administration", adminTests}, {"password links", passwordLinkTests}, {"sessions", sessionTests}, {"rotation", rotationTests},
		{"followers", followerTests}, {"session limit", sessionLimitTests}, {"own sessions", ownSessionTests}, {"logins", loginTests}, {"clients", clientTests}, {"providers", providerTests}, {"authorizations", authorizationTests},
		{"devices", deviceTests}, {"notices", noticeTests}, {"upstreams", upstreamTests}, {"keys", keyTests}, {"audit", auditTests}, {"text", textTests}, {"tx", txTests},
		{"imports", importTests}, {"API keys", apiKeyTests}, {"figures", figureTests}, {"names", nameTests}, {"second factors", factorTests},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, c := range part.tests {
				t.Run(c.name, func(t *testing.T) { c.run(&suite{T: t, Store: open(t)}) })
			}
		})
	}
}

type test struct {
	name string
	run  func(s *suite)
}

// suite is one test with its store.
type suite struct {
	*testing.T
	Store *storage.Store
}

var ctx = context.Background()

// ok fails the test on an error.
func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// code wants an error of that code, and of no other that a caller would ask for.
func (s *suite) code(err error, want broker.Code) {
	s.Helper()
	if err == nil || broker.CodeOf(err) != want || !errors.Is(err, want) {
		s.Fatalf("error %v, want %s", err, want)
	}
	if want != broker.TemporarilyUnavailable && errors.Is(err, broker.TemporarilyUnavailable) {
		s.Errorf("%v is a refusal, and yet trouble of ours to errors.Is", err)
	}
}

// same wants two values to be equal, times to the millisecond.
func same[T any](s *suite, got, want T) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// must returns the value of a call that may not fail.
func must[T any](value T, err error) func(s *suite) T {
	return func(s *suite) T {
		s.Helper()
		s.ok(err)
		return value
	}
}

// inParallel runs f n times at once and returns what each came to.
func inParallel(n int, f func(i int) error) []error {
	errs, start := make([]error, n), make(chan struct{})
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// oneWinner wants one success, and the same refusal for all others.
func (s *suite) oneWinner(errs []error, refusal broker.Code) (winner int) {
	s.Helper()
	winner = slices.Index(errs, nil)
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			s.code(err, refusal)
		}
	}
	if won != 1 {
		s.Fatalf("%d winners of %d, want 1", won, len(errs))
	}
	return winner
}

// tx runs a transaction that may not fail.
func (s *suite) tx(f func(tx broker.Store) error) {
	s.Helper()
	s.ok(s.Store.Tx(ctx, f))
}

func newUser(name string) broker.User {
	return broker.User{
		ID: "id of " + name, Username: name, Name: "Name of " + name, Role: broker.RoleUser,
		PasswordHash: broker.PasswordHash("hash of " + name), CreatedAt: t0, UpdatedAt: t0.Add(time.Millisecond),
	}
}

// ending is an end whose rows are kept for ten days.
func ending(cause broker.EndCause, wipe bool, at time.Time) broker.End {
	return broker.End{Cause: cause, Wipe: wipe, At: at, KeepUntil: at.Add(10 * day)}
}

// sweep deletes what is over at a time.
func (s *suite) sweep(at time.Time, limit int) int {
	s.Helper()
	return must(s.Store.Sweep(ctx, broker.Sweep{Now: at, LoginsBefore: at, SessionsBefore: at, EventsBefore: at.Add(-400 * day), UpstreamsBefore: at.Add(-time.Hour), Limit: limit}))(s)
}

// user inserts a user.
func (s *suite) user(name string) broker.User {
	s.Helper()
	u := newUser(name)
	s.ok(s.Store.InsertUser(ctx, u))
	return u
}

// disable writes the user's row, and ends nothing.
func (s *suite) disable(u broker.User, at time.Time) {
	s.Helper()
	u.DisabledAt = at
	s.ok(s.Store.UpdateUser(ctx, u))
}

func newSession(id, userID string) broker.Session {
	return broker.Session{
		ID: id, UserID: userID, ClientID: "client", ProviderID: "provider", IdPSubject: "subject", IdPSession: "idp session",
		AMR: []string{"pwd", "otp"}, AuthTime: t0.Add(-time.Minute), Scope: "openid profile",
		Request: broker.SessionRequest{
			Resource: "https://api.example.test/?a=<b>&c", UserinfoClaims: []string{"email", "日本語"}, IDTokenClaims: []string{`a"b`},
		},
		FollowsParent: true,
		Rotation:      broker.Rotation{Generation: 5, Branch: 2, ParentBranch: 1, AdvancedAt: t0, IssuedAt: t0.Add(time.Millisecond)},
		IdleExpiresAt: t0.Add(24 * time.Hour), AbsExpiresAt: t0.Add(100 * time.Hour),
		CreatedAt: t0, LastSeenAt: t0.Add(2 * time.Millisecond), CreatedIP: "192.0.2.1", LastIP: "192.0.2.2", UserAgent: "agent",
	}
}

// session inserts a session of a user.
func (s *suite) session(id, userID string, change ...func(*broker.Session)) broker.Session {
	s.Helper()
	n := newSession(id, userID)
	for _, c := range change {
		c(&n)
	}
	s.ok(second(s.Store.InsertSession(ctx, n, "")))
	return n
}

// row reads a session.
func (s *suite) row(id string) broker.Session {
	s.Helper()
	row, _, err := s.Store.SessionByID(ctx, id)
	s.ok(err)
	return row
}

// gone wants no such session.
func (s *suite) gone(id string) {
	s.Helper()
	_, _, err := s.Store.SessionByID(ctx, id)
	s.code(err, broker.NotFound)
}

func idsOf(sessions []broker.Session) []string {
	ids := []string{}
	for _, n := range sessions {
		ids = append(ids, n.ID)
	}
	return ids
}

func sorted(ids []string) []string {
	slices.Sort(ids)
	return ids
}
