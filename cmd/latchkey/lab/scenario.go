package lab

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-id/latchkey/broker"
)

//go:embed scenarios/*.yaml
var builtIn embed.FS

// Scenario is one check: what goes wrong, what an app must do then, and when the
// verdict is made. docs/lab.md describes the file field by field.
type Scenario struct {
	Name  string `yaml:"name"`
	Title string `yaml:"title"`
	Lab   string `yaml:"lab"`  // what the lab does, for people
	Must  string `yaml:"must"` // what the app must do, for people
	Tell  string `yaml:"tell"` // what to do with the app meanwhile
	// Untried says why there is no verdict if nothing of it happened.
	Untried string `yaml:"untried"`

	// Clock is by how much Latchkey and the IdP are ahead of the app.
	Clock Duration `yaml:"clock"`
	// Expire is how often the app's access token expires: at once, and again each
	// time that the app has got and used another one.
	Expire int `yaml:"expire"`
	// End ends all sessions, as an administrator does.
	End bool `yaml:"end_sessions"`
	// Advance is how long nobody was there.
	Advance Duration `yaml:"advance"`
	Faults  []Fault  `yaml:"faults"`
	IdP     Lies     `yaml:"idp"`

	// Patience is how long the check waits to be tried at most; 0: as the others.
	Patience Duration `yaml:"patience"`
	// Settle is how long an app that did everything is looked at further.
	Settle Duration `yaml:"settle"`
	// Watch is how long it has for everything.
	Watch  Duration `yaml:"watch"`
	Expect Expect   `yaml:"expect"`
}

// Expect is what the requests of the app must show. What is left out is not
// looked at.
type Expect struct {
	// Refreshes is how many refreshes must succeed at least, as the app sees it.
	Refreshes int `yaml:"refreshes"`
	// Works: an API call succeeds after that.
	Works bool `yaml:"works"`
	// Stays: no login is begun, and no logout is asked for.
	Stays bool `yaml:"stays"`
	// StoresTokens: every request carries the newest token of its kind.
	StoresTokens bool `yaml:"stores_tokens"`
	// HeedsRetryAfter: no refresh comes before the time that an answer named.
	HeedsRetryAfter bool `yaml:"heeds_retry_after"`
	// Tries is the most refreshes until one succeeds.
	Tries int `yaml:"tries"`
	// Needless is the most refreshes for which there was no reason: the access token
	// was new, and nobody had refused it.
	Needless *int `yaml:"needless_refreshes"`
	// LogsIn: a login is begun.
	LogsIn bool `yaml:"logs_in"`
	// Refused bounds what a session that is over may still ask.
	Refused *Refused `yaml:"refused"`
}

// Refused is the most that an app asks with a session that is over, until it
// begins a login.
type Refused struct {
	Refreshes int `yaml:"refreshes"`
	Calls     int `yaml:"calls"` // of the API
}

// Duration is a time span as people write it: 90s, 2h, 31d.
type Duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler. A minus turns a span around.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	text, negative := strings.CutPrefix(n.Value, "-")
	v, err := broker.ParseDuration(text, time.Second)
	if err != nil {
		return fmt.Errorf("line %d: is %q, %w", n.Line, n.Value, err)
	}
	if negative {
		v = -v
	}
	*d = Duration(v)
	return nil
}

func (d Duration) span() time.Duration { return time.Duration(d) }

// BuiltIn are the scenarios of the program, in the order in which they run.
func BuiltIn() []Scenario {
	files, err := fs.Glob(builtIn, "scenarios/*.yaml")
	if err != nil {
		panic(err) // the pattern is right
	}
	out := []Scenario{}
	for _, name := range files {
		s, err := Read(source(name))
		if err != nil {
			panic(fmt.Sprintf("%s: %v", name, err))
		}
		out = append(out, s)
	}
	return inOrder(out)
}

// Source is the file of a built-in scenario.
func Source(scenario string) ([]byte, error) {
	for _, s := range BuiltIn() {
		if s.Name == scenario {
			return source("scenarios/" + s.Name + ".yaml"), nil
		}
	}
	return nil, fmt.Errorf("there is no scenario %q", scenario)
}

func source(name string) []byte {
	raw, err := builtIn.ReadFile(name)
	if err != nil {
		panic(err) // it is in the program
	}
	return raw
}

// inOrder sorts so that clocks only go forward: a session whose tokens are from
// the future would spoil what comes after. Sessions end as late as possible.
func inOrder(list []Scenario) []Scenario {
	ends := func(s Scenario) int {
		if s.End {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b Scenario) int {
		return cmp.Or(cmp.Compare(a.Advance, b.Advance), cmp.Compare(a.Clock, b.Clock), cmp.Compare(ends(a), ends(b)))
	})
	return list
}

// What the library says of a key that there is not.
var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

// Read reads one scenario and checks it. A key that is not known is an error that
// names it, with its line.
func Read(raw []byte) (Scenario, error) {
	s := Scenario{Settle: Duration(2 * time.Second), Watch: Duration(30 * time.Second)}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	if err := decoder.Decode(&s); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty")
		}
		return s, errors.New(unknownKey.ReplaceAllString(err.Error(), "the key $1 is not known"))
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return s, errors.New("one file has one scenario")
	}
	return s, s.check()
}

