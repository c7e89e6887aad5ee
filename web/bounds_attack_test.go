package web_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/password"
	"github.com/latchkey-id/latchkey/web"
)

// allRoutes are the routes of everything, "METHOD /path", with something in place
// of their parameters.
func allRoutes(t *testing.T, x *site) (routes []string) {
	t.Helper()
	handler, err := web.New(web.Config{Broker: x.Broker, LocalLogin: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range handler.(*gin.Engine).Routes() {
		routes = append(routes, route.Method+" "+pathParameter.ReplaceAllString(route.Path, "openid"))
	}
	if len(routes) < 100 {
		t.Fatalf("only %d routes", len(routes))
	}
	return routes
}

// plainly sends a request to a route and returns status, header and body. It is not
// held against the document of the API, which leaves out what every route refuses.
func (x *site) plainly(route string, options ...option) (int, http.Header, string) {
	x.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequest(method, x.server.URL+path, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, o := range options {
		o(req)
	}
	res, err := x.client.Do(req)
	if err != nil {
		return 0, nil, err.Error() // closed while it was sent
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(text)
}

// quietLog fails where a request was answered as trouble of ours.
func (x *site) quietLog() {
	x.t.Helper()
	if text := x.log.String(); strings.Contains(text, "request.panic") || strings.Contains(text, "goroutine ") {
		x.t.Error("a panic: ", text)
	}
}

// X01: a body that is too large is refused on every route, by an administrator too,
// and is not read to its end; nor is one without end.
func TestX01BodyTooLargeOnEveryRoute(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t)})
	root := x.inBrowser("root")
	token := x.login("root").access
	for _, route := range allRoutes(t, x) {
		large := strings.Repeat("x", 65<<10)
		for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain"} {
			options := []option{body(kind, large), bearer(token)}
			if kind == "text/plain" {
				options = options[:1]
				for name, value := range root.jar {
					options = append(options, cookie(name, value))
				}
			}
			if status, _, text := x.plainly(route, options...); status != 413 {
				t.Errorf("%s, %s: %d %.80s", route, kind, status, text)
			}
		}
		endless := &countedReader{}
		status, _, text := x.plainly(route, bearer(token), func(r *http.Request) {
			r.Body, r.ContentLength = endless, -1
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		})
		if n := endless.taken.Load(); n > 16<<20 || status >= 500 {
			t.Errorf("%s, endless: %d, %d bytes; %.80s", route, status, n, text)
		}
	}
	x.quietLog()
}

// unending is a body without end that counts what is read of it.
type unending struct{ read int }

