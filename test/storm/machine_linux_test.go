package storm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-id/latchkey/test/proc"
)

// under runs the program after a line of the shell.
func (p *process) under(line string) {
	p.tb.Helper()
	p.program = filepath.Join(p.dir, "latchkey-under")
	if err := os.WriteFile(p.program, []byte("#!/bin/sh\n"+line+"\nexec "+binary+" \"$@\"\n"), 0o700); err != nil {
		p.tb.Fatal(err)
	}
}

// R39: as many logins as come at once, while devices refresh, take less memory than a
// small machine has.
func TestMemoryUnderLoad(t *testing.T) {
	t.Parallel()
	database := sqliteURL(t)
	p := start(t, database, "GOMAXPROCS=2")
	devices := crowd(p, openDB(t, database), 100)
	stop := refreshing(p, devices)
	var logins sync.WaitGroup
	for range 12 {
		logins.Go(func() {
			if r := tryLogin(p, "wrong"); r.status != http.StatusUnauthorized && !r.later() {
				t.Errorf("a login: %v", r)
			}
		})
	}
	logins.Wait()
	if n, refused := stop(); len(refused) > 0 {
		t.Errorf("%d of %d refreshes: %s", len(refused), n, refused[0])
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.now.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	most, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil || most > 128<<10 {
		t.Errorf("it took up to %d KiB, %v", most, err)
	}
	t.Logf("it took up to %d MiB", most>>10)
}

// newBox makes a group of processes that together may have so much memory, as a container
// is one; "" where this machine does not permit it, which is said.
func newBox(t *testing.T, bytes int) (folder string) {
	t.Helper()
	name := fmt.Sprintf("latchkey-box-%d", os.Getpid())
	var failed error
	for _, c := range []struct{ root, limit string }{{"/sys/fs/cgroup", "memory.max"}, {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}} {
		folder := filepath.Join(c.root, name)
		if failed = os.Mkdir(folder, 0o755); failed != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(folder); err != nil {
				t.Error(err)
			}
		})
		if failed = writeFile(filepath.Join(folder, c.limit), strconv.Itoa(bytes)); failed == nil {
			return folder
		}
	}
	fmt.Println("MEMORY: NOT bounded, for no group of processes may be made here:", failed)
	return ""
}

// writeFile writes into a file that there is. It makes none, which would pass for a group.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// R39: in 128 MiB the kernel ends the program for want of memory while devices refresh.
// Once it is started again everybody goes on.
func TestEndedForWantOfMemory(t *testing.T) {
	t.Parallel()
	box := newBox(t, 128<<20)
	if box == "" {
		return
	}
	enter := "echo $$ > " + filepath.Join(box, "cgroup.procs")
	database := sqliteURL(t)
	p := newProcess(t, database)
	p.under("echo 1000 > /proc/self/oom_score_adj; " + enter) // the first to be ended
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
	devices := crowd(p, openDB(t, database), 50)
	heal(p, devices, healWithin)
	stop := refreshing(p, devices)
	greedy, err := proc.Start(exec.Command("sh", "-c", enter+"; ulimit -v 1000000; exec tail /dev/zero")) // it keeps all that has no end of line
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Kill()
	if code := p.exitCode(30 * time.Second); code != -1 {
		t.Errorf("it ended with %d, and not by a signal", code)
	}
	greedy.Kill()
	n, failed := stop()
	if len(failed) == 0 || int64(len(failed)) == n {
		t.Errorf("%d of %d refreshes failed, want some", len(failed), n)
	}
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
	heal(p, devices, healWithin)
}

// R40: with few file descriptors idle connections make room for others; where there
// is none left at all, that is said now and then, and everything goes on after it.
func TestFileDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	database := sqliteURL(t)
	p := newProcess(t, database)
	p.under("ulimit -n 128")
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
	devices := crowd(p, openDB(t, database), 5)
	for range 300 {
		conn, err := net.DialTimeout("tcp", p.addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	heal(p, devices, healWithin)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.now.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		t.Helper()
		if err := unix.Prlimit(p.now.Cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: 128}, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(len(files) / 2) // none is free, however many close
	refused := 0
	for began := time.Now(); time.Since(began) < 3*time.Second; {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		if _, err := post(ctx, patient, p.url("/auth/refresh"), devices[0].token, ""); err != nil {
			refused++
		}
		cancel()
	}
	if refused == 0 {
		t.Error("everybody was served")
	}
	limit(128)
	heal(p, devices, healWithin)
	if n := strings.Count(p.output(), "accept.failed"); n < 1 || n > 3 {
		t.Errorf("the log tells %d times that no connection can be taken", n)
	}
}

// Whoever read the log has gone: its lines are lost and counted, and requests are
// answered as ever.
func TestReaderOfTheLogHasGone(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	metrics := freeAddress(t)
	p := newProcess(t, sqliteURL(t), "LATCHKEY_METRICS_LISTEN="+metrics)
	p.out = write
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r := call(p, "POST", "/login", "", `{"username":"storm","password":"wrong"}`); r.status != http.StatusUnauthorized {
			t.Errorf("a failed login: %v", r)
		}
	}
	login(p)
	p.now.Until(t, "lines that are lost are counted", func() bool {
		said, err := scrape(metrics)
		return err == nil && said["latchkey_log_lines_lost_total"] >= 3
	})
}

