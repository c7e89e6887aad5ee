package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var keyTests = []test{
	{"signing key: every field survives", keyFields},
	{"signing key: of many at once one per algorithm", keyParallel},
	{"signing key is sealed anew only where it is as it was", resealKey},
	{"fact is set once, and swapped only where it is as it was", facts},
	{"fact: of many at once one stands", factParallel},
	{"fact: of many swaps at once one wins", swapParallel},
	{"metadata of an IdP", metadata},
	{"ping", func(s *suite) { s.ok(s.Store.Ping(ctx)) }},
}

func newKey(id, algorithm string) broker.StoredKey {
	return broker.StoredKey{ID: id, Algorithm: algorithm, Sealed: "sealed " + id, CreatedAt: t0, ActiveAt: t0.Add(15 * time.Minute)}
}

func keyFields(s *suite) {
	same(s, len(must(s.Store.SigningKeys(ctx))(s)), 0)
	newer, older := newKey("1", "ES256"), newKey("2", "RS256")
	newer.CreatedAt, older.RetiredAt = t0.Add(time.Millisecond), t0.Add(time.Hour)
	s.ok(s.Store.InsertSigningKey(ctx, newer))
	s.ok(s.Store.InsertSigningKey(ctx, older))
	same(s, must(s.Store.SigningKeys(ctx))(s), []broker.StoredKey{older, newer})
	s.ok(s.Store.InsertSigningKey(ctx, newKey("3", "ES256"))) // there is one
	same(s, len(must(s.Store.SigningKeys(ctx))(s)), 2)
}

func keyParallel(s *suite) {
	for _, err := range inParallel(takers, func(i int) error {
		return s.Store.InsertSigningKey(ctx, newKey(fmt.Sprint("key ", i), []string{"ES256", "EdDSA"}[i%2]))
	}) {
		s.ok(err)
	}
	seen := map[string]int{}
	for _, k := range must(s.Store.SigningKeys(ctx))(s) {
		seen[k.Algorithm]++
	}
	same(s, seen, map[string]int{"ES256": 1, "EdDSA": 1})
}

func resealKey(s *suite) {
	s.ok(s.Store.InsertSigningKey(ctx, newKey("1", "ES256")))
	s.ok(s.Store.InsertSigningKey(ctx, newKey("2", "RS256")))
	s.ok(s.Store.ResealSigningKey(ctx, "1", "sealed otherwise", "never"))
	s.ok(s.Store.ResealSigningKey(ctx, "3", "sealed 3", "never"))
	s.ok(s.Store.ResealSigningKey(ctx, "1", "sealed 1", "anew"))
	s.ok(s.Store.ResealSigningKey(ctx, "1", "sealed 1", "never"))
	keys := must(s.Store.SigningKeys(ctx))(s)
	same(s, []string{keys[0].Sealed, keys[1].Sealed}, []string{"anew", "sealed 2"})
}

func facts(s *suite) {
	_, err := s.Store.Fact(ctx, "f")
	s.code(err, broker.NotFound)
	same(s, must(s.Store.SwapFact(ctx, "f", "", "x"))(s), false)
	same(s, must(s.Store.InitFact(ctx, "f", "1"))(s), "1")
	same(s, must(s.Store.InitFact(ctx, "f", "2"))(s), "1")
	same(s, must(s.Store.SwapFact(ctx, "f", "2", "3"))(s), false)
	same(s, must(s.Store.SwapFact(ctx, "f", "1", "3"))(s), true)
	same(s, must(s.Store.Fact(ctx, "f"))(s), "3")
	same(s, must(s.Store.InitFact(ctx, "empty", ""))(s), "") // an empty fact is a fact
	same(s, must(s.Store.InitFact(ctx, "empty", "1"))(s), "")
}

func factParallel(s *suite) {
	stands := make([]string, takers)
	for _, err := range inParallel(takers, func(i int) (err error) {
		stands[i], err = s.Store.InitFact(ctx, "f", fmt.Sprint(i))
		return err
	}) {
		s.ok(err)
	}
	for _, v := range stands {
		same(s, v, must(s.Store.Fact(ctx, "f"))(s))
	}
}

func swapParallel(s *suite) {
	must(s.Store.InitFact(ctx, "f", "old"))(s)
	won := make([]bool, takers)
	for _, err := range inParallel(takers, func(i int) (err error) {
		won[i], err = s.Store.SwapFact(ctx, "f", "old", fmt.Sprint(i))
		return err
	}) {
		s.ok(err)
	}
	winners := 0
	for i, w := range won {
		if w {
			winners++
			same(s, must(s.Store.Fact(ctx, "f"))(s), fmt.Sprint(i))
		}
	}
	same(s, winners, 1)
}

