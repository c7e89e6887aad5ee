package userfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// Whatever a file holds: every line that is not blank comes out once, with its
// number, and either with a problem or as text that can be stored.
func FuzzUsersFile(f *testing.F) {
	for _, seed := range []string{
		`{"username":"anna"}`, "{\"username\":\"anna\"}\n\n{\"username\":\"ben\"}\r\n", `{"username":"anna","username":"b"}`, `{"a":{"b":[1,2`, "\xff\xfe", "\ufeff{}",
		`{"identities":[{"issuer":"x","subject":"y"}],"permissions":{"download":true}}`, `{"username":"\ud800"}`, `{}{}`, `null`, `{"id":null,"disabled":null}`,
		`{"username":"` + strings.Repeat("x", MaxLine) + `"}` + "\n{}", strings.Repeat("[", 20000), `{"permissions":null,"identities":null}`,
	} {
		f.Add([]byte(seed))
	}
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
	})
}
