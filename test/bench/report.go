package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/test/document"
)

// report prints lines as they come, keeps them for a document, and remembers what
// was missed.
type report struct {
	document    strings.Builder // the same in Markdown
	table       string          // the head of the table that the document is in
	met, missed int
}

func newReport() *report { return &report{} }

// write puts all that was said into a part of a document.
func (r *report) write(file, part string) error {
	return document.Replace(file, part, "\n"+strings.TrimSpace(r.document.String())+"\n\n")
}

// row prints a row, in columns of these widths, and adds it to the document's table;
// both begin with the head.
func (r *report) row(head []string, format string, cells ...string) {
	anys := func(texts []string) (out []any) {
		for _, text := range texts {
			out = append(out, text)
		}
		return out
	}
	line := func(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }
	if r.table != line(head) {
		r.table = line(head)
		fmt.Printf("\n"+format+"\n", anys(head)...)
		r.document.WriteString("\n" + r.table + strings.Repeat("|---", len(head)) + "|\n")
	}
	fmt.Printf(format+"\n", anys(cells)...)
	r.document.WriteString(line(cells))
}

var besides = []string{"", "workers", "product/s", "p50 ms", "p99 ms", "cpu us", "objects", "ceiling/s", "p50 ms", "p99 ms", "cpu us", "objects", "ratio", "goal"}

func (r *report) line(name string, workers int, a, b result, ratio, goal string, met bool) {
	cells := []string{name, fmt.Sprint(workers)}
	for _, x := range []result{a, b} {
		cells = append(cells, fmt.Sprintf("%.0f", x.rps), fmt.Sprintf("%.2f", ms(x.p50)), fmt.Sprintf("%.2f", ms(x.p99)),
			fmt.Sprintf("%.0f", 1000*ms(x.cpu)), fmt.Sprintf("%.0f", x.allocs))
	}
	r.row(besides, "%-50s %7s  %9s %7s %7s %6s %7s  %9s %7s %7s %6s %7s  %14s  %s", append(cells, ratio, r.judge(goal, met))...)
}

// value prints a figure that has no ceiling.
func (r *report) value(name, value, goal string, met bool) {
	r.row([]string{"", "figure", "goal"}, "%-50s %20s  %s", name, value, r.judge(goal, met))
}

// note prints a sentence.
func (r *report) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Println("\n" + text)
	r.document.WriteString("\n" + text + ".\n")
	r.table = ""
}

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

func (r *report) summary() { r.note("%d goals met, %d not met", r.met, r.missed) }

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
