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
	{"signing key: of many that replace one, one waits", publishParallel},
	{"signing key: signs once every live replica has it", activateKeys},
	{"signing key: revoked, and what signs instead", revokeKeys},
	{"signing key: of many that revoke one, one does", revokeParallel},
	{"revision counts what others keep in memory", revisions},
	{"fact is set once, and swapped only where it is as it was", facts},
	{"fact: of many at once one stands", factParallel},
	{"fact: of many swaps at once one wins", swapParallel},
	{"metadata of an IdP", metadata},
	{"the service's own time never goes back", uptime},
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

func activeKey(id string, at time.Time) broker.StoredKey {
	return broker.StoredKey{ID: id, Algorithm: "ES256", Sealed: "sealed " + id, CreatedAt: at, ActiveAt: at}
}

func (s *suite) keysNow() string {
	var out []string
	for _, k := range must(s.Store.SigningKeys(ctx))(s) {
		state := "signs"
		switch {
		case !k.RetiredAt.IsZero():
			state = "retired"
		case k.ActiveAt.Equal(broker.KeyWaits):
			state = "waits"
		}
		out = append(out, k.ID+" "+state)
	}
	return strings.Join(out, ", ")
}

func publishParallel(s *suite) {
	s.ok(s.Store.InsertSigningKey(ctx, activeKey("old", t0)))
	same(s, must(s.Store.PublishSigningKey(ctx, activeKey("early", t0), t0.Add(-1)))(s), false)
	did := make([]bool, takers)
	for _, err := range inParallel(takers, func(i int) (err error) {
		did[i], err = s.Store.PublishSigningKey(ctx, activeKey(fmt.Sprint("new ", i), t0.Add(time.Hour)), t0)
		return err
	}) {
		s.ok(err)
	}
	n := 0
	for _, d := range did {
		if d {
			n++
		}
	}
	same(s, n, 1)
	same(s, len(must(s.Store.SigningKeys(ctx))(s)), 2)
}

func activateKeys(s *suite) {
	s.ok(s.Store.InsertSigningKey(ctx, activeKey("1", t0)))
	made := t0.Add(time.Minute)
	same(s, must(s.Store.PublishSigningKey(ctx, activeKey("2", made), t0))(s), true)
	revision := must(s.Store.Revision(ctx))(s)
	at := made.Add(time.Hour)
	activate := func(why string, a broker.KeyActivation, want string) {
		s.Helper()
		if got := strings.Join(must(s.Store.ActivateSigningKeys(ctx, a))(s), " "); got != want {
			s.Errorf("%s: %q signs, want %q", why, got, want)
		}
	}
	a := broker.KeyActivation{Now: at, MadeBefore: made, AliveSince: at.Add(-time.Minute)}
	early := a
	early.MadeBefore = made.Add(-1)
	activate("too early", early, "")
	s.ok(s.Store.NoteReplica(ctx, broker.Replica{ID: "a", SeenAt: at, Loaded: revision}))
	s.ok(s.Store.NoteReplica(ctx, broker.Replica{ID: "b", SeenAt: at, Loaded: revision - 1}))
	activate("b has not loaded it", a, "")
	s.ok(s.Store.NoteReplica(ctx, broker.Replica{ID: "b", SeenAt: a.AliveSince, Loaded: revision - 1}))
	activate("b is dead", a, "2")
	same(s, s.keysNow(), "1 retired, 2 signs")
	keys := must(s.Store.SigningKeys(ctx))(s)
	same(s, []time.Time{keys[0].RetiredAt, keys[1].ActiveAt}, []time.Time{at, at})
	activate("once", a, "")
	s.ok(s.Store.DropRetiredKeys(ctx, at))
	same(s, s.keysNow(), "1 retired, 2 signs")
	s.ok(s.Store.DropRetiredKeys(ctx, at.Add(time.Millisecond)))
	same(s, s.keysNow(), "2 signs")
	s.ok(s.Store.ForgetReplicas(ctx, broker.Replica{ID: "a", SeenAt: t0}))
}

func revokeKeys(s *suite) {
	at := t0.Add(time.Hour)
	s.ok(s.Store.InsertSigningKey(ctx, activeKey("1", t0)))
	_, err := s.Store.RevokeSigningKey(ctx, "none", activeKey("2", at))
	s.code(err, broker.NotFound)
	same(s, must(s.Store.RevokeSigningKey(ctx, "1", activeKey("2", at)))(s), "2")
	same(s, s.keysNow(), "2 signs")
	same(s, must(s.Store.PublishSigningKey(ctx, activeKey("3", at), at))(s), true)
	same(s, must(s.Store.RevokeSigningKey(ctx, "2", activeKey("4", at)))(s), "3") // readers know it
	same(s, s.keysNow(), "3 signs")
	same(s, must(s.Store.PublishSigningKey(ctx, activeKey("5", at.Add(1)), at))(s), true)
	same(s, must(s.Store.RevokeSigningKey(ctx, "5", activeKey("6", at)))(s), "") // 3 signs on
	same(s, s.keysNow(), "3 signs")
}