var scenarioName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// check finds what can never give a verdict.
func (s Scenario) check() error {
	switch {
	case !scenarioName.MatchString(s.Name):
		return errors.New("name: must be 1 to 40 lower-case letters, digits and hyphens")
	case s.Title == "" || s.Must == "" || s.Untried == "":
		return errors.New("title, must and untried: each needs a sentence")
	case s.Expect == Expect{}:
		return errors.New("expect: is empty, so that every app would pass")
	case s.Watch <= 0 || s.Settle < 0 || s.Settle > s.Watch || s.Watch.span() > time.Hour:
		return errors.New("watch, settle: must be 0 < settle <= watch <= 1h")
	case s.Patience < 0:
		return errors.New("patience: must not be negative")
	case s.Expire < 0 || s.Expire > 100 || s.Advance < 0:
		return errors.New("expire, advance: must not be negative, and expire at most 100")
	case s.Clock.span().Abs() > 24*time.Hour:
		return errors.New("clock: must be at most a day")
	}
	for i, f := range s.Faults {
		if err := f.check(); err != nil {
			return fmt.Errorf("faults[%d]: %w", i, err)
		}
	}
	if err := s.IdP.check(); err != nil {
		return fmt.Errorf("idp: %w", err)
	}
	return nil
}

// Faster divides all times of a scenario, for tests: what an author of an app
// does in minutes, a test's app does in seconds.
func (s Scenario) Faster(by int) Scenario {
	s.Patience /= Duration(by)
	s.Settle /= Duration(by)
	s.Watch /= Duration(by)
	s.Faults = slices.Clone(s.Faults)
	for i := range s.Faults {
		f := &s.Faults[i]
		f.For /= Duration(by)
		if f.Answer.Headers["Retry-After"] != "" {
			f.Answer.Headers = map[string]string{}
			for name, value := range s.Faults[i].Answer.Headers {
				f.Answer.Headers[name] = value
			}
			f.Answer.Headers["Retry-After"] = "1"
		}
	}
	return s
}

// act says whether the lab does something besides its faults.
func (s Scenario) act() bool { return s.Expire > 0 || s.End || s.Advance != 0 }

// Fault is what happens to some requests.
type Fault struct {
	On Match  `yaml:"on"`
	Do string `yaml:"do"`
	// For is how long something is held up.
	For    Duration `yaml:"for"`
	Answer Answer   `yaml:"answer"`
}

// Match picks requests.
type Match struct {
	Kind   Kind   `yaml:"kind"`
	Method string `yaml:"method"`
	Path   string `yaml:"path"`
	// Nth is which of those; 0: each.
	Nth int `yaml:"nth"`
	// Chance is how probable each is; 0: certain.
	Chance float64 `yaml:"chance"`
	// Times is how often at most; 0: always.
	Times int `yaml:"times"`
}

// Answer is one that Latchkey is not asked for.
type Answer struct {
	Status  int               `yaml:"status"`
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
}

// What a fault does.
const (
	loseAnswer   = "lose_answer"   // Latchkey has answered, and nothing of it arrives
	cutAnswer    = "cut_answer"    // half of it arrives
	cutRequest   = "cut_request"   // the request never reaches Latchkey
	halfClose    = "half_close"    // instead of the answer comes the end of the stream
	delayRequest = "delay_request" // it reaches Latchkey late
	delayAnswer  = "delay_answer"  // the answer leaves late
	duplicate    = "duplicate"     // it reaches Latchkey twice; the second answer arrives
	reorder      = "reorder"       // two go on together, and are answered the other way round
	answerItself = "answer"        // Answer is said, and Latchkey is not asked
)

var doings = []string{loseAnswer, cutAnswer, cutRequest, halfClose, delayRequest, delayAnswer, duplicate, reorder, answerItself}

func (f Fault) check() error {
	waits := slices.Contains([]string{delayRequest, delayAnswer, reorder}, f.Do)
	switch {
	case !slices.Contains(doings, f.Do):
		return fmt.Errorf("do: %q is none of %s", f.Do, strings.Join(doings, ", "))
	case f.On == Match{}:
		return errors.New("on: is empty; name at least a kind, a method or a path")
	case f.On.Kind != "" && !slices.Contains(kinds, f.On.Kind):
		return fmt.Errorf("on.kind: %q is none of %v", f.On.Kind, kinds)
	case f.On.Nth < 0 || f.On.Times < 0 || f.On.Chance < 0 || f.On.Chance > 1:
		return errors.New("on: nth and times must not be negative, and chance is 0 to 1")
	case waits && (f.For <= 0 || f.For.span() > 10*time.Minute):
		return errors.New("for: how long is needed, at most 10m")
	case (f.Do == answerItself) != (f.Answer.Status != 0):
		return errors.New("answer: belongs to do: answer, and has a status")
	case f.Do == answerItself && (f.Answer.Status < 200 || f.Answer.Status > 599 || http.StatusText(f.Answer.Status) == ""):
		return fmt.Errorf("answer.status: %d is none", f.Answer.Status)
	}
	return nil
}
