package broker_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// sayingIdP is an IdP that says what it is told to, whoever asks.
type sayingIdP struct {
	broker.IdP // what is not written below is not asked for
	issuer     string
	mu         sync.Mutex
	say        broker.IdPClaims
	logout     broker.IdPLogoutToken
	recheck    broker.RecheckResult
}

func (s *sayingIdP) AuthURL(_ context.Context, r broker.IdPRequest) (string, error) {
	return "https://idp.test/authorize?" + url.Values{"state": {r.State}}.Encode(), nil
}

func (s *sayingIdP) Exchange(context.Context, broker.IdPRequest, broker.IdPResponse) (broker.IdPClaims, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.say, nil
}

func (s *sayingIdP) Issuer() string { return s.issuer }

func (s *sayingIdP) VerifyLogoutToken(context.Context, string) (broker.IdPLogoutToken, error) {
	return s.logout, nil
}

func (s *sayingIdP) Recheck(context.Context, broker.UpstreamToken, broker.RecheckBy) (broker.RecheckResult, error) {
	return s.recheck, nil
}

func (s *sayingIdP) EndSessionURL(context.Context, string) string { return "" }

// house is a broker with two IdPs, p and q, whose rules a test may change.
type house struct {
	*harness.Rig
	t         testing.TB
	providers []broker.Provider
}

func newHouse(t testing.TB, database string, rules func(p *broker.Provider), change func(*broker.Config)) *house {
	t.Helper()
	h := &house{t: t}
	for _, id := range []string{"p", "q"} {
		p := broker.Provider{ProviderSettings: broker.ProviderSettings{
			ID: id, Name: id, Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent,
		}, IdP: &sayingIdP{issuer: "https://" + id + ".test"}}
		if rules != nil {
			rules(&p)
		}
		h.providers = append(h.providers, p)
	}
	h.Rig = harness.New(t, database, func(c *broker.Config) {
		c.Providers = h.providers
		if change != nil {
			change(c)
		}
	})
	return h
}

// says is what one IdP says of somebody; the issuer follows from the provider.
func says(subject string, change ...func(*broker.IdPClaims)) broker.IdPClaims {
	c := broker.IdPClaims{Subject: subject, Username: subject, Email: subject + "@x.test", EmailVerified: new(true)}
	for _, f := range change {
		f(&c)
	}
	return c
}

func email(address string) func(*broker.IdPClaims) {
	return func(c *broker.IdPClaims) { c.Email = address }
}

func verified(v *bool) func(*broker.IdPClaims) {
	return func(c *broker.IdPClaims) { c.EmailVerified = v }
}

func groups(list ...string) func(*broker.IdPClaims) {
	return func(c *broker.IdPClaims) { c.Groups = list }
}

func username(name string) func(*broker.IdPClaims) {
	return func(c *broker.IdPClaims) { c.Username = name }
}

// enter is a browser's whole login.
func (h *house) enter(provider string, c broker.IdPClaims) (*broker.Login, error) {
	to, _, err := h.Broker.BeginWeb(ctx, provider, broker.LoginAnew("/"), broker.IdPAsk{}, broker.Device{})
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	idp := h.providers[slices.IndexFunc(h.providers, func(p broker.Provider) bool { return p.ID == provider })].IdP.(*sayingIdP)
	c.Issuer = idp.issuer
	idp.mu.Lock()
	idp.say = c
	idp.mu.Unlock()
	res := broker.IdPResponse{Code: "c", State: u.Query().Get("state")}
	done, err := h.Broker.CompleteIdPLogin(ctx, provider, res, func(string) bool { return true }, phone)
	return done.Login, err
}

