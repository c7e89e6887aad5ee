package web

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is what has to be done at an IdP before Latchkey can send people
// there, in the order and by the names of that product's own forms, and the
// settings here that suit it. The comments name the makers' pages about it, and
// when the steps were last looked into, there or elsewhere; where such a page says
// something else, it is right.

// knownIdP is a product or a service that people log in with.
type knownIdP struct {
	Kind  string // in addresses and forms; the default id too
	Name  string // of the product; empty: Other
	Other *text
	// Issuer is what an issuer of it looks like; IssuerHelp says where it is found.
	Issuer     string
	IssuerHelp *text
	// Settings suit it. An issuer among them is the only one that it has.
	Settings broker.ProviderSettings
	Steps    []step
	Notes    []*text
	// Claims is what it says of a person, to try rules with.
	Claims string
}

// step is one thing to do at an IdP. Text is to be copied there; it may have
// places for what is of this one Latchkey.
type step struct {
	Do   *text
	Text string
}

// Places of a step's text.
const (
	itsRedirectURI = "{redirect_uri}"
	itsLogoutURI   = "{post_logout_redirect_uri}"
	itsBackchannel = "{backchannel_logout_uri}"
	itsScopes      = "{scopes}"
	itsPublicURL   = "{public_url}"
)

// Steps that many forms have. What is a name there is no text of ours.
func doOpen(place, button string) step {
	return step{Do: say("Open {place} and choose {button}.", place, button)}
}
func doPut(field, text string) step {
	return step{Do: say("Put this into {field}:", field), Text: text}
}
func doSet(field, value string) step {
	return step{Do: say("Set {field} to {value}.", field, value)}
}
func doLeave(field, value string) step {
	return step{Do: say("Leave {field} at {value}.", field, value)}
}
func doPress(button string) step { return step{Do: say("Choose {button}.", button)} }
func doCopy(id, secret string) step {
	return step{Do: say("Copy {id} and {secret} from there into the form below.", id, secret)}
}
func doCopyFrom(place, id, secret string) step {
	return step{Do: say("Open {place}, and copy {id} and {secret} from there into the form below.", place, id, secret)}
}

var (
	withGroups    = []string{broker.ScopeOpenID, broker.ScopeProfile, broker.ScopeEmail, broker.ScopeGroups}
	standardScope = []string{broker.ScopeOpenID, broker.ScopeProfile, broker.ScopeEmail}
	// anybodyThere are the settings of a service where anybody has an account.
	anybodyThere = broker.ProviderSettings{Provision: broker.ProvisionMatch, LinkBy: broker.LinkVerifiedEmail, RequireVerifiedEmail: broker.EmailAlways}
)

func ofType(s broker.ProviderSettings, kind, issuer string, scopes ...string) broker.ProviderSettings {
	s.Type, s.Issuer, s.Scopes = kind, issuer, scopes
	return s
}

