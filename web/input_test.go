package web_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

func TestP09BadLoginBodies(t *testing.T) {
	x := newSite(t, setup{})
	const alice, right = `"username":"alice"`, `"password":"password of alice"`
	const form = "application/x-www-form-urlencoded"
	x.do(http.MethodPost, "/login", jsonBody("{"+alice+","+right+"}")).want(200)
	for name, b := range map[string]struct{ contentType, text string }{
		"cut off":               {"application/json", "{" + alice + "," + right},
		"no JSON":               {"application/json", "username=alice"},
		"numeric username":      {"application/json", `{"username":7,` + right + `}`},
		"boolean":               {"application/json", `{"username":true,` + right + `}`},
		"array":                 {"application/json", `{"username":["alice"],` + right + `}`},
		"object":                {"application/json", `{"username":{"$ne":""},` + right + `}`},
		"numeric password":      {"application/json", `{` + alice + `,"password":1e400}`},
		"array around":          {"application/json", `[{` + alice + `,` + right + `}]`},
		"string":                {"application/json", `"alice"`},
		"null":                  {"application/json", `null`},
		"two names":             {"application/json", `{"username":"nobody",` + alice + `,` + right + `}`},
		"two passwords":         {"application/json", `{` + alice + `,` + right + `,` + right + `}`},
		"two, one escaped":      {"application/json", `{` + alice + `,` + right + `,"\u0075sername":"root"}`},
		"other case":            {"application/json", `{"Username":"alice",` + right + `}`},
		"something behind":      {"application/json", `{` + alice + `,` + right + `}{}`},
		"empty":                 {"application/json", ""},
		"blank":                 {"application/json", " \n"},
		"NUL":                   {"application/json", `{"username":"alice\u0000",` + right + `}`},
		"raw NUL":               {"application/json", "{\"username\":\"alice\x00\"," + right + "}"},
		"invalid UTF-8":         {"application/json", "{\"username\":\"alice\"," + right[:len(right)-1] + "\xff\"}"},
		"UTF-16":                {"application/json", "\xff\xfe{\x00}\x00"},
		"BOM":                   {"application/json", "\ufeff{" + alice + "," + right + "}"},
		"deep":                  {"application/json", `{"x":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `,` + alice + `,` + right + `}`},
		"deep and cut off":      {"application/json", strings.Repeat(`{"username":`, 5_000)},
		"long number":           {"application/json", `{"x":` + strings.Repeat("9", 60_000) + `,` + alice + `,` + right + `}`},
		"JSON as text":          {"text/plain", "{" + alice + "," + right + "}"},
		"JSON without type":     {"", "{" + alice + "," + right + "}"},
		"JSON as XML":           {"application/xml", "{" + alice + "," + right + "}"},
		"multipart":             {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nalice\r\n--x--"},
		"JSON as form":          {form, "{" + alice + "," + right + "}"},
		"form as JSON":          {"application/json", "username=alice&password=password+of+alice"},
		"form, two names":       {form, "username=nobody&username=alice&password=password+of+alice"},
		"form, invalid UTF-8":   {form, "username=alice&password=password+of+alice%ff"},
		"form, NUL":             {form, "username=alice%00&password=password+of+alice"},
		"form, half":            {form, "username=alice"},
		"form, bad escape":      {form, "username=alice%zz&password=password+of+alice"},
		"broken content type":   {"application/json; charset", "{" + alice},
		"password of 2 KB":      {"application/json", `{` + alice + `,"password":"` + strings.Repeat("a", 2048) + `"}`},
		"username of 2 KB":      {"application/json", `{"username":"` + strings.Repeat("a", 2048) + `",` + right + `}`},
		"password in the query": {form, "username=alice"},
	} {
		path := "/login"
		if strings.HasSuffix(name, "query") {
			path = "/login?password=password+of+alice"
		}
		if a := x.do(http.MethodPost, path, body(b.contentType, b.text)).noCookies(); a.Status != 400 || a.Header.Get("Latchkey-Code") != "invalid_request" {
			t.Errorf("%s: %d %s %s", name, a.Status, a.Header.Get("Latchkey-Code"), a.Body)
		}
	}
	if n := len(x.sessions("alice", false)); n != 1 {
		t.Errorf("%d sessions, want the first alone", n)
	}
	// What is merely odd is read as it is meant.
	for name, b := range map[string]struct{ contentType, text string }{
		"charset":         {"application/json; charset=utf-8", "{" + alice + "," + right + "}"},
		"capitals":        {"Application/JSON", "{" + alice + "," + right + "}"},
		"unknown members": {"application/json", `{"x":{"username":["a","b"]},"x":1,` + alice + `,` + right + `,"remember":true}`},
		"form":            {form + "; charset=utf-8", "username=alice&password=password+of+alice&x=1&x=2"},
	} {
		if a := x.do(http.MethodPost, "/login", body(b.contentType, b.text)); a.Status != 200 {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if strings.Contains(x.log.String(), "panic") {
		t.Error("a panic is in the log")
	}
}

// countedReader says how much was taken of an endless body.
type countedReader struct{ taken atomic.Int64 }

func (r *countedReader) Read(p []byte) (int, error) {
	r.taken.Add(int64(len(p)))
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func (*countedReader) Close() error { return nil }

func TestHugeBodies(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	for path, method := range map[string]string{
		"/login": http.MethodPost, "/login/password": http.MethodPost, "/api/me/password": http.MethodPatch, "/setup": http.MethodPost,
	} {
		for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded"} {
			text := strings.Repeat(" ", 100_000) + `{"username":"alice","password":"password of alice"}`
			if a := x.do(method, path, bearer(p.access), body(contentType, text)); a.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s %s: status %d with a length", path, contentType, a.Status)
			}
			chunked := func(r *http.Request) {
				r.Body, r.ContentLength = io.NopCloser(bytes.NewBufferString(text)), -1
				r.Header.Set("Content-Type", contentType)
			}
			if a := x.do(method, path, bearer(p.access), chunked); a.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s %s: status %d without a length", path, contentType, a.Status)
			}
		}
	}
	// A body without end is not read to its end, and a refresh reads none.
	endless := &countedReader{}
	a, err := x.try(http.MethodPost, "/login", func(r *http.Request) {
		r.Body, r.ContentLength = endless, -1
		r.Header.Set("Content-Type", "application/json")
	})
	if err == nil && a.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("endless: status %d", a.Status)
	}
	if n := endless.taken.Load(); n > 16<<20 {
		t.Errorf("endless: %d bytes went", n)
	}
	x.refresh(p.refresh, jsonBody(strings.Repeat(" ", 60_000))).pair()
}

func TestHugeHeaders(t *testing.T) {
	x := newSite(t, setup{})
	long := strings.Repeat("x", 100_000)
	x.refresh(long).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", long)).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.me(long).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodGet, "/api/me?token="+long).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodGet, "/auth/openid/callback?code=x&state="+long).want(400)
	x.do(http.MethodPost, "/logout", refreshHeader(long)).want(200)
	p := x.login("alice", header("User-Agent", long+"\x80"))
	if rows := x.sessions("alice", true); len(rows) != 1 || len(rows[0].UserAgent) > 256 {
		t.Error("the user agent is kept whole")
	}
	a, err := x.try(http.MethodGet, "/api/me", bearer(p.access), header("X-Filler", strings.Repeat("x", 2<<20)))
	if err == nil && a.Status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("2 MB of header: status %d", a.Status)
	}
	x.me(p.access).want(200)
}

func TestRepeatedQueryParameters(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	for _, query := range []string{
		"/auth/openid?callback=/&callback=/", "/auth/openid?response_type=code&response_type=code", "/auth/openid?redirect_uri=a&redirect_uri=b",
		"/auth/openid/authorize?state=a&state=b&code_challenge=c", "/auth/openid/authorize?state=a&code_challenge=c&code_challenge=c",
		"/auth/openid/callback?code=a&code=b&state=s", "/auth/openid/callback?state=a&state=b&code=c", "/auth/openid/callback?state=a&error=a&error=b",
		"/auth/openid/callback?state=%ff&code=c", "/auth/openid/authorize?state=%00&code_challenge=c",
	} {
		x.do(http.MethodGet, query).refused(400, broker.InvalidRequest, "").noCookies()
	}
}

func TestMethodsAndUnknownPaths(t *testing.T) {
	x := newSite(t, setup{})
	for _, path := range []string{"/login", "/auth/refresh", "/logout", "/api/authorize", "/api/me"} {
		x.do(http.MethodPut, path).want(405)
	}
	for _, path := range []string{"/nowhere", "/api/nowhere", "//login", "/login/x", "/../etc/passwd", "/static/../server.go", "/static/%2e%2e/server.go"} {
		if a := x.do(http.MethodGet, path); a.Status != 404 {
			t.Errorf("%s: status %d", path, a.Status)
		}
	}
}
