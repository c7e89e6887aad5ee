package lab

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

const whole = `
name: mine
title: A title
must: Do it.
untried: nothing was done
faults:
  - on: {kind: refresh, nth: 2}
    do: delay_answer
    for: 90s
idp: {clock: -30s, claims: {aud: somebody}, times: {exp: -10m}}
clock: -2h
expect: {refreshes: 1, needless_refreshes: 0}
`

func TestRead(t *testing.T) {
	s, err := Read([]byte(whole))
	if err != nil || s.Clock.span() != -2*time.Hour || s.Faults[0].For.span() != 90*time.Second || s.IdP.Times["exp"].span() != -10*time.Minute || s.Watch.span() != 30*time.Second || *s.Expect.Needless != 0 {
		t.Errorf("%+v %v", s, err)
	}
	for _, c := range []struct{ change, to, want string }{
		{"must:", "muts:", "line 4: the key muts is not known"},
		{"nth: 2", "nht: 2", "the key nht is not known"},
		{"expect: {refreshes: 1", "expect: {refreshs: 1", "the key refreshs is not known"},
		{"clock: -30s", "klock: -30s", "the key klock is not known"},
		{"name: mine", "name: My Own", "name:"},
		{"must: Do it.", "", "must"},
		{"expect: {refreshes: 1, needless_refreshes: 0}", "", "expect:"},
		{"do: delay_answer", "do: nothing", `"nothing" is none of lose_answer`},
		{"on: {kind: refresh, nth: 2}", "on: {}", "on:"},
		{"kind: refresh", "kind: refreshes", "on.kind"},
		{"nth: 2", "chance: 2", "chance"},
		{"    for: 90s\n", "", "for:"},
		{"do: delay_answer", "do: answer", "answer:"},
		{"for: 90s", "for: soon", "soon"},
		{"clock: -2h", "clock: -25h", "clock:"},
		{"clock: -30s", "stall: [tokens]", `"tokens" is none of discovery`},
		{"clock: -30s", "sign: HS512", `"HS512" is none of RS256`},
		{"clock: -30s", "introspect: {active: false}", "the key introspect is not known"},
		{"clock: -30s", "omit: [nonce]", "the key omit is not known"},
		{"clock: -30s", "jwks: none", "into map"},
		{"clock: -30s", "token: {expires_in: .nan}", "line 10: is no JSON"},
		{"clock: -30s", "userinfo: {address: {1: here}}", "line 10: is no JSON"},
		{"clock: -30s", "userinfo: {photo: !!binary gIGC}", "line 10: is no JSON: there is no !!binary"},
		{"clock: -30s", "sign: &no !!binary bm9uZQ==, token: {of: *no}", "line 10: is no JSON: there is no !!binary"},
		{"clock: -30s", "token: {at: [{from: !!timestamp 2000-01-01}]}", "line 10: is no JSON: there is no !!timestamp"},
		{"clock: -30s", "token: &me {again: *me}", "contains itself"},
		{"times: {exp", "times: {updated_at", `"updated_at" is none of exp, iat`},
		{"title: A title", "title: A title\n---\nname: another", "one scenario"},
		{"clock: -2h", "watch: 2s\nsettle: 3s", "watch, settle"},
	} {
		text := strings.Replace(whole, c.change, c.to, 1)
		if _, err := Read([]byte(text)); text == whole || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in place of %q: %v, want %q", c.to, c.change, err, c.want)
		}
	}
	if _, err := Read([]byte(whole + "---\nname: another\n")); err == nil {
		t.Error("two scenarios in one file are read")
	}
	if _, err := Read(nil); err == nil {
		t.Error("an empty file is read")
	}
}

// TestBuiltInScenarios: each is named by its file and in docs/lab.md, and the source
// that is shown is the one that runs. Clocks go forward.
func TestBuiltInScenarios(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	all := BuiltIn()
	if len(all) < 14 {
		t.Errorf("there are %d", len(all))
	}
	for i, s := range all {
		if raw, err := Source(s.Name); err != nil || !strings.Contains(string(raw), "name: "+s.Name+"\n") {
			t.Errorf("%s: %v", s.Name, err)
		}
		if !strings.Contains(string(doc), "| `"+s.Name+"` |") {
			t.Errorf("docs/lab.md does not tell of %s", s.Name)
		}
		if s.Lab == "" || s.Tell == "" {
			t.Errorf("%s does not say what happens and what to do", s.Name)
		}
		if i > 0 && all[i-1].Clock > s.Clock && all[i-1].Advance >= s.Advance {
			t.Errorf("the clock goes back from %s to %s", all[i-1].Name, s.Name)
		}
	}
	if _, err := Source("../lost-answer"); err == nil {
		t.Error("a path is a scenario")
	}
	_, example, _ := strings.Cut(string(doc), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if s, err := Read([]byte(example)); err != nil || s.Name != "slow-refresh" {
		t.Errorf("the example of docs/lab.md: %v", err)
	}
	_, lies, _ := strings.Cut(string(doc), "```yaml\nidp:")
	lies, _, _ = strings.Cut(lies, "```")
	if lying(t, lies).Userinfo["sub"] != "another" {
		t.Error("docs/lab.md has no example of lies")
	}
	for _, each := range []any{Scenario{}, Fault{}, Match{}, Answer{}, Lies{}, Expect{}, Refused{}} {
		kind := reflect.TypeOf(each)
		for i := range kind.NumField() {
			if key := kind.Field(i).Tag.Get("yaml"); !regexp.MustCompile("\\b"+key+"\\b").Match(doc) || key == "" {
				t.Errorf("docs/lab.md does not tell of the key %q of %s", key, kind)
			}
		}
	}
}
