package broker_test

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

func redirectClient(kind string, registered ...string) *broker.Client {
	return &broker.Client{ID: "c", ApplicationType: kind, RedirectURIs: registered}
}

// A redirect URI is compared byte for byte; a native client's loopback URI but
// for its port.
func TestRedirectAllowed(t *testing.T) {
	for _, c := range []struct {
		registered string
		native     []string // allowed for a native client alone
		never      []string
	}{
		{"https://rp.test/cb", nil, []string{"https://rp.test:443/cb", "https://rp.test/cb/", "https://RP.test/cb", "http://rp.test/cb", "https://rp.test/cb?", "https://rp.test@evil.test/cb", ""}},
		{"http://rp.test/cb", nil, []string{"http://rp.test:8080/cb", "http://rp.test:80/cb"}},
		{"https://127.0.0.1/cb", nil, []string{"https://127.0.0.1:8443/cb", "http://127.0.0.1/cb"}},
		{"app.one:/oauth", nil, []string{"app.one:/oauth/", "app.one://oauth", "App.one:/oauth", "app.one:1/oauth"}},
		{"app.one://127.0.0.1/oauth", nil, []string{"app.one://127.0.0.1:1/oauth"}},
		{
			"http://127.0.0.1/cb", []string{"http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb", "http://127.0.0.1:8080/cb"},
			[]string{
				"http://127.0.0.1:0/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:-1/cb", "http://127.0.0.1:+1/cb", "http://127.0.0.1:1e1/cb", "http://127.0.0.1:1:1/cb",
				"http://127.0.0.1:18446744073709551617/cb", "http://127.0.0.1:1/cb/", "http://127.0.0.1:1/CB", "http://127.0.0.1:1/cb?x", "http://127.0.0.1:1/cb#x", "http://127.0.0.1:1", "http://127.0.0.1:1cb",
				"http://127.0.0.1:1@evil.test/cb", "http://127.0.0.1@evil.test/cb", "http://x@127.0.0.1/cb", "http://127.0.0.1.evil.test/cb", "http://127.0.0.1:1.evil.test/cb", "https://127.0.0.1:1/cb",
				"HTTP://127.0.0.1:1/cb", "http://localhost:1/cb", "http://127.0.0.2:1/cb", "http://127.1:1/cb", "http://[::1]:1/cb", "http://[::ffff:127.0.0.1]:1/cb", "http://127.0.0.1:1\\@evil.test/cb",
				"http://127.0.0.1:１/cb", " http://127.0.0.1:1/cb", "http://127.0.0.1 :1/cb", "http://127.0.0.1:1 /cb", "http:127.0.0.1:1/cb", "http:///127.0.0.1:1/cb",
			},
		},
		{"http://127.0.0.1:7777/cb?a=b", []string{"http://127.0.0.1:1/cb?a=b", "http://127.0.0.1/cb?a=b"}, []string{"http://127.0.0.1:1/cb", "http://127.0.0.1:7777/cb?a=c"}},
		{"http://localhost/cb", []string{"http://localhost:1/cb"}, []string{"http://LOCALHOST:1/cb", "http://localhost.:1/cb", "http://localhost.evil.test/cb", "http://127.0.0.1/cb"}},
		{"http://[::1]/cb", []string{"http://[::1]:1/cb"}, []string{"http://[0:0:0:0:0:0:0:1]:1/cb", "http://::1:1/cb", "http://[::1]1/cb", "http://[::1].evil.test/cb", "http://[::2]/cb"}},
		{"http://127.0.0.1", nil, []string{"http://127.0.0.1:1", "http://127.0.0.1:1/", "http://127.0.0.1/"}},
		{"http://127.0.0.1.evil.test/cb", nil, []string{"http://127.0.0.1.evil.test:1/cb", "http://127.0.0.1/cb"}},
		{"http://localhost.evil.test/cb", nil, []string{"http://localhost.evil.test:1/cb"}},
		{"http://10.0.0.1/cb", nil, []string{"http://10.0.0.1:1/cb"}},
		// Registered before such ports were refused.
		{"http://127.0.0.1:0/cb", nil, []string{"http://127.0.0.1:1/cb", "http://127.0.0.1/cb"}},
		{"http://127.0.0.1:/cb", nil, []string{"http://127.0.0.1:1/cb", "http://127.0.0.1/cb"}},
	} {
		for _, kind := range []string{broker.ApplicationNative, broker.ApplicationWeb, ""} {
			client := redirectClient(kind, "https://other.test/cb", c.registered)
			if !client.RedirectAllowed(c.registered) {
				t.Errorf("%s: %s is not allowed itself", kind, c.registered)
			}
			for _, uri := range c.native {
				if got := client.RedirectAllowed(uri); got != (kind == broker.ApplicationNative) {
					t.Errorf("%s: %s for %s: %v", kind, uri, c.registered, got)
				}
			}
			for _, uri := range c.never {
				if client.RedirectAllowed(uri) {
					t.Errorf("%s: %s is allowed for %s", kind, uri, c.registered)
				}
			}
		}
	}
	if redirectClient(broker.ApplicationWeb).RedirectAllowed("") || redirectClient(broker.ApplicationWeb, "").RedirectAllowed("") {
		t.Error("no URI is allowed")
	}
}

