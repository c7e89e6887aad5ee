package conformance

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/test/document"
	"github.com/latchkey-id/latchkey/test/proc"
)

// plan is a test plan of the suite, or a choice of modules.
type plan struct {
	modules  []module
	formPost bool // every answer of the authorization endpoint comes as a form post
}

// module is a module of the suite. One without run is not re-created, for the
// reason.
type module struct {
	name    string
	asserts string
	run     func(m *run)
	reason  string
}

// explained are the warnings of the suite that stand, by what it warns of, and
// why. Whether they come or not, the table says so.
var explained = map[string]string{
	"profile-claims": "of the claims that `profile` stands for, Latchkey has `name`, `preferred_username` and `updated_at`, and leaves the others out (OpenID Connect Core section 5.4 lets a provider do so)",
	"token-in-body":  "the access token is taken in the header alone (RFC 6750 section 2.2 makes the body optional)",
	"metadata":       "`latchkey_revocations_endpoint` is a member of our own, which RFC 8414 section 2 allows",
}

// deviations are failures of the suite that stand, in the same way.
var deviations = map[string]string{
	"refresh-new-key": "a session stays bound to the key that it was made with, for confidential clients too, whose refresh tokens RFC 9449 section 5 leaves to their credentials; all else in the module holds",
}

// run is one run of a module.
type run struct {
	*testing.T
	op       *op
	formPost bool

	meta metadata
	keys keySet

	warned   map[string]bool
	deviated map[string]bool
	skip     string
}

// warn is what the suite only warns of.
func (m *run) warn(key, format string, args ...any) {
	m.Helper()
	m.warned[key] = true
	if explained[key] == "" {
		m.Errorf("warning "+key+": "+format, args...)
	}
}

// deviate is a failure that is meant.
func (m *run) deviate(key, format string, args ...any) {
	m.Helper()
	m.deviated[key] = true
	if deviations[key] == "" {
		m.Errorf(key+": "+format, args...)
	}
}

// bySuite ends a module that the suite would skip here.
func (m *run) bySuite(reason string) {
	m.Helper()
	m.skip = reason
	m.Skip("the suite skips it: " + reason)
}

func (m *run) result() string {
	if m.skip != "" {
		return "skipped by the suite's rule: " + m.skip
	}
	said := "passes"
	for _, key := range slices.Sorted(maps.Keys(m.deviated)) {
		said = "fails, as is meant: " + deviations[key]
	}
	for _, key := range slices.Sorted(maps.Keys(m.warned)) {
		said += ", with a warning: " + explained[key]
	}
	return said
}

// results are what came of the modules of a plan.
type results struct {
	mu   sync.Mutex
	said map[string]string
}

// runPlan runs each module as a subtest of its name, all at once, and compares
// the table of the documentation with what came of them.
func runPlan(t *testing.T, p plan) {
	t.Parallel()
	proc.Watch(t)
	res := &results{said: map[string]string{}}
	t.Cleanup(func() { p.checkTable(t, res) })
	for _, x := range p.modules {
		if x.run == nil {
			res.said[x.name] = "not re-created: " + x.reason
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			m := &run{T: t, op: plain, formPost: p.formPost, warned: map[string]bool{}, deviated: map[string]bool{}}
			t.Cleanup(func() {
				res.mu.Lock()
				defer res.mu.Unlock()
				res.said[x.name] = m.result()
			})
			m.begin()
			x.run(m)
		})
	}
}

// checkTable compares the part of the table that a plan has with what happened;
// `make conformance` writes it. Where something failed or did not run, there is
// nothing to compare.
func (p plan) checkTable(t *testing.T, res *results) {
	if !t.Failed() && len(res.said) == len(p.modules) {
		document.Part(t, "../../docs/conformance.md", t.Name(), p.table(res))
	}
}

func (p plan) table(res *results) string {
	var b bytes.Buffer
	b.WriteString("\n| module | what is asserted here | result |\n|---|---|---|\n")
	for _, x := range p.modules {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", x.name, cmp.Or(x.asserts, "–"), res.said[x.name])
	}
	b.WriteString("\n")
	return b.String()
}