func (u *unending) Read(p []byte) (int, error) {
	u.read += len(p)
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func (u *unending) Close() error { return nil }

// X01: of a body without end no route reads more than it takes, whatever the body
// claims to be; one that has a use for it refuses it.
func TestX01NoRouteReadsBeyondTheBound(t *testing.T) {
	const bound, ahead = 64 << 10, 4 << 10
	x := newProvider(t, setup{idp: startIdP(t)})
	handler, err := web.New(web.Config{Broker: x.Broker, LocalLogin: true})
	if err != nil {
		t.Fatal(err)
	}
	token := x.login("root").access
	refused := 0
	for _, route := range allRoutes(t, x) {
		method, path, _ := strings.Cut(route, " ")
		if method == http.MethodGet || method == http.MethodHead {
			continue
		}
		for _, kind := range []string{"application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=x"} {
			endless := &unending{}
			r := httptest.NewRequest(method, path, endless)
			r.Header.Set("Content-Type", kind)
			r.Header.Set("Expect", "100-continue")
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if endless.read > bound+ahead || w.Code >= 500 {
				t.Errorf("%s, %s: %d bytes were read, and %d answered", route, kind, endless.read, w.Code)
			}
			if w.Code == http.StatusRequestEntityTooLarge {
				refused++
			}
		}
	}
	if refused < 30 {
		t.Errorf("only %d were refused for their length", refused)
	}
}

// X01: nothing is decompressed.
func TestX01GzipBomb(t *testing.T) {
	x := newProvider(t, setup{})
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"username":"alice","password":"password of alice","x":"`))
	for range 40 {
		_, _ = w.Write(make([]byte, 1<<20))
	}
	_ = w.Close()
	if packed.Len() > 60<<10 {
		t.Fatal(packed.Len())
	}
	small := &bytes.Buffer{}
	w = gzip.NewWriter(small)
	_, _ = w.Write([]byte(`{"username":"alice","password":"password of alice"}`))
	_ = w.Close()
	for _, route := range allRoutes(t, x) {
		if !strings.HasPrefix(route, "POST ") {
			continue
		}
		for _, text := range []string{packed.String(), small.String()} {
			status, _, said := x.plainly(route, body("application/json", text), header("Content-Encoding", "gzip"))
			if status >= 500 || route == "POST /login" && status == 200 {
				t.Errorf("%s: %d %.80s", route, status, said)
			}
		}
	}
	x.quietLog()
}

// X01: JSON that is deep, huge, doubled or no text, on every route that reads some.
func TestX01HostileJSON(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t), broker: addsProviders})
	token := x.login("root").access
	deep := strings.Repeat("[", 30_000)
	for what, text := range map[string]string{
		"deep arrays":      deep,
		"deep objects":     strings.Repeat(`{"username":`, 5_000) + "1" + strings.Repeat("}", 5_000),
		"a deep field":     `{"username":` + deep + strings.Repeat("]", 30_000) + `}`,
		"a huge number":    `{"username":1e999999999}`,
		"many digits":      `{"username":` + strings.Repeat("9", 60_000) + `}`,
		"a long string":    `{"username":"` + strings.Repeat("x", 60_000) + `"}`,
		"a long key":       `{"` + strings.Repeat("x", 60_000) + `":1}`,
		"many keys":        "{" + strings.TrimSuffix(strings.Repeat(`"a":1,`, 10_000), ",") + "}",
		"a doubled key":    `{"username":"alice","username":"root","password":"x","password":"y"}`,
		"bad UTF-8":        "{\"username\":\"\xff\xfe\",\"password\":\"\xc3\x28\"}",
		"half a surrogate": `{"username":"\ud800","password":"\udfff"}`,
		"NUL":              `{"username":"a\u0000b","password":"\u0000","id":"a\u0000b","name":"a\u0000b"}`,
		"two documents":    `{"username":"alice"}{"username":"root"}`,
		"a byte order":     "\ufeff{}",
		"no document":      `"username"`,
		"null":             `null`,
	} {
		for _, route := range allRoutes(t, x) {
			if strings.HasPrefix(route, "GET ") || strings.HasPrefix(route, "DELETE ") || strings.Contains(route, "/forward-auth") {
				continue
			}
			for _, options := range [][]option{{jsonBody(text), bearer(token)}} {
				if status, _, said := x.plainly(route, options...); status == 0 || status >= 500 {
					t.Errorf("%s, %s: %d %.120s", what, route, status, said)
				}
			}
		}
		if status, _, _ := x.plainly("POST /login", jsonBody(text)); status == 200 {
			t.Errorf("%s: a login", what)
		}
	}
	x.quietLog()
}

