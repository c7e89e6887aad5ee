package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// TestMain lets the test binary stand in for processes of their own.
func TestMain(m *testing.M) {
	switch os.Getenv("LATCHKEY_TEST_AS") {
	case "":
		os.Exit(pgtest.Main(m))
	case "latchkey":
		main()
	case "crash": // between writing the new tokens and their taking effect
		s, old := storeOfEnvironment()
		s.beforeRename = func() { os.Exit(9) }
		old.AccessToken, old.RefreshToken = "A-crash", "R-crash"
		_ = s.save(old)
		os.Exit(1) // not reached
	case "hold": // the lock, until the standard input ends
		s, old := storeOfEnvironment()
		if _, err := s.lock(context.Background(), old.nativeKey); err != nil {
			panic(err)
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

func storeOfEnvironment() (*nativeStore, nativeSession) {
	s := &nativeStore{dir: os.Getenv("LATCHKEY_CLIENT_DIR")}
	k, err := s.last()
	if err != nil {
		panic(err)
	}
	old, err := s.load(k)
	if err != nil {
		panic(err)
	}
	return s, old
}

// process is a process of its own over one folder of tokens.
func process(t *testing.T, as, dir string, args ...string) (c *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	c = exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), "LATCHKEY_TEST_AS="+as, "LATCHKEY_CLIENT_DIR="+dir)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	c.Stdout, c.Stderr = stdout, stderr
	return c, stdout, stderr
}
