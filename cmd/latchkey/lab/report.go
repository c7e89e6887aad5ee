package lab

import (
	"fmt"
	"io"
	"time"
)

// Result is the verdict of a check.
type Result string

// The results. An app that did nothing of it has neither passed nor failed.
const (
	Passed   Result = "passed"
	Failed   Result = "failed"
	NotTried Result = "not tried"
)

// Report is the verdict of all checks.
type Report struct {
	Passed   int     `json:"passed"`
	Failed   int     `json:"failed"`
	NotTried int     `json:"not_tried"`
	Checks   []Check `json:"checks"`
}

// Check is the verdict of one.
type Check struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Lab    string `json:"lab"`
	Must   string `json:"must"`
	Result Result `json:"result"`
	Reason string `json:"reason,omitempty"` // of anything but passed
	Seen   []Seen `json:"seen"`
}

// Seen is one request as the report has it. There are no tokens in it.
type Seen struct {
	At     int64  `json:"at_ms"` // since the first thing went wrong; negative: before
	Kind   Kind   `json:"kind"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"` // 0: there was no answer
	Code   string `json:"code,omitempty"`
	Fault  string `json:"fault,omitempty"`
	Lost   bool   `json:"lost,omitempty"` // the answer did not get to the app
}

func (r *Report) add(c Check) {
	r.Checks = append(r.Checks, c)
	switch c.Result {
	case Passed:
		r.Passed++
	case Failed:
		r.Failed++
	default:
		r.NotTried++
	}
}

func (t *trial) verdict(result Result, reason string) Check {
	s := t.scenario
	c := Check{Name: s.Name, Title: s.Title, Lab: s.Lab, Must: s.Must, Result: result, Reason: reason, Seen: []Seen{}}
	all := t.record.seen()
	zero := t.trigger
	if zero.IsZero() && len(all) > 0 {
		zero = all[0].Begun
	}
	for _, x := range all {
		if x.Kind == KindOther {
			continue
		}
		c.Seen = append(c.Seen, Seen{
			At: x.Begun.Sub(zero).Milliseconds(), Kind: x.Kind, Method: x.Method, Path: x.Path, Status: x.Status, Code: x.Code,
			Fault: x.Fault, Lost: !x.Delivered,
		})
	}
	return c
}

// line is the verdict in one line.
func (c Check) line() string {
	out := fmt.Sprintf("  %-9s  %s", c.Result, c.Name)
	if c.Reason != "" {
		out += ": " + c.Reason
	}
	return out
}

// mostShown is how many requests the text shows of a check that failed. The JSON
// has all.
const mostShown = 15

// Text writes the report for people.
func (r Report) Text(w io.Writer) {
	fmt.Fprintln(w)
	for _, c := range r.Checks {
		fmt.Fprintln(w, c.line())
		if c.Result == Failed {
			fmt.Fprintf(w, "             must: %s\n", c.Must)
			for i, x := range c.Seen {
				if i < len(c.Seen)-mostShown {
					continue
				}
				fmt.Fprintf(w, "             %s\n", x)
			}
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d not tried\n", r.Passed, r.Failed, r.NotTried)
}

// String is a line such as "+1.203s POST /auth/refresh 401 token_reused [lose_answer] did not arrive".
func (x Seen) String() string {
	out := fmt.Sprintf("%+.3fs %s %s ", (time.Duration(x.At) * time.Millisecond).Seconds(), x.Method, x.Path)
	if x.Status == 0 {
		out += "-"
	} else {
		out += fmt.Sprintf("%d %s", x.Status, x.Code)
	}
	if x.Fault != "" {
		out += " [" + x.Fault + "]"
	}
	if x.Lost {
		out += " did not arrive"
	}
	return out
}
