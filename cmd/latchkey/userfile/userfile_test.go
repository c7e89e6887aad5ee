package userfile

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// Whatever a file holds: every line that is not blank comes out once, with its
// number, and either with a problem or as text that can be stored.
func FuzzUsersFile(f *testing.F) {
	for _, seed := range []string{
		`{"username":"anna"}`, "{\"username\":\"anna\"}\n\n{\"username\":\"ben\"}\r\n", `{"username":"anna","username":"b"}`, `{"a":{"b":[1,2`, "\xff\xfe", "\ufeff{}",
		`{"identities":[{"issuer":"x","subject":"y"}],"permissions":{"download":true}}`, `{"username":"\ud800"}`, `{}{}`, `null`, `{"id":null,"disabled":null}`,
		`{"username":"` + strings.Repeat("x", MaxLine) + `"}` + "\n{}", strings.Repeat("[", 20000), `{"permissions":null,"identities":null}`,
		`{"username":"anna","identities":[{"issuer":"https://idp.test","subject":"s\u0000"}]}`, `{"username":"a\u0000b"}`, `{"\u001b[2J":1}`, `{"username":"anna","name":"N\u202e\u001b[2J","email":"a@b.test","role":"admin"}` + "\n" + `{"username":"ANNA"}`,
	} {
		f.Add([]byte(seed))
	}
	x := harness.New(f, "", func(c *broker.Config) {
		c.Providers = []broker.Provider{{ProviderSettings: broker.ProviderSettings{ID: "idp", Name: "IdP"}, IdP: named{}}}
	})
	f.Fuzz(func(t *testing.T, content []byte) {
		numbers, blank := []int{}, 0
		lines := strings.Split(string(content), "\n")
		for i, line := range lines {
			if i == 0 {
				line = strings.TrimPrefix(line, "\ufeff")
			}
			if strings.TrimSpace(line) == "" && len(line) < MaxLine {
				blank++
			}
		}
		readUsers(strings.NewReader(string(content)), func(u broker.ImportUser, err error) bool {
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, u.Line)
			if strings.ContainsAny(u.Problem, "\x00\n\x1b") {
				t.Errorf("the problem is no plain text: %q", u.Problem)
			}
			return true
		})
		if !slices.IsSorted(numbers) || len(slices.Compact(slices.Clone(numbers))) != len(numbers) || len(numbers) != len(lines)-blank {
			t.Errorf("lines %v of %d, %d blank", numbers, len(lines), blank)
		}
		users := func(yield func(broker.ImportUser, error) bool) { readUsers(bytes.NewReader(content), yield) }
		report, err := x.Broker.Import(t.Context(), broker.Import{Users: users}, broker.ImportOptions{DryRun: true, Partial: true, ProviderID: "idp"})
		if err != nil || report.Users.Imported+report.Users.Refused != len(numbers) {
			t.Errorf("%d lines are imported as %+v, %v", len(numbers), report.Users, err)
		}
		for _, l := range report.Lines {
			if text := l.ID + l.Name + l.Reason; l.Reason == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 2000 {
				t.Errorf("no plain words: %+v", l)
			}
		}
	})
}

// named is an IdP of which nothing but its name is asked.
type named struct{ broker.IdP }

func (named) Issuer() string { return "https://idp.test" }
