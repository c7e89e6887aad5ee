package web

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is what a known app needs: its client, and what to type into the app.

// knownApp is an app whose settings we know from its makers' documentation, or
// from several public configurations. The places in its texts are those of [pasteIn].
type knownApp struct {
	ID   string // also the client's software_id
	Name string
	// Docs is the page of the makers about it, which is right where it says something
	// else; Read is when the settings were last looked into, there or elsewhere.
	Docs, Read string
	Example    string // of its address

	Redirects, PostLogout []string
	Scope                 string
	ClaimsInIDToken       bool
	Backchannel           string // its URI for back-channel logouts
	Public                bool   // it keeps no secret: PKCE instead
	Auth                  string // how it authenticates; empty: by basic or post, as it likes

	Where string // the way to the settings, in the app's own words; empty: it is configured by a file
	// Settings are in the order in which the app has them.
	Settings []setting
	Blocks   []block
	Note     *text
}

// setting is a field of an app, as the app calls it, and what to type there.
type setting struct {
	Field, Value string
	Say          *text // instead of a value
}

// block is a text to paste, such as a part of a file.
type block struct{ Name, Text string }

var on = say("switched on")

// appScope is what an app gets that asks for no group.
const appScope = "openid profile email"

// knownApps are by name.
var knownApps = []knownApp{
	{
		ID: "actual", Name: "Actual Budget", Example: "https://budget.example.org",
		Docs: "https://actualbudget.org/docs/config/oauth-auth", Read: "2026-11-28",
		Redirects: []string{"{app}/openid/callback"}, Scope: appScope,
		Blocks: []block{{Name: "environment", Text: `ACTUAL_OPENID_DISCOVERY_URL={discovery}
ACTUAL_OPENID_CLIENT_ID={id}
ACTUAL_OPENID_CLIENT_SECRET={secret}
ACTUAL_OPENID_SERVER_HOSTNAME={app}
`}},
	},
	{
		ID: "audiobookshelf", Name: "Audiobookshelf", Example: "https://books.example.org",
		Docs: "https://www.audiobookshelf.org/guides/oidc_authentication", Read: "2026-11-28",
		Redirects: []string{"{app}/auth/openid/callback", "{app}/auth/openid/mobile-redirect", "audiobookshelf://oauth"}, Scope: appScope + " groups",
		Where: "Settings › Authentication › OpenID Connect Authentication",
		Settings: []setting{
			{Field: "Issuer URL", Value: "{issuer}"}, {Field: "Authorize URL", Value: "{authorize}"}, {Field: "Token URL", Value: "{token}"},
			{Field: "Userinfo URL", Value: "{userinfo}"}, {Field: "JWKS URL", Value: "{jwks}"}, {Field: "Logout URL", Value: "{logout}"},
			{Field: "Client ID", Value: "{id}"}, {Field: "Client Secret", Value: "{secret}"}, {Field: "Allowed Mobile Redirect URIs", Value: "audiobookshelf://oauth"},
			{Field: "Button Text", Value: "Latchkey"},
		},
	},
	{
		ID: "bookstack", Name: "BookStack", Example: "https://wiki.example.org",
		Docs: "https://www.bookstackapp.com/docs/admin/oidc-auth/", Read: "2026-11-28",
		Redirects: []string{"{app}/oidc/callback"}, PostLogout: []string{"{app}"}, Scope: appScope + " groups", ClaimsInIDToken: true,
		Blocks: []block{{Name: ".env", Text: `AUTH_METHOD=oidc
OIDC_NAME=Latchkey
OIDC_DISPLAY_NAME_CLAIMS=name
OIDC_CLIENT_ID={id}
OIDC_CLIENT_SECRET={secret}
OIDC_ISSUER={issuer}
OIDC_ISSUER_DISCOVER=true
OIDC_END_SESSION_ENDPOINT=true
`}},
	},
	{
		ID: "forgejo", Name: "Forgejo", Example: "https://git.example.org",
		Docs: "https://forgejo.org/docs/latest/admin/command-line/", Read: "2026-11-28",
		Redirects: []string{"{app}/user/oauth2/latchkey/callback"}, Scope: appScope + " groups",
		Blocks: []block{{Name: "shell", Text: `forgejo admin auth add-oauth \
  --name latchkey \
  --provider openidConnect \
  --key {id} \
  --secret {secret} \
  --auto-discover-url {discovery} \
  --scopes openid --scopes profile --scopes email --scopes groups
`}},
	},
	{
		ID: "gitea", Name: "Gitea", Example: "https://git.example.org",
		Docs: "https://docs.gitea.com/administration/command-line", Read: "2026-11-28",
		Redirects: []string{"{app}/user/oauth2/latchkey/callback"}, Scope: appScope + " groups",
		Blocks: []block{{Name: "shell", Text: `gitea admin auth add-oauth \
  --name latchkey \
  --provider openidConnect \
  --key {id} \
  --secret {secret} \
  --auto-discover-url {discovery} \
  --scopes openid --scopes profile --scopes email --scopes groups
`}},
	},
	{
		ID: "grafana", Name: "Grafana", Example: "https://grafana.example.org",
		Docs: "https://grafana.com/docs/grafana/latest/setup-grafana/configure-access/configure-authentication/generic-oauth/", Read: "2026-11-28",
		Redirects: []string{"{app}/login/generic_oauth"}, Scope: appScope + " groups",
		Blocks: []block{{Name: "grafana.ini", Text: `[server]
root_url = {app}/

[auth.generic_oauth]
enabled = true
name = Latchkey
client_id = {id}
client_secret = {secret}
scopes = openid profile email groups
auth_url = {authorize}
token_url = {token}
api_url = {userinfo}
login_attribute_path = preferred_username
name_attribute_path = name
email_attribute_path = email
groups_attribute_path = groups
use_pkce = true
allow_sign_up = true
`}},
	},
	{
		ID: "hedgedoc", Name: "HedgeDoc", Example: "https://notes.example.org",
		Docs: "https://docs.hedgedoc.org/configuration/#oauth2-login", Read: "2026-11-28",
		Redirects: []string{"{app}/auth/oauth2/callback"}, Scope: appScope,
		Blocks: []block{{Name: "environment", Text: `CMD_OAUTH2_PROVIDERNAME=Latchkey
CMD_OAUTH2_CLIENT_ID={id}
CMD_OAUTH2_CLIENT_SECRET={secret}
CMD_OAUTH2_AUTHORIZATION_URL={authorize}
CMD_OAUTH2_TOKEN_URL={token}
CMD_OAUTH2_USER_PROFILE_URL={userinfo}
CMD_OAUTH2_SCOPE=openid email profile
CMD_OAUTH2_USER_PROFILE_ID_ATTR=sub
CMD_OAUTH2_USER_PROFILE_USERNAME_ATTR=preferred_username
CMD_OAUTH2_USER_PROFILE_DISPLAY_NAME_ATTR=name
CMD_OAUTH2_USER_PROFILE_EMAIL_ATTR=email
`}},
	},
	{
		ID: "immich", Name: "Immich", Example: "https://photos.example.org",
		Docs: "https://docs.immich.app/administration/oauth", Read: "2026-11-28",
		Redirects: []string{"{app}/auth/login", "{app}/user-settings", "app.immich:///oauth-callback"}, Scope: appScope,
		Where: "Administration › Settings › Authentication Settings › OAuth",
		Settings: []setting{
			{Field: "Enable", Say: on}, {Field: "Issuer URL", Value: "{issuer}"}, {Field: "Client ID", Value: "{id}"}, {Field: "Client Secret", Value: "{secret}"},
			{Field: "Scope", Value: "openid email profile"}, {Field: "Button Text", Value: "Latchkey"}, {Field: "Auto Register", Say: on},
		},
	},
	{
		ID: "mealie", Name: "Mealie", Example: "https://recipes.example.org",
		Docs: "https://docs.mealie.io/documentation/getting-started/authentication/oidc-v2/", Read: "2026-11-28",
		Redirects: []string{"{app}/login", "{app}/login?direct=1"}, PostLogout: []string{"{app}/login", "{app}/login?direct=1"}, Scope: appScope + " groups",
		Blocks: []block{{Name: "environment", Text: `OIDC_AUTH_ENABLED=true
OIDC_SIGNUP_ENABLED=true
OIDC_CONFIGURATION_URL={discovery}
OIDC_CLIENT_ID={id}
OIDC_CLIENT_SECRET={secret}
OIDC_PROVIDER_NAME=Latchkey
`}},
	},
	{
		ID: "miniflux", Name: "Miniflux", Example: "https://feeds.example.org",
		Docs: "https://miniflux.app/docs/howto.html#oauth2", Read: "2026-11-28",
		Redirects: []string{"{app}/oauth2/oidc/callback"}, Scope: appScope,
		Blocks: []block{{Name: "environment", Text: `OAUTH2_PROVIDER=oidc
OAUTH2_CLIENT_ID={id}
OAUTH2_CLIENT_SECRET={secret}
OAUTH2_REDIRECT_URL={app}/oauth2/oidc/callback
OAUTH2_OIDC_DISCOVERY_ENDPOINT={issuer}
OAUTH2_OIDC_PROVIDER_NAME=Latchkey
OAUTH2_USER_CREATION=1
`}},
	},
	{
		ID: "nextcloud", Name: "Nextcloud", Example: "https://cloud.example.org",
		Docs: "https://github.com/nextcloud/user_oidc", Read: "2026-11-28",
		Redirects: []string{"{app}/apps/user_oidc/code", "{app}/index.php/apps/user_oidc/code"}, PostLogout: []string{"{app}", "{app}/"}, Scope: appScope + " groups", ClaimsInIDToken: true,
		Blocks: []block{{Name: "shell", Text: `occ app:install user_oidc
occ user_oidc:provider latchkey \
  --clientid={id} \
  --clientsecret={secret} \
  --discoveryuri={discovery} \
  --scope="openid email profile"
`}},
	},
	{
		ID: "oauth2-proxy", Name: "oauth2-proxy", Example: "https://app.example.org",
		Docs: "https://oauth2-proxy.github.io/oauth2-proxy/configuration/providers/openid_connect", Read: "2026-11-28",
		Redirects: []string{"{app}/oauth2/callback"}, Scope: appScope + " groups",
		Blocks: []block{{Name: "oauth2-proxy.cfg", Text: `provider = "oidc"
provider_display_name = "Latchkey"
oidc_issuer_url = "{issuer}"
client_id = "{id}"
client_secret = "{secret}"
redirect_url = "{app}/oauth2/callback"
scope = "openid profile email groups"
code_challenge_method = "S256"
email_domains = [ "*" ]
`}},
	},
	{
		ID: "open-webui", Name: "Open WebUI", Example: "https://chat.example.org",
		Docs: "https://docs.openwebui.com/features/authentication-access/auth/sso", Read: "2026-11-28",
		Redirects: []string{"{app}/oauth/oidc/callback"}, Scope: appScope,
		Blocks: []block{{Name: "environment", Text: `WEBUI_URL={app}
ENABLE_OAUTH_SIGNUP=true
OAUTH_CLIENT_ID={id}
OAUTH_CLIENT_SECRET={secret}
OPENID_PROVIDER_URL={discovery}
OAUTH_PROVIDER_NAME=Latchkey
OAUTH_SCOPES=openid email profile
`}},
	},
	{
		ID: "outline", Name: "Outline", Example: "https://docs.example.org",
		Docs: "https://docs.getoutline.com/s/hosting/doc/oidc-8CPBm6uC0I", Read: "2026-11-28",
		Redirects: []string{"{app}/auth/oidc.callback"}, Scope: appScope,
		Blocks: []block{{Name: "environment", Text: `OIDC_CLIENT_ID={id}
OIDC_CLIENT_SECRET={secret}
OIDC_AUTH_URI={authorize}
OIDC_TOKEN_URI={token}
OIDC_USERINFO_URI={userinfo}
OIDC_LOGOUT_URI={logout}
OIDC_USERNAME_CLAIM=preferred_username
OIDC_DISPLAY_NAME=Latchkey
OIDC_SCOPES=openid profile email
`}},
	},
	{
		ID: "paperless", Name: "Paperless-ngx", Example: "https://papers.example.org",
		Docs: "https://docs.paperless-ngx.com/advanced_usage/#openid-connect-and-social-authentication", Read: "2026-11-28",
		Redirects: []string{"{app}/accounts/oidc/latchkey/login/callback/"}, Scope: appScope,
		Blocks: []block{{Name: "environment", Text: `PAPERLESS_APPS=allauth.socialaccount.providers.openid_connect
PAPERLESS_SOCIALACCOUNT_PROVIDERS={"openid_connect": {"OAUTH_PKCE_ENABLED": true, "APPS": [{"provider_id": "latchkey", "name": "Latchkey", "client_id": "{id}", "secret": "{secret}", "settings": {"server_url": "{discovery}"}}]}}
`}},
	},
	{
		ID: "proxmox", Name: "Proxmox VE", Example: "https://pve.example.org:8006",
		Docs: "https://pve.proxmox.com/wiki/User_Management", Read: "2026-11-28",
		// The browser's origin: some versions send it with a slash.
		Redirects: []string{"{app}", "{app}/"}, Scope: appScope,
		Blocks: []block{{Name: "shell", Text: `pveum realm add latchkey --type openid \
  --issuer-url {issuer} \
  --client-id {id} \
  --client-key {secret} \
  --username-claim username \
  --autocreate 1
`}},
	},
	{
		ID: "vikunja", Name: "Vikunja", Example: "https://tasks.example.org",
		Docs: "https://vikunja.io/docs/openid/", Read: "2026-11-28",
		Redirects: []string{"{app}/auth/openid/latchkey"}, Scope: appScope,
		Blocks: []block{{Name: "config.yml", Text: `auth:
  openid:
    enabled: true
    providers:
      latchkey:
        name: Latchkey
        authurl: {issuer}
        clientid: {id}
        clientsecret: {secret}
        scope: openid profile email
`}},
	},
}

