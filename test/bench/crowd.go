package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// crowd is what others do while somebody refreshes.
type crowd struct {
	part, name string
	begin      func(p *product, length time.Duration) (end func() (string, error), err error) // end says what was done
}

var crowds = []crowd{
	{"storm", "32 wrong logins", wrongLogins},
	{"slow", "1000 slow connections", slowConnections},
}

// among measures refreshes alone and among a crowd, in turn.
func (o options) among(r *report, d database, p *product, x crowd) error {
	const workers = 8
	var alone, beside []result
	var ratios []float64
	var said string
	length := 7 * o.each
	for range o.long {
		a, err := run(p.refreshing, workers, length)
		if err != nil {
			return err
		}
		end, err := x.begin(p, length)
		if err != nil {
			return err
		}
		b, err := run(p.refreshing, workers, length)
		if err != nil {
			return err
		}
		if said, err = end(); err != nil {
			return err
		}
		alone, beside, ratios = append(alone, a), append(beside, b), append(ratios, b.p99.Seconds()/a.p99.Seconds())
	}
	ratio := median(ratios)
	r.line("refresh beside "+x.name+", "+d.name, workers, medianResult(beside), medianResult(alone),
		fmt.Sprintf("p99 %.1f x", ratio), "p99 at most 2.0 x", ratio <= 2)
	r.note("  %s", said)
	return nil
}

// wrongLogins are as many as hashing takes, and more.
func wrongLogins(p *product, length time.Duration) (func() (string, error), error) {
	const before = 200 * time.Millisecond
	var logins result
	over := make(chan error, 1)
	go func() {
		var err error
		logins, err = run(p.wrongPasswords, 32, length+before)
		over <- err
	}()
	time.Sleep(before)
	return func() (string, error) {
		err := <-over
		return fmt.Sprintf("%.0f wrong logins per second meanwhile", logins.rps), err
	}, nil
}

// slowConnections send a byte of a header or a body every eight seconds, or ask and
// read nothing.
func slowConnections(p *product, _ time.Duration) (func() (string, error), error) {
	host := "Host: " + p.address + "\r\n"
	begin := func(text string) (net.Conn, error) {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(conn, text)
		return conn, err
	}
	var conns []net.Conn
	for i := range 1000 {
		text := strings.Repeat("GET /openapi.yaml HTTP/1.1\r\n"+host+"\r\n", 20)
		switch {
		case i < 400:
			text = "POST /login HTTP/1.1\r\n" + host + "X-Slow: "
		case i < 800:
			text = "POST /login HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
		}
		conn, err := begin(text)
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	over, dripped := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				dripped <- n
				return
			case <-time.After(10 * time.Millisecond):
				_, _ = conns[n%800].Write([]byte("a"))
			}
		}
	}()
	return func() (string, error) {
		close(over)
		n := <-dripped
		for _, conn := range conns {
			_ = conn.Close()
		}
		return fmt.Sprintf("%d connections, %d bytes sent meanwhile", len(conns), n), nil
	}, nil
}
