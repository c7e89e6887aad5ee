package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// short are the bounds of the server in what a test can wait for. A login, which
// hashes a password, has to fit into the time of an answer.
func short() bounds {
	b := ordinary
	b.header, b.read, b.write, b.idle = time.Second, 2*time.Second, 4*time.Second, 20*time.Second
	return b
}

// besieged is the server that serve runs, in this process, with bounds of the test.
// Attackers come from 127.0.0.2, phones from 127.0.0.1.
type besieged struct {
	t       *testing.T
	address string
	base    string
	log     *tail
	client  *http.Client
	data    string       // its data directory
	end     func() error // ends the server, and says how it ended
	held    bool         // somebody keeps it from ending in order
}

func besiege(t *testing.T, b bounds, certificate *certFiles) *besieged {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &besieged{t: t, address: listener.Addr().String(), log: &tail{}, data: t.TempDir()}
	x.base = "http://" + x.address
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	if certificate != nil {
		x.base, transport.TLSClientConfig = "https://"+x.address, &tls.Config{InsecureSkipVerify: true}
	}
	x.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	env := map[string]string{
		"LATCHKEY_DATA_DIR": x.data, "LATCHKEY_PUBLIC_URL": x.base, "LATCHKEY_LOG_LEVEL": "debug", "LATCHKEY_METRICS_LISTEN": "",
		"LATCHKEY_ADMIN_USERNAME": "root", "LATCHKEY_ADMIN_PASSWORD": "correct horse battery", "LATCHKEY_TRUSTED_PROXIES": "127.0.0.3",
	}
	if certificate != nil {
		env["LATCHKEY_TLS_CERT_FILE"], env["LATCHKEY_TLS_KEY_FILE"] = certificate.cert, certificate.key
	}
	c, err := load(t, "", env)
	if err != nil {
		t.Fatal(err)
	}
	c.bounds = b
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.serve(ctx, listener, c.logger(x.log)) }()
	x.end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := x.end(); err != nil && !x.held {
			t.Error(err)
		}
	})
	x.log.find(t, `"event":"(ready)"`)
	return x
}

// phone is somebody who is logged in.
func (x *besieged) phone() *demoApp {
	x.t.Helper()
	app := newDemoApp(x.base)
	app.client = &http.Client{Transport: x.client.Transport, Timeout: 10 * time.Second}
	if err := app.password(x.t.Context(), "root", "correct horse battery"); err != nil {
		x.t.Fatal(err)
	}
	return app
}

// meanwhile does something while a phone refreshes again and again, each time on a
// connection of its own, and fails where one refresh does, or takes as long as a person waits.
func (x *besieged) meanwhile(do func()) {
	x.t.Helper()
	app := x.phone()
	transport := x.client.Transport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	app.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	over, n := make(chan struct{}), 0
	var phone sync.WaitGroup
	phone.Go(func() {
		for {
			begun := time.Now()
			if err := app.refreshTokens(x.t.Context()); err != nil {
				x.t.Errorf("refresh %d: %v", n, err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				x.t.Errorf("refresh %d took %v", n, took)
			}
			n++
			select {
			case <-over:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	defer func() { // also where the test ends in the middle of do
		close(over)
		phone.Wait()
		if n < 10 && !x.t.Failed() {
			x.t.Errorf("only %d refreshes", n)
		}
	}()
	do()
}

// attacker opens a connection from the attacker's address.
func (x *besieged) attacker() net.Conn {
	x.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: 10 * time.Second}
	conn, err := d.DialContext(x.t.Context(), "tcp", x.address)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// closedWithin are how many of the connections the server closes in time; what it
// says before is left out.
func closedWithin(conns []net.Conn, limit time.Duration) (n int) {
	deadline := time.Now().Add(limit)
	for _, conn := range conns {
		_ = conn.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, conn); err == nil || !os.IsTimeout(err) {
			n++
		}
	}
	return n
}

// drip sends one byte on each connection, and says whether the server takes more of any.
func drip(conns []net.Conn) (alive bool) {
	for _, conn := range conns {
		if _, err := conn.Write([]byte("a")); err == nil {
			alive = true
		}
	}
	return alive
}

// keepDripping sends one byte after the other on all connections until the server
// takes no more of any, or the time is over.
func keepDripping(conns []net.Conn, limit time.Duration) {
	for begun := time.Now(); time.Since(begun) < limit && drip(conns); {
		time.Sleep(100 * time.Millisecond)
	}
}

// whileDripping does something while all connections get one byte after the other:
// how many bytes each got.
func whileDripping(conns []net.Conn, do func()) (sent int) {
	over := make(chan struct{})
	var attack sync.WaitGroup
	attack.Go(func() {
		for {
			drip(conns)
			sent++
			select {
			case <-over:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	defer attack.Wait()
	defer close(over)
	do()
	return // what was sent when the last byte was
}

// raw sends bytes as they are, and returns what is answered.
func (x *besieged) raw(text string) (statuses []int) {
	x.t.Helper()
	return finish(x.attacker(), text)
}

// finish sends the last bytes on a connection and reads until it is closed: the
// statuses of all answers.
func finish(conn net.Conn, last string) (statuses []int) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, last); err != nil {
		return nil
	}
	reader := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses
		}
		statuses = append(statuses, res.StatusCode)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return statuses
		}
	}
}

func (x *besieged) host() string { return "Host: " + x.address + "\r\n" }

// slowReader asks for the same thing a hundred times, which is some MB, and reads
// nothing of it.
func (x *besieged) slowReader() net.Conn {
	x.t.Helper()
	conn := x.attacker()
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, strings.Repeat("GET /openapi.yaml HTTP/1.1\r\n"+x.host()+"\r\n", 100))
	return conn
}

// many opens connections of the attacker, each with the same beginning.
func (x *besieged) many(n int, beginning string) (conns []net.Conn) {
	x.t.Helper()
	for range n {
		conn := x.attacker()
		if _, err := io.WriteString(conn, beginning); err != nil {
			x.t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return conns
}
