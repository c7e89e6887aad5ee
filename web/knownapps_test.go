package web

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// Each known app makes a client that is taken as it is, and leaves no place of
// its texts unfilled.
func TestKnownApps(t *testing.T) {
	s := pastesFor(t)
	place := regexp.MustCompile(`\{[a-z]+\}`)
	for i, app := range knownApps {
		if i > 0 && strings.ToLower(knownApps[i-1].Name) >= strings.ToLower(app.Name) {
			t.Errorf("%s is not in its place", app.Name)
		}
		if _, kind := offerOf(app.ID); !kind || slices.ContainsFunc(kinds, func(o offer) bool { return o.ID == app.ID }) {
			t.Errorf("%s: the id is a kind's", app.ID)
		}
		if docs, err := url.Parse(app.Docs); err != nil || docs.Scheme != "https" || app.Read == "" || app.Example == "" {
			t.Errorf("%s: documentation %q as of %q", app.ID, app.Docs, app.Read)
		}
		if len(app.Settings)+len(app.Blocks) == 0 {
			t.Errorf("%s has nothing to paste", app.ID)
		}
		for _, address := range []string{app.Example, "http://nas.home:8080/sub"} {
			c := app.client(address)
			c.ID = app.ID
			c, err := broker.CheckClient(c)
			if err != nil {
				t.Errorf("%s at %s: %v", app.ID, address, err)
				continue
			}
			c.SecretHash = "a hash"
			if c.ApplicationType != broker.ApplicationWeb || !strings.HasPrefix(c.RedirectURIs[0], address) || c.SoftwareID != app.ID || !c.FirstParty {
				t.Errorf("%s: %+v", app.ID, c)
			}
			paste, all := s.pasteOf(&c, "lks_secret"), ""
			for _, one := range paste.Settings {
				all += one.Value + "\n"
			}
			for _, one := range paste.Blocks {
				all += one.Text
			}
			if left := place.FindString(all); left != "" {
				t.Errorf("%s: the place %s is not filled", app.ID, left)
			}
			for _, want := range []string{"lks_secret", app.ID, "https://id.example.org"} {
				if !strings.Contains(all, want) {
					t.Errorf("%s does not say %s", app.ID, want)
				}
			}
			if later := s.pasteOf(&c, ""); !later.Hidden {
				t.Errorf("%s: nothing says where the secret goes", app.ID)
			}
		}
	}
}

// What is pasted into a file means there what it says.
func TestAddressOfApp(t *testing.T) {
	for typed, want := range map[string]string{
		"https://app.example.org/": "https://app.example.org", " app.example.org ": "https://app.example.org", "http://nas:8080/sub//": "http://nas:8080/sub",
		"": "", "https://": "", "javascript:alert(1)": "", "https://a@b.test": "", "https://a.test/?x": "", "https://a.test/#x": "", "https://a.test/\nX=1": "",
		`https://a.test/"`: "", "https://a.test/$(id)": "", "https://a.test/`id`": "", "https://a.test/{secret}": "", "https://ä.test": "", "ftp://a.test": "",
	} {
		got, ok := addressOf(typed)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q is %q %v", typed, got, ok)
		}
	}
}

// pastesFor is a server at an address.
func pastesFor(t *testing.T) *Server {
	t.Helper()
	all, err := loadTongues()
	if err != nil {
		t.Fatal(err)
	}
	rig := harness.New(t, "", func(c *broker.Config) { c.PublicURL = "https://id.example.org" })
	return &Server{broker: rig.Broker, tongues: all}
}
