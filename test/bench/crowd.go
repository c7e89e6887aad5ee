package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
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
		did, ended := end() // whatever became of the refreshes
		if err := errors.Join(err, ended); err != nil {
			return err
		}
		said = did
		alone, beside, ratios = append(alone, a), append(beside, b), append(ratios, b.p99.Seconds()/a.p99.Seconds())
	}
	ratio := median(ratios)
	r.line("refresh beside "+x.name+", "+d.name, workers, medianResult(beside), medianResult(alone),
		fmt.Sprintf("p99 %.1f x", ratio), "p99 at most 2.0 x", ratio <= 2)
	r.note("Beside it there were %s", said)
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
		return fmt.Sprintf("%.0f wrong logins per second", logins.rps), err
	}, nil
}

// slowConnections send a byte of a header or a body every eight seconds, or ask and
// read nothing.
func slowConnections(p *product, _ time.Duration) (func() (string, error), error) {
	var conns []net.Conn
	hangUp := func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	for i := range 1000 {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			conns = append(conns, conn)
			_, err = io.WriteString(conn, slowBeginning(p.address, i))
		}
		if err != nil {
			hangUp()
			return nil, err
		}
	}
	over, sent := make(chan struct{}), 0
	var failed error // of a connection that is there no more
	var dripping sync.WaitGroup
	dripping.Go(func() {
		for failed == nil {
			select {
			case <-over:
				return
			case <-time.After(10 * time.Millisecond):
				if _, failed = conns[sent%dripped].Write([]byte("a")); failed == nil {
					sent++
				}
			}
		}
	})
	return func() (string, error) {
		close(over)
		dripping.Wait()
		hangUp()
		return fmt.Sprintf("%d connections, %d bytes sent meanwhile", len(conns), sent), failed
	}, nil
}

// dripped are the slow connections that send; the others ask, and read nothing.
const dripped = 800

func slowBeginning(address string, i int) string {
	host := "Host: " + address + "\r\n"
	switch {
	case i < dripped/2:
		return "POST /login HTTP/1.1\r\n" + host + "X-Slow: "
	case i < dripped:
		return "POST /login HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
	}
	return strings.Repeat("GET /openapi.yaml HTTP/1.1\r\n"+host+"\r\n", 20)
}
