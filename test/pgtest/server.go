package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"

	"github.com/latchkey-id/latchkey/test/proc"
)

const (
	startTimeout = 60 * time.Second // crash recovery on a loaded machine included
	stopTimeout  = 30 * time.Second
	pollInterval = 10 * time.Millisecond
)

// errPortTaken is a start that failed only because something else listens on
// the chosen port.
var errPortTaken = errors.New("the port is taken")

// server is one run of a program, the postmaster above all.
type server struct{ *proc.Process }

// create makes the data directory and starts the server on a free port.
func (c *Cluster) create() error {
	// Only the new, empty data directory goes unsynced: the server itself runs
	// with fsync on, or a crash test would prove nothing.
	initdb := c.command("initdb", "--pgdata", c.dataDir(), "--username", superuser,
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	var out bytes.Buffer
	initdb.Stdout, initdb.Stderr = &out, &out
	s, err := run(initdb)
	if err != nil {
		return fmt.Errorf("starting initdb: %w", err)
	}
	if <-s.Done; s.Err != nil {
		return fmt.Errorf("initdb: %w\n%s", s.Err, &out)
	}
	if c.rules != "" { // written over initdb's own, which keeps its owner
		if err := os.WriteFile(c.dataDir()+"/pg_hba.conf", []byte(c.rules), 0o600); err != nil {
			return err
		}
	}
	for range 5 {
		if c.port, err = freePort(); err != nil {
			return err
		}
		if err = c.launch(); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// command prepares one of PostgreSQL's programs: as the server's account, away
// from a working directory that account may not read, and without the caller's
// PG* variables, which would redirect it.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.bin+"/"+name, args...)
	cmd.Dir = c.dir.path
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir.path, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = sysProcAttr(c.account)
	return cmd
}

// launch starts the postmaster and waits until it accepts connections.
func (c *Cluster) launch() error {
	log, err := os.OpenFile(c.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own copy
	logStart, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := c.command("postgres", append([]string{
		"-D", c.dataDir(),
		"-c", "listen_addresses=127.0.0.1",
		"-c", "port=" + strconv.Itoa(c.port),
		"-c", "unix_socket_directories=" + c.dir.path,
	}, c.settings...)...)
	// A file, never the test's own output: go test waits for whoever holds that.
	cmd.Stdout, cmd.Stderr = log, log
	s, err := run(cmd)
	if err != nil {
		return fmt.Errorf("starting postgres: %w", err)
	}
	if err := c.waitReady(s); err != nil {
		_ = s.stop(syscall.SIGQUIT) // the reason it is not ready is what counts
		out := c.logSince(logStart)
		if strings.Contains(out, "could not bind") {
			err = fmt.Errorf("%w (%w)", err, errPortTaken)
		}
		return fmt.Errorf("%w; it logged:\n%s", err, out)
	}
	c.server = s
	return nil
}

func run(cmd *exec.Cmd) (*server, error) {
	p, err := proc.Start(cmd)
	return &server{p}, err
}

// stop signals the postmaster and waits until it has ended. The postmaster
// itself waits for its children, so after it no part of the server is left.
func (s *server) stop(sig syscall.Signal) error {
	if err := s.Cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping postgres: %w", err)
	}
	select {
	case <-s.Done:
		return nil
	case <-time.After(stopTimeout):
	}
	err := fmt.Errorf("postgres did not stop on %v within %v and was killed", sig, stopTimeout)
	if killErr := s.Cmd.Process.Kill(); killErr != nil && !errors.Is(killErr, os.ErrProcessDone) {
		return errors.Join(err, killErr)
	}
	<-s.Done
	return err
}

// waitReady polls until the server answers. It asks over the socket in the
// cluster's own directory: another server on the same port cannot answer there.
func (c *Cluster) waitReady(s *server) error {
	db, err := sql.Open("postgres", fmt.Sprintf(
		"host=%s port=%d user=%s dbname=postgres sslmode=disable", c.dir.path, c.port, superuser))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		// A refusal that time does not mend is reported at once; only starting
		// up (57P03) and a lack of resources (class 53) pass.
		var refusal *pq.Error
		if errors.As(err, &refusal) && refusal.Code != "57P03" && refusal.Code.Class() != "53" {
			return fmt.Errorf("postgres refuses connections: %w", err)
		}
		select {
		case <-s.Done:
			return fmt.Errorf("postgres ended before it accepted connections (%v)", s.Err)
		case <-ctx.Done():
			return fmt.Errorf("postgres accepts no connections after %v: %w", startTimeout, err)
		case <-time.After(pollInterval):
		}
	}
}

// freePort picks a loopback port nobody listens on, below the range the kernel
// hands out itself. Within that range an outgoing connection could take the
// port while the server is stopped, even a client's own retry, which may then
// connect to itself.
func freePort() (int, error) {
	const low, high = 15000, 32000
	for range 100 {
		port := low + rand.IntN(high-low)
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free loopback port found between %d and %d", low, high)
}
