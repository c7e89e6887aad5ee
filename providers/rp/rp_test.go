package rp

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// site is a client's web server that answers as it is told, and remembers.
type site struct {
	*httptest.Server
	calls  atomic.Int32
	mu     sync.Mutex
	answer providertest.Responder
	last   *http.Request
}

func newSite(t *testing.T, answer providertest.Responder) *site {
	t.Helper()
	s := &site{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		_ = r.ParseForm()
		s.mu.Lock()
		answer := s.answer
		s.last = r
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) say(answer providertest.Responder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func text(status int, body string) providertest.Responder {
	return providertest.Body(status, "text/plain", body)
}

// inside are addresses of our own network, by name and by number.
func inside(t *testing.T, port string) []string {
	t.Helper()
	out := []string{}
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "10.0.0.1", "192.168.1.1", "169.254.169.254", "[fd00::1]"} {
		out = append(out, "https://"+host+":"+port, "http://"+host+":"+port)
	}
	return out
}

func port(t *testing.T, s *site) string {
	t.Helper()
	_, p, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAddresses(t *testing.T) {
	for uri, want := range map[string]struct{ guarded, open bool }{
		"https://client.example.org/x?y=z": {true, true},
		"http://client.example.org":        {false, true},
		"http://127.0.0.1:8080":            {true, true}, // the guard itself lets nobody there
		"http://localhost":                 {true, true},
		"http://localhost.example.org":     {false, true},
		"https://user:pw@client.test":      {}, "https://": {}, "//client.test": {}, "/x": {}, "": {}, "file:///etc/passwd": {},
		"gopher://127.0.0.1:6379/_FLUSHALL": {}, "javascript:alert(1)": {}, "http://:80": {}, "https://a b": {}, "ftp://127.0.0.1/x": {},
	} {
		if got := checkAddress(uri, true) == nil; got != want.guarded {
			t.Errorf("%q, guarded: %v", uri, got)
		}
		if got := checkAddress(uri, false) == nil; got != want.open {
			t.Errorf("%q: %v", uri, got)
		}
	}
}

// U23: a logout token goes to the client, as the specification has it.
func TestU23SendLogout(t *testing.T) {
	s := newSite(t, text(200, ""))
	for _, status := range []int{200, 204} {
		s.say(text(status, ""))
		if err := NewSender().SendLogout(t.Context(), s.URL+"/bcl?tenant=1", "to.k+e/n=", false); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if r := s.last; r.Method != http.MethodPost || r.URL.RequestURI() != "/bcl?tenant=1" || r.PostForm.Get("logout_token") != "to.k+e/n=" ||
			len(r.PostForm) != 1 || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("%s %s %v %v", r.Method, r.URL, r.PostForm, r.Header)
		}
	}
	s.say(providertest.Flood(1 << 20)) // 200 is 200, whatever follows
	if err := NewSender().SendLogout(t.Context(), s.URL, "t", false); err != nil {
		t.Error(err)
	}
}

const secret = "eyJhbGciOiJFUzI1NiJ9.very.secret"

// repeatsToken answers with the token, as HTTP or as something like it.
func repeatsToken(raw string) providertest.Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = fmt.Fprint(conn, raw)
		return true
	}
}

func TestSendLogoutFails(t *testing.T) {
	thief := newSite(t, text(200, ""))
	s := newSite(t, nil)
	for name, answer := range map[string]providertest.Responder{
		"201": text(201, secret), "302": providertest.RedirectTo(302, thief.URL), "307": providertest.RedirectTo(307, thief.URL),
		"308": providertest.RedirectTo(308, thief.URL), "400": text(400, secret), "401": text(401, ""), "500": text(500, secret), "503": text(503, ""),
		"a status that is the token": repeatsToken("HTTP/1.1 " + secret + "\r\n\r\n"),
		"no HTTP":                    repeatsToken(secret + "\r\n\r\n"),
		"a header that is none":      repeatsToken("HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n"),
		"a length that is the token": repeatsToken("HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n"),
		"an encoding of that name":   repeatsToken("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n"),
		"a location of that name":    repeatsToken("HTTP/1.1 302 OK\r\nLocation: ://" + secret + "\r\n\r\n"),
		"nothing":                    repeatsToken(""),
	} {
		s.say(answer)
		err := NewSender().SendLogout(t.Context(), s.URL, secret, false)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := thief.calls.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
	closed := newSite(t, nil)
	closed.Close()
	if err := NewSender().SendLogout(t.Context(), closed.URL, secret, false); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("nobody is there: %v", err)
	}
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the token went to a stranger") }))
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0)
	stranger.StartTLS()
	defer stranger.Close()
	if err := NewSender().SendLogout(t.Context(), stranger.URL, secret, false); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
}

func TestSendLogoutIsBoundedInTime(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]providertest.Responder{
		"stall": providertest.Stall, "drip": providertest.Drip(strings.Repeat("x", 1000), 20*time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, begun := newSite(t, answer), time.Now()
			err := NewSender().SendLogout(t.Context(), s.URL, "t", false)
			if took := time.Since(begun); took > 6*time.Second || took < 4*time.Second {
				t.Errorf("%v after %v", err, took)
			}
			if (err == nil) != (name == "drip") { // a drip has said 200
				t.Error(err)
			}
		})
	}
	t.Run("the caller's", func(t *testing.T) {
		s := newSite(t, providertest.Stall)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := NewSender().SendLogout(ctx, s.URL, "t", false); err == nil || !strings.Contains(err.Error(), "in time") {
			t.Error(err)
		}
	})
}

// A client that registered itself makes no request into our own network.
func TestSendLogoutGuarded(t *testing.T) {
	s := newSite(t, text(200, ""))
	sender := NewSender()
	for _, target := range inside(t, port(t, s)) {
		begun := time.Now()
		if err := sender.SendLogout(t.Context(), target+"/x", "t", true); err == nil || time.Since(begun) > 2*time.Second {
			t.Errorf("%s: %v after %v", target, err, time.Since(begun))
		}
	}
	// A connection that is open for others is none for a guarded one.
	if err := sender.SendLogout(t.Context(), s.URL, "t", false); err != nil {
		t.Error(err)
	}
	if err := sender.SendLogout(t.Context(), s.URL, "t", true); err == nil || !strings.Contains(err.Error(), "not public") {
		t.Error(err)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}