func revokeParallel(s *suite) {
	s.ok(s.Store.InsertSigningKey(ctx, activeKey("1", t0)))
	same(s, must(s.Store.PublishSigningKey(ctx, activeKey("2", t0), t0))(s), true)
	done := 0
	for _, err := range inParallel(takers, func(i int) error {
		if i%2 == 0 {
			_, err := s.Store.ActivateSigningKeys(ctx, broker.KeyActivation{Now: t0.Add(time.Hour), MadeBefore: t0, AliveSince: t0})
			return err
		}
		_, err := s.Store.RevokeSigningKey(ctx, "1", activeKey(fmt.Sprint("instead ", i), t0.Add(time.Hour)))
		if err == nil {
			return errDone
		}
		if broker.CodeOf(err) == broker.NotFound {
			return nil
		}
		return err
	}) {
		if err == errDone {
			done++
			continue
		}
		s.ok(err)
	}
	same(s, done, 1)
	same(s, s.keysNow(), "2 signs")
}

var errDone = fmt.Errorf("done")

func revisions(s *suite) {
	last := must(s.Store.Revision(ctx))(s)
	moved := func(what string, want bool) {
		s.Helper()
		now := must(s.Store.Revision(ctx))(s)
		if (now > last) != want {
			s.Errorf("%s: the revision was %d and is %d", what, last, now)
		}
		last = now
	}
	s.ok(s.Store.InsertSigningKey(ctx, activeKey("1", t0)))
	moved("a key", true)
	must(s.Store.InitFact(ctx, "f", "1"))(s)
	must(s.Store.SwapFact(ctx, "f", "1", "2"))(s)
	s.ok(s.Store.NoteReplica(ctx, broker.Replica{ID: "a", SeenAt: t0}))
	moved("nothing that is kept", false)
	s.ok(s.Store.NoteChange(ctx))
	moved("something else", true)
	c := broker.Client{ID: "c", CreatedAt: t0, UpdatedAt: t0}
	s.ok(s.Store.InsertClient(ctx, c))
	moved("a client made", true)
	s.ok(s.Store.UpdateClient(ctx, c))
	moved("a client changed", true)
	s.ok(s.Store.SetClientSecret(ctx, "c", "h", t0))
	moved("its secret", true)
	s.ok(s.Store.DeleteClient(ctx, "c"))
	moved("a client deleted", true)
	s.code(s.Store.DeleteClient(ctx, "c"), broker.NotFound)
	moved("nothing deleted", false)
	p := broker.StoredProvider{Settings: broker.ProviderSettings{ID: "p"}, CreatedAt: t0, UpdatedAt: t0}
	s.ok(s.Store.InsertProvider(ctx, p))
	moved("a provider made", true)
	s.ok(s.Store.UpdateProvider(ctx, p, t0))
	moved("a provider changed", true)
	s.ok(s.Store.DeleteProvider(ctx, "p"))
	moved("a provider deleted", true)
	boom := fmt.Errorf("boom")
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		s.ok(tx.InsertProvider(ctx, p))
		return boom
	}), boom)
	moved("what was rolled back", false)
	for _, err := range inParallel(takers, func(int) error { return s.Store.NoteChange(ctx) }) {
		s.ok(err)
	}
	same(s, must(s.Store.Revision(ctx))(s), last+takers)
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

func uptime(s *suite) {
	_, err := s.Store.Uptime(ctx)
	s.code(err, broker.NotFound)
	beat := func(service, now, want time.Time) {
		s.Helper()
		same(s, must(s.Store.Beat(ctx, service, now))(s), want)
		same(s, must(s.Store.Uptime(ctx))(s), want)
	}
	beat(time.Time{}, t0, t0) // it begins
	beat(time.Time{}, t0.Add(time.Hour), t0)
	beat(t0.Add(time.Minute), t0.Add(2*time.Hour), t0.Add(time.Minute))
	beat(t0.Add(30*time.Second), t0.Add(-time.Hour), t0.Add(time.Minute)) // never back
}

var auditTests = []test{
	{"event: every field survives", eventFields},
	{"list: newest first, by each filter", listEvents},
	{"which are known, and the oldest", knownEvents},
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

func knownEvents(s *suite) {
	same(s, must(s.Store.OldestEvent(ctx))(s), time.Time{})
	same(s, len(must(s.Store.KnownEvents(ctx, nil))(s)), 0)
	for i, id := range []string{"b", "a", "c"} {
		s.ok(s.Store.InsertEvent(ctx, broker.Event{ID: id, At: t0.Add(time.Duration(i) * time.Second), Name: "name " + id}))
	}
	same(s, must(s.Store.OldestEvent(ctx))(s), t0)
	same(s, sorted(must(s.Store.KnownEvents(ctx, []string{"c", "unknown", "a", "' OR 1 = 1"}))(s)), []string{"a", "c"})
	ids := []string{}
	for _, e := range must(s.Store.ListEvents(ctx, broker.EventFilter{Names: []string{"name a", "name b", "none"}, Limit: 10}))(s) {
		ids = append(ids, e.ID)
	}
	same(s, ids, []string{"a", "b"})
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
