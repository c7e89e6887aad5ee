package storagetest

import (
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var passwordLinkTests = []test{
	{"read, taken once, and gone", passwordLinkTaken}, {"dead at its end", passwordLinkExpiry}, {"taken by one of many", passwordLinkParallel},
	{"deleted with all of its user", passwordLinkDelete}, {"swept", passwordLinkSwept},
}

func newPasswordLink(id, userID string) broker.PasswordLink {
	return broker.PasswordLink{
		ID: id, UserID: userID, Purpose: broker.PurposeReset, Password: "hash of " + broker.PasswordHash(userID), CreatedBy: "an administrator",
		CreatedAt: t0, ExpiresAt: t0.Add(30 * time.Minute),
	}
}

func (s *suite) passwordLink(id, userID string) broker.PasswordLink {
	s.Helper()
	l := newPasswordLink(id, userID)
	s.ok(s.Store.InsertPasswordLink(ctx, l))
	return l
}

func passwordLinkTaken(s *suite) {
	u := s.user("anna")
	l, other := s.passwordLink("link", u.ID), s.passwordLink("other", u.ID)
	for _, id := range []string{"", "lin", "LINK", "link ", `link" OR 1=1`} {
		_, err := s.Store.PasswordLinkByID(ctx, id, t0)
		s.code(err, broker.NotFound)
		_, err = s.Store.TakePasswordLink(ctx, id, t0)
		s.code(err, broker.NotFound)
	}
	same(s, must(s.Store.PasswordLinkByID(ctx, "link", t0))(s), l)
	same(s, must(s.Store.TakePasswordLink(ctx, "link", t0))(s), l)
	_, err := s.Store.TakePasswordLink(ctx, "link", t0)
	s.code(err, broker.NotFound)
	_, err = s.Store.PasswordLinkByID(ctx, "link", t0)
	s.code(err, broker.NotFound)
	same(s, must(s.Store.PasswordLinkByID(ctx, "other", t0))(s), other)
}

func passwordLinkExpiry(s *suite) {
	l := s.passwordLink("link", s.user("anna").ID)
	_, err := s.Store.PasswordLinkByID(ctx, "link", l.ExpiresAt)
	s.code(err, broker.NotFound)
	_, err = s.Store.TakePasswordLink(ctx, "link", l.ExpiresAt)
	s.code(err, broker.NotFound)
	same(s, must(s.Store.TakePasswordLink(ctx, "link", l.ExpiresAt.Add(-time.Millisecond)))(s), l)
}

func passwordLinkParallel(s *suite) {
	s.passwordLink("link", s.user("anna").ID)
	s.oneWinner(inParallel(takers, func(int) error { return second(s.Store.TakePasswordLink(ctx, "link", t0)) }), broker.NotFound)
}

func passwordLinkDelete(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	s.passwordLink("1", anna.ID)
	s.passwordLink("2", anna.ID)
	left := s.passwordLink("3", bob.ID)
	s.ok(s.Store.DeletePasswordLinks(ctx, anna.ID))
	s.ok(s.Store.DeletePasswordLinks(ctx, "nobody"))
	for _, id := range []string{"1", "2"} {
		_, err := s.Store.PasswordLinkByID(ctx, id, t0)
		s.code(err, broker.NotFound)
	}
	same(s, must(s.Store.PasswordLinkByID(ctx, "3", t0))(s), left)
	s.ok(s.Store.DeleteUser(ctx, bob.ID))
	_, err := s.Store.TakePasswordLink(ctx, "3", t0)
	s.code(err, broker.NotFound)
}

func passwordLinkSwept(s *suite) {
	l := s.passwordLink("link", s.user("anna").ID)
	sweep := func(before time.Time) int {
		return must(s.Store.Sweep(ctx, broker.Sweep{Now: t0, LoginsBefore: before, EventsBefore: t0.Add(-day), Limit: 10}))(s)
	}
	same(s, sweep(l.ExpiresAt.Add(-time.Millisecond)), 0)
	same(s, must(s.Store.PasswordLinkByID(ctx, "link", t0))(s), l)
	same(s, sweep(l.ExpiresAt), 1)
}
