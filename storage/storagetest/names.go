package storagetest

var nameTests = []test{
	{"usernames by id", usernames},
}

func usernames(s *suite) {
	same(s, len(must(s.Store.Usernames(ctx, nil))(s)), 0)
	anna, bob := s.user("anna"), s.user("bob")
	s.user("carl")
	got := must(s.Store.Usernames(ctx, []string{anna.ID, bob.ID, "gone", "\x00", "\xff", "' OR 1=1"}))(s)
	same(s, got, map[string]string{anna.ID: "anna", bob.ID: "bob"})
	ids := make([]string, 1200)
	for i := range ids {
		ids[i] = bob.ID
	}
	same(s, must(s.Store.Usernames(ctx, ids))(s), map[string]string{bob.ID: "bob"})
}
