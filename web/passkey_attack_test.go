package web_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// options asks for what a page's script asks for.
func (b *browser) options(path string, pairs ...string) *answer {
	b.t.Helper()
	return b.send(http.MethodPost, path+"/options", form(pairs...), fromPage, header("Accept", "application/json"))
}

// makes registers a passkey in the room, as the page's script does.
func (b *browser) makes(k *harness.SoftKey, password string) *answer {
	b.t.Helper()
	options := b.options(factorsPath+"/passkeys", "proof", password).want(200)
	return b.sends(factorsPath+"/passkeys", "name", "Phone", "credential", k.Create(b.t, options.Body))
}

// uses logs in with a passkey alone.
func (b *browser) uses(k *harness.SoftKey) *answer {
	b.t.Helper()
	options := b.options("/login/passkey").want(200)
	return b.sends("/login/passkey", "credential", k.Get(b.t, options.Body))
}

// passkeyOf gives a user a passkey.
func (x *site) passkeyOf(name string) *harness.SoftKey {
	x.t.Helper()
	k := harness.NewSoftKey(x.t, publicURL)
	x.byPassword(name).makes(k, harness.PasswordOf(name)).want(200).says("The passkey is kept", "Your recovery codes")
	return k
}

func TestPasskeys(t *testing.T) {
	x := newSite(t, setup{})
	b := x.byPassword("alice")
	b.open(factorsPath).says("Make a passkey").contains(`data-options="/account/factors/passkeys/options"`).contains("/static/passkey.js")
	b.options(factorsPath+"/passkeys", "proof", "wrong").refused(400, broker.WrongPassword, "")
	k := harness.NewSoftKey(t, publicURL)
	b.makes(k, harness.PasswordOf("alice")).want(200).says("The passkey is kept", "Your recovery codes")
	b.open(factorsPath).says("Phone", "stays on one device", "never used", "10 codes are left")

	x.Clock.Advance(time.Minute)
	first := x.newBrowser()
	first.open("/login").contains(`data-options="/login/passkey/options"`)
	if to := first.uses(k).want(303).location(); to.Path != "/" || first.whose() != "alice" {
		t.Fatalf("%s as %q", to, first.whose())
	}
	first.open("/").says("with a passkey").saysNot("password and")
	amr := func(want ...string) {
		t.Helper()
		list, _, err := x.Broker.Sessions(t.Context(), x.idOf("alice"), 0, 1)
		if err != nil || !slices.Equal(list[0].AMR, want) {
			t.Errorf("amr %v, want %v, %v", list[0].AMR, want, err)
		}
	}
	amr("hwk", "user", "mfa")

	x.Clock.Advance(time.Minute)
	second := x.newBrowser()
	page := second.follow(second.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303))
	page.want(200).contains(`data-options="/login/second/passkey/options"`).says("or with a code", "Recovery code").saysNot("six digits")
	options := second.options("/login/second/passkey").want(200).contains(`"allowCredentials"`)
	if to := second.sends("/login/second/passkey", "credential", k.Get(t, options.Body), "next", "/account/data").want(303).location(); to.Path != "/account/data" {
		t.Errorf("it leads to %s", to)
	}
	amr("pwd", "hwk", "user", "mfa")

	synced := harness.NewSoftKey(t, publicURL)
	synced.Flags |= harness.BackupEligible
	synced.Count = 0
	b.options(factorsPath+"/passkeys", "proof", harness.PasswordOf("alice")).refused(400, broker.WrongPassword, "")
	second.follow(second.makes(synced, "")).want(200).says("may be on several of your devices").saysNot("Your recovery codes")
	for range 2 {
		x.Clock.Advance(time.Minute)
		synced.Count = 0 // it does not count
		x.newBrowser().uses(synced).want(303)
	}
	amr("swk", "user", "mfa")
}

