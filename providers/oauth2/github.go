package oauth2

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// Scopes of GitHub.
const (
	scopeGitHubEmail = "user:email"
	scopeGitHubOrgs  = "read:org"
)

// GitHub is github.com or a GitHub Enterprise, wherever cfg.Issuer is. The subject is
// the account's number: a login name is free for others once it was changed.
// Groups are organizations and teams, as "org" and "org/team" in GitHub's own
// spelling. Claims, Endpoints and TokenEndpointAuth of cfg are not used.
func GitHub(cfg Config) *Provider {
	api := gitHubAPI(cfg.Issuer)
	cfg.Endpoints = Endpoints{
		Authorization: cfg.Issuer + "/login/oauth/authorize", Token: cfg.Issuer + "/login/oauth/access_token",
		Userinfo: api + "/user", Emails: api + "/user/emails",
	}
	cfg.Claims = ClaimNames{Subject: "id", Username: "login"}
	cfg.TokenEndpointAuth = "client_secret_post"
	cfg.Scopes, cfg.Groups = withScopes(cfg, scopeGitHubOrgs, scopeGitHubEmail)
	return newProvider(cfg, dialect{
		header:  map[string]string{"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28", "User-Agent": "Latchkey"},
		subject: number, ask: askGitHub,
		groups: func(ctx context.Context, c caller) ([]string, error) { return gitHubGroups(ctx, c, api) },
	})
}

// withScopes adds to the configured scopes what is needed, and to that what
// groups take. Who asks for the scope of groups gets groups.
func withScopes(cfg Config, groups string, needed ...string) (scopes []string, withGroups bool) {
	if withGroups = cfg.Groups || slices.Contains(cfg.Scopes, groups); withGroups {
		needed = append(needed, groups)
	}
	for _, scope := range append(needed, cfg.Scopes...) {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, withGroups
}

// gitHubAPI is where the API of an installation is: on a host of its own at
// github.com and *.ghe.com, below /api/v3 on a server of one's own.
func gitHubAPI(issuer string) string {
	if u, err := url.Parse(issuer); err == nil && (u.Host == "github.com" || strings.HasSuffix(u.Hostname(), ".ghe.com")) {
		return u.Scheme + "://api." + u.Host
	}
	return issuer + "/api/v3"
}

// askGitHub hands on what GitHub knows of. It has no way to ask for a password
// again: the choice of an account is the most that it offers.
func askGitHub(ask broker.IdPAsk) map[string]string {
	out := map[string]string{}
	if ask.LoginHint != "" {
		out["login"] = ask.LoginHint
	}
	if ask.Prompt != "" {
		out["prompt"] = "select_account"
	}
	return out
}

func gitHubGroups(ctx context.Context, c caller, api string) (groups []string, err error) {
	orgs, err := c.all(ctx, api+"/user/orgs")
	if err != nil {
		return nil, err
	}
	teams, err := c.all(ctx, api+"/user/teams")
	if err != nil {
		return nil, err
	}
	for _, org := range orgs {
		if name := segment(org["login"]); name != "" {
			groups = append(groups, name)
		}
	}
	for _, team := range teams {
		org, slug := segment(idp.Lookup(team, "organization.login")), segment(team["slug"])
		if org != "" && slug != "" {
			groups = append(groups, org+"/"+slug)
		}
	}
	return groups, nil
}

// segment is a name that cannot be taken for the path of another.
func segment(v any) string {
	if name := idp.Text(v); !strings.Contains(name, "/") {
		return name
	}
	return ""
}
