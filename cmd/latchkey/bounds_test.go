package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The server of serve has these bounds; the tests shorten times, and nothing else.
func TestX02OrdinaryBounds(t *testing.T) {
	if b := ordinary; b.header > 10*time.Second || b.read > 30*time.Second || b.write > time.Minute || b.headerBytes > 32<<10 || b.connections > 4096 || b.streams > 100 ||
		b.header <= 0 || b.read <= 0 || b.write <= 0 || b.idle <= 75*time.Second {
		t.Errorf("%+v", b)
	}
}

// X02: headers that come byte by byte are cut off, and nobody else notices.
func TestX02SlowHeaders(t *testing.T) {
	x := besiege(t, short(), nil)
	x.meanwhile(func() {
		conns := x.many(500, "POST /login HTTP/1.1\r\n"+x.host()+"X-Slow: ")
		keepDripping(conns, 5*time.Second)
		if n := closedWithin(conns, 2*time.Second); n != len(conns) {
			t.Errorf("%d of %d were cut off", n, len(conns))
		}
	})
}

// X02: and so are bodies, on routes that read them and on routes that do not.
func TestX02SlowBody(t *testing.T) {
	x := besiege(t, short(), nil)
	x.meanwhile(func() {
		conns := []net.Conn{}
		for _, path := range []string{"/login", "/oauth2/token", "/login/password", "/auth/refresh", "/healthz", "/nowhere"} {
			for _, length := range []string{"Content-Length: 60000\r\n", "Transfer-Encoding: chunked\r\n"} {
				beginning := "POST " + path + " HTTP/1.1\r\n" + x.host() + "Content-Type: application/x-www-form-urlencoded\r\n" + length + "\r\n"
				if strings.HasPrefix(length, "T") {
					beginning += "ea60\r\n"
				}
				conns = append(conns, x.many(20, beginning)...)
			}
		}
		keepDripping(conns, 5*time.Second)
		if n := closedWithin(conns, 2*time.Second); n != len(conns) {
			t.Errorf("%d of %d were cut off", n, len(conns))
		}
	})
}

// heap is what lives, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// X02: whoever asks for much and reads nothing keeps neither a connection nor memory.
func TestX02SlowReader(t *testing.T) {
	x := besiege(t, short(), nil)
	x.meanwhile(func() {
		before, most := heap(), int64(0)
		conns := []net.Conn{}
		for range 20 {
			conns = append(conns, x.slowReader())
		}
		for begun := time.Now(); time.Since(begun) < 4500*time.Millisecond; time.Sleep(100 * time.Millisecond) {
			most = max(most, heap()-before)
		}
		if most > 64<<20 {
			t.Errorf("%d MB for readers that do not read", most>>20)
		}
		for n, conn := range conns {
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			got, err := io.Copy(io.Discard, conn)
			if os.IsTimeout(err) || got > 15<<20 {
				t.Fatalf("reader %d was kept: %d bytes, %v", n, got, err)
			}
		}
	})
}