// R41: nobody reads the log, and the pipe that it goes to is full. Requests are
// answered as ever, and the log goes on once it is read.
func TestLogIsNotRead(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	fd := int(write.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = syscall.Write(fd, bytes.Repeat([]byte("\n"), 4096))
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	database := sqliteURL(t)
	p := newProcess(t, database)
	p.out = write
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
	devices := crowd(p, openDB(t, database), 20)
	time.Sleep(grace)
	for _, r := range atOnce(p, devices) {
		if r.status != http.StatusOK {
			t.Errorf("a refresh: %v", r)
		}
	}
	if r := call(p, "POST", "/login", "", `{"username":"storm","password":"wrong"}`); r.status != http.StatusUnauthorized {
		t.Errorf("a failed login: %v", r)
	}
	said := make(chan bool, 1)
	go func() {
		var all []byte
		buf := make([]byte, 4096)
		for !bytes.Contains(all, []byte("auth.login.failed")) {
			n, err := read.Read(buf)
			if err != nil {
				break
			}
			all = append(all, buf[:n]...)
		}
		said <- bytes.Contains(all, []byte(`"ready"`))
	}()
	select {
	case ok := <-said:
		if !ok {
			t.Error("what was said while nobody read is lost")
		}
	case <-time.After(20 * time.Second):
		t.Error("the log does not go on")
	}
}

// R42: the mail server takes connections and says nothing. Whoever asks for a link
// is answered at once, the mail waits, and nothing else is held up.
func TestMailServerIsSilent(t *testing.T) {
	t.Parallel()
	hole, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	_, port, _ := net.SplitHostPort(hole.Addr().String())
	database, metrics := sqliteURL(t), freeAddress(t)
	p := start(t, database, "LATCHKEY_SMTP_HOST=127.0.0.1", "LATCHKEY_SMTP_PORT="+port, "LATCHKEY_SMTP_FROM=latchkey@example.org", "LATCHKEY_SMTP_TLS=none",
		"LATCHKEY_METRICS_LISTEN="+metrics)
	db := openDB(t, database)
	if _, err := db.Exec(`UPDATE users SET role = 'user', email = 'storm@example.org', email_key = 'storm@example.org', email_verified = 1`); err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		began := time.Now()
		res, err := noRedirects.PostForm(p.url("/login/forgotten"), url.Values{"account": {username}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if took := time.Since(began); res.StatusCode != http.StatusSeeOther || took > 3*time.Second {
			t.Errorf("asking for a link: %d after %v", res.StatusCode, took)
		}
	}
	goroutines := func() int {
		raw, err := scrape(metrics)
		if err != nil {
			t.Fatal(err)
		}
		return int(raw["go_goroutines"])
	}
	devices := crowd(p, db, 5)
	ask()
	_ = hole.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
	taken, err := hole.Accept() // it is being sent
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	before := goroutines()
	for range 20 {
		ask()
	}
	heal(p, devices, healWithin)
	if n := number(t, db, `SELECT COUNT(*) FROM mails`); n == 0 {
		t.Error("no mail waits")
	}
	for began := time.Now(); goroutines() > before+10; time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d goroutines before, %d after", before, goroutines())
		}
	}
}

var noRedirects = &http.Client{
	Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// scrape reads metrics that have no labels.
func scrape(address string) (map[string]float64, error) {
	res, err := patient.Get("http://" + address + "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if n, err := strconv.ParseFloat(value, 64); err == nil {
				out[name] = n
			}
		}
	}
	return out, nil
}

// TestStoodStill: a process that stands still for longer than a session may rest, as
// on a laptop whose lid is shut, ends nothing: nobody could have used it.
func TestStoodStill(t *testing.T) {
	t.Parallel()
	const idle = 50 * time.Second
	p := start(t, sqliteURL(t), "REFRESH_TOKEN_EXPIRY="+strconv.Itoa(int(idle.Seconds())))
	_, token := login(p)
	stopped := time.Now()
	p.signal(syscall.SIGSTOP)
	for time.Since(stopped) < idle+2*time.Second {
		time.Sleep(time.Second) // the wall clock is what this is about
	}
	p.signal(syscall.SIGCONT)
	if r := refreshOnce(p, token); r.status != http.StatusOK {
		t.Errorf("after standing still the refresh says %v", r)
	}
}
