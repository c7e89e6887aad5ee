package oauth2_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oauth2"
)

var wholeNumber = regexp.MustCompile(`^[1-9][0-9]{0,254}$`)

// Whatever a provider's API says, there is a person with a subject of the right
// shape, or there is nobody.
func FuzzPerson(f *testing.F) {
	for _, seed := range [][3]string{
		{`{"id":583231,"login":"anna","name":"Anna"}`, `[{"email":"a@x","primary":true,"verified":true}]`, `[{"login":"o","slug":"t","organization":{"login":"o"},"id":"1"}]`},
		{`{"id":"80351110224678912","username":"anna","email":"a@x","verified":true}`, `[]`, `[{"id":"197038439483310086"}]`},
		{`{"id":9007199254740993}`, `[{"email":"a@x","primary":true,"verified":"true"}]`, `[null,1,"x",[],{}]`},
		{`{"sub":"s","email":"a@x","email_verified":true,"groups":{"a":true}}`, `null`, `null`},
		{`{"id":1e999}`, `{}`, `[[[[`}, {`{"id":-0}`, `[{"primary":true}]`, ``}, {`{"id":1}{"id":2}`, `[] []`, `[]x`},
		{`{"id":01}`, "[{\"email\":\"a\\u0000\",\"primary\":true,\"verified\":true}]", `[{"login":"a/b"}]`}, {`{"ID":1}`, `[{"Email":"a@x","PRIMARY":true}]`, `[{"Login":"o"}]`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, profile, emails, lists string) {
		client := &http.Client{Transport: transport(func(req *http.Request) *http.Response {
			switch path := req.URL.Path; {
			case req.Method == http.MethodPost:
				return said(200, `{"access_token":"x","token_type":"bearer"}`)
			case strings.HasSuffix(path, "/emails"):
				return said(200, emails)
			case strings.HasSuffix(path, "/orgs"), strings.HasSuffix(path, "/teams"), strings.HasSuffix(path, "/guilds"):
				return said(200, lists)
			}
			return said(200, profile)
		})}
		for name, make := range map[string]func(oauth2.Config) *oauth2.Provider{"github": oauth2.GitHub, "discord": oauth2.Discord, "oauth2": oauth2.New} {
			p := make(oauth2.Config{Issuer: "https://site.test", Groups: true, HTTPClient: client, Endpoints: oauth2.Endpoints{
				Token: "https://site.test/token", Userinfo: "https://site.test/me",
			}})
			c, err := p.Exchange(t.Context(), request, broker.IdPResponse{Code: "c"})
			if err != nil {
				if broker.CodeOf(err) != broker.IdPBadResponse || c.Subject != "" {
					t.Errorf("%s: %+v, %v", name, c, err)
				}
				continue
			}
			checkPerson(t, name, c)
		}
	})
}

func checkPerson(t *testing.T, name string, c broker.IdPClaims) {
	t.Helper()
	texts := append([]string{c.Subject, c.Username, c.Name, c.Email}, c.Groups...)
	switch {
	case c.Issuer != "https://site.test", c.Subject == "", len(c.Subject) > 255, name != "oauth2" && !wholeNumber.MatchString(c.Subject):
		t.Errorf("%s: subject %q of %q", name, c.Subject, c.Issuer)
	case c.EmailVerified != nil && c.Email == "":
		t.Errorf("%s: no address, and verified is %v", name, *c.EmailVerified)
	case slices.Contains(c.Groups, ""), slices.ContainsFunc(texts, func(s string) bool { return strings.ContainsRune(s, 0) }):
		t.Errorf("%s: %q", name, texts)
	case name == "discord" && slices.ContainsFunc(c.Groups, func(g string) bool { return !wholeNumber.MatchString(g) }):
		t.Errorf("%s: groups %q", name, c.Groups)
	case name == "github" && slices.ContainsFunc(c.Groups, func(g string) bool { return strings.Count(g, "/") > 1 }):
		t.Errorf("%s: groups %q", name, c.Groups)
	}
}