// X02: addresses, forms and cookies that hold far too much, on every route.
func TestX02GiantQueriesFormsAndCookies(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t)})
	cookie := func(value string) option { return header("Cookie", value) }
	session := x.inBrowser("alice").jar[sessionCookie]
	many := strings.TrimSuffix(strings.Repeat("a=b&", 5_000), "&")
	names := ""
	for n := range 3_000 {
		names += fmt.Sprintf("n%d=v&", n)
	}
	for what, options := range map[string][]option{
		"a long cookie":        {cookie(sessionCookie + "=" + strings.Repeat("x", 20_000))},
		"many cookies":         {cookie(strings.Repeat("a=b; ", 5_000))},
		"cookies of one name":  {cookie(strings.Repeat(sessionCookie+"=x; ", 500))},
		"no ASCII":             {cookie(sessionCookie + "=\xff\xfe\u00e4; \u00fc=1")},
		"no pairs":             {cookie(";;;=;=;" + sessionCookie + ";\"")},
		"two sessions":         {cookie(sessionCookie + "=" + session + "; " + sessionCookie + "=" + session)},
		"a session and a fake": {cookie(sessionCookie + "=x; " + sessionCookie + "=" + session)},
		"a form of many":       {body("application/x-www-form-urlencoded", names)},
		"a form of one name":   {body("application/x-www-form-urlencoded", many)},
		"a form of escapes":    {body("application/x-www-form-urlencoded", strings.Repeat("%", 20_000))},
		"a form of ampersands": {body("application/x-www-form-urlencoded", strings.Repeat("&", 60_000))},
	} {
		for _, route := range allRoutes(t, x) {
			status, header, said := x.plainly(route, options...)
			if status == 0 || status >= 500 {
				t.Errorf("%s, %s: %d %.120s", what, route, status, said)
			}
			if route == "GET /account" && status == 200 && what != "a form of many" {
				t.Errorf("%s: somebody is logged in: %v", what, header)
			}
		}
	}
	for what, q := range map[string]string{"many": many, "names": names, "long": "a=" + strings.Repeat("x", 50_000), "escapes": strings.Repeat("%25", 10_000), "broken": strings.Repeat("%zz&", 5_000)} {
		for _, route := range allRoutes(t, x) {
			if status, _, said := x.plainly(route + "?" + q); status == 0 || status >= 500 {
				t.Errorf("a query, %s, %s: %d %.120s", what, route, status, said)
			}
		}
	}
	x.quietLog()
}

// countedHasher counts what is hashed or compared.
type countedHasher struct {
	broker.PasswordHasher
	seen atomic.Int64
}

func (h *countedHasher) Verify(ctx context.Context, hash broker.PasswordHash, password string) (ok, rehash bool, err error) {
	h.seen.Add(1)
	return h.PasswordHasher.Verify(ctx, hash, password)
}

func (h *countedHasher) Hash(ctx context.Context, password string) (broker.PasswordHash, error) {
	h.seen.Add(1)
	return h.PasswordHasher.Hash(ctx, password)
}

// X01: no hash is computed of a password that is longer than any.
func TestX01GiantPassword(t *testing.T) {
	var h *countedHasher
	x := newSite(t, setup{broker: func(c *broker.Config) {
		h = &countedHasher{PasswordHasher: c.Hasher}
		c.Hasher = h
	}})
	access := x.login("alice").access
	before := h.seen.Load()
	for _, size := range []int{60_000, 5 << 20} {
		giant := strings.Repeat("x", size)
		for what, send := range map[string]func() (int, http.Header, string){
			"/login": func() (int, http.Header, string) {
				return x.plainly("POST /login", jsonBody(toJSON(map[string]string{"username": "alice", "password": giant})))
			},
			"/login/password": func() (int, http.Header, string) {
				return x.plainly("POST /login/password", form("username", "alice", "password", giant))
			},
			"own": func() (int, http.Header, string) {
				return x.plainly("PATCH /api/me/password", bearer(access), jsonBody(toJSON(map[string]string{"password": giant, "newPassword": giant})))
			},
		} {
			if status, _, said := send(); status < 400 && status != 0 || status >= 500 || status == 200 {
				t.Errorf("%s, %d bytes: %d %.100s", what, size, status, said)
			}
		}
	}
	if n := h.seen.Load() - before; n != 0 {
		t.Errorf("%d giant passwords were hashed", n)
	}
}

// X02: static files know no ranges and no conditions that cost more than the file.
func TestX02RangesOfStaticFiles(t *testing.T) {
	x := newSite(t, setup{})
	page := x.do("GET", "/login", htmlOnly).want(200)
	found := regexp.MustCompile(`/static/[a-z./-]+css[^"]*`).FindString(page.Body)
	whole := x.do("GET", found).want(200).Body
	for name, value := range map[string]string{
		"Range": "bytes=" + strings.TrimSuffix(strings.Repeat("0-,", 3_000), ","), "If-Range": "*", "If-None-Match": strings.Repeat(`"x",`, 3_000) + "*",
		"If-Match": strings.Repeat(`W/"`, 3_000), "If-Modified-Since": strings.Repeat("Sat, ", 3_000), "Accept-Encoding": strings.Repeat("gzip;q=0.1,", 2_000),
	} {
		status, header, text := x.plainly("GET "+found, header(name, value))
		if status != 200 && status != 304 && status != 416 || len(text) > len(whole) || strings.HasPrefix(header.Get("Content-Type"), "multipart/") {
			t.Errorf("%s: %d, %d bytes, %v", name, status, len(text), header)
		}
	}
}