// knownIdPs are in the order of the page.
var knownIdPs = []knownIdP{
	{
		// github.com/pocket-id/pocket-id, frontend/messages/en.json (2026-11)
		Kind: "pocketid", Name: "Pocket ID", Issuer: "https://id.example.org",
		IssuerHelp: say("The address of your Pocket ID, as its APP_URL says it."),
		Settings:   ofType(broker.ProviderSettings{}, broker.TypeOIDC, "", withGroups...),
		Steps: []step{
			doOpen("Settings → Administration → OIDC Clients", "Add OIDC Client"), doPut("Callback URLs", itsRedirectURI), doPut("Logout Callback URLs", itsLogoutURI),
			doLeave("Public Client", "off"), doSet("PKCE", "on"), doCopy("Client ID", "Client secret"),
			{Do: say("Under {field}, choose who may log in there.", "Allowed User Groups")},
		},
		Notes:  []*text{say("While {field} is off under {place}, it says email_verified: false, and Latchkey lets nobody in.", "Emails Verified", "Settings → Administration → Application Configuration")},
		Claims: `{"sub": "c4a3…", "preferred_username": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true, "groups": ["family"]}`,
	}, {
		// authelia.com/configuration/identity-providers/openid-connect/clients (2026-11)
		Kind: "authelia", Name: "Authelia", Issuer: "https://auth.example.org",
		IssuerHelp: say("The address of your Authelia’s portal."),
		Settings:   ofType(broker.ProviderSettings{TokenEndpointAuth: broker.AuthBasic}, broker.TypeOIDC, "", withGroups...),
		Steps: []step{
			{
				Do:   say("Make a secret and its digest with this command. The secret goes into the form below, the digest into Authelia’s configuration:"),
				Text: "authelia crypto hash generate pbkdf2 --variant sha512 --random --random.length 72 --random.charset rfc3986",
			}, {
				Do: say("Add this to {file}, with the digest, and start Authelia anew:", "configuration.yml"),
				Text: `identity_providers:
  oidc:
    clients:
      - client_id: latchkey
        client_name: Latchkey
        client_secret: '$pbkdf2-sha512$…'
        authorization_policy: two_factor
        require_pkce: true
        pkce_challenge_method: S256
        redirect_uris:
          - {redirect_uri}
        scopes: [{scopes_list}]
        response_types: [code]
        grant_types: [authorization_code]
        token_endpoint_auth_method: client_secret_basic`,
			},
			{Do: say("The client id is {value}.", "latchkey")},
		},
		Notes:  []*text{say("It has no logout that ends its own session, and tells nobody of one.")},
		Claims: `{"sub": "a1f7…", "preferred_username": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true, "groups": ["family"]}`,
	}, {
		// keycloak.org/docs/latest/server_admin, "Managing OpenID Connect clients" (2026-11)
		Kind: "keycloak", Name: "Keycloak", Issuer: "https://sso.example.org/realms/home",
		IssuerHelp: say("The address of the realm: {pattern}, with the realm’s name in place of {name}.", "https://…/realms/NAME", "NAME"),
		Settings:   ofType(broker.ProviderSettings{}, broker.TypeOIDC, "", standardScope...),
		Steps: []step{
			doOpen("Clients", "Create client"), doSet("Client type", "OpenID Connect"), doPut("Client ID", "latchkey"),
			doSet("Client authentication", "On"), {Do: say("Of {field}, leave only {value} on.", "Authentication flow", "Standard flow")}, doPut("Valid redirect URIs", itsRedirectURI),
			doPut("Valid post logout redirect URIs", itsLogoutURI), doPress("Save"), doPut("Backchannel logout URL", itsBackchannel),
			doSet("Backchannel logout session required", "On"), doSet("Advanced → Proof Key for Code Exchange Code Challenge Method", "S256"),
			doCopyFrom("Credentials", "Client ID", "Client Secret"),
			{Do: say("For rules by groups: under {place}, add a mapper of the type {type}, with {field} and {claim} set to {value} and {path} off.",
				"Client scopes → latchkey-dedicated", "Group Membership", "Name", "Token Claim Name", "groups", "Full group path")},
		},
		Claims: `{"sub": "0f3c…", "preferred_username": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true, "groups": ["family"], "realm_access": {"roles": ["reader"]}}`,
	}, {
		// docs.goauthentik.io: providers/oauth2, its pages on front-channel and back-channel logout and on verified addresses (2026-11)
		Kind: "authentik", Name: "authentik", Issuer: "https://auth.example.org/application/o/latchkey/",
		IssuerHelp: say("{pattern}, with the application’s slug, and with the slash at its end.", "https://…/application/o/SLUG/"),
		Settings:   ofType(broker.ProviderSettings{}, broker.TypeOIDC, "", standardScope...),
		Steps: []step{
			doOpen("Admin interface → Applications → Applications", "Create with Provider"), doPut("Slug", "latchkey"),
			doSet("Provider type", "OAuth2/OpenID Provider"), doSet("Client type", "Confidential"),
			{Do: say("Under {field}, choose {value}, and put this there:", "Redirect URIs/Origins", "Strict"), Text: itsRedirectURI},
			{Do: say("Add this there as well, of the type {value} where there is one:", "Post Logout"), Text: itsLogoutURI},
			doPut("Logout URI", itsBackchannel), doSet("Logout Method", "Back-channel"), {Do: say("Choose a {field}.", "Signing Key")}, doCopy("Client ID", "Client Secret"),
		},
		Notes:  []*text{say("authentik says email_verified: false of everybody unless its scope mapping for {scope} says otherwise: change that there, or Latchkey lets nobody in.", "email")},
		Claims: `{"sub": "9b1e…", "preferred_username": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true, "groups": ["family"]}`,
	}, {
		// kanidm.github.io/kanidm/stable/integrations/oauth2.html (2026-11)
		Kind: "kanidm", Name: "Kanidm", Issuer: "https://idm.example.org/oauth2/openid/latchkey",
		IssuerHelp: say("{pattern}, with the name of the client.", "https://…/oauth2/openid/CLIENT"),
		Settings:   ofType(broker.ProviderSettings{}, broker.TypeOIDC, "", withGroups...),
		Steps: []step{
			{
				Do: say("Run these commands; {group} are those who may log in:", "GROUP"),
				Text: `kanidm system oauth2 create latchkey Latchkey {public_url}
kanidm system oauth2 add-redirect-url latchkey {redirect_uri}
kanidm system oauth2 update-scope-map latchkey GROUP {scopes}
kanidm system oauth2 prefer-short-username latchkey`,
			},
			{Do: say("The client id is {value}.", "latchkey")},
			{Do: say("This shows the client secret for the form below:"), Text: "kanidm system oauth2 show-basic-secret latchkey"},
		},
		Notes:  []*text{say("Groups have their full names there, such as {value}.", "family@idm.example.org")},
		Claims: `{"sub": "5d6e…", "preferred_username": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true, "groups": ["family@idm.example.org"]}`,
	}, {
		// developers.google.com/identity/openid-connect/openid-connect (2026-11)
		Kind: "google", Name: "Google", Issuer: "https://accounts.google.com",
		Settings: ofType(anybodyThere, broker.TypeOIDC, "https://accounts.google.com", standardScope...),
		Steps: []step{
			doOpen("console.cloud.google.com → Google Auth Platform → Clients", "Create client"), doSet("Application type", "Web application"),
			doPut("Authorized redirect URIs", itsRedirectURI), doPress("Create"), doCopy("Client ID", "Client secret"),
		},
		Notes:  []*text{say("Anybody can have an account there, and it has no groups: let in only whom you know already, or the domains of your own."), say("It tells nobody of a logout.")},
		Claims: `{"sub": "10769150350006150715113082367", "name": "Anna", "email": "anna@example.org", "email_verified": true, "hd": "example.org"}`,
	}, {
		// learn.microsoft.com/entra/identity-platform: quickstart-register-app, id-token-claims-reference, optional-claims (2026-11)
		Kind: "entra", Name: "Microsoft Entra ID", Issuer: "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0",
		IssuerHelp: say("{pattern}: it is shown as {field} under {place}. Not {one} and not {other}.",
			"https://login.microsoftonline.com/TENANT/v2.0", "Directory (tenant) ID", "Overview", "common", "organizations"),
		Settings: ofType(broker.ProviderSettings{Provision: broker.ProvisionMatch, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailNever}, broker.TypeOIDC, "", standardScope...),
		Steps: []step{
			doOpen("entra.microsoft.com → App registrations", "New registration"),
			{Do: say("Under {field}, choose the one for accounts of your own organization alone.", "Supported account types")},
			{Do: say("Under {field}, choose {value}, and put this there:", "Redirect URI", "Web"), Text: itsRedirectURI}, doPress("Register"),
			{Do: say("Open {place}, choose {button}, and copy what stands under {value} (not {other}) as the client secret.", "Certificates & secrets", "New client secret", "Value", "Secret ID")},
			{Do: say("Copy {value} from {place} as the client id.", "Application (client) ID", "Overview")},
			{Do: say("For rules by groups: under {place}, choose {button}. Groups then are their object ids.", "Token configuration", "Add groups claim")},
		},
		Notes:  []*text{say("It does not say whether an address is verified, so that nobody is linked by one: let people link their login from their account page, or let in groups.")},
		Claims: `{"sub": "AAAA…", "preferred_username": "anna@example.org", "name": "Anna", "email": "anna@example.org", "groups": ["1b9f42c1-0000-0000-0000-000000000000"]}`,
	}, {
		// docs.github.com/en/apps/oauth-apps/building-oauth-apps/creating-an-oauth-app (2026-11)
		Kind: "github", Name: "GitHub", Settings: ofType(anybodyThere, broker.TypeGitHub, ""),
		Steps: []step{
			doOpen("github.com → Settings → Developer settings → OAuth Apps", "New OAuth app"), doPut("Homepage URL", itsPublicURL),
			doPut("Authorization callback URL", itsRedirectURI), doPress("Register application"),
			{Do: say("Choose {button}, and copy {id} and the secret from there into the form below.", "Generate a new client secret", "Client ID")},
		},
		Notes:  []*text{say("Groups are organizations and their teams: {org} or {team}. An organization has to permit the app before it is seen.", "acme", "acme/readers")},
		Claims: `{"id": 583231, "login": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true, "groups": ["acme", "acme/readers"]}`,
	}, {
		// discord.com/developers/docs/topics/oauth2 (2026-11)
		Kind: "discord", Name: "Discord", Settings: ofType(anybodyThere, broker.TypeDiscord, ""),
		Steps: []step{
			doOpen("discord.com/developers/applications", "New Application"), {Do: say("Open {place}, choose {button}, and put this there:", "OAuth2", "Add Redirect"), Text: itsRedirectURI},
			doPress("Save Changes"), {Do: say("Copy {id} from there, choose {button}, and copy the secret.", "Client ID", "Reset Secret")},
		},
		Notes:  []*text{say("Groups are the ids of servers, which Discord’s developer mode lets you copy.")},
		Claims: `{"id": "80351110224678912", "username": "anna", "global_name": "Anna", "email": "anna@example.org", "verified": true, "groups": ["197038439483310086"]}`,
	}, {
		Kind: "oidc", Other: say("Another OpenID provider"), Issuer: "https://id.example.org",
		IssuerHelp: say("What its {document} calls {field}, to the letter.", "/.well-known/openid-configuration", "issuer"),
		Settings:   ofType(broker.ProviderSettings{}, broker.TypeOIDC, "", standardScope...),
		Steps: []step{
			{Do: say("Make a client there for a web app with a secret: the authorization code flow, with PKCE (S256).")},
			doPut("redirect_uris", itsRedirectURI), doPut("post_logout_redirect_uris", itsLogoutURI), doPut("backchannel_logout_uri", itsBackchannel), doPut("scope", itsScopes),
			doCopy("client_id", "client_secret"),
		},
		Claims: `{"sub": "1234", "preferred_username": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true, "groups": ["family"]}`,
	}, {
		Kind: "oauth2", Other: say("Another OAuth 2 provider, without OpenID"),
		Settings: ofType(broker.ProviderSettings{}, broker.TypeOAuth2, ""),
		Steps: []step{
			{Do: say("Make a client there for a web app with a secret: the authorization code flow, with PKCE (S256) if there is a choice.")},
			doPut("redirect_uri", itsRedirectURI), doCopy("client_id", "client_secret"),
			{Do: say("Look up the addresses of its three endpoints, and which field of its answer names a person for good: not a login name, which somebody else may get.")},
		},
		Claims: `{"sub": "1234", "preferred_username": "anna", "name": "Anna", "email": "anna@example.org", "email_verified": true}`,
	},
}

