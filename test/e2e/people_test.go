package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

const rootPassword = "a password of a test"

// policies are the rules of the providers in the tests; all are of one OP.
var policies = map[string]string{
	"open":     "",
	"verified": "require_verified_email: always",
	"trusting": "require_verified_email: never",
	"match":    "provision: match, link_by: verified_email",
	"deny":     "provision: deny, link_by: verified_email",
	"family":   "allowed_groups: [family, friends]",
	"domain":   "allowed_domains: [example.org]",
	"roles":    "role_map: {admins: admin, family: user, kids: guest}, default_role: guest",
	"mapped":   "role_map: {admins: admin, family: user}, default_role: none",
	"may":      "claims: {permissions: may}",
}

// withPolicies starts a latchkey with these providers, and their OP.
func withPolicies(t *testing.T, accounts map[string]claims, rules map[string]string) (*latchkey, *op) {
	t.Helper()
	port := proc.Port(t)
	ids := slices.Sorted(maps.Keys(rules))
	o := newOP(t, fmt.Sprintf("http://localhost:%d", port), accounts, ids...)
	return serve(t, port, "providers:\n"+o.providers(rules), "LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD="+rootPassword), o
}

func (o *op) providers(rules map[string]string) (lines string) {
	for _, id := range o.known {
		line := strings.TrimSuffix(provider(id, id, o.issuer), "}\n")
		if rules[id] != "" {
			line += ", " + rules[id]
		}
		lines += line + "}\n"
	}
	return lines
}

// account is a user as an administrator sees it.
type account struct {
	ID, Username, Name, Type, Email string
	EmailVerified                   bool
	Groups                          []string
	Permissions                     map[string]bool
	LibrariesAccessible             []string
}

// admin is root, in a browser of its own.
type admin struct{ *browser }

func newAdmin(t *testing.T, x *latchkey, o *op) admin {
	b := newBrowser(t, x, o)
	b.password("root", rootPassword)
	return admin{b}
}

func (a admin) create(fields map[string]any) {
	a.t.Helper()
	token, _ := a.refresh()
	at := a.sendJSON(a.x.base+"/api/users", fields, token)
	if at.StatusCode != http.StatusCreated {
		a.t.Fatalf("%v: %d %s", fields, at.StatusCode, at.body)
	}
}

// user is what /api/me says to whoever is logged in, with what only
// administrators are told.
func (a admin) user(b *browser) account {
	a.t.Helper()
	var me, seen account
	b.api("/api/me", &me)
	a.api("/api/users/"+me.ID, &seen)
	if me.Username != seen.Username || me.Type != seen.Type || me.Email != seen.Email || !reflect.DeepEqual(me.Permissions, seen.Permissions) {
		a.t.Errorf("/api/me says %+v, the administrator is told %+v", me, seen)
	}
	return seen
}

// tokens logs in at the OP in Latchkey's name, and takes the answer before
// Latchkey gets it. With offline, the refresh token comes too.
func (b *browser) tokens(provider, account string, offline bool) (idToken, refreshToken string) {
	b.t.Helper()
	callback := b.x.base + "/auth/" + provider + "/callback"
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	ask := url.Values{
		"client_id": {"latchkey"}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {"openid profile email"}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if offline {
		ask.Set("scope", "openid profile email offline_access")
		ask.Set("prompt", "consent")
	}
	at := b.follow(b.send(http.MethodGet, b.o.issuer+"/auth?"+ask.Encode(), nil), account, callback)
	back, err := at.Location()
	if err != nil || back.Query().Get("code") == "" {
		b.t.Fatalf("the OP ends at %s: %d %s", at.Request.URL, at.StatusCode, at.body)
	}
	var got struct {
		IDToken string `json:"id_token"`
		Refresh string `json:"refresh_token"`
	}
	b.send(http.MethodPost, b.o.issuer+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {callback}, "code_verifier": {verifier},
	}, "Authorization", basic).read(b.t, &got)
	return got.IDToken, got.Refresh
}

// basic authenticates Latchkey at the OP (RFC 6749 section 2.3.1).
var basic = "Basic " + base64.StdEncoding.EncodeToString([]byte("latchkey:a+secret+of+a+test"))

