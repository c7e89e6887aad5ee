package web

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// contractVerdicts is what apps are promised of codes, written out once
// more.
var contractVerdicts = map[Verdict]string{
	VerdictRefresh: "token_expired",
	VerdictRetry:   "temporarily_unavailable rate_limited local_login_disabled client_mismatch",
	VerdictLogin: "no_token invalid_token wrong_token_type code_invalid session_unknown session_expired session_max_age session_limit " +
		"logged_out revoked_by_user revoked_by_admin password_changed user_disabled user_deleted client_removed idp_logout idp_revoked " +
		"link_undone token_reused code_reused key_mismatch second_factor_required",
}

var contractTexts = map[broker.Code]string{
	"no_token": "No refresh token provided", "wrong_token_type": "Invalid token type", "session_expired": "Refresh token expired",
	"second_factor_required": "A second factor is required",
	"session_max_age":        "Refresh token expired", "user_disabled": "User not found or inactive", "user_deleted": "User not found or inactive",
}

func TestEveryCodeHasAnAnswer(t *testing.T) {
	verdicts := map[broker.Code]Verdict{}
	for verdict, codes := range contractVerdicts {
		for code := range strings.FieldsSeq(codes) {
			verdicts[broker.Code(code)] = verdict
		}
	}
	redirects := []string{accessDenied, serverError, "temporarily_unavailable", "invalid_request"}
	for _, code := range broker.Codes {
		a, ok := answers[code]
		if !ok || a.status < 400 || a.text == "" || !slices.Contains(redirects, a.redirect) && a.redirect != string(code) {
			t.Errorf("%s: %+v, %v", code, a, ok)
		}
		if a.verdict != verdicts[code] {
			t.Errorf("%s: verdict %q, want %q", code, a.verdict, verdicts[code])
		}
		wantStatus := map[broker.Code]int{broker.TemporarilyUnavailable: 503, broker.RateLimited: 429, broker.LocalLoginDisabled: 403}[code]
		if wantStatus == 0 {
			wantStatus = 401
		}
		if a.verdict != "" && a.status != wantStatus {
			t.Errorf("%s: status %d, want %d", code, a.status, wantStatus)
		}
		if want := contractTexts[code]; a.verdict == VerdictLogin && a.text != want && (want != "" || a.text != invalidRefresh) {
			t.Errorf("%s: text %q", code, a.text)
		}
		delete(verdicts, code)
	}
	if len(verdicts) > 0 {
		t.Errorf("codes of the contract that do not exist: %v", slices.Collect(maps.Keys(verdicts)))
	}
	known := map[broker.Code]bool{}
	for _, code := range broker.Codes {
		if known[code] {
			t.Errorf("%s is listed twice", code)
		}
		known[code] = true
	}
	for code := range answers {
		if !known[code] {
			t.Errorf("%s has an answer and is in no list", code)
		}
	}
}

// testServer is the front end with routes of the test's own beside the others.
func testServer(t *testing.T, add func(s *Server, e *gin.Engine)) (http.Handler, *harness.Log) {
	t.Helper()
	log := &harness.Log{}
	rig := harness.New(t, "", nil)
	s := &Server{
		cfg: Config{Broker: rig.Broker, LocalLogin: true, Log: slog.New(slog.NewTextHandler(log, nil))}, broker: rig.Broker,
		publicURL: &url.URL{Scheme: "http", Host: "localhost:8080"}, csrf: http.NewCrossOriginProtection(),
	}
	var err error
	if s.verifier, err = verify.New(verify.Config{Issuer: rig.Broker.PublicURL(), Keys: ownKeys{rig.Broker}, Now: rig.Broker.Now}); err != nil {
		t.Fatal(err)
	}
	if s.pages, err = loadPages(); err != nil {
		t.Fatal(err)
	}
	if s.tongues, err = loadTongues(); err != nil {
		t.Fatal(err)
	}
	e, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	add(s, e)
	return e, log
}