// Called is how an IdP is called.
func (k knownIdP) Called() *text {
	if k.Other != nil {
		return k.Other
	}
	return say("{name}", k.Name)
}

func knownKind(kind string) (knownIdP, bool) {
	i := slices.IndexFunc(knownIdPs, func(k knownIdP) bool { return k.Kind == kind })
	if i < 0 {
		return knownIdP{}, false
	}
	return knownIdPs[i], true
}

// knownOf guesses which product a provider is.
func knownOf(s broker.ProviderSettings) knownIdP {
	u, err := url.Parse(s.Issuer)
	if err != nil {
		u = &url.URL{}
	}
	kind := s.Type
	switch own, _ := knownKind(s.ID); {
	case s.Type != broker.TypeOIDC:
	case u.Host == "accounts.google.com":
		kind = "google"
	case u.Host == "login.microsoftonline.com":
		kind = "entra"
	case strings.Contains(u.Path, "/realms/"):
		kind = "keycloak"
	case strings.Contains(u.Path, "/application/o/"):
		kind = "authentik"
	case strings.Contains(u.Path, "/oauth2/openid/"):
		kind = "kanidm"
	case own.Settings.Type == broker.TypeOIDC:
		kind = own.Kind
	}
	k, _ := knownKind(cmp.Or(kind, broker.TypeOIDC))
	return k
}

