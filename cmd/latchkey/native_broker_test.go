package main

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// person is somebody with a browser of their own at a server.
type person struct {
	t      *testing.T
	base   string
	client *http.Client
}

func newPerson(t *testing.T, base string) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t, base, &http.Client{Jar: jar}}
}

// open and submit follow every redirect, also that to the app.
func (p *person) open(target string) string { return p.read(p.client.Get(target)) }

func (p *person) submit(path string, form url.Values) string {
	return p.read(p.client.PostForm(p.base+path, form))
}

func (p *person) read(res *http.Response, err error) string {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s %v\n%s", res.Request.URL, res.Status, err, page)
	}
	return string(page)
}

// field is the value of a hidden field.
func (p *person) field(page, name string) string {
	p.t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		p.t.Fatalf("the page has no %s:\n%s", name, page)
	}
	return html.UnescapeString(m[1])
}

// logIn fills in the login page and says yes to what comes then.
func (p *person) logIn(page string) string {
	p.t.Helper()
	return p.submit("/login/password", url.Values{"username": {"robin"}, "password": {"correct horse battery"}, "next": {p.field(page, "next")}})
}

// TestNativeClientAtTheBroker is the whole life of a login, with real servers,
// over HTTP.
func TestNativeClientAtTheBroker(t *testing.T) {
	c := newCLI(t)
	c.env["LATCHKEY_CLIENT_DIR"] = t.TempDir()
	c.must("correct horse battery\n", "user", "create", "robin", "--role", "admin", "--password-stdin")
	address, log, stop := c.serve()
	log.find(t, `"event":"(ready)"`)
	base := "http://" + address

	u := c.start("login", "--issuer", base, "--no-browser")
	robin := newPerson(t, base)
	page := robin.logIn(robin.open(u.stderr.find(t, `(http://\S+/oauth2/authorize\?\S+)`)))
	page = robin.submit("/oauth2/consent", url.Values{"id": {robin.field(page, "id")}, "decision": {"allow"}})
	if code, out := u.wait(t); code != 0 || !strings.Contains(page, "You are logged in") || !strings.Contains(out, "as robin") {
		t.Fatalf("exit %d, %s\n%s", code, out, page)
	}
	first := strings.TrimSpace(c.must("", "token"))
	if got := whoIs(t, base, first); got != "robin" {
		t.Fatalf("the access token is of %q", got)
	}
	second := strings.TrimSpace(c.must("", "token", "--refresh"))
	if second == first || whoIs(t, base, second) != "robin" {
		t.Fatal("not refreshed")
	}

	// The server is away for a while, and nobody is logged out by it.
	if code := stop(); code != 0 {
		t.Fatal(code)
	}
	if code, _, errs := c.run("", "token", "--refresh"); code != 1 || !strings.Contains(errs, "try again later") {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if code, _, errs := c.run("", "logout"); code != 1 || !strings.Contains(errs, "still logged in") {
		t.Fatalf("exit %d, %s", code, errs)
	}
	_, log, stop = c.serve()
	log.find(t, `"event":"(ready)"`)
	c.must("", "token", "--refresh")

	// An administrator ends the session, and the client says so.
	c.must("", "session", "revoke", "--user", "robin", "--wipe")
	if code, out, errs := c.run("", "token", "--refresh"); code != 1 || out != "" || !strings.Contains(errs, "an administrator ended it (revoked_by_admin)") {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if code, _, errs := c.run("", "token"); code != 1 || !strings.Contains(errs, "not logged in") {
		t.Fatalf("exit %d, %s", code, errs)
	}

	// Once more, on another device, and logged out.
	u = c.start("login", "--device")
	device := u.stderr.find(t, `open (http://\S+user_code=\S+) and`)
	robin = newPerson(t, base)
	page = robin.logIn(robin.open(device))
	page = robin.submit("/device", url.Values{"user_code": {robin.field(page, "user_code")}, "decision": {"allow"}})
	if code, out := u.wait(t); code != 0 || !strings.Contains(page, "Device connected") || !strings.Contains(out, "as robin") {
		t.Fatalf("exit %d, %s\n%s", code, out, page)
	}
	access := strings.TrimSpace(c.must("", "token"))
	c.must("", "logout")
	if got := whoIs(t, base, access); got != "401" {
		t.Errorf("after the logout the access token is of %q", got)
	}
	if out := c.must("", "session", "list", "--user", "robin"); !strings.Contains(out, "logged_out") {
		t.Error(out)
	}
	if code := stop(); code != 0 {
		t.Fatal(code)
	}
}

// whoIs asks the API whose an access token is.
func whoIs(t *testing.T, base, access string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, base+"/api/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var me struct{ Username string }
	if res.StatusCode != http.StatusOK {
		return fmt.Sprint(res.StatusCode)
	}
	if err := json.NewDecoder(res.Body).Decode(&me); err != nil {
		t.Fatal(err)
	}
	return me.Username
}
