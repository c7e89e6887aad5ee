package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

// linkView is a password link as the API names its fields.
type linkView struct {
	Username  string `json:"username"`
	Purpose   string `json:"purpose"`
	URL       string `json:"url"`
	ExpiresAt *int64 `json:"expiresAt"`
}

func (p *program) printLink(u broker.User, l broker.MadeLink) error {
	if p.json {
		return p.printJSON(linkView{u.Username, string(l.Purpose), l.URL, millis(l.ExpiresAt)})
	}
	fmt.Fprintf(p.stdout, "%s\nGive this link to %s, and to nobody else: it works once, until %s.\n", l.URL, u.Username, when(l.ExpiresAt))
	return nil
}

func (p *program) userInvite() *cobra.Command {
	var n broker.NewUser
	var role string
	c := &cobra.Command{
		Use: "invite NAME", Short: "Make a user, and a link with which the user chooses a password", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Username, n.Role = args[0], broker.Role(role)
			if !n.Role.Valid() {
				return usageError{errRole}
			}
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, l, err := b.InviteUser(cmd.Context(), n)
				if err != nil {
					return err
				}
				return p.printLink(u, l)
			})
		},
	}
	accountFlags(c, &n, &role)
	p.jsonFlag(c)
	return c
}

func (p *program) userResetLink() *cobra.Command {
	c := &cobra.Command{
		Use: "reset-link NAME", Short: "Make a link with which a user sets a password; an earlier link is void", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, err := findUser(cmd.Context(), b, args[0])
				if err != nil {
					return err
				}
				l, err := b.MakePasswordLink(cmd.Context(), nil, u.ID, "")
				if err != nil {
					return err
				}
				return p.printLink(u, l)
			})
		},
	}
	p.jsonFlag(c)
	return c
}