// X02: headers that are too long, or have too many fields.
func TestX02LargeHeaders(t *testing.T) {
	x := besiege(t, short(), nil)
	for what, header := range map[string]string{
		"1 MB":            "X-Long: " + strings.Repeat("x", 1<<20) + "\r\n",
		"a 64 KB cookie":  "Cookie: a=" + strings.Repeat("x", 64<<10) + "\r\n",
		"1000 fields":     strings.Repeat("X-Many: x\r\n", 1000),
		"1000 names":      manyNames(1000),
		"1000 cookies":    strings.Repeat("Cookie: a=b\r\n", 1000),
		"a long name":     strings.Repeat("x", 64<<10) + ": x\r\n",
		"a long address":  "",
		"empty fields":    strings.Repeat("X:\r\n", 1000),
		"one of 40 KB":    "X-Long: " + strings.Repeat("x", 40<<10) + "\r\n",
		"two of 20 KB":    "X-Long: " + strings.Repeat("x", 20<<10) + "\r\nX-Other: " + strings.Repeat("x", 20<<10) + "\r\n",
		"101 fields more": strings.Repeat("X-Many: x\r\n", 101),
	} {
		path := "/healthz"
		if what == "a long address" {
			path += "?" + strings.Repeat("x", 64<<10)
		}
		got := x.raw("GET " + path + " HTTP/1.1\r\n" + x.host() + header + "Connection: close\r\n\r\n")
		if len(got) > 1 || len(got) == 1 && got[0] != 431 && got[0] != 400 {
			t.Errorf("%s: %v", what, got)
		}
	}
	if got := x.raw("GET /healthz HTTP/1.1\r\n" + x.host() + strings.Repeat("X-Many: x\r\n", 95) + "Cookie: a=" + strings.Repeat("x", 20<<10) + "\r\nConnection: close\r\n\r\n"); len(got) != 1 || got[0] != 200 {
		t.Errorf("a header as browsers send it: %v", got)
	}
}

func manyNames(n int) (header string) {
	for i := range n {
		header += fmt.Sprintf("X-%d: x\r\n", i)
	}
	return header
}

// X02: thousands of connections on which nothing happens push out each other, and
// no one else's.
func TestX02IdleConnections(t *testing.T) {
	b := short()
	b.header, b.connections = 20*time.Second, 400
	x := besiege(t, b, nil)
	app := x.phone() // whose connection rests from now on
	quiet := x.attacker()
	x.meanwhile(func() {
		conns := x.many(1000, "")
		answered := x.many(1000, "GET /healthz HTTP/1.1\r\n"+x.host()+"\r\n")
		if n := closedWithin(conns, 2*time.Second); n < 900 {
			t.Errorf("only %d of 1000 connections that say nothing were closed", n)
		}
		kept := answered
		for begun := time.Now(); len(kept) > 400 && time.Since(begun) < 10*time.Second; {
			kept = slices.DeleteFunc(kept, func(conn net.Conn) bool {
				_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, err := io.Copy(io.Discard, conn)
				return !os.IsTimeout(err)
			})
		}
		if len(kept) == 0 || len(kept) > 400 {
			t.Errorf("%d connections are kept, at most 400 are meant to be", len(kept))
		}
	})
	if n := closedWithin([]net.Conn{quiet}, time.Second); n != 1 {
		t.Error("the one that rested longest is kept")
	}
	var reused bool
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { reused = got.Reused }}
	if err := app.refreshTokens(httptrace.WithClientTrace(t.Context(), trace)); err != nil || !reused {
		t.Errorf("the connection of the phone, which rests longer than any, is gone: %v", err)
	}
}

// Many more than there are places for come at once, from addresses of their own or
// through a proxy. The server is what is slow then: nobody's connection is closed
// before its answer.
func TestNobodyIsPushedOutWhenAllComeAtOnce(t *testing.T) {
	const most = 400
	for name, from := range map[string]func(i int) net.IP{
		"from everywhere": func(i int) net.IP { return net.IPv4(127, 1, byte(i>>8), byte(i)) },
		"through a proxy": func(int) net.IP { return net.IPv4(127, 0, 0, 3) },
	} {
		t.Run(name, func(t *testing.T) {
			b := ordinary
			b.connections = 20
			x := besiege(t, b, nil)
			answers := make(chan error, most)
			for i := range most {
				go func() { answers <- x.asksFrom(from(i)) }()
			}
			for range most {
				if err := <-answers; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Nor is one whose request has come and was not read yet, however long that takes.
func TestWhatIsNotReadYetIsNotPushedOut(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	crowd := newCrowd(listener, bounds{connections: 1, patience: time.Second}, slog.New(slog.DiscardHandler))
	defer crowd.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	place, err := crowd.Accept()
	if err != nil {
		t.Fatal(err)
	}
	place.(*guest).proxy, place.(*guest).known = false, true // and nothing has begun on it for long
	place.(*guest).turn = time.Time{}
	if _, err := io.WriteString(client, "G"); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !unread(place.(*guest).Conn); time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("nothing comes")
		}
	}
	if crowd.pushOut() {
		t.Fatal("it is pushed out")
	}
	if _, err := place.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !crowd.pushOut(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("it is kept, though the server waits for it")
		}
	}
}

// asksFrom opens a connection from an address, and leaves it open after the answer.
func (x *besieged) asksFrom(ip net.IP) error {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}, Timeout: 30 * time.Second}).Dial("tcp", x.address)
	if err != nil {
		return err
	}
	x.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\n"+x.host()+"\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	return err
}

