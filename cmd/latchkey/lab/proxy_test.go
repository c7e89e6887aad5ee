package lab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// bare is a lab's proxy before a server that counts.
type bare struct {
	t     *testing.T
	proxy *proxy
	asked atomic.Int64
	url   string
}

func newBare(t *testing.T, seed uint64, list ...Fault) *bare {
	t.Helper()
	x := &bare{t: t}
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token":"answer number %d"}`, x.asked.Add(1))
	}))
	t.Cleanup(behind.Close)
	upstream, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	x.proxy = newProxy(upstream, &Clock{})
	x.proxy.begin()
	x.proxy.arm(armFaults(list, seed))
	front := httptest.NewServer(x.proxy)
	t.Cleanup(front.Close)
	x.url = front.URL
	return x
}

// post sends one request by a connection of its own.
func (x *bare) post(path string) (body string, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := client.Post(x.url+path, "application/json", strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	return string(content), err
}

// over is a request of the record, once its answer has left: the client may have it
// a moment sooner.
func (x *bare) over(i int) Exchange {
	record, _ := x.proxy.current()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if got := record.seen(); len(got) > i && !got[i].Ended.IsZero() || time.Now().After(deadline) {
			return got[i]
		}
	}
}

// TestFaults: each does what its name says, to the request that it is for.
func TestFaults(t *testing.T) {
	on := Match{Method: http.MethodPost, Path: "/auth/refresh", Nth: 2}
	for _, c := range []struct {
		fault   Fault
		asked   int64 // requests that reached the server, of three
		want    string
		least   time.Duration
		arrives bool
	}{
		{Fault{Do: cutRequest}, 2, "", 0, false},
		{Fault{Do: loseAnswer}, 3, "", 0, false},
		{Fault{Do: halfClose}, 3, "", 0, false},
		{Fault{Do: cutAnswer}, 3, `{"access_token":"`, 0, false},
		{Fault{Do: delayRequest, For: Duration(100 * time.Millisecond)}, 3, "number 2", 100 * time.Millisecond, true},
		{Fault{Do: delayAnswer, For: Duration(100 * time.Millisecond)}, 3, "number 2", 100 * time.Millisecond, true},
		{Fault{Do: duplicate}, 4, "number 3", 0, true},
		{Fault{Do: answerItself, Answer: Answer{Status: 200, Body: "mine"}}, 2, "mine", 0, true},
	} {
		t.Run(c.fault.Do, func(t *testing.T) {
			c.fault.On = on
			x := newBare(t, 1, c.fault)
			for _, path := range []string{"/auth/refresh", "/login"} { // the first, and another one
				if body, err := x.post(path); err != nil || !strings.Contains(body, "answer number") {
					t.Errorf("%s: %q, %v", path, body, err)
				}
			}
			x.asked.Store(1)
			begun := time.Now()
			body, err := x.post("/auth/refresh")
			if took := time.Since(begun); !strings.Contains(body, c.want) || (err == nil) != c.arrives || took < c.least {
				t.Errorf("%q, %v after %s", body, err, took)
			}
			if body, err := x.post("/auth/refresh"); err != nil || !strings.Contains(body, "answer number") {
				t.Errorf("the next one: %q, %v", body, err)
			}
			if n := x.asked.Load(); n != c.asked {
				t.Errorf("the server was asked %d times, want %d", n, c.asked)
			}
			if got := x.over(2); got.Fault != c.fault.Do || got.Delivered != c.arrives || got.Ended.IsZero() {
				t.Errorf("recorded: %+v", got)
			}
		})
	}
}

// TestHalfCloseIsNoReset: the app reads the end of the stream, and may still write.
func TestHalfCloseIsNoReset(t *testing.T) {
	x := newBare(t, 1, Fault{On: Match{Kind: KindRefresh}, Do: halfClose})
	conn, err := net.Dial("tcp", strings.TrimPrefix(x.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		if _, err := io.WriteString(conn, "POST /auth/refresh HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || len(answer) > 0 {
			t.Fatalf("%q, %v", answer, err)
		}
	}
}

// TestReorder: two requests go on together and are answered the other way round; one
// alone goes on after a while.
func TestReorder(t *testing.T) {
	x := newBare(t, 1, Fault{On: Match{Kind: KindRefresh}, Do: reorder, For: Duration(5 * time.Second)})
	order := make(chan int, 2)
	send := func(i int) {
		if _, err := x.post("/auth/refresh"); err != nil {
			t.Error(err)
		}
		order <- i
	}
	go send(1)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if seen, _ := x.proxy.current(); len(seen.seen()) == 1 || time.Now().After(deadline) {
			break
		}
	}
	if x.asked.Load() != 0 {
		t.Error("the first one did not wait")
	}
	go send(2)
	if got := []int{<-order, <-order}; !slices.Equal(got, []int{2, 1}) {
		t.Errorf("answered in the order %v", got)
	}
	x.proxy.arm(armFaults([]Fault{{On: Match{Kind: KindRefresh}, Do: reorder, For: Duration(10 * time.Millisecond)}}, 1))
	if _, err := x.post("/auth/refresh"); err != nil {
		t.Errorf("one alone: %v", err)
	}
	if got := x.over(2); got.Fault != "" {
		t.Errorf("one alone is recorded as %q", got.Fault)
	}
}

// TestSeedPicksTheSame: what is left to chance comes again with the same seed.
func TestSeedPicksTheSame(t *testing.T) {
	picks := func(seed uint64, times int) string {
		f := armFaults([]Fault{{On: Match{Kind: KindAPI, Chance: 0.5, Times: times}, Do: loseAnswer}}, seed)
		out := ""
		for range 40 {
			out += map[bool]string{true: "x", false: "."}[f.pick(Exchange{Kind: KindAPI}) != nil]
		}
		return out
	}
	once, again, other := picks(7, 0), picks(7, 0), picks(8, 0)
	if once != again || once == other || strings.Count(once, "x") < 10 || strings.Count(once, "x") > 30 {
		t.Errorf("%s\n%s\n%s", once, again, other)
	}
	if n := strings.Count(picks(7, 3), "x"); n != 3 {
		t.Errorf("%d of at most 3", n)
	}
}

// TestKinds: what a request is for, on both faces.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		method, target, form string
		want                 Kind
	}{
		{"POST", "/auth/refresh", "", KindRefresh},
		{"POST", "/oauth2/token", "grant_type=refresh_token&refresh_token=R", KindRefresh},
		{"POST", "/oauth2/token", "grant_type=authorization_code&code=C", KindLogin},
		{"POST", "/oauth2/token", "grant_type=client_credentials", KindOther},
		{"POST", "/login", "", KindLogin},
		{"GET", "/auth/openid?redirect_uri=app:/", "", KindLogin},
		{"GET", "/auth/openid/callback?code=K", "", KindLogin},
		{"GET", "/oauth2/authorize?client_id=x", "", KindLogin},
		{"GET", "/auth/openid/config", "", KindOther},
		{"GET", "/api/me", "", KindAPI},
		{"GET", "/oauth2/userinfo", "", KindAPI},
		{"POST", "/logout", "", KindLogout},
		{"POST", "/oauth2/revoke", "token=R", KindLogout},
		{"GET", "/status", "", KindOther},
	} {
		r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if got := describe(r, []byte(c.form)); got.Kind != c.want || strings.Contains(got.Path, "?") || (got.Kind == KindRefresh && c.form != "") != (got.Token != "") {
			t.Errorf("%s %s %s: %+v", c.method, c.target, c.form, got)
		}
	}
}
