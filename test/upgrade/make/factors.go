package main

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/totp"
	"github.com/latchkey-id/latchkey/test/absfile"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
)

// strict ends the program where a test would fail.
type strict struct{ testing.TB }

func (strict) Helper()                      {}
func (strict) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (strict) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// imports takes people over from Audiobookshelf: one device comes with its token
// at once, another has not come yet. Its root is refused, because there is one.
func (s *scene) imports(ctx context.Context) error {
	file, err := absfile.Make(filepath.Join(s.dir, "absdatabase.sqlite"), 3, time.Now())
	if err != nil {
		return err
	}
	if _, err := s.run(ctx, "", "import", "audiobookshelf", "--from", file.Path, "--provider", "openid", "--allow-partial"); err != nil {
		return err
	}
	came, waits := file.Users[1], file.Users[2]
	s.d.Imported, s.d.ImportedOf = file.Sessions[2].Refresh, waits.Name
	for _, u := range []absfile.User{came, waits} {
		s.d.Users = append(s.d.Users, stored.User{Name: u.Name, Password: u.Password})
	}
	x := stored.Session{Kind: "imported", User: came.Name, ClientID: appClient, UserAgent: "Stored/1 (imported)"}
	_, raw, err := ask(http.DefaultClient, "POST", "/auth/refresh", http.StatusOK, nil, "X-Refresh-Token", file.Sessions[1].Refresh, "User-Agent", x.UserAgent)
	if err == nil {
		err = read(raw, &x)
	}
	if err == nil {
		err = rotate(&x)
	}
	s.d.Sessions = append(s.d.Sessions, x)
	return err
}

// user is what is known of somebody.
func (s *scene) user(name string) *stored.User {
	for i := range s.d.Users {
		if s.d.Users[i].Name == name {
			return &s.d.Users[i]
		}
	}
	panic("there is no " + name)
}

// room is a browser in which somebody is logged in by the password.
func room(name string) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: noRedirects.CheckRedirect}
	_, err = send(browser, "/login/password", http.StatusSeeOther, "username", name, "password", passwordOf(name))
	return browser, err
}

// send sends a form of our own pages.
func send(browser *http.Client, path string, want int, pairs ...string) (string, error) {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	headers := []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", publicURL, "Sec-Fetch-Site", "same-origin"}
	if strings.HasSuffix(path, "/options") {
		headers = append(headers, "Accept", "application/json")
	}
	res, raw, err := visit(browser, "POST", publicURL+path, form, headers)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s answers %d, want %d: %s", path, res.StatusCode, want, raw)
	}
	return string(raw), err
}

var shownTOTP = regexp.MustCompile(`id="totp-secret"[^>]*>([A-Z2-7 ]+)<`)

// authenticatorApp sets one up for tom.
func (s *scene) authenticatorApp(context.Context) error {
	browser, err := room("tom")
	if err != nil {
		return err
	}
	page, err := send(browser, "/account/factors/totp", http.StatusOK, "username", "tom", "proof", passwordOf("tom"))
	if err != nil {
		return err
	}
	found := shownTOTP.FindStringSubmatch(page)
	if found == nil {
		return fmt.Errorf("no secret on the page: %s", page)
	}
	typed := strings.ReplaceAll(found[1], " ", "")
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(typed)
	if err != nil {
		return err
	}
	code, err := totp.Codes{}.Code(secret, time.Now().Unix()/30)
	if err != nil {
		return err
	}
	_, err = send(browser, "/account/factors/totp/confirm", http.StatusOK, "code", code)
	s.user("tom").TOTP = typed
	return err
}

// passkey makes one for pia.
func (s *scene) passkey(context.Context) error {
	browser, err := room("pia")
	if err != nil {
		return err
	}
	options, err := send(browser, "/account/factors/passkeys/options", http.StatusOK, "proof", passwordOf("pia"))
	if err != nil {
		return err
	}
	k := harness.NewSoftKey(strict{}, publicURL)
	if _, err := send(browser, "/account/factors/passkeys", http.StatusOK, "name", "Phone", "credential", k.Create(strict{}, options)); err != nil {
		return err
	}
	s.user("pia").Passkey, err = json.Marshal(k)
	return err
}