func encode(pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q.Encode()
}

// W07: nothing that a stranger sends begins a line of the log, or paints it, in
// either format.
func TestW07LogInjection(t *testing.T) {
	const evil = "x\r\ntime=2026-01-02T03:04:05Z level=WARN msg=\"Failed login attempt from 192.0.2.66\" event=auth.login.failed\x1b[2J\u2028\x00y"
	for _, inJSON := range []bool{true, false} {
		x := newProvider(t, setup{failures: 1000, logJSON: inJSON, idp: startIdP(t)})
		odd := "x\x1b[31m\u0085\u202e\" msg=\"Failed login attempt from 192.0.2.66\""
		encoded := form("username", evil, "password", evil, "client_id", evil, "client_secret", evil, "redirect_uri", evil, "state", evil, "token", evil, "code", evil,
			"user_code", evil, "id", evil, "next", evil, "device_name", evil, "logout_token", evil, "grant_type", evil, "email", evil)
		inURL := "?" + encode("username", evil, "client_id", evil, "redirect_uri", evil, "state", evil, "token", evil, "code", evil, "error", evil, "error_description", evil,
			"user_code", evil, "callback", evil, "iss", evil, "to", evil, "next", evil)
		for _, route := range allRoutes(t, x) {
			headers := []option{}
			for _, name := range []string{"User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Device-Name", "Latchkey-Device-Name", "Referer", "Origin", "Accept-Language", "X-Refresh-Token"} {
				headers = append(headers, header(name, odd))
			}
			x.plainly(route+inURL, headers...)
			x.plainly(route, encoded)
			x.plainly(route, jsonBody(toJSON(map[string]string{"username": evil, "password": evil, "id": evil, "name": evil, "email": evil})))
		}
		text := x.log.String()
		for _, bad := range []string{"\x1b", "\r", "\u2028", "\u0085", "\u202e", "\x00"} {
			if strings.Contains(text, bad) {
				t.Errorf("JSON %v: the log has a raw %q", inJSON, bad)
			}
		}
		for line := range strings.Lines(text) {
			var record map[string]any
			if inJSON && json.Unmarshal([]byte(line), &record) != nil || !inJSON && !strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "time=2026-01-02T03:04:05Z ") {
				t.Errorf("no line of ours: %q", line)
			}
		}
	}
}

// R43: more logins than may wait are told to come again, and refreshes go on.
func TestX02LoginFloodIsTurnedAway(t *testing.T) {
	x := newSite(t, setup{database: "sqlite:" + t.TempDir() + "/latchkey.db"})
	p := x.login("alice")
	full := openSite(t, setup{broker: func(c *broker.Config) {
		hasher, err := password.New(password.Config{Parallel: 1, Waiting: 2})
		if err != nil {
			t.Fatal(err)
		}
		c.Store, c.Now, c.Hasher = x.Store, x.Clock.Now, hasher
	}})
	var flood sync.WaitGroup
	var busy, wrong atomic.Int64
	over := make(chan struct{})
	for n := range 60 {
		flood.Go(func() {
			a, err := full.try("POST", "/login", jsonBody(`{"username":"alice","password":"wrong"}`), from(fmt.Sprint("192.0.2.", n+1)))
			switch {
			case err != nil:
				t.Error(err)
			case a.Status == 503 && a.Header.Get("Retry-After") != "" && a.Header.Get("Latchkey-Verdict") == string(web.VerdictRetry):
				busy.Add(1)
			case a.Status == 401:
				wrong.Add(1)
			default:
				t.Errorf("%d %v", a.Status, a.Header)
			}
		})
	}
	go func() {
		flood.Wait()
		close(over)
	}()
	for going := true; going; {
		full.refresh(p.refresh).pair()
		select {
		case <-over:
			going = false
		default:
		}
	}
	if busy.Load() == 0 || wrong.Load() == 0 {
		t.Errorf("%d were turned away, %d answered", busy.Load(), wrong.Load())
	}
}
