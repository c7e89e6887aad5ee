package web

import (
	"regexp"
	"strings"
)

// refusalFile has what the broker says of a refusal, as the broker says it: a
// language that does not have one of them says the sentence of its code.
const refusalFile = "refusals.json"

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
