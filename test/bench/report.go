package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/test/document"
)

// report prints lines as they come, keeps them, and remembers what was missed.
type report struct {
	to          io.Writer
	said        strings.Builder
	met, missed int
	headed      bool
}

func newReport() *report {
	r := &report{}
	r.to = io.MultiWriter(os.Stdout, &r.said)
	return r
}

// write puts all that was said into a part of a document.
func (r *report) write(file, part string) error {
	return document.Replace(file, part, "\n```\n"+strings.TrimSpace(r.said.String())+"\n```\n\n")
}

func (r *report) line(name string, workers int, a, b result, ratio, goal string, met bool) {
	if !r.headed {
		r.headed = true
		fmt.Fprintf(r.to, "\n%-50s %7s  %9s %7s %7s %6s %6s  %9s %7s %7s %6s %6s  %9s  goal\n", "", "workers",
			"product/s", "p50 ms", "p99 ms", "cpu us", "allocs", "ceiling/s", "p50 ms", "p99 ms", "cpu us", "allocs", "ratio")
	}
	fmt.Fprintf(r.to, "%-50s %7d  %9.0f %7.2f %7.2f %6.0f %6.0f  %9.0f %7.2f %7.2f %6.0f %6.0f  %9s  %s\n", name, workers,
		a.rps, ms(a.p50), ms(a.p99), 1000*ms(a.cpu), a.allocs, b.rps, ms(b.p50), ms(b.p99), 1000*ms(b.cpu), b.allocs, ratio, r.judge(goal, met))
}

// value prints a figure that has no ceiling.
func (r *report) value(name, value, goal string, met bool) {
	fmt.Fprintf(r.to, "%-50s %20s  %s\n", name, value, r.judge(goal, met))
}

func (r *report) note(format string, args ...any) { fmt.Fprintf(r.to, format+"\n", args...) }

func (r *report) judge(goal string, met bool) string {
	switch {
	case goal == "":
		return ""
	case met:
		r.met++
		return goal + ": met"
	}
	r.missed++
	return goal + ": NOT MET"
}

func (r *report) summary() { fmt.Fprintf(r.to, "\n%d goals met, %d not met\n", r.met, r.missed) }

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