// slowOnes are connections that the server waits for in every way there is: for a
// header, for a body that is read, one that was promised, one that nobody reads, and
// for an answer to be taken.
func (x *besieged) slowOnes() (conns []net.Conn) {
	posts := "POST /login HTTP/1.1\r\n" + x.host() + "Content-Type: application/json\r\nContent-Length: 500\r\n"
	for _, beginning := range []string{
		"G", "POST /login HTTP/1.1\r\n" + x.host() + "X-Slow: ", posts + "\r\n{", posts + "Expect: 100-continue\r\n\r\n",
		"POST /nowhere HTTP/1.1\r\n" + x.host() + "Content-Length: 500\r\n\r\n",
	} {
		conns = append(conns, x.many(20, beginning)...)
	}
	return append(conns, x.slowReader())
}

// answersOthers fails where another client, who waits behind all who came before, is
// not answered.
func (x *besieged) answersOthers() {
	x.t.Helper()
	if got := x.raw("GET /healthz HTTP/1.1\r\n" + x.host() + "Connection: close\r\n\r\n"); len(got) != 1 || got[0] != 200 {
		x.t.Errorf("another client: %v", got)
	}
}

// X02: when all places are taken by connections that drip bytes, promise a body that
// never comes (Expect: 100-continue) or read nothing, they make room one by one.
func TestX02DrippingConnectionsTakeAllPlaces(t *testing.T) {
	b := ordinary // their times are not what makes room
	b.connections = 50
	x := besiege(t, b, nil)
	x.meanwhile(func() {
		conns := x.slowOnes()
		for begun := time.Now(); time.Since(begun) < time.Second; time.Sleep(10 * time.Millisecond) {
			drip(conns[len(conns)-50:])
			conns = append(conns, x.many(10, "POST /login HTTP/1.1\r\n"+x.host()+"X-Slow: ")...)
			x.answersOthers()
		}
		if n := closedWithin(conns[:100], 5*time.Second); n != 100 {
			t.Errorf("%d of the first 100 made room", n)
		}
	})
}

// X02: ten thousand connections, or as many as this machine's limit of files lets
// both ends have, that rest, drip and promise.
func TestX02TenThousandConnections(t *testing.T) {
	kept := min(ordinary.connections, openFiles()/2)
	most := min(10_000, openFiles()-kept-600)
	x := besiege(t, ordinary, nil)
	before := heap()
	conns := []net.Conn{}
	x.meanwhile(func() {
		for len(conns) < most {
			conns = append(append(conns, x.slowOnes()...), x.many(100, "")...)
			drip(conns[max(0, len(conns)-300):])
			x.answersOthers()
		}
	})
	took := heap() - before
	if took > 256<<20 {
		t.Errorf("%d MB", took>>20)
	}
	t.Logf("%d connections were opened, of %d that the server keeps at once; %d MB live", len(conns), kept, took>>20)
}