// Every code comes out of every way of writing an error with its status, its
// headers, and a body that says the same.
func TestEveryCodeInEveryManner(t *testing.T) {
	manners := map[string]render{"json": asJSON, "text": asText, "bearer": asBearer, "page": asPage, "accept": byAccept}
	var fails error
	h, _ := testServer(t, func(s *Server, e *gin.Engine) {
		for name, r := range manners {
			e.GET("/test/"+name, s.as(r, func(*gin.Context) error { return fails }))
		}
	})
	for _, code := range broker.Codes {
		for _, wipe := range []bool{false, true} {
			for name := range manners {
				fails = &broker.Error{Code: code, Wipe: wipe, Err: errors.New("for the log alone")}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/test/"+name, nil))
				a := answers[code]
				verdict := a.verdict
				if wipe && verdict == VerdictLogin {
					verdict = VerdictWipe
				}
				head := w.Header()
				status := a.status
				if code == broker.InvalidDPoPProof && name == "bearer" {
					status = 401 // RFC 9449 section 7.1; 400 is the token endpoint's
				}
				if w.Code != status || head.Get("Latchkey-Code") != string(code) || head.Get("Latchkey-Verdict") != string(verdict) || head.Get("Cache-Control") != "no-store" {
					t.Errorf("%s as %s: %d %v", code, name, w.Code, head)
				}
				if a.status == 503 && head.Get("Retry-After") == "" {
					t.Errorf("%s as %s: no Retry-After", code, name)
				}
				body := w.Body.String()
				if strings.Contains(head.Get("Content-Type"), "json") && (!strings.Contains(body, `"code":"`+string(code)+`"`) ||
					verdict != "" && !strings.Contains(body, `"verdict":"`+string(verdict)+`"`)) {
					t.Errorf("%s as %s: %s", code, name, body)
				}
				if strings.Contains(body, "for the log alone") {
					t.Errorf("%s as %s shows the cause", code, name)
				}
			}
		}
	}
}

// An error that nobody has named is trouble of ours, and so is a panic.
func TestTroubleIsNeverTheTokens(t *testing.T) {
	cookieSet := false
	h, log := testServer(t, func(s *Server, e *gin.Engine) {
		e.GET("/test/panic", s.as(asJSON, func(c *gin.Context) error {
			if cookieSet {
				s.setCookie(c, cookieRefresh, "half a login", flowLife)
			}
			panic("a mistake")
		}))
		e.GET("/test/unknown", s.as(asJSON, func(*gin.Context) error { return errors.New("nobody has named this") }))
		e.GET("/test/new", s.as(asJSON, func(*gin.Context) error { return &broker.Error{Code: "brand_new"} }))
		e.GET("/test/api", s.authenticated(func(*gin.Context, broker.Principal) error { panic("not reached without a token") }))
	})
	for _, path := range []string{"/test/panic", "/test/unknown", "/test/new"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		head := w.Header()
		if w.Code != 503 || head.Get("Latchkey-Verdict") != "retry" || head.Get("Latchkey-Code") != "temporarily_unavailable" || head.Get("Retry-After") == "" ||
			!strings.Contains(w.Body.String(), `"verdict":"retry"`) {
			t.Errorf("%s: %d %v %s", path, w.Code, head, w.Body)
		}
		if strings.Contains(w.Body.String(), "goroutine") || strings.Contains(w.Body.String(), "nobody has named this") {
			t.Errorf("%s shows the cause: %s", path, w.Body)
		}
	}
	if !strings.Contains(log.String(), "request.panic") || !strings.Contains(log.String(), "nobody has named this") {
		t.Error("the causes are not in the log")
	}
	cookieSet = true
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/test/panic", nil))
	if w.Code != 503 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("half a login went out: %d %v", w.Code, w.Header())
	}
}