// Only an own passkey is renamed or removed.
func TestPasskeysOfTheRoom(t *testing.T) {
	x := newSite(t, setup{})
	k := x.passkeyOf("alice")
	list, err := x.Store.PasskeysOf(t.Context(), x.idOf("alice"))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	at := factorsPath + "/passkeys/" + list[0].ID
	root, alice := x.byPassword("root"), x.newBrowser()
	alice.uses(k).want(303)
	root.follow(root.sends(at, "name", "mine")).want(200).says("You have no such passkey")
	root.follow(root.sends(at+"/remove", "proof", harness.PasswordOf("root"))).want(200).says("You have no such passkey")
	alice.sends(at, "name", " ").refused(400, broker.InvalidRequest, "").contains(`id="name-` + list[0].ID + `-problem"`)
	alice.follow(alice.sends(at, "name", "Laptop <b>")).want(200).says("The passkey has another name.", "Laptop <b>")
	x.Clock.Advance(6 * time.Minute)
	alice.sends(at+"/remove", "proof", harness.PasswordOf("alice")).refused(400, broker.WrongPassword, "").contains(`id="proof-` + list[0].ID + `-problem"`)
	alice.uses(k).want(303)
	alice.follow(alice.sends(at+"/remove")).want(200).says("It is removed.").saysNot("Laptop", "codes are left")
	x.newBrowser().uses(k).refused(400, broker.PasskeyInvalid, "").says("it is not known here any more")
	x.byPassword("alice").open("/account").want(200)
	// Twenty are enough.
	b := x.byPassword("root")
	for i := range broker.MaxPasskeys {
		if done, err := x.Store.InsertPasskey(t.Context(), broker.Passkey{ID: "p" + string(rune('a'+i)), CredentialID: "AA" + string(rune('A'+i)) + "A", UserID: x.idOf("root"), CreatedAt: x.Clock.Now()}, 20); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	b.makes(harness.NewSoftKey(t, publicURL), harness.PasswordOf("root")).refused(400, broker.PasskeyInvalid, "").says("at most 20 passkeys")
}

// Replayed assertion, and challenge reuse: an answer is good once, whatever came of
// it, and a challenge once, with whatever answer.
func TestPasskeyReplay(t *testing.T) {
	x := newSite(t, setup{})
	k := x.passkeyOf("alice")
	b := x.newBrowser()
	options := b.options("/login/passkey").want(200)
	cookie := b.jar["__Host-latchkey_passkey"]
	answer := k.Get(t, options.Body)
	b.sends("/login/passkey", "credential", answer).want(303)
	again := func(what, credential string) {
		t.Helper()
		other := x.newBrowser()
		other.jar["__Host-latchkey_passkey"] = cookie
		other.sends("/login/passkey", "credential", credential).refused(400, broker.PasskeyInvalid, "")
		if other.jar["__Host-latchkey_session"] != "" {
			t.Errorf("%s logged in", what)
		}
	}
	again("the same answer", answer)
	again("another answer to the same challenge", k.Get(t, options.Body))

	// A wrong answer uses the challenge up as well.
	options = b.options("/login/passkey").want(200)
	cookie = b.jar["__Host-latchkey_passkey"]
	evil := *k
	evil.Origin = "https://evil.example.org"
	again("an answer from elsewhere", evil.Get(t, options.Body))
	again("the right answer after it", k.Get(t, options.Body))

	options = b.options("/login/passkey").want(200)
	cookie = b.jar["__Host-latchkey_passkey"]
	x.Clock.Advance(5 * time.Minute)
	again("an answer after five minutes", k.Get(t, options.Body))
}

// Other origin, other domain, UV missing, nobody there, another's credential or
// handle, and a key that only says to be it: none of them is alice.
func TestPasskeyForgeries(t *testing.T) {
	x := newSite(t, setup{})
	k := x.passkeyOf("alice")
	mallory := x.passkeyOf("root")
	stranger := harness.NewSoftKey(t, publicURL)
	for what, bend := range map[string]func(*harness.SoftKey) *harness.SoftKey{
		"another origin":        func(k *harness.SoftKey) *harness.SoftKey { k.Origin = "https://evil.example.org"; return k },
		"the origin over http":  func(k *harness.SoftKey) *harness.SoftKey { k.Origin = "http://id.example.org"; return k },
		"another port":          func(k *harness.SoftKey) *harness.SoftKey { k.Origin = publicURL + ":8443"; return k },
		"another domain":        func(k *harness.SoftKey) *harness.SoftKey { k.RPID = "evil.example.org"; return k },
		"the parent domain":     func(k *harness.SoftKey) *harness.SoftKey { k.RPID = "example.org"; return k },
		"the person unverified": func(k *harness.SoftKey) *harness.SoftKey { k.Flags = harness.UserPresent; return k },
		"nobody present":        func(k *harness.SoftKey) *harness.SoftKey { k.Flags = harness.UserVerified; return k },
		"now on many devices":   func(k *harness.SoftKey) *harness.SoftKey { k.Flags |= harness.BackupEligible; return k },
		"another's handle":      func(k *harness.SoftKey) *harness.SoftKey { k.UserHandle = mallory.UserHandle; return k },
		"an unknown credential": func(k *harness.SoftKey) *harness.SoftKey { k.ID = stranger.ID; return k },
		"another's key": func(k *harness.SoftKey) *harness.SoftKey {
			other := *stranger
			other.ID, other.UserHandle = k.ID, k.UserHandle
			return &other
		},
	} {
		b, bent := x.newBrowser(), *k
		if a := b.uses(bend(&bent)); a.Status != 400 || b.jar["__Host-latchkey_session"] != "" {
			t.Errorf("%s: %d %v", what, a.Status, b.jar)
		}
	}
	if b := x.newBrowser(); b.uses(k).Status != 303 || b.whose() != "alice" {
		t.Error("the right one does not log in")
	}
}

// Another session's challenge: an answer counts in the browser, the login and the
// ceremony that its challenge was made for.
func TestPasskeyChallengeOfAnother(t *testing.T) {
	x := newSite(t, setup{})
	k, theirs := x.passkeyOf("alice"), x.passkeyOf("root")
	mallory, alice := x.newBrowser(), x.newBrowser()

	// Login CSRF: mallory's answer in alice's browser.
	options := mallory.options("/login/passkey").want(200)
	alice.options("/login/passkey").want(200)
	alice.sends("/login/passkey", "credential", theirs.Get(t, options.Body)).refused(400, broker.PasskeyInvalid, "")
	x.newBrowser().sends("/login/passkey", "credential", theirs.Get(t, options.Body)).refused(400, broker.PasskeyInvalid, "")

	// A registration with another session's challenge.
	one, two := x.newBrowser(), x.newBrowser()
	one.uses(k).want(303)
	two.uses(theirs).want(303)
	made := one.options(factorsPath+"/passkeys", "proof", harness.PasswordOf("alice")).want(200)
	fresh := harness.NewSoftKey(t, publicURL)
	two.sends(factorsPath+"/passkeys", "name", "x", "credential", fresh.Create(t, made.Body)).refused(400, broker.PasskeyInvalid, "")
	// One that was not begun with the password: a challenge of a login.
	login := one.options("/login/passkey").want(200)
	one.sends(factorsPath+"/passkeys", "name", "x", "credential", fresh.Create(t, strings.Replace(login.Body, `"rpId":`, `"rp":{"id":"id.example.org"},"rpId":`, 1))).refused(400, broker.PasskeyInvalid, "")

	// The second step: another user's credential, and a challenge of the first.
	step := x.newBrowser()
	step.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	second := step.options("/login/second/passkey").want(200)
	step.sends("/login/second/passkey", "credential", theirs.Get(t, second.Body)).refused(400, broker.PasskeyInvalid, "")
	loose := step.options("/login/passkey").want(200)
	step.sends("/login/second/passkey", "credential", k.Get(t, loose.Body)).refused(400, broker.PasskeyInvalid, "")
	again := step.options("/login/second/passkey").want(200)
	step.sends("/login/passkey", "credential", k.Get(t, again.Body)).refused(400, broker.PasskeyInvalid, "")
	if step.jar["__Host-latchkey_session"] != "" {
		t.Error("there is a session")
	}
	x.newBrowser().options("/login/second/passkey").refused(400, broker.InvalidState, "")
}

// Registrations that are none: UV missing, another origin, a credential that
// somebody has, an answer of the other ceremony.
func TestPasskeyRegistrationForgeries(t *testing.T) {
	x := newSite(t, setup{})
	has := x.passkeyOf("root")
	b := x.byPassword("alice")
	for what, bend := range map[string]func(*harness.SoftKey){
		"the person unverified": func(k *harness.SoftKey) { k.Flags = harness.UserPresent },
		"another origin":        func(k *harness.SoftKey) { k.Origin = "https://evil.example.org" },
		"another domain":        func(k *harness.SoftKey) { k.RPID = "evil.example.org" },
		"another's credential":  func(k *harness.SoftKey) { k.ID = has.ID },
	} {
		k := harness.NewSoftKey(t, publicURL)
		bend(k)
		if a := b.makes(k, harness.PasswordOf("alice")); a.Status != 400 {
			t.Errorf("%s: %d", what, a.Status)
		}
	}
	options := b.options(factorsPath+"/passkeys", "proof", harness.PasswordOf("alice")).want(200)
	b.sends(factorsPath+"/passkeys", "name", "x", "credential", has.Get(t, options.Body)).refused(400, broker.PasskeyInvalid, "")
	for _, credential := range []string{"{}", "[", `{"id":"x","response":{"clientDataJSON":"eyJ9"}}`, strings.Repeat("x", 17<<10)} {
		b.sends(factorsPath+"/passkeys", "name", "x", "credential", credential).refused(400, broker.PasskeyInvalid, "")
	}
	b.follow(b.sends(factorsPath+"/passkeys", "name", "x", "proof", harness.PasswordOf("alice"))).want(200).says("needs JavaScript")
	x.sendLogin("alice", harness.PasswordOf("alice")).want(200)
}

// A clone: a passkey that counts backwards logs nobody in, and its owner hears of it.
func TestClonedPasskey(t *testing.T) {
	x := newSite(t, setup{})
	k := x.passkeyOf("alice")
	clone := *k
	for range 3 {
		x.newBrowser().uses(k).want(303)
	}
	b := x.newBrowser()
	b.uses(&clone).refused(400, broker.PasskeyInvalid, "")
	if b.jar["__Host-latchkey_session"] != "" {
		t.Error("the clone logged in")
	}
	if names := x.eventsOf("alice"); !slices.Contains(names, broker.EventPasskeyCloned) {
		t.Errorf("events %v", names)
	}
	owner := x.newBrowser()
	owner.uses(k).want(303)
	owner.open("/").says("there may be a copy of it")
}

func (x *site) eventsOf(name string) (names []string) {
	x.t.Helper()
	list, err := x.Broker.Events(x.t.Context(), broker.EventFilter{UserID: x.idOf(name), Limit: 100})
	if err != nil {
		x.t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}

// A disabled account has no passkeys, and where passwords are off there are none.
func TestPasskeyOfADisabledUser(t *testing.T) {
	x := newSite(t, setup{})
	k := x.passkeyOf("alice")
	if err := x.Broker.SetDisabled(t.Context(), x.idOf("alice"), true); err != nil {
		t.Fatal(err)
	}
	x.newBrowser().uses(k).refused(400, broker.PasskeyInvalid, "")
	off := newSite(t, setup{broker: func(c *broker.Config) { c.LocalLogin = false }})
	off.newBrowser().options("/login/passkey").refused(404, broker.NotFound, "")
	address := newSite(t, setup{publicURL: "https://192.0.2.1"})
	address.newBrowser().options("/login/passkey").refused(404, broker.NotFound, "")
	address.newBrowser().open("/login").saysNot("passkey")
}
