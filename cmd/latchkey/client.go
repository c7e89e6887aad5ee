package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

func (p *program) clientCommand() *cobra.Command {
	client := &cobra.Command{
		Use: "client", Short: "Make and change OAuth clients, on the database directly",
		Long: "The apps and sites that people log in to through Latchkey. Clients of the configuration file are shown too,\n" +
			"and changed there.",
	}
	client.AddCommand(p.clientCreate(), p.clientList(),
		p.onClient("show ID", "Show a client", func(_ context.Context, _ *broker.Broker, c broker.Client) error { return p.printClient(c, "") }),
		p.onClient("secret ID", "Give a client a new secret; the old one ends at once", func(ctx context.Context, b *broker.Broker, c broker.Client) error {
			secret, err := b.RotateClientSecret(ctx, c.ID, "")
			if err != nil {
				return err
			}
			return p.printSecret(c, secret)
		}),
		p.onClient("delete ID", "Delete a client; its sessions end", func(ctx context.Context, b *broker.Broker, c broker.Client) error {
			if err := b.DeleteClient(ctx, c.ID); err != nil {
				return err
			}
			return p.printClient(c, "")
		}))
	return client
}

// onClient is a command about one client.
func (p *program) onClient(use, short string, do func(context.Context, *broker.Broker, broker.Client) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				found, err := b.FindClient(cmd.Context(), args[0])
				if errors.Is(err, broker.NotFound) {
					return fmt.Errorf("there is no client %q", args[0])
				}
				if err != nil {
					return err
				}
				return do(cmd.Context(), b, found)
			})
		},
	}
	p.jsonFlag(c)
	return c
}

func (p *program) clientCreate() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use: "create ID --redirect-uri URL...", Short: "Make a client; its secret is shown once", Args: cobra.ExactArgs(1),
		Long: "Make a client. It is confidential, with a secret that is shown once, unless --public says that it can keep none,\n" +
			"as apps and pages cannot.",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := f.client(args[0])
			if err != nil {
				return usageError{err}
			}
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				if err := knownProviders(client.Providers, b.Providers()); err != nil {
					return usageError{fmt.Errorf("--provider: %w", err)}
				}
				made, secret, err := b.CreateClient(cmd.Context(), client)
				if err != nil {
					return err
				}
				return p.printClient(made, secret)
			})
		},
	}
	f.add(c)
	p.jsonFlag(c)
	return c
}

// clientFlags are a client's metadata as flags.
type clientFlags struct {
	broker.Client
	public               bool
	scope                []string
	access, refresh, age durationFlag
	upstream             durationFlag
}

func (f *clientFlags) add(c *cobra.Command) {
	list := func(into *[]string, name, usage string) {
		c.Flags().StringArrayVar(into, name, nil, usage+"; may be repeated")
	}
	c.Flags().StringVar(&f.Name, "name", "", "what people are shown")
	list(&f.RedirectURIs, "redirect-uri", "where a login may return to; compared as a whole")
	list(&f.PostLogoutRedirectURIs, "post-logout-redirect-uri", "where a logout may return to")
	c.Flags().BoolVar(&f.public, "public", false, "it can keep no secret: an app, or a page without a server")
	c.Flags().BoolVar(&f.FirstParty, "first-party", false, "it is your own: nobody is asked for consent")
	list(&f.scope, "scope", "scope that it may ask for (default: openid profile email groups offline_access)")
	list(&f.GrantTypes, "grant-type", "authorization_code, refresh_token, client_credentials, device_code or token-exchange (default: the first two)")
	c.Flags().StringVar(&f.ApplicationType, "application-type", "", "web or native; by default what the redirect URIs suggest")
	c.Flags().StringVar(&f.TokenEndpointAuthMethod, "auth-method", "", "client_secret_basic, client_secret_post or private_key_jwt (default: either of the first two)")
	c.Flags().StringVar(&f.JWKSURI, "jwks-uri", "", "where it publishes its keys, for private_key_jwt")
	list(&f.Resources, "resource", "URI of an API that it may ask tokens for (RFC 8707)")
	list(&f.Providers, "provider", "id of a provider that may stand behind a login, or local for a password (default: all)")
	list(&f.AllowedOrigins, "origin", "web origin besides those of its redirect URIs")
	c.Flags().StringVar(&f.BackchannelLogoutURI, "backchannel-logout-uri", "", "where it hears that a session has ended")
	c.Flags().StringVar(&f.IDTokenAlg, "id-token-alg", "", "algorithm of its ID tokens (default RS256)")
	c.Flags().Var(&f.access, "access-ttl", "life of its access tokens, such as 10m (default: as configured)")
	c.Flags().Var(&f.refresh, "refresh-ttl", "how long its sessions live unused, such as 30d (default: as configured)")
	c.Flags().Var(&f.age, "session-max-age", "how long its sessions live at most (default: as configured)")
	c.Flags().Var(&f.upstream, "max-upstream-age", "how long ago a login at an identity provider may have been known to be alive (default: no limit)")
	c.Flags().BoolVar(&f.ClaimsInIDToken, "claims-in-id-token", false, "its ID tokens have what userinfo says too")
	c.Flags().BoolVar(&f.DPoPBound, "dpop", false, "it gets no tokens without a proof of its key (RFC 9449)")
	c.Flags().BoolVar(&f.RequirePAR, "require-par", false, "it has to push its authorization requests (RFC 9126)")
}