// dryRun is what `latchkey provider test` makes of an ID token.
type dryRun struct {
	Outcome, Code string
	Token         []struct{ Check, Result string }
	User          account
}

func (x *latchkey) try(t *testing.T, provider, idToken string) (out dryRun) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "provider", "test", provider, "--token-stdin", "--json")
	cmd.Dir, cmd.Env, cmd.Stdin = x.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + x.dir}, strings.NewReader(idToken)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	text, err := cmd.Output()
	var said struct {
		Outcome, Code string
		Token         []struct{ Check, Result string }
		User          struct {
			Username, Name, Email, Role string
			EmailVerified               bool `json:"email_verified"`
			Groups                      []string
			Permissions                 map[string]any
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err != nil {
		t.Fatalf("latchkey provider test: %v\n%s%s", err, text, &problems)
	}
	u := said.User
	out = dryRun{said.Outcome, said.Code, said.Token, account{
		Username: u.Username, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerified, Type: u.Role, Groups: u.Groups,
		Permissions: map[string]bool{}, LibrariesAccessible: []string{},
	}}
	for name, value := range u.Permissions {
		switch value := value.(type) {
		case bool:
			out.User.Permissions[name] = value
		case []any:
			for _, one := range value {
				if name == "librariesAccessible" {
					out.User.LibrariesAccessible = append(out.User.LibrariesAccessible, fmt.Sprint(one))
				}
			}
		}
	}
	return out
}

// said is what a login comes to: a code, or somebody.
type said struct {
	code     string
	username string
	role     string // empty: user
	verified bool
	groups   []string
	may      map[string]bool // some of the permissions
	books    []string
}

func (s said) check(t *testing.T, u account) {
	t.Helper()
	if s.role == "" {
		s.role = "user"
	}
	if u.Username != s.username || u.Type != s.role || u.EmailVerified != s.verified || !slices.Equal(u.Groups, s.groups) || !slices.Equal(u.LibrariesAccessible, s.books) {
		t.Errorf("logged in as %+v, want %+v", u, s)
	}
	for name, value := range s.may {
		if is, ok := u.Permissions[name]; !ok || is != value {
			t.Errorf("the permission %s is %v, want %v", name, u.Permissions, value)
		}
	}
}

// journey is somebody who logs in, and then again with other claims.
type journey struct {
	provider string
	says     claims
	want     said
	then     claims // added to says; nil: there is no second login
	want2    said
}

// mail is a claim email, verified in the way that is given; nil: that claim is absent.
func mail(address string, verified any, more ...any) claims {
	c := claims{"email": address}
	if verified != nil {
		c["email_verified"] = verified
	}
	for i := 0; i < len(more); i += 2 {
		c[more[i].(string)] = more[i+1]
	}
	return c
}

func refused(code string) said { return said{code: code} }

func in(username, role string, verified bool, groups ...string) said {
	return said{username: username, role: role, verified: verified, groups: groups}
}

// journeys are the rules, by what a real provider says. The id of the account at
// the OP is the key.
var journeys = map[string]journey{
	"verified":          {"open", mail("a1@example.org", true), in("a1", "", true), mail("a1@example.org", false), refused("email_not_verified")},
	"unverified":        {"open", mail("a2@example.org", false), refused("email_not_verified"), mail("a2@example.org", true), in("a2", "", true)},
	"silent":            {"open", mail("a3@example.org", nil), in("a3", "", false), mail("a3@example.org", true), in("a3", "", true)},
	"text":              {"open", mail("a4@example.org", "true"), in("a4", "", false), nil, said{}},
	"nobody":            {"open", claims{}, in("nobody", "", false), nil, said{}},
	"always verified":   {"verified", mail("b1@example.org", true), in("b1", "", true), mail("b1@example.org", "true"), refused("email_not_verified")},
	"always unverified": {"verified", mail("b2@example.org", false), refused("email_not_verified"), nil, said{}},
	"always silent":     {"verified", mail("b3@example.org", nil), refused("email_not_verified"), nil, said{}},
	"always no address": {"verified", claims{"email_verified": true}, refused("email_not_verified"), nil, said{}},
	"never asked":       {"trusting", mail("c1@example.org", false), in("c1", "", false), nil, said{}},

	"a local name":  {"open", claims{"preferred_username": "Robin"}, in("Robin-2", "", false), claims{"preferred_username": "root"}, in("Robin-2", "", false)},
	"root":          {"open", claims{"preferred_username": "root", "groups": "root"}, in("root-2", "", false, "root"), nil, said{}},
	"root, folded":  {"roles", claims{"preferred_username": "ＲＯＯＴ", "groups": "admins"}, in("ＲＯＯＴ-3", "admin", false, "admins"), nil, said{}},
	"odd":           {"open", claims{"preferred_username": "od\u202Ed\n <b>'\";--"}, in("odd <b>'\";--", "", false), nil, said{}},
	"invisible":     {"open", mail("d1@example.org", nil, "preferred_username", "\u200b\t "), in("d1", "", false), nil, said{}},
	"no text":       {"open", mail("d2@example.org", nil, "preferred_username", 7), in("d2", "", false), nil, said{}},
	"long":          {"open", claims{"preferred_username": strings.Repeat("long", 100)}, in(strings.Repeat("long", 14)+"lo", "", false), nil, said{}},
	"another's sub": {"open", claims{"preferred_username": "verified", "sub": "verified"}, in("verified", "", false), nil, said{}},

	"match robin":      {"match", mail("Robin@Example.org", true), in("robin", "", true), mail("robin@example.org", true, "groups", []string{"g"}), in("robin", "", true, "g")},
	"match, no proof":  {"match", mail("rosa@example.org", "true"), refused("not_provisioned"), mail("rosa@example.org", true), in("rosa", "", true)},
	"match, silent":    {"match", mail("ines@example.org", nil), refused("not_provisioned"), nil, said{}},
	"match, a trap":    {"match", mail("mia@example.org", true), refused("not_provisioned"), nil, said{}},
	"match, an admin":  {"match", mail("chief@example.org", true), refused("identity_conflict"), nil, said{}},
	"match, not known": {"match", mail("e1@example.org", true, "preferred_username", "ines"), refused("not_provisioned"), nil, said{}},
	"match, a second":  {"match", mail("robin@example.org", true), refused("identity_conflict"), nil, said{}},
	"deny":             {"deny", mail("ines@example.org", true), refused("not_provisioned"), nil, said{}},

	"family":           {"family", claims{"groups": []string{"friends"}}, in("family", "", false, "friends"), claims{"groups": []string{"Friends"}}, refused("group_not_allowed")},
	"family, nested":   {"family", claims{"groups": []any{map[string]any{"name": "family"}}}, in("family, nested", "", false, "family"), claims{"groups": nil}, refused("group_not_allowed")},
	"family, none":     {"family", claims{}, refused("group_not_allowed"), claims{"groups": "other family"}, in("family, none", "", false, "other", "family")},
	"domain":           {"domain", mail("f1@EXAMPLE.org", true), in("f1", "", true), mail("f1@example.org", nil, "email_verified", nil), refused("domain_not_allowed")},
	"domain, text":     {"domain", mail("f2@example.org", "true"), refused("domain_not_allowed"), nil, said{}},
	"domain, below":    {"domain", mail("f3@sub.example.org", true), refused("domain_not_allowed"), nil, said{}},
	"domain, two":      {"domain", mail("f4@evil.test@example.org", true), refused("domain_not_allowed"), nil, said{}},
	"roles, array":     {"roles", claims{"groups": []string{"kids", "admins"}}, in("roles, array", "admin", false, "kids", "admins"), claims{"groups": []string{"kids"}}, in("roles, array", "guest", false, "kids")},
	"roles, text":      {"roles", claims{"groups": "family kids"}, in("roles, text", "user", false, "family", "kids"), claims{"groups": ""}, in("roles, text", "guest", false)},
	"roles, object":    {"roles", claims{"groups": map[string]any{"admins": map[string]any{"1": "a"}}}, in("roles, object", "admin", false, "admins"), claims{"groups": map[string]any{"admins": false}}, in("roles, object", "guest", false)},
	"roles, objects":   {"roles", claims{"groups": []any{map[string]any{"name": "family", "id": 1}}}, in("roles, objects", "user", false, "family"), claims{"groups": []any{map[string]any{"id": 1}}}, in("roles, objects", "guest", false)},
	"roles, none":      {"roles", claims{}, in("roles, none", "guest", false), claims{"groups": []string{"admins"}}, in("roles, none", "admin", false, "admins")},
	"mapped":           {"mapped", claims{"groups": []string{"family"}}, in("mapped", "", false, "family"), claims{"groups": []string{"kids"}}, refused("group_not_allowed")},
	"mapped, not":      {"mapped", claims{"groups": []string{"root"}}, refused("group_not_allowed"), nil, said{}},
	"no map, no admin": {"open", claims{"groups": []string{"admins"}}, in("no map, no admin", "", false, "admins"), nil, said{}},

	"may":           {"may", claims{"may": may(`{"canDownload":false,"canUpload":true,"canAccessAllLibraries":false,"allowedLibraries":["l1"]}`)}, said{username: "may", may: map[string]bool{"download": false, "upload": true, "delete": false, "accessAllLibraries": false}, books: []string{"l1"}}, claims{"may": may(`{"canUpload":false}`)}, said{username: "may", may: map[string]bool{"download": false, "upload": false, "accessAllLibraries": false}, books: []string{"l1"}}},
	"may, mistyped": {"may", claims{"may": may(`{"canDownlod":false}`)}, refused("idp_bad_response"), nil, said{}},
	"may, a text":   {"may", claims{"may": may(`{"canDownload":"false"}`)}, refused("idp_bad_response"), nil, said{}},
	"may, none":     {"may", claims{}, refused("idp_bad_response"), nil, said{}},
}

func may(text string) (object map[string]any) {
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		panic(err)
	}
	return object
}

