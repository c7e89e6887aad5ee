package web

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	lang "golang.org/x/text/language"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is what pages say, in the languages that there are. The English
// stands in the source and is the key of the others' catalogs: in Go in
// say("…"), in templates in .T "…" and .Plain "…".

//go:embed texts/*/*.json
var textFiles embed.FS

// text is what a page says to a person, said in a language at the end.
type text struct {
	key     string
	english string // said in its place in English, where a refusal has its own words
	refusal string // those words, which a catalog may have as well; see [tongue.refused]
	values  []any
}

// say makes a text. It may have places, such as {name}, which are filled with
// the values in the order of the English:
//   - a string comes from outside: it is escaped, and stands apart (bdi)
//   - a text is said in the same language
//   - a time is said to the minute, a duration in its largest unit, an int in digits
//
// A text may have HTML of its own. One without places that no catalog has is
// said as it is.
func say(key string, values ...any) *text { return &text{key: key, values: values} }

// with is the text with the values for its places.
func (t *text) with(values ...any) *text { return &text{t.key, t.english, t.refusal, values} }

// tongue is a language that pages are said in, with its catalog.
type tongue struct {
	tag      lang.Tag
	says     map[string]string
	patterns []pattern // of says, those of refusals with places
}

// tongues are the languages of the pages; the first is English, which stands in
// the source.
type tongues struct {
	list    []*tongue
	matcher lang.Matcher
}

var english = &tongue{tag: lang.English}

func loadTongues() (*tongues, error) {
	t := &tongues{list: []*tongue{english}}
	languages, err := textFiles.ReadDir("texts")
	if err != nil {
		return nil, err
	}
	tags := []lang.Tag{english.tag}
	for _, language := range languages {
		l, err := loadTongue(language.Name())
		if err != nil {
			return nil, err
		}
		t.list, tags = append(t.list, l), append(tags, l.tag)
	}
	t.matcher = lang.NewMatcher(tags)
	return t, nil
}

// loadTongue reads a language: a folder of catalogs, one for each part of the
// house. A text stands in one of them.
func loadTongue(name string) (l *tongue, err error) {
	l = &tongue{says: map[string]string{}}
	if l.tag, err = lang.Parse(name); err != nil {
		return nil, err
	}
	folder := path.Join("texts", name)
	files, err := textFiles.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		at := path.Join(folder, file.Name())
		body, err := textFiles.ReadFile(at)
		if err != nil {
			return nil, err
		}
		says := map[string]string{}
		if err := json.Unmarshal(body, &says); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		for key, said := range says {
			if _, twice := l.says[key]; twice {
				return nil, fmt.Errorf("%s: the text %q stands in another file too", at, key)
			}
			l.says[key] = said
			if file.Name() == refusalFile && places.MatchString(key) {
				l.patterns = append(l.patterns, patternOf(key))
			}
		}
	}
	return l, nil
}

// names are the tags, for discovery.
func (t *tongues) names() (out []string) {
	for _, l := range t.list {
		out = append(out, l.tag.String())
	}
	return out
}

// maxLocales bounds what is read of a header or a parameter about languages.
const maxLocales = 500

// choose finds the language for a person: by what the app says (ui_locales, OIDC
// Core section 3.1.2.1), else by what the browser says.
func (t *tongues) choose(locales, accept string) *tongue {
	wanted := []lang.Tag{}
	for _, list := range []string{strings.Join(strings.Fields(locales), ","), accept} {
		if len(list) <= maxLocales {
			tags, _, _ := lang.ParseAcceptLanguage(list) // what nobody can read says nothing
			wanted = append(wanted, tags...)
		}
	}
	_, i, _ := t.matcher.Match(wanted...)
	return t.list[i]
}

var places = regexp.MustCompile(`\{[a-z]+\}`)

// form is how a text is written: asHTML for the body of a page, asPlain for where
// no HTML can be, as in titles, attributes and JSON.
type form struct{ ours, outside func(string) string }

var (
	asHTML  = form{template.HTMLEscapeString, func(s string) string { return "<bdi>" + template.HTMLEscapeString(s) + "</bdi>" }}
	asPlain = form{same, same}
)

func same(s string) string { return s }