// browserGoes resolves a reference as browsers do (WHATWG URL): they drop tabs
// and newlines, trim controls, take a backslash for a slash, and for http and
// https take any number of slashes, or none, for two.
func browserGoes(base *url.URL, target string) (origin string) {
	target = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, strings.TrimFunc(target, func(r rune) bool { return r <= ' ' }))
	target = strings.ReplaceAll(target, `\`, "/")
	scheme := base.Scheme
	if head, rest, ok := strings.Cut(target, ":"); ok && head != "" && !strings.ContainsAny(head, "/?#") {
		if scheme = strings.ToLower(head); scheme != "http" && scheme != "https" {
			return scheme + ":"
		}
		if scheme == base.Scheme && !strings.HasPrefix(rest, "/") {
			return base.Scheme + "://" + base.Host // "https:path" is relative where the scheme is the base's
		}
		target = "//" + strings.TrimLeft(rest, "/")
	}
	if !strings.HasPrefix(target, "//") {
		return base.Scheme + "://" + base.Host
	}
	authority := strings.TrimLeft(target, "/")
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	return scheme + "://" + strings.ToLower(authority)
}

var redirectSeeds = []string{
	"/", "/account", "/account?a=b#c", "?x", "#x", "", "https://id.example.org", "https://id.example.org/x", "https://id.example.org?x",
	"//evil", "///evil", "////evil", `/\evil`, `\/evil`, `\\evil`, `/\/evil`, "%2F", "/%2F%2Fevil", "/%2f/evil", "/%5Cevil", "/%09/evil", "/\t/evil", "\t//evil", "/\n/evil",
	"https:evil", "https:/evil", "https:///evil", "https:\\\\evil", "HTTPS://evil", "http:evil", "https://id.example.org@evil", "https://id.example.org:443@evil/",
	"https://id.example.org.evil/", "https://id.example.org\\.evil/", "https://id.example.org%2eevil/", "https://id.example.org#@evil/", "https://id.example.org\\@evil",
	"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "//id.example.org", "/../../evil", "/..//evil", "/.//evil", "/a/..//evil",
	"/;@evil", "/:80", "https://ⅰd.example.org/", "https://id.example.org\u3002evil/", "/\u2028/evil", "//\u00a0evil", " //evil", "/ /evil", "https://id.example.org:/",
	"https://id.example.org:0443/", "https://[::1]/", "/%00//evil", "/%0d%0aLocation:%20//evil", "/%u002f%u002fevil", "/.evil", "/~evil", "https://id.example.org/\\evil",
}

// Whatever ownPage lets pass leads to our own origin in any browser, as it
// came and as it is sent.
func FuzzOwnPage(f *testing.F) {
	for _, seed := range redirectSeeds {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "https", Host: "id.example.org", Path: "/login"}
	s := &Server{publicURL: &url.URL{Scheme: "https", Host: "id.example.org"}}
	f.Fuzz(func(t *testing.T, target string) {
		to, ok := s.ownPage(target)
		if !ok {
			return
		}
		if got := browserGoes(base, to); got != "https://id.example.org" {
			t.Errorf("%q is sent as %q, which leads to %s", target, to, got)
		}
		if !strings.HasPrefix(to, "https://id.example.org/") && !strings.HasPrefix(to, "https://id.example.org?") && !strings.HasPrefix(to, "https://id.example.org#") && to != "https://id.example.org" {
			t.Errorf("%q is sent as %q", target, to)
		}
		if got := browserGoes(base, target); got != "https://id.example.org" {
			t.Errorf("%q passed, and itself leads to %s", target, got)
		}
		if strings.ContainsAny(to, "\r\n\t\x00\\") {
			t.Errorf("%q is sent as %q", target, to)
		}
		if again, ok := s.ownPage(to); !ok || again != to {
			t.Errorf("%q became %q, which becomes %q, %v", target, to, again, ok)
		}
	})
}

// Whatever stands in the cookie of a login at an app leads to a page of that app and not
// into the login again, in any browser.
func FuzzAppPath(f *testing.F) {
	for _, seed := range append(slices.Clone(redirectSeeds), "/x?"+strings.Repeat("y", maxReturn), "/"+strings.Repeat("y", maxReturn), "/.latchkey/login", "/x/%2e%2e/.latchkey/login", "/.latchkey", "/%2elatchkey/", "/x?/.latchkey/") {
		f.Add(seed)
	}
	const origin = "https://app.example.org"
	base := &url.URL{Scheme: "https", Host: "app.example.org", Path: "/.latchkey/callback"}
	f.Fuzz(func(t *testing.T, kept string) {
		to, ok := appPath(kept)
		if !ok {
			return
		}
		for _, sent := range []string{to, origin + to} {
			if got := browserGoes(base, sent); got != origin {
				t.Errorf("%q is sent as %q, which leads to %s", kept, sent, got)
			}
		}
		u, err := base.Parse(origin + to)
		if err != nil || u.Host != base.Host || u.User != nil || strings.HasPrefix(path.Clean(u.Path)+"/", "/.latchkey/") {
			t.Errorf("%q is sent as %q, which is %v, %v", kept, to, u, err)
		}
		if len(to) > maxReturn || !strings.HasPrefix(kept, to) && to != "/" || strings.ContainsFunc(to, unicode.IsControl) {
			t.Errorf("%q is sent as %q", kept, to)
		}
		if again, ok := appPath(to); !ok || again != to {
			t.Errorf("%q became %q, which becomes %q, %v", kept, to, again, ok)
		}
	})
}

func TestOwnPage(t *testing.T) {
	s := &Server{publicURL: &url.URL{Scheme: "https", Host: "id.example.org"}}
	for target, want := range map[string]string{
		"/": "https://id.example.org/", "/account?a=b#c": "https://id.example.org/account?a=b#c", "https://id.example.org/x": "https://id.example.org/x",
		"https://id.example.org": "https://id.example.org", "/a%20b": "https://id.example.org/a%20b",
	} {
		if got, ok := s.ownPage(target); !ok || got != want {
			t.Errorf("%q: %q %v, want %q", target, got, ok, want)
		}
	}
	refused := 0
	for _, seed := range redirectSeeds {
		if _, ok := s.ownPage(seed); !ok {
			refused++
		}
	}
	if refused < 40 {
		t.Errorf("%d of the bad targets are refused", refused)
	}
}