func (h *house) enters(provider string, c broker.IdPClaims) broker.User {
	h.t.Helper()
	login, err := h.enter(provider, c)
	if err != nil {
		h.t.Fatalf("%s: %v", c.Subject, err)
	}
	u, err := h.Store.UserByID(ctx, login.User.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// refused expects that nothing is left behind.
func (h *house) refused(provider string, c broker.IdPClaims, code broker.Code) {
	h.t.Helper()
	before := h.rows()
	if _, err := h.enter(provider, c); broker.CodeOf(err) != code || err == nil {
		h.t.Errorf("%+v: %v, want %s", c, err, code)
	}
	if after := h.rows(); after != before {
		h.t.Errorf("%+v: before %s, after %s", c, before, after)
	}
}

// rows is everything that a login could have written.
func (h *house) rows() string {
	h.t.Helper()
	users, err := h.Store.ListUsers(ctx, broker.UserPage{By: broker.ByUsername, Limit: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	out := ""
	for _, u := range users {
		may := u.EffectivePermissions()
		u.Permissions = nil // a pointer prints as itself
		out += fmt.Sprintf("%+v %+v", u, may)
		list, err := h.Store.IdentitiesOfUser(ctx, u.ID)
		if err != nil {
			h.t.Fatal(err)
		}
		out += fmt.Sprintf("%+v", list)
	}
	_, sessions, err := h.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 1)
	if err != nil {
		h.t.Fatal(err)
	}
	return out + fmt.Sprint(sessions)
}

func (h *house) user(name, address string, role broker.Role) broker.User {
	h.t.Helper()
	u, err := h.Broker.CreateUser(ctx, broker.NewUser{Username: name, Email: address, Role: role})
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

func TestProvision(t *testing.T) {
	for how, code := range map[broker.Provisioning]broker.Code{
		broker.ProvisionCreate: "", broker.ProvisionMatch: broker.NotProvisioned, broker.ProvisionDeny: broker.NotProvisioned,
	} {
		h := newHouse(t, "", func(p *broker.Provider) { p.Provision, p.LinkBy = how, broker.LinkVerifiedEmail }, nil)
		bob := h.user("bob", "bob@x.test", broker.RoleUser)
		if code == "" {
			anna := h.enters("p", says("anna"))
			if anna.Username != "anna" || anna.Role != broker.RoleUser || anna.PasswordHash != "" || anna.Email != "anna@x.test" || !anna.EmailVerified {
				t.Errorf("%+v", anna)
			}
			if again := h.enters("p", says("anna", username("renamed"))); again.ID != anna.ID || again.Username != "anna" {
				t.Errorf("the second time: %+v", again)
			}
		} else {
			h.refused("p", says("anna"), code)
		}
		if how == broker.ProvisionDeny {
			h.refused("p", says("bob"), broker.NotProvisioned)
			continue
		}
		if u := h.enters("p", says("bob", username("robert"))); u.ID != bob.ID || u.Username != "bob" {
			t.Errorf("%s: bob became %+v", how, u)
		}
	}
}

func TestLinkByVerifiedEmailOnly(t *testing.T) {
	linking := func(p *broker.Provider) {
		p.Provision, p.LinkBy, p.RequireVerifiedEmail = broker.ProvisionMatch, broker.LinkVerifiedEmail, broker.EmailNever
	}
	h := newHouse(t, "", linking, nil)
	bob := h.user("bob", "Bob@X.test", broker.RoleUser)
	h.user("kate", "kate@k.test", broker.RoleUser)
	h.user("none", "", broker.RoleUser)
	for _, c := range []broker.IdPClaims{
		says("bob", verified(nil)), says("bob", verified(new(false))), says("m", email("")), says("m", email("bob@x.test.")),
		says("m", email("bob@x.test@evil.test")), says("m", email("evil@evil.test@x.test")), says("m", email(`"bob@x.test"@evil.test`)),
		says("m", email("bob@x.test\x00")), says("m", email("bob@x.test,m@evil.test")), says("m", email("bob @x.test")),
		says("m", email("\u212aate@k.test")), says("m", email("kate@\u212a.test")), // the Kelvin sign folds to k
		says("m", email("bob%@x.test")), says("m", email("b_b@x.test")),
	} {
		h.refused("p", c, broker.NotProvisioned)
	}
	h.refused("p", says("m", email("bob@x.test"), func(c *broker.IdPClaims) { c.Subject = strings.Repeat("s", 256) }), broker.IdPBadResponse)
	if u := h.enters("p", says("bob", email("BOB@x.test"))); u.ID != bob.ID || !u.HasIdentity {
		t.Errorf("%+v", u)
	}
	// Another subject of the same issuer never gets the account.
	h.refused("p", says("other", email("bob@x.test")), broker.IdentityConflict)
	// Another issuer does, by an address that the first one verified.
	if u := h.enters("q", says("bob-at-q", email("bob@x.test"))); u.ID != bob.ID {
		t.Errorf("%+v", u)
	}
}

func TestLinkNone(t *testing.T) {
	h := newHouse(t, "", nil, nil)
	bob := h.user("bob", "bob@x.test", broker.RoleUser)
	if u := h.enters("p", says("bob")); u.ID == bob.ID || u.Username != "bob-2" {
		t.Errorf("%+v", u)
	}
}

func TestNeverLinkedToAnAdministrator(t *testing.T) {
	for _, role := range []broker.Role{broker.RoleRoot, broker.RoleAdmin} {
		h := newHouse(t, "", func(p *broker.Provider) { p.LinkBy = broker.LinkVerifiedEmail }, nil)
		h.user("boss", "boss@x.test", role)
		h.refused("p", says("boss"), broker.IdentityConflict)
	}
}

func TestAddressOfTwoUsersLinksNobody(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.LinkBy = broker.LinkVerifiedEmail }, nil)
	h.user("bob", "family@x.test", broker.RoleUser)
	h.user("eve", "family@x.test", broker.RoleUser)
	h.refused("p", says("bob", email("family@x.test")), broker.IdentityConflict)
}

// An account that somebody made with a victim's address, through an IdP that
// had not verified it, is neither the victim's nor in the victim's way.
func TestTrapAccountIsNotLinked(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.LinkBy = broker.LinkVerifiedEmail }, nil)
	trap := h.enters("q", says("mallory", email("victim@x.test"), verified(nil)))
	victim := h.enters("p", says("victim"))
	if victim.ID == trap.ID {
		t.Fatal("the victim is in the attacker's account")
	}
	if again := h.enters("p", says("victim")); again.ID != victim.ID {
		t.Error("the victim has two accounts")
	}
	bob := h.user("bob", "bob@x.test", broker.RoleUser)
	h.enters("q", says("mallory2", email("bob@x.test"), verified(nil)))
	if u := h.enters("p", says("bob")); u.ID != bob.ID {
		t.Error("an account with bob's address is in bob's way")
	}
}

