package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// stopped takes nothing until it is told to.
type stopped struct {
	goOn chan struct{}
	bytes.Buffer
}

func (s *stopped) Write(p []byte) (int, error) {
	<-s.goOn
	return s.Buffer.Write(p)
}

// R41: what cannot be kept is lost and counted, which is said once the log goes on;
// what was kept comes in order, and before the end.
func TestLostLinesAreCounted(t *testing.T) {
	out := &stopped{goOn: make(chan struct{})}
	s := newLogSink(out)
	s.log = slog.New(slog.NewTextHandler(s, nil))
	const more = 100
	for n := range keptLines + 1 + more {
		if _, err := io.WriteString(s, fmt.Sprintln("line", n)); err != nil {
			t.Fatal(err)
		}
	}
	lost := s.lost.Load()
	if lost < more || lost > more+1 { // one may be on its way
		t.Errorf("%d lines were lost", lost)
	}
	close(out.goOn)
	s.close(10 * time.Second)
	said := out.String()
	if !strings.HasPrefix(said, "line 0\nline 1\n") || !strings.Contains(said, fmt.Sprintf("event=log.lost lines=%d", lost)) {
		t.Errorf("it says %q", said[:min(len(said), 100)])
	}
	if n := strings.Count(said, "line "); n != keptLines+1+more-int(lost) {
		t.Errorf("%d lines were kept", n)
	}
}

// A disk that is full loses lines, and holds nobody up.
func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	s := newLogSink(failing{})
	s.log = slog.New(slog.DiscardHandler)
	_, _ = io.WriteString(s, "line\n")
	s.close(10 * time.Second)
	if s.lost.Load() != 1 {
		t.Errorf("%d lines were lost", s.lost.Load())
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