// grantNames are the short names of grant types that are URNs.
var grantNames = map[string]string{
	"device_code": broker.GrantDeviceCode, "device-code": broker.GrantDeviceCode,
	"token-exchange": broker.GrantTokenExchange, "token_exchange": broker.GrantTokenExchange,
}

func (f *clientFlags) client(id string) (broker.Client, error) {
	c := f.Client
	c.ID, c.Scope = id, strings.Join(strings.Fields(strings.Join(f.scope, " ")), " ")
	c.AccessTTL, c.RefreshTTL, c.SessionMaxAge = f.access.seconds(), f.refresh.seconds(), f.age.seconds()
	c.MaxUpstreamAge = f.upstream.seconds()
	for i, name := range c.GrantTypes {
		if long, ok := grantNames[name]; ok {
			c.GrantTypes[i] = long
		}
	}
	if f.public {
		if c.TokenEndpointAuthMethod != "" && c.TokenEndpointAuthMethod != broker.AuthNone {
			return c, fmt.Errorf("--public has no secret and no key: leave --auth-method %s out", c.TokenEndpointAuthMethod)
		}
		c.TokenEndpointAuthMethod = broker.AuthNone
	}
	if len(c.RedirectURIs) == 0 && (c.GrantTypes == nil || c.MayUse(broker.GrantAuthorizationCode)) {
		return c, errors.New("name where its logins return to: --redirect-uri URL")
	}
	return c, nil
}

// knownProviders refuses a name that is no configured provider's.
func knownProviders(named []string, providers []broker.Provider) error {
	known := []string{localProvider}
	for _, x := range providers {
		known = append(known, x.ID)
	}
	for _, id := range named {
		if !slices.Contains(known, id) {
			return fmt.Errorf("%q is not configured; there is %s", id, strings.Join(known, ", "))
		}
	}
	return nil
}

// localProvider stands for the password in a client's list of providers.
const localProvider = "local"

func (p *program) clientList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List clients", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				all, err := allClients(cmd.Context(), b)
				if err != nil {
					return err
				}
				return p.printClients(all)
			})
		},
	}
	p.jsonFlag(c)
	return c
}

