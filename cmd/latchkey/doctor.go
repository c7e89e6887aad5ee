package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// checkTime bounds one check of the doctor. One that does not listen to its
// context is left behind a moment later.
const (
	checkTime = 5 * time.Second
	lateTime  = time.Second
)

// level is how bad a finding is. Only a fault makes the doctor fail.
type level string

const (
	levelFault   level = "fault"   // something does not work, or lets somebody in
	levelWarning level = "warning" // allowed, and unwise
	levelNote    level = "note"    // could not be told, or good to know
)

// finding is one thing that the doctor has found.
type finding struct {
	ID      string `json:"id"`
	Level   level  `json:"level"`
	Subject string `json:"subject,omitempty"` // the provider or the file that it is about
	Problem string `json:"problem"`
	Fix     string `json:"fix"`
}

// values fill the places of an ailment's texts.
type values map[string]string

// found makes a finding of [ailments].
func found(id, subject string, v values) finding {
	i := slices.IndexFunc(ailments, func(a ailment) bool { return a.id == id })
	if i < 0 {
		panic("doctor: there is no ailment " + id)
	}
	a := ailments[i]
	return finding{ID: id, Level: a.level, Subject: subject, Problem: v.fill(a.problem), Fix: v.fill(a.fix)}
}

// fill puts values into the places of a text, each on one line.
func (v values) fill(text string) string {
	pairs := []string{}
	for place, value := range v {
		pairs = append(pairs, "{"+place+"}", strings.Join(strings.Fields(value), " "))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// check is one part of the table of checks. It changes nothing, and ends with its
// context. One that finds nothing to look at has not looked.
type check struct {
	area  string
	about string // what it looks at
	run   func(ctx context.Context, d *doctor) (findings []finding, looked bool)
}

// checks is everything that the doctor looks at once the configuration is whole.
// They run side by side.
var checks = []check{
	{"configuration", "settings that are allowed and unwise", checkSettings},
	{"files", "who may read secrets, and how much room is left", checkFiles},
	{"journal", "the journal of ends", checkJournal},
	{"tls", "the certificate of tls.cert_file", checkTLS},
	{"listen", "the address to listen at", checkListen},
	{"database", "reachable, of the right schema, durable", checkDatabase},
	{"redis", "where failed logins are counted", checkRedis},
	{"secrets", "the root secret is the one of the database", checkSecrets},
	{"keys", "signing keys change in time", checkKeys},
	{"public_url", "browsers, apps and providers reach this installation there", checkPublicURL},
	{"proxy", "what the proxy in front tells of whoever asks", checkProxy},
	{"providers", "identity providers know this client, and have what it needs", checkProviders},
	{"mail", "the mail server takes the login", checkMailServer},
}

// area is what a check came to.
type area struct {
	Area     string    `json:"area"`
	About    string    `json:"about"`
	Result   string    `json:"result"` // ok, fault, warning, or skipped
	Findings []finding `json:"findings"`
}

// diagnosis is what the doctor says.
type diagnosis struct {
	Result   string `json:"result"` // ok, warning or fault
	Faults   int    `json:"faults"`
	Warnings int    `json:"warnings"`
	// User is as whom it looked; empty: not known.
	User  string `json:"user,omitempty"`
	Areas []area `json:"areas"`
}

func (p *program) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "Find what is wrong with the configuration and everything it points at, each with its fix", Args: cobra.NoArgs,
		Long: "Look at the configuration, the files, the database, the identity providers, the proxy and the public address,\n" +
			"and name each fault with its fix. Run it in the folder, with the configuration and as the user of the server,\n" +
			"while that runs or not. Root looks as the user whom data_dir belongs to. It changes nothing. It fails if there is\n" +
			"a fault; warnings and notes are no faults.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := p.newDoctor()
			if c, _, err := p.readConfig(); err == nil {
				becomeOwner(c.DataDir)
			}
			out := d.examine(cmd.Context())
			if p.json {
				if err := p.printJSON(out); err != nil {
					return err
				}
			} else {
				out.print(p.stdout)
			}
			switch out.Faults {
			case 0:
				return nil
			case 1:
				return errors.New("there is a fault")
			}
			return fmt.Errorf("there are %d faults", out.Faults)
		},
	}
	p.jsonFlag(c)
	return c
}

// examine runs everything. Without a whole configuration there is nothing that
// the rest could be held against.
func (d *doctor) examine(ctx context.Context) diagnosis {
	first := d.readConfiguration()
	out := diagnosis{Result: "ok"}
	if u, err := user.Current(); err == nil {
		out.User = u.Username
	}
	if d.config == nil {
		for _, c := range checks {
			out.Areas = append(out.Areas, area{Area: c.area, About: c.about, Result: "skipped", Findings: []finding{}})
		}
		out.Areas[0].take(first, true)
	} else {
		d.prepare(ctx)
		defer d.close()
		out.Areas = d.runAll(ctx)
	}
	out.count()
	return out
}

// runAll runs the checks side by side: one that hangs holds up no other.
func (d *doctor) runAll(ctx context.Context) []area {
	out := make([]area, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			out[i] = area{Area: c.area, About: c.about, Findings: []finding{}}
			out[i].take(d.inTime(ctx, c))
		})
	}
	all.Wait()
	return out
}

// inTime runs a check, for as long as one may take.
func (d *doctor) inTime(ctx context.Context, c check) (findings []finding, looked bool) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	done := make(chan struct{})
	var late []finding
	go func() {
		defer close(done)
		late, looked = c.run(ctx, d)
	}()
	select {
	case <-done:
		return late, looked
	case <-time.After(d.limit + lateTime):
		return []finding{found("check_hangs", c.area, values{"check": c.area})}, true
	}
}

// take is what the area came to: the worst first.
func (a *area) take(findings []finding, looked bool) {
	order := []level{levelFault, levelWarning, levelNote}
	slices.SortStableFunc(findings, func(x, y finding) int {
		return slices.Index(order, x.Level) - slices.Index(order, y.Level)
	})
	a.Findings, a.Result = append(a.Findings, findings...), "ok"
	if !looked {
		a.Result = "skipped"
	}
	if len(findings) > 0 && findings[0].Level != levelNote {
		a.Result = string(findings[0].Level)
	}
}

func (d *diagnosis) count() {
	for _, a := range d.Areas {
		for _, f := range a.Findings {
			switch f.Level {
			case levelFault:
				d.Faults++
			case levelWarning:
				d.Warnings++
			}
		}
	}
	switch {
	case d.Faults > 0:
		d.Result = string(levelFault)
	case d.Warnings > 0:
		d.Result = string(levelWarning)
	}
}

func (d *diagnosis) print(w io.Writer) {
	if d.User != "" {
		fmt.Fprintf(w, "as the user %s:\n", d.User)
	}
	for _, a := range d.Areas {
		fmt.Fprintf(w, "%-8s %-14s %s\n", a.Result, a.Area, a.About)
		for _, f := range a.Findings {
			name := f.ID
			if f.Subject != "" {
				name += " (" + f.Subject + ")"
			}
			fmt.Fprintf(w, "    %s: %s\n        %s\n        fix: %s\n", f.Level, name, f.Problem, f.Fix)
		}
	}
}
