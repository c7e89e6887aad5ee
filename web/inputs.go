package web

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// input is a field of a form as the template "input" writes it: label, field,
// help, and what is wrong with it.
type input struct {
	Name string
	// Type is one of HTML's, or "textarea", "select", "checkbox" (its value is "1"); empty: text.
	Type         string
	Label, Help  *text
	Value        string
	Autocomplete string
	Placeholder  string
	Required     bool
	Max          int // characters; 0: a short line
	Min          int
	Options      []option // of a select
	Checked      bool
	// Code: what is typed is for machines (an URL, an id), so nothing corrects it.
	Code bool
	ID   string // empty: the name
	// Rule is what it takes, said where that is what is wrong; nil: what the broker says.
	Rule *text
	// Wrong is what is wrong with it.
	Wrong *text
}

// option is a choice of a select. Its words are ours (Text) or come from outside (Name).
type option struct {
	Value, Name string
	Text        *text
}

const shortLine = 256

// Bound is how many characters the field takes.
func (i input) Bound() int { return cmp.Or(i.Max, shortLine) }

// Ident is the id of the field.
func (i input) Ident() string { return cmp.Or(i.ID, i.Name) }

// part is what a template of parts.html gets: the page, and the thing V that it
// is to write.
type part struct {
	page
	V any
}

// With gives a template a thing together with the page.
func (p page) With(v any) part { return part{p, v} }

// namesIn are the fields of forms, with further ones that nobody sees.
func namesIn(hidden []string, forms ...[]input) []string {
	names := slices.Clone(hidden)
	for _, form := range forms {
		for _, i := range form {
			names = append(names, i.Name)
		}
	}
	return names
}

// filled are the fields of a form with what was typed, never a password or a code.
func filled(form []input, typed map[string]*string) []input {
	out := slices.Clone(form)
	for i := range out {
		value := or(typed[out[i].Name])
		switch {
		case out[i].Type == "password" || out[i].Type == "file" || out[i].Autocomplete == "one-time-code":
		case out[i].Type == "checkbox":
			out[i].Checked = value != ""
		case typed[out[i].Name] != nil:
			out[i].Value = value
		}
	}
	return out
}

// retry shows a form once more with what was typed, and what is wrong at its fields
// and at those of the proof that it asks for; what is about none of them stands above.
func (s *Server) retry(c *gin.Context, name string, p page, form *[]input, typed map[string]*string, err error, proofs ...*stepUp) error {
	parts := []*[]input{form}
	for _, proof := range proofs {
		parts, err = append(parts, &proof.Inputs), ofProof(err)
	}
	p.atField = refill(typed, err, func(at *input, e *broker.Error) *text {
		if at.Rule != nil && e.Code == broker.InvalidRequest {
			return at.Rule
		}
		return sentence(e, answers[e.Code])
	}, parts...)
	return s.again(c, name, p, err)
}

// refill puts into the parts of a form what was typed, and at each field what is
// wrong with it, as wrong says it. It reports whether anything stands at a field.
func refill(typed map[string]*string, err error, wrong func(at *input, e *broker.Error) *text, parts ...*[]input) (atField bool) {
	faults := faultsOf(err)
	for _, part := range parts {
		*part = filled(*part, typed)
		for i := range *part {
			at := &(*part)[i]
			for _, e := range faults {
				e, entry := entryOf(e, at.Name)
				if at.Name != cmp.Or(e.Field, fieldOf[e.Code]) {
					continue
				}
				if at.Wrong, atField = wrong(at, e), true; entry != "" {
					at.Wrong = say("{entry}: {problem}", entry, at.Wrong)
				}
			}
		}
	}
	return atField
}

// faultsOf are the faults of an error, each as an error of one field.
func faultsOf(err error) []*broker.Error {
	e, ok := errors.AsType[*broker.Error](err)
	if !ok {
		return nil
	}
	faults, ok := errors.AsType[broker.Faults](e.Err)
	if !ok {
		return []*broker.Error{e}
	}
	out := []*broker.Error{}
	for _, one := range faults {
		out = append(out, &broker.Error{Code: e.Code, Field: one.Field, Message: one.Problem})
	}
	return out
}

// entryOf is an error about one entry of a field, such as role_map.staff, as one of
// the field, with what the entry is called.
func entryOf(e *broker.Error, field string) (of *broker.Error, entry string) {
	entry, found := strings.CutPrefix(e.Field, field+".")
	if !found {
		return e, ""
	}
	of = new(*e)
	of.Field = field
	return of, entry
}

// AtField reports whether what is wrong stands at its field.
func (p page) AtField() bool { return p.atField }
