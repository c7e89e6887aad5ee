package web_test

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

const factorsPath = "/account/factors"

var (
	shownTOTP  = regexp.MustCompile(`id="totp-secret"[^>]*>([A-Z2-7 ]+)<`)
	shownCodes = regexp.MustCompile(`(?s)id="recovery-codes"[^>]*>(.*?)</pre>`)
)

// enrols sets up an authenticator app on the page, as a person does.
func (b *browser) enrols(name string) *harness.Authenticator {
	b.t.Helper()
	page := b.sends(factorsPath+"/totp", "username", name, "proof", harness.PasswordOf(name)).want(200)
	page.contains(`src="data:image/png;base64,`).says("Until then nothing changes.")
	found := shownTOTP.FindStringSubmatch(page.Body)
	if found == nil {
		b.t.Fatalf("no secret on the page: %s", page.Body)
	}
	app := b.NewAuthenticator(b.t, strings.ReplaceAll(found[1], " ", ""))
	again := b.sends(factorsPath+"/totp/confirm", "code", "000000").refused(400, broker.WrongCode, "")
	again.contains(`id="code-problem"`).contains(found[1])
	done := b.sends(factorsPath+"/totp/confirm", "code", app.At(b.t, 0)).want(200).says("The authenticator app is set up", "Your recovery codes")
	app.Recovery = strings.Fields(shownCodes.FindStringSubmatch(done.Body)[1])
	if len(app.Recovery) != 10 {
		b.t.Fatalf("recovery codes %q", app.Recovery)
	}
	return app
}

// byPassword is a browser in which somebody logged in by password alone.
func (x *site) byPassword(name string) *browser {
	x.t.Helper()
	b := x.newBrowser()
	b.post("/login/password", "username", name, "password", harness.PasswordOf(name)).want(303)
	return b
}

