package web

import (
	"html/template"
	"regexp"
	"strings"
)

// refusalFile has what the broker says of a refusal, as the broker says it: a
// language that does not have one of them says the sentence of its code.
const refusalFile = "refusals.json"

// fieldName is what a message about one field begins with. The page has its label,
// and the catalog what comes after it.
var fieldName = regexp.MustCompile(`\A[A-Za-z_.]+: `)

// pattern finds the values in a refusal with places.
type pattern struct {
	key   string
	finds *regexp.Regexp
}

func patternOf(key string) pattern {
	around := places.Split(key, -1)
	for i := range around {
		around[i] = regexp.QuoteMeta(around[i])
	}
	return pattern{key, regexp.MustCompile(`(?s)\A` + strings.Join(around, `(.+?)`) + `\z`)}
}

// refused is a refusal as a text of the catalog; nil: the catalog does not have it.
// Of several patterns that fit, the one with the most words of its own counts.
func (l *tongue) refused(message string) (out *text) {
	if message == "" || l == english {
		return nil
	}
	message = fieldName.ReplaceAllString(message, "")
	if _, ok := l.says[message]; ok {
		return &text{key: message}
	}
	for _, p := range l.patterns {
		if found := p.finds.FindStringSubmatch(message); found != nil && (out == nil || len(p.key) > len(out.key)) {
			values := []any{}
			for _, value := range found[1:] {
				values = append(values, value)
			}
			out = &text{key: p.key, values: values}
		}
	}
	return out
}

// inOurWords is what the broker or a provider says of something, in the words of the
// catalog where it has them.
func inOurWords(message string) *text {
	return &text{key: "{message}", refusal: message, values: []any{message}}
}

// Says is [inOurWords] for a template.
func (p page) Says(message string) template.HTML { return p.tongue.html(inOurWords(message)) }