func metadata(s *suite) {
	_, _, err := s.Store.IdPMetadata(ctx, issuer, "discovery")
	s.code(err, broker.NotFound)
	save := func(issuer, kind, document string, at time.Time) {
		s.ok(s.Store.SaveIdPMetadata(ctx, issuer, kind, []byte(document), at))
	}
	save(issuer, "discovery", `{"a":"ä"}`, t0)
	save(issuer, "jwks", strings.Repeat("x", 1<<20), t0)
	save("https://another.test", "discovery", "{}", t0)
	save(issuer, "discovery", `{"b":1}`, t0.Add(time.Millisecond))
	document, at, err := s.Store.IdPMetadata(ctx, issuer, "discovery")
	s.ok(err)
	same(s, string(document), `{"b":1}`)
	same(s, at, t0.Add(time.Millisecond))
	document, _, err = s.Store.IdPMetadata(ctx, issuer, "jwks")
	s.ok(err)
	same(s, len(document), 1<<20)
}

var auditTests = []test{
	{"event: every field survives", eventFields},
	{"list: newest first, by each filter", listEvents},
}

func eventFields(s *suite) {
	full := broker.Event{
		ID: "1", At: t0, Name: "name", UserID: "user", SessionID: "session", ClientID: "client", IP: "2001:db8::1", Actor: "admin",
		Detail: map[string]string{"a": `b"'\`, "empty": ""},
	}
	bare := broker.Event{ID: "2", At: t0.Add(time.Millisecond), Name: "bare"}
	s.ok(s.Store.InsertEvent(ctx, full))
	s.ok(s.Store.InsertEvent(ctx, bare))
	same(s, must(s.Store.ListEvents(ctx, broker.EventFilter{Limit: 10}))(s), []broker.Event{bare, full})
	if s.Store.InsertEvent(ctx, full) == nil {
		s.Error("an event was written over another")
	}
}

func listEvents(s *suite) {
	for i := range 12 {
		s.ok(s.Store.InsertEvent(ctx, broker.Event{
			ID: fmt.Sprintf("%02d", i), At: t0.Add(time.Duration(i/2) * time.Millisecond), Name: fmt.Sprint("name ", i%2),
			UserID: fmt.Sprint("user ", i%3), SessionID: fmt.Sprint("session ", i%4), ClientID: fmt.Sprint("client ", i%6),
			Actor: fmt.Sprint("actor ", i%5), IP: fmt.Sprint("10.0.0.", i%7),
		}))
	}
	for _, c := range []struct {
		filter broker.EventFilter
		want   string
	}{
		{broker.EventFilter{Limit: 100}, "11 10 09 08 07 06 05 04 03 02 01 00"},
		{broker.EventFilter{Limit: 3}, "11 10 09"},
		{broker.EventFilter{}, "11"}, // no limit is no licence to read everything
		{broker.EventFilter{UserID: "user 1", Limit: 100}, "10 07 04 01"},
		{broker.EventFilter{SessionID: "session 3", Limit: 100}, "11 07 03"},
		{broker.EventFilter{ClientID: "client 2", Limit: 100}, "08 02"},
		{broker.EventFilter{Actor: "actor 4", Limit: 100}, "09 04"},
		{broker.EventFilter{IP: "10.0.0.6", Limit: 100}, "06"},
		{broker.EventFilter{Name: "name 0", Limit: 2}, "10 08"},
		{broker.EventFilter{NamePrefix: "name", Limit: 2}, "11 10"},
		{broker.EventFilter{NamePrefix: "name 1", Limit: 2}, "11 09"},
		{broker.EventFilter{NamePrefix: "n_me", Limit: 2}, ""}, // no pattern
		{broker.EventFilter{NamePrefix: "%", Limit: 2}, ""},
		{broker.EventFilter{UserID: "user 1", SessionID: "session 3", Name: "name 1", Limit: 100}, "07"},
		{broker.EventFilter{UserID: "%", Limit: 100}, ""},
		{broker.EventFilter{From: t0.Add(2 * time.Millisecond), Until: t0.Add(4 * time.Millisecond), Limit: 100}, "07 06 05 04"},
		// A page may end between two events of one moment.
		{broker.EventFilter{BeforeAt: t0.Add(2 * time.Millisecond), BeforeID: "05", Limit: 2}, "04 03"},
		{broker.EventFilter{BeforeAt: t0.Add(2 * time.Millisecond), BeforeID: "05", UserID: "user 1", Limit: 2}, "04 01"},
	} {
		var ids []string
		for _, e := range must(s.Store.ListEvents(ctx, c.filter))(s) {
			ids = append(ids, e.ID)
		}
		if got := strings.Join(ids, " "); got != c.want {
			s.Errorf("%+v: %s, want %s", c.filter, got, c.want)
		}
	}
}