// fill puts the values of a text into its places.
func (l *tongue) fill(t *text, f form) string {
	if l == english && t.english != "" {
		return f.ours(t.english) // may have names in it
	}
	if refused := l.refused(t.refusal); refused != nil {
		return l.fill(refused, f)
	}
	values := map[string]string{}
	for _, place := range places.FindAllString(t.key, -1) {
		if _, ok := values[place]; !ok && len(values) < len(t.values) {
			values[place] = l.value(t.values[len(values)], f)
		}
	}
	said, ok := l.says[t.key]
	if !ok {
		said = t.key
	}
	return places.ReplaceAllStringFunc(said, func(place string) string {
		if value, ok := values[place]; ok {
			return value
		}
		return place
	})
}

func (l *tongue) value(v any, f form) string {
	switch v := v.(type) {
	case *text:
		return l.fill(v, f)
	case time.Time:
		return l.fill(date(v), f)
	case time.Duration:
		return l.fill(span(v), f)
	case int:
		return strconv.Itoa(v)
	}
	return f.outside(fmt.Sprint(v))
}

// #nosec G203 -- fill escapes what it puts in
func (l *tongue) html(t *text) template.HTML { return template.HTML(l.fill(t, asHTML)) }

func (l *tongue) plain(t *text) string { return l.fill(t, asPlain) }

// T says a text in the page's language: one of Go's, or a template's own with its
// values.
func (p page) T(t any, values ...any) template.HTML { return p.tongue.html(textOf(t, values)) }

// Plain is T without HTML, for titles and attributes.
func (p page) Plain(t any, values ...any) string { return p.tongue.plain(textOf(t, values)) }

func textOf(t any, values []any) *text {
	if t, ok := t.(*text); ok {
		return t
	}
	return say(t.(string), values...)
}

// Lang is the page's language (BCP 47).
func (p page) Lang() string { return p.tongue.tag.String() }

// Time says a moment, the exact one where it is pointed at.
func (p page) Time(m moment) template.HTML {
	// #nosec G203 -- a time that this program writes
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		m.at.Format(time.RFC3339), template.HTMLEscapeString(p.tongue.plain(date(m.at))), p.tongue.html(m.relative)))
}

// moment is a time as a person reads it.
type moment struct {
	at       time.Time
	relative *text
}

func (s *Server) moment(t time.Time) moment {
	m := moment{t.UTC(), say("just now")}
	switch ago := s.broker.Now().Sub(t); {
	case ago >= time.Minute:
		m.relative = say("{time} ago", ago)
	case ago <= -time.Minute:
		m.relative = say("in {time}", ahead(-ago))
	}
	return m
}

// momentOr is a moment that may be none: nil for the zero time.
func (s *Server) momentOr(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	return new(s.moment(t))
}

// ahead is a time to come as people count it: what was given for 30 days a second
// ago ends in 30 days.
func ahead(d time.Duration) time.Duration { return d + time.Minute - 1 }

// date says a time to the minute.
func date(t time.Time) *text {
	t = t.UTC()
	return say("{day} {month} {year} at {time} UTC", t.Day(), months[t.Month()-1], t.Year(), &text{key: t.Format("15:04")})
}

var months = []*text{
	say("January"), say("February"), say("March"), say("April"), say("May"), say("June"), say("July"), say("August"),
	say("September"), say("October"), say("November"), say("December"),
}

// span says a duration in its largest unit, up to days. It stands behind a
// preposition ("in", "for", "of"): in German in the dative.
func span(d time.Duration) *text {
	count := func(n int, one, more *text) *text {
		if n <= 1 {
			return one
		}
		return more.with(n)
	}
	switch {
	case d >= 24*time.Hour:
		return count(int(d/(24*time.Hour)), say("1 day"), say("{n} days"))
	case d >= time.Hour:
		return count(int(d/time.Hour), say("1 hour"), say("{n} hours"))
	}
	return count(int(d/time.Minute), say("1 minute"), say("{n} minutes"))
}

var roles = map[broker.Role]*text{
	broker.RoleRoot: say("root"), broker.RoleAdmin: say("admin"), broker.RoleUser: say("user"), broker.RoleGuest: say("guest"),
}

// person is how a user is called.
func person(u *broker.User) string {
	if u.Name != "" {
		return u.Name
	}
	return u.Username
}
