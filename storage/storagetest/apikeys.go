package storagetest

import (
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var apiKeyTests = []test{
	{"every field survives", apiKeyFields},
	{"a key is found by its id alone", apiKeyNotFound},
	{"list by id, after an id, of one user or of all", listAPIKeys},
	{"no more keys than the most", apiKeyLimit},
	{"no more keys than the most, of many at once", apiKeyLimitParallel},
	{"update writes name, description, owner and disabling, for that owner", updateAPIKey},
	{"a new owner has no more keys than the most", moveAPIKey},
	{"a use is noted once in a while", touchAPIKey},
	{"keys go with their owner, and outlive who made them", apiKeyOfDeletedUser},
}

func newAPIKey(id, userID string) broker.APIKey {
	return broker.APIKey{ID: id, Name: "name", UserID: userID, Scope: "latchkey:api", SecretHash: "hash of " + id, CreatedAt: t0, UpdatedAt: t0}
}

// insertKey inserts a key where there is room for it.
func (s *suite) insertKey(k broker.APIKey) {
	s.Helper()
	same(s, must(s.Store.InsertAPIKey(ctx, k, 100))(s), true)
}

func apiKeyFields(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	full := newAPIKey("full", anna.ID)
	full.Name, full.Description, full.CreatedBy, full.Scope = `n"ä`, "d\\日本語", bob.ID, "latchkey:read things:read"
	full.UpdatedAt, full.ExpiresAt, full.LastUsedAt, full.DisabledAt = t0.Add(1e6), t0.Add(2e6), t0.Add(3e6), t0.Add(4e6)
	s.insertKey(full)
	same(s, must(s.Store.APIKeyByID(ctx, "full"))(s), broker.OwnedAPIKey{
		APIKey: full, Owner: anna, Creator: broker.User{ID: bob.ID, Username: "bob", Role: bob.Role},
	})
	empty := newAPIKey("empty", bob.ID) // every optional field empty
	empty.SecretHash = ""
	s.insertKey(empty)
	same(s, must(s.Store.APIKeyByID(ctx, "empty"))(s), broker.OwnedAPIKey{APIKey: empty, Owner: bob})
	if _, err := s.Store.InsertAPIKey(ctx, full, 100); err == nil {
		s.Error("one id was taken for two keys")
	}
	if _, err := s.Store.InsertAPIKey(ctx, newAPIKey("x", "nobody"), 100); err == nil {
		s.Error("a key was made for nobody")
	}
}

func apiKeyNotFound(s *suite) {
	s.insertKey(newAPIKey("Key", s.user("anna").ID))
	for _, wrong := range []string{"", "key", "KEY", "%", "_", "K%", "K_y", "Key ", "Key\x00", "' OR '1'='1"} {
		_, err := s.Store.APIKeyByID(ctx, wrong)
		s.code(err, broker.NotFound)
		if wrong != "Key\x00" {
			s.code(s.Store.DeleteAPIKey(ctx, wrong), broker.NotFound)
		}
	}
	s.ok(s.Store.DeleteAPIKey(ctx, "Key"))
	_, err := s.Store.APIKeyByID(ctx, "Key")
	s.code(err, broker.NotFound)
}

func ids(list []broker.OwnedAPIKey) (out []string) {
	for _, k := range list {
		out = append(out, k.ID)
	}
	return out
}

func listAPIKeys(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	for i, u := range []broker.User{bob, anna, bob, anna} {
		s.insertKey(newAPIKey(fmt.Sprint("k", i), u.ID))
	}
	same(s, ids(must(s.Store.ListAPIKeys(ctx, "", "", 10))(s)), []string{"k0", "k1", "k2", "k3"})
	same(s, ids(must(s.Store.ListAPIKeys(ctx, "", "k1", 1))(s)), []string{"k2"})
	same(s, ids(must(s.Store.ListAPIKeys(ctx, anna.ID, "", 10))(s)), []string{"k1", "k3"})
	same(s, ids(must(s.Store.ListAPIKeys(ctx, anna.ID, "k1", 10))(s)), []string{"k3"})
	same(s, len(must(s.Store.ListAPIKeys(ctx, "%", "", 10))(s)), 0)
	same(s, must(s.Store.ListAPIKeys(ctx, bob.ID, "", 1))(s)[0], broker.OwnedAPIKey{APIKey: newAPIKey("k0", bob.ID), Owner: bob})
}

func apiKeyLimit(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	for i := range 4 {
		same(s, must(s.Store.InsertAPIKey(ctx, newAPIKey(fmt.Sprint("k", i), anna.ID), 3))(s), i < 3)
	}
	same(s, must(s.Store.InsertAPIKey(ctx, newAPIKey("bob's", bob.ID), 3))(s), true)
	s.ok(s.Store.DeleteAPIKey(ctx, "k0"))
	same(s, must(s.Store.InsertAPIKey(ctx, newAPIKey("k3", anna.ID), 3))(s), true)
}

func apiKeyLimitParallel(s *suite) {
	anna := s.user("anna")
	for _, err := range inParallel(takers, func(i int) error {
		return s.Store.Tx(ctx, func(tx broker.Store) error {
			if err := tx.LockUser(ctx, anna.ID); err != nil {
				return err
			}
			_, err := tx.InsertAPIKey(ctx, newAPIKey(fmt.Sprint("k", i), anna.ID), 3)
			return err
		})
	}) {
		s.ok(err)
	}
	same(s, len(must(s.Store.ListAPIKeys(ctx, anna.ID, "", 100))(s)), 3)
}

func updateAPIKey(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	k := newAPIKey("k", anna.ID)
	s.insertKey(k)
	s.insertKey(newAPIKey("other", anna.ID))
	changed := k
	changed.Name, changed.Description, changed.UserID, changed.DisabledAt, changed.UpdatedAt = "new", "more", bob.ID, t0.Add(1e6), t0.Add(2e6)
	changed.ExpiresAt = t0.Add(3e6)
	also := changed
	also.Scope, also.SecretHash, also.CreatedBy, also.CreatedAt = "all", "another", "mallory", t0.Add(5e6)
	same(s, must(s.Store.UpdateAPIKey(ctx, also, bob.ID, 100))(s), false) // it is not bob's yet
	same(s, must(s.Store.UpdateAPIKey(ctx, also, anna.ID, 100))(s), true)
	same(s, must(s.Store.APIKeyByID(ctx, "k"))(s), broker.OwnedAPIKey{APIKey: changed, Owner: bob})
	same(s, must(s.Store.APIKeyByID(ctx, "other"))(s).APIKey, newAPIKey("other", anna.ID))
	also.DisabledAt, also.ExpiresAt = time.Time{}, time.Time{}
	same(s, must(s.Store.UpdateAPIKey(ctx, also, bob.ID, 0))(s), true) // who stays the owner needs no room
	after := must(s.Store.APIKeyByID(ctx, "k"))(s)
	same(s, []time.Time{after.DisabledAt, after.ExpiresAt}, []time.Time{{}, {}})
}

func moveAPIKey(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	k := newAPIKey("k", anna.ID)
	s.insertKey(k)
	s.insertKey(newAPIKey("bob's", bob.ID))
	k.UserID = bob.ID
	same(s, must(s.Store.UpdateAPIKey(ctx, k, anna.ID, 1))(s), false)
	same(s, must(s.Store.UpdateAPIKey(ctx, k, anna.ID, 2))(s), true)
}

func touchAPIKey(s *suite) {
	anna := s.user("anna")
	s.insertKey(newAPIKey("k", anna.ID))
	s.insertKey(newAPIKey("other", anna.ID))
	for _, use := range []struct{ after, noted time.Duration }{{0, 0}, {59 * time.Second, 0}, {time.Minute, time.Minute}, {30 * time.Second, time.Minute}} {
		now := t0.Add(use.after)
		s.ok(s.Store.TouchAPIKey(ctx, "k", now, now.Add(-time.Minute)))
		same(s, must(s.Store.APIKeyByID(ctx, "k"))(s).LastUsedAt, t0.Add(use.noted))
	}
	same(s, must(s.Store.APIKeyByID(ctx, "other"))(s).LastUsedAt, time.Time{})
	s.ok(s.Store.TouchAPIKey(ctx, "nobody's", t0, t0))
}

func apiKeyOfDeletedUser(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	mine, made := newAPIKey("mine", anna.ID), newAPIKey("made", bob.ID)
	made.CreatedBy = anna.ID
	s.insertKey(mine)
	s.insertKey(made)
	s.ok(s.Store.DeleteUser(ctx, anna.ID))
	_, err := s.Store.APIKeyByID(ctx, "mine")
	s.code(err, broker.NotFound)
	same(s, must(s.Store.APIKeyByID(ctx, "made"))(s), broker.OwnedAPIKey{APIKey: made, Owner: bob})
}