// Nor is one that somebody holds the password of, before the victim ever came
// (pre-hijacking). One that nobody can log in to is what an administrator has
// prepared, and one whose address is known to be its owner's is the owner's.
func TestTrapAccountWithAPasswordIsNotLinked(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.LinkBy = broker.LinkVerifiedEmail }, nil)
	for _, c := range []struct {
		user   broker.NewUser
		linked bool
	}{
		{broker.NewUser{Username: "trap", Email: "trap@x.test", Password: "known to the attacker"}, false},
		{broker.NewUser{Username: "own", Email: "own@x.test", EmailVerified: true, Password: "known to the owner"}, true},
		{broker.NewUser{Username: "prepared", Email: "prepared@x.test"}, true},
	} {
		there, err := h.Broker.CreateUser(ctx, c.user)
		if err != nil {
			t.Fatal(err)
		}
		if u := h.enters("p", says(c.user.Username)); (u.ID == there.ID) != c.linked {
			t.Errorf("%s: linked %v, want %v", c.user.Username, u.ID == there.ID, c.linked)
		}
	}
	// An administrator may say that an address is its owner's.
	there, err := h.Broker.CreateUser(ctx, broker.NewUser{Username: "late", Email: "late@x.test", Password: "known to the owner"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Broker.UpdateUser(ctx, there.ID, broker.UserChange{EmailVerified: new(true)}); err != nil {
		t.Fatal(err)
	}
	if u := h.enters("p", says("late")); u.ID != there.ID {
		t.Error("an address that an administrator verified is not linked")
	}
}

func TestAllowedGroups(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.AllowedGroups = []string{"staff", "Family"} }, nil)
	for _, c := range []broker.IdPClaims{
		says("m"), says("m", groups()), says("m", groups("other")), says("m", groups("Staff")), says("m", groups("staff ")), says("m", groups("staffx")), says("m", groups("")),
	} {
		h.refused("p", c, broker.GroupNotAllowed)
	}
	h.enters("p", says("anna", groups("x", "staff")))
	h.refused("p", says("anna", groups("x")), broker.GroupNotAllowed) // at every login
}