// X02: a thousand connections that send a byte now and then, in header and body, or
// read nothing, hold nobody else up: refreshes and logins are answered meanwhile. What
// it costs is for the benchmark to say (part "slow").
func TestX02SlowConnectionsHoldNobodyUp(t *testing.T) {
	b := ordinary
	b.header, b.read, b.write = time.Hour, time.Hour, time.Hour // the clock closes none of them
	x := besiege(t, b, nil)
	const length = 60_000
	post := "POST /login HTTP/1.1\r\n" + x.host() + "Content-Type: application/json\r\nConnection: close\r\n"
	headers := x.many(490, post+"X-Slow: ")
	bodies := x.many(490, post+fmt.Sprintf("Content-Length: %d\r\n\r\n", length))
	readers := x.many(20, strings.Repeat("GET /openapi.yaml HTTP/1.1\r\n"+x.host()+"\r\n", 100)) // some MB, more than buffers take
	x.meanwhile(func() {
		sent := whileDripping(slices.Concat(headers, bodies), func() {
			for range 10 {
				x.answersOthers()
				x.phone()
			}
		})
		// Whoever finishes now is answered, so all had been waited for.
		for n := range 10 {
			if got := finish(headers[n*49], "\r\n\r\n"); !slices.Equal(got, []int{400}) {
				t.Errorf("header %d: %v", n*49, got)
			}
			if got := finish(bodies[n*49], strings.Repeat("a", length-sent)); !slices.Equal(got, []int{400}) {
				t.Errorf("body %d: %v", n*49, got)
			}
			if got := finish(readers[n*2], "GET /openapi.yaml HTTP/1.1\r\n"+x.host()+"Connection: close\r\n\r\n"); !slices.Equal(got, slices.Repeat([]int{200}, 101)) {
				t.Errorf("reader %d: %v", n*2, got)
			}
		}
	})
}

// X02: TLS handshakes that are begun and not finished.
func TestX02HalfOpenTLS(t *testing.T) {
	files := newCertFiles(t)
	files.renew(1, true, true)
	x := besiege(t, short(), files)
	x.meanwhile(func() {
		conns := x.many(250, "")
		conns = append(conns, x.many(250, "\x16\x03\x01\x02\x00\x01\x00\x01")...) // of a ClientHello of 512 bytes
		if n := closedWithin(conns, 5*time.Second); n != len(conns) {
			t.Errorf("%d of %d were cut off", n, len(conns))
		}
	})
	if got := x.raw("GET /healthz HTTP/1.1\r\n" + x.host() + "\r\n"); len(got) != 1 || got[0] != 400 {
		t.Errorf("plain HTTP: %v", got)
	}
}

// X02: HTTP/2 streams that are opened and taken back at once (CVE-2023-44487), and
// headers that never end (CVE-2023-45288).
func TestX02HTTP2RapidReset(t *testing.T) {
	files := newCertFiles(t)
	files.renew(1, true, true)
	x := besiege(t, short(), files)
	connect := func() (*tls.Conn, *http2.Framer) {
		conn := tls.Client(x.attacker(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err := conn.Handshake(); err != nil || conn.ConnectionState().NegotiatedProtocol != "h2" {
			t.Fatal(err, conn.ConnectionState().NegotiatedProtocol)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		framer := http2.NewFramer(conn, conn)
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		if err := framer.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		return conn, framer
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", x.address}, {":path", "/login"}, {"content-type", "application/json"}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	x.meanwhile(func() {
		before := runtime.NumGoroutine()
		most := 0
		for range 4 {
			_, framer := connect()
			for n := range 5_000 {
				id := uint32(2*n + 1)
				err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
				if err == nil {
					err = framer.WriteRSTStream(id, http2.ErrCodeCancel)
				}
				if err != nil {
					break // it was shown the door
				}
				if n%500 == 0 {
					most = max(most, runtime.NumGoroutine()-before)
				}
			}
		}
		if most > 4*150 {
			t.Errorf("%d goroutines for streams that were taken back", most)
		}
		conn, framer := connect()
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes()})
		filler := bytes.Repeat([]byte{0x00, 0x01, 'a', 0x01, 'b'}, 3000)
		frames := 0
		for ; err == nil && frames < 100_000; frames++ {
			err = framer.WriteContinuation(1, false, filler)
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d frames of one header were taken: %v", frames, err)
		}
		_ = conn.Close()
	})
}

