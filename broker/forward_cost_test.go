package broker_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/latchkey-id/latchkey/broker"
)

// X06: a path that would be many times as long in the form that Unicode calls
// compatible is refused before it is in it, whether or not rules look at paths; one
// that stays within the bound is read as ever.
func TestX06PathsThatGrow(t *testing.T) {
	rules := pathRules(t)
	grows := func(n int) string { return "/public/" + strings.Repeat("\ufdfa", n) } // 3 bytes that become 33
	for _, host := range []string{"app.x.test", "a.apps.x.test", "lax.test"} {
		for _, x := range []struct{ uri, want string }{
			{grows(240), "allow"}, {grows(249), "refused"}, {grows(2700), "refused"},
			{"/public/" + strings.Repeat("%EF%B7%BA", 249), "refused"},
			{"/public/" + strings.Repeat("x", 8000), "allow"}, {"/public/" + strings.Repeat("\u1100\u1161\u11a8", 900), "allow"},
		} {
			if got := judged(rules, host, x.uri); got != x.want {
				t.Errorf("%s%.30s… of %d bytes: %s, want %s", host, x.uri, len(x.uri), got, x.want)
			}
		}
	}
	// What no rule looks at may still be written in any way.
	for _, uri := range []string{"/a%2fb;c", "//x", "/x/..;/y", "/%zz", "/x?" + strings.Repeat("x", 9000)} {
		if got := judged(rules, "a.apps.x.test", uri); got != "allow" {
			t.Errorf("%.30s: %s", uri, got)
		}
	}
}

// A spelling of Latchkey's own path that is refused where rules look at paths is
// refused where none does.
func TestForwardOwnPathWithoutPaths(t *testing.T) {
	rules := forwardRules(t,
		broker.ForwardRule{Hosts: []string{"paths.test"}, Paths: []string{"/*"}, Policy: broker.ForwardAllow},
		broker.ForwardRule{Hosts: []string{"any.test"}, Policy: broker.ForwardAllow},
	)
	own := func(host, uri string) bool {
		_, err := rules.Judge(host, uri)
		return err != nil && strings.Contains(err.Error(), broker.ForwardPath)
	}
	rapid.Check(t, func(t *rapid.T) {
		uri := rapid.SampledFrom([]string{"/.latchkey/login", "/.latchkey", "/x/../.latchkey/a", "/\uff0e\uff2catchkey/a", "/.latch\u212aey/a", "/x\u2215../.latchkey /a"}).Draw(t, "plain")
		if rapid.Bool().Draw(t, "in another spelling") {
			uri = spellings(t, uri)
		}
		if with, without := own("paths.test", uri), own("any.test", uri); with != without {
			t.Errorf("%q: refused %t where rules have paths, %t where none has", uri, with, without)
		}
	})
}
