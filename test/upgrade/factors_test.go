package upgrade

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/latchkey-id/latchkey/test/harness"
)

// importedDeviceComes: a device of the system that users were imported from brings
// its token after the upgrade.
func (u *upgraded) importedDeviceComes() {
	u.Helper()
	if u.d.Imported == "" {
		return
	}
	for range 2 { // its answer may be lost
		if res := u.ask("POST", "/auth/refresh", "", "X-Refresh-Token", u.d.Imported); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `"`+u.d.ImportedOf+`"`) {
			u.Errorf("the imported device is answered %d %s", res.Code, res.Body)
		}
	}
}

// factorsWork: what was set up as a second factor is still asked for, and fits.
func (u *upgraded) factorsWork() {
	u.Helper()
	for _, x := range u.d.Users {
		switch {
		case x.TOTP != "":
			body := map[string]string{"username": x.Name, "password": x.Password, "otp": u.NewAuthenticator(u.T, x.TOTP).At(u.T, 0)}
			raw, _ := json.Marshal(body)
			if res := u.ask("POST", "/login", string(raw), "X-Return-Tokens", "true"); res.Code != http.StatusOK {
				u.Errorf("a login of %s with a code is answered %d %s", x.Name, res.Code, res.Body)
			}
		case x.Passkey != nil:
			var k harness.SoftKey
			if err := json.Unmarshal(x.Passkey, &k); err != nil {
				u.Fatal(err)
			}
			u.logsInBy(&k, x.Name)
		}
	}
}

// logsInBy uses a passkey as the login page's script does.
func (u *upgraded) logsInBy(k *harness.SoftKey, name string) {
	u.Helper()
	page := []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", u.d.PublicURL, "Sec-Fetch-Site", "same-origin"}
	options := u.ask("POST", "/login/passkey/options", "", append(page, "Accept", "application/json")...)
	if options.Code != http.StatusOK {
		u.Fatalf("a passkey is asked for with %d %s", options.Code, options.Body)
	}
	cookies := func(res *httptest.ResponseRecorder) string {
		all := []string{}
		for _, c := range res.Result().Cookies() {
			all = append(all, c.Name+"="+c.Value)
		}
		return strings.Join(all, "; ")
	}
	answer := url.Values{"credential": {k.Get(u.T, options.Body.String())}}.Encode()
	in := u.ask("POST", "/login/passkey", answer, append(page, "Cookie", cookies(options))...)
	home := u.ask("GET", "/", "", "Cookie", cookies(in))
	if in.Code != http.StatusSeeOther || home.Code != http.StatusOK || !strings.Contains(home.Body.String(), name) {
		u.Errorf("a login of %s by a passkey is answered %d %s, and home %d", name, in.Code, in.Body, home.Code)
	}
}