// The identity rules by what a certified provider says, in the ID token and in
// userinfo; and the dry run says beforehand what each login comes to.
func TestPeople(t *testing.T) {
	t.Parallel()
	accounts := map[string]claims{}
	for id, j := range journeys {
		accounts[id] = j.says
	}
	x, o := withPolicies(t, accounts, policies)
	root := newAdmin(t, x, o)
	for name, verified := range map[string]bool{"robin": true, "rosa": true, "ines": true, "mia": false} {
		root.create(map[string]any{"username": name, "password": "a password of " + name, "email": name + "@example.org", "emailVerified": verified})
	}
	root.create(map[string]any{"username": "chief", "password": "a password of chief", "email": "chief@example.org", "emailVerified": true, "role": "admin"})
	for _, id := range slices.Sorted(maps.Keys(journeys)) {
		j := journeys[id]
		t.Run(id, func(t *testing.T) {
			b := newBrowser(t, x, o)
			root := admin{&browser{t, x, o, root.http}}
			j.want.reach(t, root, b, j.provider, id)
			if j.then == nil {
				return
			}
			accounts[id] = maps.Clone(j.says)
			maps.Copy(accounts[id], j.then)
			o.say(t, accounts)
			j.want2.reach(t, root, b, j.provider, id)
		})
	}
}

// reach makes the dry run, and then the login.
func (s said) reach(t *testing.T, root admin, b *browser, provider, id string) {
	t.Helper()
	idToken, _ := b.tokens(provider, id, false)
	dry := b.x.try(t, provider, idToken)
	for _, c := range dry.Token {
		if c.Result != "passed" {
			t.Errorf("the dry run: %s of a fresh ID token %s", c.Check, c.Result)
		}
	}
	if len(dry.Token) == 0 {
		t.Error("the dry run checked nothing of the ID token")
	}
	code := b.logIn(provider, id)
	if code != s.code || dry.Code != code || (dry.Outcome == "login") != (code == "") {
		t.Fatalf("the login: %q; the dry run: %s %q; want %q", code, dry.Outcome, dry.Code, s.code)
	}
	if code != "" {
		return
	}
	u := root.user(b)
	s.check(t, u)
	u.ID = ""
	if !reflect.DeepEqual(u, dry.User) {
		t.Errorf("the dry run: %+v\nthe login:   %+v", dry.User, u)
	}
}
