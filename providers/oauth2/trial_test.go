package oauth2_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oauth2"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// Without OpenID there is the client alone to be tried.
func TestTrial(t *testing.T) {
	site := providertest.StartSocial(t)
	req := broker.IdPRequest{State: strings.Repeat("s", 43), Verifier: strings.Repeat("v", 43), RedirectURI: "https://id.example.org/auth/p/callback"}
	try := func(id, secret string) string {
		p := oauth2.GitHub(oauth2.Config{Issuer: site.URL(), ClientID: id, ClientSecret: secret})
		out := []string{}
		for _, s := range p.Try(t.Context(), req) {
			out = append(out, fmt.Sprint(s.Step, " ", s.Result, " ", s.Finding))
			if strings.Contains(fmt.Sprint(s), site.ClientSecret) {
				t.Errorf("%+v has the secret", s)
			}
		}
		return strings.Join(out, ", ")
	}
	for _, c := range []struct{ id, secret, want string }{
		{site.ClientID, site.ClientSecret, "redirect_uri passed redirect_uri_registered, client_secret passed secret_taken"},
		{site.ClientID, "wrong", "redirect_uri passed redirect_uri_registered, client_secret failed secret_refused"},
		{"another", "wrong", "redirect_uri failed redirect_uri_refused, client_secret failed secret_refused"},
	} {
		if got := try(c.id, c.secret); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.id, c.secret, got, c.want)
		}
	}
	// GitHub itself leads whoever is not logged in to its login, whatever was asked.
	site.Respond(providertest.GitHubAuthorize, func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "/login?return_to=x", http.StatusFound)
		return true
	})
	if got := try(site.ClientID, site.ClientSecret); !strings.HasPrefix(got, "redirect_uri unknown redirect_uri_unknown") {
		t.Error(got)
	}
}