// loopback takes a loopback URI apart: host, port, and what is behind.
var loopback = regexp.MustCompile(`(?s)^http://(localhost|127\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\])(:\d*)?(/.*)$`)

// The law: only byte equality passes, but that of a native client's loopback
// URI the port, from 1 to 65535, may differ.
func FuzzRedirectAllowed(f *testing.F) {
	for _, seed := range [][2]string{
		{"https://rp.test/cb", "https://rp.test/cb"}, {"https://rp.test/cb", "https://rp.test:443/cb"}, {"https://rp.test/cb", "https://rp.test/cb/"}, {"https://rp.test/cb", "https://rp.test@evil.test/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:1/cb"}, {"http://127.0.0.1:1/cb", "http://127.0.0.1/cb"}, {"http://127.0.0.1/cb", "http://127.0.0.1:0/cb"}, {"http://127.0.0.1/cb", "http://127.0.0.1:65536/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:/cb"}, {"http://127.0.0.1/cb", "http://127.0.0.1:1@evil.test/cb"}, {"http://127.0.0.1/cb", "http://127.0.0.1.evil.test/cb"}, {"http://127.0.0.1/cb", "http://127.0.0.1:1\\@evil.test/cb"},
		{"http://[::1]/cb", "http://[::1]:80/cb"}, {"http://[::1]/cb", "http://[::1]80/cb"}, {"http://[::1%25lo]/cb", "http://[::1%25lo]:1/cb"}, {"http://[::ffff:127.0.0.1]/cb", "http://[::ffff:127.0.0.1]:1/cb"},
		{"http://localhost/cb", "http://localhost:1/cb"}, {"http://localhost/cb", "http://localhost:1/CB"}, {"http://127.0.0.1", "http://127.0.0.1:1"}, {"http://127.0.0.1?x", "http://127.0.0.1:1?x"},
		{"http://127.0.0.1:/cb", "http://127.0.0.1:1/cb"}, {"http://127.0.0.1:1/cb", "http://127.0.0.1:01/cb"}, {"http://user@127.0.0.1/cb", "http://user@127.0.0.1:1/cb"}, {"http://127.0.0.1//cb", "http://127.0.0.1:1//cb"},
		{"app.one:/oauth", "app.one:/oauth"}, {"", ""}, {"http://127.0.0.1/cb", ""}, {"http://127.0.0.1/\n", "http://127.0.0.1:1/\n"}, {"http://127.0.0.01/cb", "http://127.0.0.01:1/cb"},
		{"http://127.0.0.1:0/cb", "http://127.0.0.1:1/cb"}, {"http://127.0.0.1:65536/cb", "http://127.0.0.1:65535/cb"}, {"http://[::1]:/cb", "http://[::1]:1/cb"},
	} {
		f.Add(seed[0], seed[1], 4711)
	}
	f.Fuzz(func(t *testing.T, registered, uri string, port int) {
		web, native := redirectClient(broker.ApplicationWeb, registered), redirectClient(broker.ApplicationNative, registered)
		equal := uri == registered && uri != ""
		if web.RedirectAllowed(uri) != equal {
			t.Errorf("web: %q for %q: %v", uri, registered, !equal)
		}
		allowed, is, was := native.RedirectAllowed(uri), loopback.FindStringSubmatch(uri), loopback.FindStringSubmatch(registered)
		switch {
		case equal && !allowed:
			t.Errorf("native: %q is not allowed itself", uri)
		case !equal && allowed && (is == nil || was == nil || is[1] != was[1] || is[3] != was[3]):
			t.Errorf("native: %q for %q: more than the port differs", uri, registered)
		case !equal && allowed && is[2] != "":
			if n, err := strconv.Atoi(is[2][1:]); err != nil || n < 1 || n > 65535 {
				t.Errorf("native: %q has no port", uri)
			}
		}
		if allowed && !equal {
			// Where our parser and a browser's read a URI in two ways, the host is the same.
			a, err1 := url.Parse(registered)
			b, err2 := url.Parse(uri)
			if err1 != nil || err2 != nil || a.Hostname() != b.Hostname() || b.User != nil || strings.Contains(strings.TrimPrefix(uri, "http://"), "@") != strings.Contains(strings.TrimPrefix(registered, "http://"), "@") {
				t.Errorf("native: %q for %q: another host", uri, registered)
			}
		}
		// Every port is free for what can be registered.
		client, err := broker.CheckClient(*native)
		if err != nil || was == nil || port < 1 || port > 65535 {
			return
		}
		if addr, err := netip.ParseAddr(strings.Trim(was[1], "[]")); was[1] != "localhost" && (err != nil || !addr.IsLoopback()) {
			return
		}
		if other := "http://" + was[1] + ":" + strconv.Itoa(port) + was[3]; !client.RedirectAllowed(other) {
			t.Errorf("native: %q for %q is not allowed", other, registered)
		}
	})
}
