package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
)

// apikeyView is an API key as the API names its fields; apiKey is there once,
// when it is made.
type apikeyView struct {
	APIKey      string     `json:"apiKey,omitempty"`
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description"`
	UserID      string     `json:"userId"`
	Username    string     `json:"username"`
	Scope       string     `json:"scope"`
	IsActive    bool       `json:"isActive"`
	CreatedAt   time.Time  `json:"createdAt"`
	ExpiresAt   *time.Time `json:"expiresAt"`
	LastUsedAt  *time.Time `json:"lastUsedAt"`
}

func viewKey(k broker.OwnedAPIKey, now time.Time) apikeyView {
	v := apikeyView{
		ID: k.ID, Name: k.Name, Description: k.Description, UserID: k.UserID, Username: k.Owner.Username, Scope: k.Scope,
		IsActive: k.Active(now), CreatedAt: k.CreatedAt,
	}
	if !k.ExpiresAt.IsZero() {
		v.ExpiresAt = &k.ExpiresAt
	}
	if !k.LastUsedAt.IsZero() {
		v.LastUsedAt = &k.LastUsedAt
	}
	return v
}

func (p *program) apikeyCommand() *cobra.Command {
	apikey := &cobra.Command{
		Use: "apikey", Short: "Make and revoke API keys, on the database directly",
		Long: "Keys for programs that act for a user, such as a script. A key opens no admin route and changes no account.",
	}
	apikey.AddCommand(p.apikeyCreate(), p.apikeyList(), p.apikeyRevoke())
	return apikey
}

func (p *program) apikeyCreate() *cobra.Command {
	var n broker.NewAPIKey
	var scope []string
	var expiresIn durationFlag
	c := &cobra.Command{
		Use: "create USER --name NAME", Short: "Make a key that acts for a user; it is shown once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Scope, n.ExpiresIn = strings.Join(scope, " "), expiresIn.Duration()
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, err := findUser(cmd.Context(), b, args[0])
				if err != nil {
					return err
				}
				n.UserID = u.ID
				made, key, err := b.CreateAPIKey(cmd.Context(), nil, n, broker.Device{})
				if err != nil {
					return err
				}
				return p.printNewKey(viewKey(made, b.Now()), key)
			})
		},
	}
	c.Flags().StringVar(&n.Name, "name", "", "what it is for")
	_ = c.MarkFlagRequired("name")
	c.Flags().StringVar(&n.Description, "description", "", "more about it")
	c.Flags().StringArrayVar(&scope, "scope", nil, "latchkey:api (default), latchkey:read, latchkey:forward, or what an API of yours knows; may be repeated")
	c.Flags().Var(&expiresIn, "expires-in", "how long it lives, such as 90d; by default for ever")
	p.jsonFlag(c)
	return c
}

func (p *program) printNewKey(v apikeyView, key tokens.APIKey) error {
	if v.APIKey = key.Reveal(); p.json {
		return p.printJSON(v)
	}
	p.printAPIKeys([]apikeyView{v})
	fmt.Fprintf(p.stdout, "\n%s\n\nKeep the key now: it is shown this once.\n", v.APIKey)
	return nil
}

func (p *program) printAPIKeys(views []apikeyView) {
	rows := [][]string{}
	for _, v := range views {
		state := "active"
		if !v.IsActive {
			state = "inactive"
		}
		rows = append(rows, []string{v.ID, v.Username, v.Name, state, v.Scope, orNever(v.ExpiresAt), orNever(v.LastUsedAt)})
	}
	p.table("ID\tUSER\tNAME\tSTATE\tSCOPE\tEXPIRES\tLAST USED", rows)
}

func orNever(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return when(*t)
}

func (p *program) apikeyList() *cobra.Command {
	var user string
	c := &cobra.Command{
		Use: "list", Short: "List API keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				userID := ""
				if user != "" {
					u, err := findUser(cmd.Context(), b, user)
					if err != nil {
						return err
					}
					userID = u.ID
				}
				views := []apikeyView{}
				for after := ""; ; {
					page, err := b.APIKeys(cmd.Context(), nil, userID, after, 500)
					if err != nil {
						return err
					}
					for _, k := range page {
						views, after = append(views, viewKey(k, b.Now())), k.ID
					}
					if len(page) < 500 {
						break
					}
				}
				if p.json {
					return p.printJSON(views)
				}
				p.printAPIKeys(views)
				return nil
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "those of one user")
	p.jsonFlag(c)
	return c
}

func (p *program) apikeyRevoke() *cobra.Command {
	c := &cobra.Command{
		Use: "revoke ID", Short: "Delete an API key; it is refused from then on", Args: cobra.ExactArgs(1),
		Long: "Delete an API key. The ID is the part of the key between its two underscores.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				err := b.DeleteAPIKey(cmd.Context(), nil, args[0], broker.Device{})
				if errors.Is(err, broker.NotFound) {
					return fmt.Errorf("there is no API key %q", args[0])
				}
				if err == nil && p.json {
					return p.printJSON(map[string]string{"id": args[0]})
				}
				return err
			})
		},
	}
	p.jsonFlag(c)
	return c
}