// allClients goes through the pages. The first has those of the configuration
// as well, which count for no page's length.
func allClients(ctx context.Context, b *broker.Broker) (all []broker.Client, err error) {
	const limit = 500
	for after := ""; ; {
		page, err := b.Clients(ctx, after, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		stored := slices.DeleteFunc(slices.Clone(page), func(c broker.Client) bool { return c.ReadOnly })
		if len(stored) < limit {
			return all, nil
		}
		after = stored[len(stored)-1].ID
	}
}

// clientView is a client as a registration is answered (RFC 7591 section 3.2.1).
type clientView struct {
	broker.Client
	Secret    string `json:"client_secret,omitempty"`
	IssuedAt  *int64 `json:"client_id_issued_at,omitempty"`
	ExpiresAt *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	ReadOnly  bool   `json:"read_only"`
}

func viewClient(c broker.Client, secret string) clientView {
	v := clientView{Client: c, Secret: secret, IssuedAt: unixSeconds(c.CreatedAt), ReadOnly: c.ReadOnly}
	if secret != "" {
		v.ExpiresAt = new(int64)
	}
	return v
}

func (p *program) printClient(c broker.Client, secret string) error {
	if p.json {
		return p.printJSON(viewClient(c, secret))
	}
	rows := [][2]string{
		{"client_id", c.ID}, {"client_secret", secret}, {"client_name", c.Name}, {"kind", clientKind(c)}, {"from", clientSource(c)},
		{"redirect_uris", strings.Join(c.RedirectURIs, " ")}, {"post_logout_redirect_uris", strings.Join(c.PostLogoutRedirectURIs, " ")},
		{"application_type", c.ApplicationType}, {"token_endpoint_auth_method", c.TokenEndpointAuthMethod},
		{"grant_types", strings.Join(c.GrantTypes, " ")}, {"scope", c.Scope}, {"jwks_uri", c.JWKSURI},
		{"id_token_signed_response_alg", c.IDTokenAlg}, {"backchannel_logout_uri", c.BackchannelLogoutURI},
		{"providers", strings.Join(c.Providers, " ")}, {"resources", strings.Join(c.Resources, " ")},
		{"allowed_origins", strings.Join(c.AllowedOrigins, " ")}, {"access_ttl", secondsText(c.AccessTTL)},
		{"refresh_ttl", secondsText(c.RefreshTTL)}, {"session_max_age", secondsText(c.SessionMaxAge)},
		{"max_upstream_age", secondsText(c.MaxUpstreamAge)}, {"made", madeAt(c)},
	}
	for _, r := range rows {
		if r[1] != "" {
			fmt.Fprintf(p.stdout, "%-29s %s\n", r[0], r[1])
		}
	}
	p.shownOnce(c.ID, secret)
	return nil
}

func (p *program) printSecret(c broker.Client, secret string) error {
	if p.json {
		return p.printJSON(map[string]any{"client_id": c.ID, "client_secret": secret, "client_secret_expires_at": 0})
	}
	fmt.Fprintf(p.stdout, "%-29s %s\n%-29s %s\n", "client_id", c.ID, "client_secret", secret)
	p.shownOnce(c.ID, secret)
	return nil
}

func (p *program) shownOnce(id, secret string) {
	if secret != "" {
		fmt.Fprintf(p.stdout, "\nThe secret is shown this once; only its hash is kept. A new one: latchkey client secret %s\n", id)
	}
}

func (p *program) printClients(clients []broker.Client) error {
	views, rows := []clientView{}, [][]string{}
	for _, c := range clients {
		views = append(views, viewClient(c, ""))
		rows = append(rows, []string{c.ID, c.Name, clientKind(c), clientSource(c), strings.Join(c.RedirectURIs, " ")})
	}
	if p.json {
		return p.printJSON(views)
	}
	p.table("ID\tNAME\tKIND\tFROM\tREDIRECT URIS", rows)
	return nil
}

func clientKind(c broker.Client) string {
	kind := "confidential"
	if c.Public() {
		kind = "public"
	}
	if c.FirstParty {
		kind += ", first party"
	}
	return kind
}

func clientSource(c broker.Client) string {
	switch {
	case c.ID == broker.CLIClientID:
		return "built in"
	case c.ReadOnly:
		return "configuration"
	case c.Registered:
		return "registered itself"
	}
	return "database"
}

func madeAt(c broker.Client) string {
	if c.CreatedAt.IsZero() {
		return ""
	}
	return when(c.CreatedAt)
}

func secondsText(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return duration(time.Duration(seconds) * time.Second).String()
}
