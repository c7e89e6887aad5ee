package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoginsAreTheirOwnersFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, k := &nativeStore{dir: dir}, nativeKey{"https://id.example.org", "x"}
	unlock, err := s.lock(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.begin(nativeSession{nativeKey: k, AccessToken: "A", RefreshToken: "R"}); err != nil {
		t.Fatal(err)
	}
	unlock()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v %v", info, err)
	}
	for _, line := range strings.Split(files(t, dir), "\n") {
		if !strings.HasSuffix(line, " 600") {
			t.Error(line)
		}
	}
	if got, err := s.load(k); err != nil || got.RefreshToken != "R" {
		t.Fatalf("%+v %v", got, err)
	}
	for _, other := range []nativeKey{{"https://id.example.org/", "x"}, {"https://id.example.org", "y"}} {
		if _, err := s.load(other); !errors.Is(err, errNotLoggedIn) {
			t.Errorf("%v: %v", other, err)
		}
	}
	if err := s.remove(k); err != nil {
		t.Fatal(err)
	}
	if _, err := s.load(k); !errors.Is(err, errNotLoggedIn) {
		t.Fatal(err)
	}
}

// A process that dies between writing and renaming leaves the old tokens, and
// nothing in the way of the next one.
func TestCrashBetweenWriteAndRename(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t, answer(200, pair("A2", "R2")))
	s, k := c.loggedIn(o, -time.Minute)
	child, _, stderr := process(t, "crash", s.dir)
	err := child.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 9 {
		t.Fatalf("%v %s", err, stderr)
	}
	if !strings.Contains(files(t, s.dir), ".new 600") {
		t.Fatalf("the crash left nothing: %s", files(t, s.dir))
	}
	if got := kept(t, s, k); got != "R1" {
		t.Fatalf("after the crash the store has %q", got)
	}
	if out := c.must("", "token"); out != "A2\n" || o.sent("refresh_token") != "R1" || kept(t, s, k) != "R2" {
		t.Fatalf("%q, sent %s", out, o.sent("refresh_token"))
	}
	if strings.Contains(files(t, s.dir), ".new") {
		t.Fatal(files(t, s.dir))
	}
}

// The lock keeps other processes out, and ends with its holder, however that
// ends.
func TestLockAcrossProcesses(t *testing.T) {
	c := nativeCLI(t)
	s, k := c.loggedIn(newOP(t, answer(200, nil)), time.Hour)
	holder, _, _ := process(t, "hold", s.dir)
	holder.Stdout = nil
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q %v", line, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.lock(short, k); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a lock that another process holds: %v", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	unlock, err := s.lock(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestDamagedFileIsNamedAndKept(t *testing.T) {
	c := nativeCLI(t)
	s, k := c.loggedIn(newOP(t, answer(200, nil)), time.Hour)
	if err := os.WriteFile(s.path(k), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := c.run("", "token")
	if _, err := os.Stat(s.path(k)); code != 1 || !strings.Contains(errs, s.path(k)) || err != nil {
		t.Fatalf("%d %s %v", code, errs, err)
	}
}