// The room, and the two steps of a login on pages, from an app's own request on.
func TestSecondFactorOnPages(t *testing.T) {
	x := newSite(t, setup{})
	b := x.byPassword("alice")
	b.open(factorsPath).want(200).secure(false).says("Whoever knows your password can log in as you", "Set up an app").saysNot("Recovery codes")
	b.sends(factorsPath+"/totp", "proof", "wrong").refused(400, broker.WrongPassword, "").contains(`id="proof-app-problem"`)
	app := b.enrols("alice")
	b.open(factorsPath).want(200).says("10 codes are left", "set up").saysNot(app.Recovery[0], app.Typed)

	fresh := x.newBrowser()
	step := fresh.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice"), "next", "/account/data").want(303)
	if to := step.location(); to.Path != "/login/second" || to.Query().Get("next") != "/account/data" || len(to.Query()) != 1 {
		t.Fatalf("it leads to %s", to)
	}
	if fresh.jar["__Host-latchkey_session"] != "" || fresh.jar["refresh_token"] != "" {
		t.Error("there is a session before the second step")
	}
	page := fresh.follow(step).want(200).secure(false).says("One more step", "The six digits").contains(`autocomplete="one-time-code"`)
	page.saysNot(fresh.jar["__Host-latchkey_second"])
	fresh.post("/login/second", "code", "000000", "next", "/account/data").refused(401, broker.SecondFactorInvalid, "").contains(`id="code-problem"`)
	fresh.post("/login/second", "code", "000000", "user", "root").refused(400, broker.InvalidRequest, "")
	done := fresh.post("/login/second", "code", app.Next(t), "next", "/account/data").want(303)
	if done.location().Path != "/account/data" || fresh.whose() != "alice" || fresh.jar["__Host-latchkey_second"] != "" {
		t.Errorf("it leads to %s with %v", done.location(), fresh.jar)
	}
	fresh.open("/").says("with a password and a one-time code", "An authenticator app was added to your account")

	recovery := x.newBrowser()
	recovery.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	recovery.post("/login/second", "code", app.Recovery[0]).want(303)
	recovery.open(factorsPath).says("9 codes are left")

	made := recovery.open(factorsPath)
	ticket := regexp.MustCompile(`name="ticket" value="([^"]+)"`).FindStringSubmatch(made.Body)[1]
	made = recovery.sends(factorsPath+"/recovery", "ticket", ticket, "proof", app.Next(t)).want(200)
	codes := strings.Fields(shownCodes.FindStringSubmatch(made.Body)[1])
	if len(codes) != 10 || slices.Contains(codes, app.Recovery[1]) {
		t.Errorf("codes %q", codes)
	}
	recovery.follow(recovery.sends(factorsPath+"/recovery", "ticket", ticket, "proof", harness.PasswordOf("alice"))).want(200).says("This form was sent already")
	recovery.follow(recovery.sends(factorsPath+"/totp/remove", "proof", harness.PasswordOf("alice"))).want(200).says("It is removed.")
	x.byPassword("alice").open("/account").want(200)
	for _, secret := range slices.Concat(app.Recovery, codes, []string{app.Typed}) {
		if strings.Contains(x.log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// Fixation of the pending login: a secret that was there before the password is
// none afterwards, and one of another browser's login finishes that one alone.
func TestFixationOfThePendingLogin(t *testing.T) {
	x := newSite(t, setup{})
	app := x.byPassword("alice").enrols("alice")
	x.byPassword("root").enrols("root")
	mallory, alice := x.newBrowser(), x.newBrowser()
	mallory.post("/login/password", "username", "root", "password", harness.PasswordOf("root")).want(303)
	planted := mallory.jar["__Host-latchkey_second"]
	alice.jar["__Host-latchkey_second"] = planted
	alice.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	if now := alice.jar["__Host-latchkey_second"]; now == planted || now == "" {
		t.Fatalf("the planted secret was taken: %q", now)
	}
	mallory.jar["__Host-latchkey_second"] = planted
	mallory.post("/login/second", "code", app.Next(t)).refused(401, broker.SecondFactorInvalid, "")
	alice.post("/login/second", "code", app.At(t, 0)).want(303)
	if alice.whose() != "alice" {
		t.Errorf("it is %q", alice.whose())
	}
	// Two cookies of the name are none: one of them was tossed in.
	two := x.newBrowser()
	two.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	two.send(http.MethodPost, "/login/second", form("code", app.Next(t)), cookie("__Host-latchkey_second", planted)).want(303)
	if two.jar["__Host-latchkey_session"] != "" {
		t.Error("a tossed cookie logged in")
	}
}

// Skipping the second step: no page, no client and no device gets on with the
// cookie of a login that waits, and what asks for a login asks for the whole of it.
func TestSkippingTheSecondStepOnPages(t *testing.T) {
	x := newSite(t, setup{})
	app := x.byPassword("alice").enrols("alice")
	b := x.newBrowser()
	b.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	for _, path := range []string{"/", "/account", factorsPath, "/device", "/account/password"} {
		if to := b.send(http.MethodGet, path).location(); to.Path != "/login" {
			t.Errorf("%s leads to %s", path, to)
		}
	}
	waiting := b.jar["__Host-latchkey_second"]
	b.jar["__Host-latchkey_session"] = waiting
	if to := b.send(http.MethodGet, "/account").location(); to.Path != "/login" {
		t.Errorf("the waiting login is a session: %s", to)
	}
	delete(b.jar, "__Host-latchkey_session")
	x.refresh(waiting).want(401)
	x.do(http.MethodPost, "/login/new-password", form("ticket", waiting, "password", "three quiet words more")).want(303)
	x.Clock.Advance(5 * time.Minute)
	late := b.post("/login/second", "code", app.At(t, 0)).want(303)
	if to := late.location(); to.Path != "/login" || to.Query().Get("error") != "invalid_state" {
		t.Errorf("too late, it leads to %s", to)
	}
	if to := x.newBrowser().send(http.MethodGet, "/login/second?next=/account").location(); to.Path != "/login" || to.Query().Get("next") != "/account" || to.Query().Get("error") != "" {
		t.Errorf("without a login, it leads to %s", to)
	}
}

// Removal of a factor from another site (CSRF), and each other form of the room.
func TestFactorRemovalCSRF(t *testing.T) {
	x := newSite(t, setup{})
	b := x.byPassword("alice")
	app := b.enrols("alice")
	paths := []string{"/totp", "/totp/confirm", "/totp/remove", "/recovery", "/passkeys", "/passkeys/options", "/passkeys/x", "/passkeys/x/remove"}
	for what, from := range crossSite {
		for _, path := range paths {
			if a := b.send(http.MethodPost, factorsPath+path, append(from, form("proof", app.Next(t)))...); a.Status != 403 {
				t.Errorf("%s at %s: %d", what, path, a.Status)
			}
		}
	}
	for _, path := range paths {
		x.newBrowser().sends(factorsPath+path, "proof", harness.PasswordOf("alice")).location()
	}
	x.sendLogin("alice", harness.PasswordOf("alice")).refused(401, broker.SecondFactorRequired, web.VerdictLogin)
	for what, from := range crossSite {
		if what == "a typed address" || what == "nobody says where of" {
			continue // no cookie decides: the password does
		}
		for _, path := range []string{"/login/second", "/login/passkey", "/login/passkey/options", "/login/second/passkey", "/login/second/passkey/options"} {
			b.send(http.MethodPost, path, append(from, form("code", "000000"))...).refused(403, broker.CrossSite, "")
		}
	}
}

// The JSON API: otp beside username and password. Nothing is told of a second
// factor before the password was right, and asking for it is no failure.
func TestSecondFactorOfTheAPI(t *testing.T) {
	x := newSite(t, setup{failures: 5})
	p := x.login("alice")
	app, _ := x.Enrol(t, "alice")
	login := func(name, password, otp string) *answer {
		return x.do(http.MethodPost, "/login", form("username", name, "password", password, "otp", otp), header("X-Return-Tokens", "true"))
	}
	for range 10 {
		a := x.sendLogin("alice", harness.PasswordOf("alice")).refused(401, broker.SecondFactorRequired, web.VerdictLogin)
		if a.json()["code"] != "second_factor_required" {
			t.Errorf("body %s", a.Body)
		}
	}
	if strings.Contains(x.log.String(), "Failed login attempt") {
		t.Error("asking for the code is a failed login")
	}
	unknown, wrong := login("nobody", "wrong", app.Next(t)), login("alice", "wrong", app.At(t, 0))
	if unknown.Body != wrong.Body || unknown.Status != wrong.Status || wrong.Header.Get("Latchkey-Code") != "invalid_credentials" {
		t.Errorf("a wrong password says %d %s, an unknown name %d %s", wrong.Status, wrong.Body, unknown.Status, unknown.Body)
	}
	done := login("alice", harness.PasswordOf("alice"), app.At(t, 0)).want(200)
	login("alice", harness.PasswordOf("alice"), app.At(t, 0)).refused(401, broker.SecondFactorInvalid, "")
	access := strings.Split(done.json()["user"].(map[string]any)["accessToken"].(string), ".")
	if claims, err := base64.RawURLEncoding.DecodeString(access[1]); err != nil || !strings.Contains(string(claims), `"amr":["pwd","otp","mfa"]`) {
		t.Errorf("claims %s", claims)
	}
	x.refresh(p.refresh).pair() // no refresh asks for it
	x.do(http.MethodPatch, "/api/me/password", bearer(p.access), form("password", harness.PasswordOf("alice"), "newPassword", "three quiet words more")).
		refused(400, broker.WrongCode, "")
	x.do(http.MethodPatch, "/api/me/password", bearer(p.access), form("password", harness.PasswordOf("alice"), "newPassword", "three quiet words more", "otp", app.Next(t))).want(200)
}

// An administrator resets the factors of somebody who has lost them.
func TestResetOfFactors(t *testing.T) {
	x := newSite(t, setup{})
	x.Enrol(t, "alice")
	id := x.idOf("alice")
	if x.as("root").get("/api/users/" + id).want(200).json()["secondFactor"] != true {
		t.Error("the API does not say that there is one")
	}
	b := x.byPassword("root")
	b.open("/admin/users/"+id).want(200).says("Second factor", "Reset the second factors")
	b.follow(b.sends("/admin/users/" + id + "/reset-factors")).want(200).says("The second factors are reset").saysNot("Reset the second factors")
	x.sendLogin("alice", harness.PasswordOf("alice")).want(200)
	x.Clock.Advance(time.Minute)
	x.Enrol(t, "alice")
	root := bearer(x.login("root").access)
	if x.do(http.MethodDelete, "/api/users/"+id+"/factors", root).want(200).json()["reset"] != true ||
		x.do(http.MethodDelete, "/api/users/"+id+"/factors", root).want(200).json()["reset"] != false {
		t.Error("what was reset is said wrongly")
	}
	x.sendLogin("alice", harness.PasswordOf("alice")).want(200)
	x.byPassword("alice").open("/").says("An administrator reset the second factors of your account")
}

// Where there can be no second factor, the page says why.
func TestFactorsPageWithoutForms(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "kiosk", broker.RoleGuest)
	b := x.byPassword("kiosk")
	b.open(factorsPath).want(200).says("This account is a guest's.").saysNot("Set up an app")
	b.sends(factorsPath+"/totp", "proof", harness.PasswordOf("kiosk")).refused(403, broker.Forbidden, "")
	link := linkStart(t, nil)
	anna := link.through("p1", "anna")
	anna.open(factorsPath).want(200).says("your account has none", "Set a password").saysNot("Set up an app")
	anna.sends(factorsPath+"/totp", "proof", "x").want(404)
}
