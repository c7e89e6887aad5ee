package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/mattn/go-isatty"
)

// logSink is where the log of a server goes, so that nobody waits for whoever reads it:
// a pipe that is full, a terminal that was stopped, a disk that is slow or full.
// Lines that it cannot keep are lost, and counted.
type logSink struct {
	next       io.Writer
	lines      chan []byte
	lost       atomic.Int64
	told       int64
	log        *slog.Logger // is told how many were lost
	stop, done chan struct{}
}

// keptLines is how many lines wait; one is some hundred bytes long.
const keptLines = 4096

func newLogSink(next io.Writer) *logSink {
	s := &logSink{next: next, lines: make(chan []byte, keptLines), stop: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// Write implements io.Writer, for one line each. It keeps no hold of p.
func (s *logSink) Write(p []byte) (int, error) {
	select {
	case s.lines <- bytes.Clone(p):
	default:
		s.lost.Add(1)
	}
	return len(p), nil
}

func (s *logSink) run() {
	defer close(s.done)
	for {
		select {
		case line := <-s.lines:
			s.pass(line)
		case <-s.stop:
			for len(s.lines) > 0 {
				s.pass(<-s.lines)
			}
			return
		}
	}
}

// pass writes a line, and says what was lost before it once there is room again.
func (s *logSink) pass(line []byte) {
	if _, err := s.next.Write(line); err != nil {
		s.lost.Add(1)
		return
	}
	if lost := s.lost.Load(); lost > s.told && len(s.lines) < keptLines/2 {
		n := lost - s.told
		s.told = lost
		s.log.Warn("lines of the log were lost: nothing took them", "event", "log.lost", "lines", n)
	}
}

// close waits until what was said is written, but not for ever.
func (s *logSink) close(limit time.Duration) {
	close(s.stop)
	select {
	case <-s.done:
	case <-time.After(limit):
	}
}

// isTerminal reports whether somebody reads along.
func isTerminal(w io.Writer) bool {
	if s, ok := w.(*logSink); ok {
		w = s.next
	}
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
