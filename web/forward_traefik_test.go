package web_test

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// traefik is a middleware ForwardAuth of Traefik, as its configuration has it.
type traefik struct {
	Address             string   `yaml:"address"`
	TrustForwardHeader  bool     `yaml:"trustForwardHeader"`
	AuthResponseHeaders []string `yaml:"authResponseHeaders"`
}

// shippedTraefik is the one that deploy shows.
func shippedTraefik(t *testing.T) *traefik {
	t.Helper()
	raw, err := os.ReadFile("../deploy/traefik/dynamic.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		HTTP struct {
			Middlewares map[string]struct {
				ForwardAuth *traefik `yaml:"forwardAuth"`
			} `yaml:"middlewares"`
		} `yaml:"http"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	m := file.HTTP.Middlewares["latchkey"].ForwardAuth
	if m == nil {
		t.Fatal("deploy/traefik/dynamic.yml has no middleware latchkey of the kind forwardAuth")
	}
	return m
}

// asks is what Traefik asks of a request: with GET, all headers of the client but those of
// the connection, and its own X-Forwarded-*; where it trusts those of the client, with
// these instead.
func (m *traefik) asks(x *site, address, method string, client ...option) *answer {
	x.t.Helper()
	u, err := url.Parse(m.Address)
	if err != nil {
		x.t.Fatal(err)
	}
	return x.do(http.MethodGet, u.RequestURI(), append(client, func(r *http.Request) {
		sent := maps.Clone(r.Header)
		header("X-Forwarded-For", "198.51.100.7")(r)
		about(address, "X-Forwarded-Method", method)(r)
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Method"} {
			if said := sent.Values(name); m.TrustForwardHeader && len(said) > 0 {
				r.Header[name] = said
			}
		}
	})...)
}

// Traefik passes on the Location as it is, so that has to be absolute, and of each answer
// of 200 the headers that it is told to.
func TestForwardAsTraefikAsks(t *testing.T) {
	x, m := forwardSite(t), shippedTraefik(t)
	_, jars := x.loggedInAt("alice", "https://app1.test/")
	client := []option{
		header("Accept", "*/*"), header("Accept-Encoding", "gzip"), header("Content-Type", "application/json"), header("X-Original-Url", "/public/x"),
		header("Remote-User", "root"), header("X_Forwarded_Uri", "/public/x"), // of the client: they go along in the question
		header("X-Forwarded-Server", "traefik"), header("X-Forwarded-Port", "443"), header("X-Real-Ip", "198.51.100.7"),
	}
	a := m.asks(x, "https://app1.test/page?x=1", "POST", client...).want(303)
	if to := a.Header.Get("Location"); !strings.HasPrefix(to, "https://app1.test/.latchkey/login?") {
		t.Error(to)
	}
	own := cookie(appCookie, jars["app1.test"].jar[appCookie])
	for _, scheme := range []string{"https", "wss"} {
		a = m.asks(x, scheme+"://app1.test/page?x=1", "POST", append(client, own)...).want(200)
		for _, name := range []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Session"} {
			if len(a.Header.Values(name)) != 1 || !slices.Contains(m.AuthResponseHeaders, name) {
				t.Errorf("%s: %q, and Traefik takes %v", name, a.Header.Values(name), m.AuthResponseHeaders)
			}
		}
	}
}

// What a client says of its request opens nothing behind the Traefik that deploy shows.
func TestForwardClientsForgeNothingAtTraefik(t *testing.T) {
	x, m := forwardSite(t), shippedTraefik(t)
	_, jars := x.loggedInAt("alice", "https://app1.test/")
	own := cookie(appCookie, jars["app1.test"].jar[appCookie])
	for address, forged := range map[string][]option{
		"https://app1.test/page": {header("X-Forwarded-Uri", "/public/x")},
		"https://app2.test/page": {own, header("X-Forwarded-Host", "app1.test")}, // where alice may go
		"https://key.test/page": {
			header("X-Forwarded-Proto", "https"), header("X-Forwarded-Host", "app1.test:8443"), header("X-Forwarded-Uri", "/public/x"), header("X-Forwarded-Method", "OPTIONS"),
		},
	} {
		if a := m.asks(x, address, "GET", append(forged, header("Accept", "application/json"))...); a.Status == http.StatusOK {
			t.Errorf("%s is open to who says that another was asked for", address)
		}
	}
	forged := m.asks(x, "https://app1.test/page", "GET", header("X-Forwarded-Host", "evil.test"), header("X-Forwarded-Proto", "http"), htmlOnly).want(302)
	if to := forged.Header.Get("Location"); !strings.HasPrefix(to, "https://app1.test/.latchkey/login?to=%2Fpage") {
		t.Errorf("a client chooses where the login leads: %s", to)
	}
}