func knownAppOf(id string) *knownApp {
	i := slices.IndexFunc(knownApps, func(a knownApp) bool { return a.ID == id })
	if i < 0 {
		return nil
	}
	return &knownApps[i]
}

// client is the client of the app at an address, without an id.
func (a *knownApp) client(address string) broker.Client {
	at := strings.NewReplacer("{app}", address)
	all := func(list []string) (out []string) {
		for _, one := range list {
			out = append(out, at.Replace(one))
		}
		return out
	}
	c := broker.Client{
		Name: a.Name, URI: address, SoftwareID: a.ID, RedirectURIs: all(a.Redirects), PostLogoutRedirectURIs: all(a.PostLogout), Scope: a.Scope,
		ClaimsInIDToken: a.ClaimsInIDToken, BackchannelLogoutURI: at.Replace(a.Backchannel), TokenEndpointAuthMethod: a.Auth, FirstParty: true,
		// Its server is asked for tokens, whatever its phones do.
		ApplicationType: broker.ApplicationWeb,
	}
	if a.Public {
		c.TokenEndpointAuthMethod = broker.AuthNone
	}
	return c
}

// addressOf reads the address of an app: where its pages begin, without a slash
// at the end.
func addressOf(typed string) (string, bool) {
	address := strings.TrimSpace(typed)
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	address = strings.TrimRight(address, "/")
	u, err := url.Parse(address)
	ok := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && !strings.ContainsAny(address, "?#")
	// What is pasted into files must mean there what it says.
	ok = ok && !strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`\\$<>{}|^*;&%", r) })
	return address, ok
}

// hiddenSecret stands where a secret goes that is not known any more.
const hiddenSecret = "CLIENT_SECRET"

// pasteIn fills the places of a known app's texts: where Latchkey is, and which
// client this is.
func (s *Server) pasteIn(c *broker.Client, secret string) *strings.Replacer {
	address := c.URI
	if address == "" && len(c.RedirectURIs) > 0 {
		u, _ := url.Parse(c.RedirectURIs[0])
		address = u.Scheme + "://" + u.Host
	}
	host := ""
	if u, err := url.Parse(address); err == nil {
		host = u.Host
	}
	pairs := []string{"{app}", strings.TrimRight(address, "/"), "{apphost}", host, "{id}", c.ID, "{secret}", cmp.Or(secret, hiddenSecret)}
	for place, url := range s.endpoints() {
		pairs = append(pairs, "{"+place+"}", url)
	}
	return strings.NewReplacer(pairs...)
}

// endpoints are the URLs of Latchkey that clients are told, by the places of
// [knownApp].
func (s *Server) endpoints() map[string]string {
	doc, out := s.describe(), map[string]string{"discovery": s.broker.PublicURL() + "/.well-known/openid-configuration"}
	for place, name := range map[string]string{
		"issuer": "issuer", "authorize": "authorization_endpoint", "token": "token_endpoint", "userinfo": "userinfo_endpoint",
		"jwks": "jwks_uri", "logout": "end_session_endpoint", "device": "device_authorization_endpoint", "introspect": "introspection_endpoint",
		"revoke": "revocation_endpoint",
	} {
		out[place] = doc[name].(string)
	}
	return out
}