// U17: the domain is that of one strictly parsed address.
func TestU17AllowedDomains(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.AllowedDomains = []string{"x.test", "k.test"} }, nil)
	for _, address := range []string{
		"m@evil.test@x.test", "m@x.test@evil.test", `"a@x.test"@evil.test`, `"a"@x.test`, "a@x.test\x00", "a@x.test\x00.evil.test", "a@x.test.", "a@.x.test",
		"a@evilx.test", "a@sub.x.test", "a@x.test.evil.test", "a@x.test>", "<a@x.test>", "a@evil.test (a@x.test)", "a@x.test,b@evil.test",
		"@x.test", "a@", "a", "", "x.test", "a\n@x.test", "a@\u212a.test", "a@x\u3002test", "a@x.test/", "a@x.test?", "a@ x.test", "a\u200b@x.test",
		strings.Repeat("a", 300) + "@x.test",
	} {
		h.refused("p", says("m", email(address)), broker.DomainNotAllowed)
	}
	h.refused("p", says("m", email("m@x.test"), verified(nil)), broker.DomainNotAllowed)
	for i, address := range []string{"a@x.test", "a@X.TEST", " a@x.test", "a+b@x.test", "a@k.test"} {
		h.enters("p", says(fmt.Sprint("honest", i), email(address)))
	}
}

func TestRequireVerifiedEmail(t *testing.T) {
	for rule, want := range map[broker.EmailRule][3]bool{ // true, absent, false
		broker.EmailAlways: {true, false, false}, broker.EmailIfPresent: {true, true, false}, broker.EmailNever: {true, true, true},
	} {
		h := newHouse(t, "", func(p *broker.Provider) { p.RequireVerifiedEmail = rule }, nil)
		for i, v := range []*bool{new(true), nil, new(false)} {
			c := says(fmt.Sprint("anna", i), verified(v))
			if !want[i] {
				h.refused("p", c, broker.EmailNotVerified)
			} else if u := h.enters("p", c); u.EmailVerified != (i == 0) {
				t.Errorf("%s: %+v", rule, u)
			}
		}
	}
}

// A group that somebody forgot at the IdP locks nobody out: the last
// administrator keeps the role, and says nothing about the next.
func TestRoleMapKeepsTheLastAdmin(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.RoleMap = map[string]broker.Role{"admins": broker.RoleAdmin} }, nil)
	u := h.enters("p", says("anna", groups("admins")))
	if u = h.enters("p", says("anna", groups("readers"))); u.Role != broker.RoleAdmin || len(u.Groups) != 1 {
		t.Errorf("%+v", u)
	}
	h.enters("p", says("eve", groups("admins")))
	if u = h.enters("p", says("anna", groups("readers", "more"))); u.Role != broker.RoleUser {
		t.Errorf("%+v", u)
	}
	if u = h.enters("p", says("eve")); u.Role != broker.RoleAdmin {
		t.Errorf("%+v", u)
	}
}