// registration is what an IdP has to know of this Latchkey.
type registration struct {
	Redirect    string
	PostLogout  string // empty: it has no use for it
	Backchannel string // likewise
	Steps       []step
	Notes       []*text
}

// registrationOf fills in what is of this Latchkey, for a provider of that id.
func (s *Server) registrationOf(k knownIdP, id string) registration {
	r := registration{Redirect: s.broker.CallbackURL(id), Notes: k.Notes}
	if k.Settings.Type == broker.TypeOIDC {
		r.PostLogout = s.afterLogout()
		r.Backchannel = s.broker.PublicURL() + "/auth/" + url.PathEscape(id) + "/backchannel-logout"
	}
	fill := strings.NewReplacer(itsRedirectURI, r.Redirect, itsLogoutURI, r.PostLogout, itsBackchannel, r.Backchannel, itsPublicURL, s.broker.PublicURL(),
		itsScopes, strings.Join(k.Settings.Scopes, " "), "{scopes_list}", strings.Join(k.Settings.Scopes, ", "))
	for _, one := range k.Steps {
		r.Steps = append(r.Steps, step{one.Do, fill.Replace(one.Text)})
	}
	return r
}

// Long reports whether the text of a step has several lines.
func (s step) Long() bool { return strings.Contains(s.Text, "\n") }