// Requests that two servers could read in two ways: one answer, or none, and never
// one to what stands in the body.
func TestX05RequestSmuggling(t *testing.T) {
	b := short()
	b.idle = 300 * time.Millisecond // for a second answer
	x := besiege(t, b, nil)
	const inside = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(inside))
	for what, text := range map[string]string{
		"two lengths":            "POST /login HTTP/1.1\r\n" + x.host() + "Content-Length: 0\r\n" + length + "\r\n" + inside,
		"a list of lengths":      "POST /login HTTP/1.1\r\n" + x.host() + fmt.Sprintf("Content-Length: 0, %d\r\n", len(inside)) + "\r\n" + inside,
		"a signed length":        "POST /login HTTP/1.1\r\n" + x.host() + "Content-Length: +0\r\n\r\n" + inside,
		"a length in hex":        "POST /login HTTP/1.1\r\n" + x.host() + "Content-Length: 0x0\r\n\r\n" + inside,
		"a negative length":      "POST /login HTTP/1.1\r\n" + x.host() + "Content-Length: -1\r\n\r\n" + inside,
		"a huge length":          "POST /login HTTP/1.1\r\n" + x.host() + "Content-Length: 99999999999999999999\r\n\r\n" + inside,
		"xchunked":               "POST /login HTTP/1.1\r\n" + x.host() + length + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inside,
		"chunked, identity":      "POST /login HTTP/1.1\r\n" + x.host() + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inside,
		"two encodings":          "POST /login HTTP/1.1\r\n" + x.host() + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inside,
		"a space before a colon": "POST /login HTTP/1.1\r\n" + x.host() + "Content-Length : 0\r\n\r\n" + inside,
		"a tab in a name":        "POST /login HTTP/1.1\r\n" + x.host() + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n" + inside,
		"a bare CR":              "POST /login HTTP/1.1\r\n" + x.host() + "X: y\rContent-Length: 0\r\n\r\n" + inside,
		"a NUL":                  "POST /login HTTP/1.1\r\n" + x.host() + "X: y\x00\r\n\r\n" + inside,
		"two hosts":              "GET /login HTTP/1.1\r\n" + x.host() + "Host: evil.test\r\n\r\n",
		"no host":                "GET /login HTTP/1.1\r\n\r\n",
		"a chunk's bare LF":      "POST /login HTTP/1.1\r\n" + x.host() + "Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n" + inside,
		"a chunk of -1":          "POST /login HTTP/1.1\r\n" + x.host() + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + inside,
		"a chunk of 2^64":        "POST /login HTTP/1.1\r\n" + x.host() + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + inside,
		"HTTP/1.0 and chunked":   "POST /login HTTP/1.0\r\n" + x.host() + length + "Transfer-Encoding: chunked\r\n\r\n" + inside,
	} {
		got := x.raw(text)
		if len(got) > 1 || len(got) == 1 && got[0] < 400 {
			t.Errorf("%s: %v", what, got)
		}
	}
	// What RFC 9112 has an answer to: chunked wins over a length (section 6.3), and a
	// folded line is one value (section 5.2). The body is then no request.
	for what, text := range map[string]string{
		"a length and chunked": "POST /login HTTP/1.1\r\n" + x.host() + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n" + inside + "\r\n0\r\n\r\n",
		"a folded line":        "POST /login HTTP/1.1\r\n" + x.host() + "X: y\r\n Transfer-Encoding: chunked\r\n" + length + "\r\n" + inside,
	} {
		for _, status := range x.raw(text) {
			if status < 400 {
				t.Errorf("%s: what stands in the body was answered", what)
			}
		}
	}
}