func TestRoleMap(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) {
		if p.ID == "p" {
			p.RoleMap = map[string]broker.Role{"admins": broker.RoleAdmin, "kids": broker.RoleGuest}
		}
	}, nil)
	h.User(t, "root", broker.RoleRoot)
	many := []string{}
	for i := range 200 {
		many = append(many, fmt.Sprint("group", i))
	}
	for _, step := range []struct {
		groups []string
		role   broker.Role
	}{
		{nil, broker.RoleUser}, {[]string{"admins"}, broker.RoleAdmin}, {[]string{"kids", "admins"}, broker.RoleAdmin}, {[]string{"kids"}, broker.RoleGuest},
		{append(many, "admins"), broker.RoleAdmin}, {[]string{"Admins", "admins "}, broker.RoleUser}, {[]string{"admins"}, broker.RoleAdmin}, {[]string{}, broker.RoleUser},
		{[]string{"admins" + strings.Repeat(" ", 200) + "x"}, broker.RoleUser},
	} {
		u := h.enters("p", says("anna", groups(step.groups...)))
		if u.Role != step.role || len(u.Groups) > 100 {
			t.Errorf("%.60q: %s, %d groups", step.groups, u.Role, len(u.Groups))
		}
	}
	// Without a map the IdP has no say (U18), either way.
	if u := h.enters("q", says("eve", groups("admins", "root", "admin"))); u.Role != broker.RoleUser || len(u.Groups) != 3 {
		t.Errorf("%+v", u)
	}
	// Groups are kept as they are, not as they print.
	h.enters("q", says("eve", groups("a", "b")))
	if u := h.enters("q", says("eve", groups("a b"))); !slices.Equal(u.Groups, []string{"a b"}) {
		t.Errorf("%q", u.Groups)
	}
	if u := h.enters("q", says("eve", groups("c"))); !slices.Equal(u.Groups, []string{"c"}) {
		t.Errorf("%q", u.Groups)
	}
}

// The first administrator stays root, whatever an IdP says.
func TestRoleMapLeavesRootAlone(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) {
		p.RoleMap = map[string]broker.Role{"admins": broker.RoleAdmin}
	}, nil)
	u := h.enters("p", says("boss"))
	u.Role = broker.RoleRoot
	if err := h.Store.UpdateUser(ctx, u); err != nil {
		t.Fatal(err)
	}
	if u := h.enters("p", says("boss")); u.Role != broker.RoleRoot {
		t.Errorf("%s", u.Role)
	}
}

// U17: a taken name gets a suffix, and never the account that has it.
func TestU17TakenUsernames(t *testing.T) {
	h := newHouse(t, "", nil, nil)
	root := h.user("root", "", broker.RoleRoot)
	for i, name := range []string{"root", " root", "ROOT", "ｒｏｏｔ", "ro\u200bot", "root\x00"} {
		u := h.enters("p", says(fmt.Sprint("s", i), username(name), email("")))
		if u.ID == root.ID || u.Role != broker.RoleUser || broker.FoldUsername(u.Username) == "root" {
			t.Errorf("%q became %+v", name, u)
		}
	}
	for i, c := range []broker.IdPClaims{
		says("long", username(strings.Repeat("x", 10<<10))), says("empty", username(""), email("")), says("odd", username("\u200b\u0000 "), email("@")),
		says("control", username("a\nb\tc")), says(strings.Repeat("z", 255), username(""), email("")), says("\u200b", username(""), email("")),
	} {
		u := h.enters("q", c)
		if n := len([]rune(u.Username)); n == 0 || n > broker.MaxUsername {
			t.Errorf("%d: %q", i, u.Username)
		}
	}
}

func TestDisabledUserIsRefused(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.LinkBy = broker.LinkVerifiedEmail }, nil)
	anna, bob := h.enters("p", says("anna")), h.user("bob", "bob@x.test", broker.RoleUser)
	for _, id := range []string{anna.ID, bob.ID} {
		if err := h.Broker.SetDisabled(ctx, id, true); err != nil {
			t.Fatal(err)
		}
	}
	h.refused("p", says("anna", groups("new")), broker.UserDisabled)
	h.refused("p", says("bob"), broker.UserDisabled) // no link either
}

func TestNoSubjectIsNobody(t *testing.T) {
	h := newHouse(t, "", nil, nil)
	h.refused("p", says(""), broker.IdPBadResponse)
}

// onBoth runs a test on SQLite in memory and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "") })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.Shared(t).NewDatabase(t)) })
}

// retrying gives the broker its usual patience with those who were quicker.
func retrying(c *broker.Config) { c.RetryFor = 0 }

// atOnce logs everybody in at the same time, each by an IdP of their own words.
func (h *house) atOnce(people []broker.IdPClaims) []broker.User {
	h.t.Helper()
	users, start := make([]broker.User, len(people)), make(chan struct{})
	var all sync.WaitGroup
	for i, c := range people {
		c.Issuer = "https://p.test"
		to, _, err := h.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{})
		if err != nil {
			h.t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			h.t.Fatal(err)
		}
		all.Go(func() {
			<-start
			res := broker.IdPResponse{Code: fmt.Sprint(i), State: u.Query().Get("state")}
			done, err := h.Broker.CompleteIdPLogin(ctx, "p", res, func(string) bool { return true }, phone)
			if err != nil {
				h.t.Errorf("%d: %v", i, err)
				return
			}
			users[i] = done.Login.User
		})
	}
	close(start)
	all.Wait()
	return users
}

// crowdIdP says of each code something else.
type crowdIdP struct {
	sayingIdP
	people []broker.IdPClaims
}

func (s *crowdIdP) Issuer() string { return "https://p.test" }

func (s *crowdIdP) Exchange(_ context.Context, _ broker.IdPRequest, res broker.IdPResponse) (broker.IdPClaims, error) {
	var i int
	if _, err := fmt.Sscan(res.Code, &i); err != nil {
		return broker.IdPClaims{}, err
	}
	c := s.people[i]
	c.Issuer = "https://p.test"
	return c, nil
}

const crowd = 20

func TestParallelFirstLoginsOfOnePerson(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		people := slices.Repeat([]broker.IdPClaims{says("anna")}, crowd)
		for i := range crowd / 2 { // a name that changes hides nobody
			people[2*i].Username = fmt.Sprint("anna", i)
		}
		h := newHouse(t, database, func(p *broker.Provider) { p.IdP = &crowdIdP{people: people} }, retrying)
		for i, u := range h.atOnce(people) {
			if !strings.HasPrefix(u.Username, "anna") {
				t.Errorf("%d is %q", i, u.Username)
			}
		}
		users, err := h.Store.ListUsers(ctx, broker.UserPage{By: broker.ByUsername, Limit: 100})
		if err != nil || len(users) != 1 {
			t.Fatalf("%d users, %v", len(users), err)
		}
		identities, err := h.Store.IdentitiesOfUser(ctx, users[0].ID)
		if err != nil || len(identities) != 1 {
			t.Errorf("%d identities, %v", len(identities), err)
		}
		if _, n, err := h.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 1); err != nil || n != crowd {
			t.Errorf("%d sessions, %v", n, err)
		}
	})
}

func TestParallelFirstLoginsOfOneName(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		people := []broker.IdPClaims{}
		for i := range crowd {
			people = append(people, says(fmt.Sprint("s", i), username("alex")))
		}
		h := newHouse(t, database, func(p *broker.Provider) { p.IdP = &crowdIdP{people: people} }, retrying)
		seen := map[string]bool{}
		for i, u := range h.atOnce(people) {
			if seen[u.Username] || u.Username != "alex" && !strings.HasPrefix(u.Username, "alex-") {
				t.Errorf("%d is %q", i, u.Username)
			}
			seen[u.Username] = true
		}
		if !seen["alex"] {
			t.Error("nobody got the name itself")
		}
	})
}
