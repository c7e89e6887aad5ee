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
	URL       string `json:"url,omitempty"`
	MailedTo  string `json:"mailedTo,omitempty"`
	ExpiresAt *int64 `json:"expiresAt"`
}

func (p *program) printLink(u broker.User, l broker.MadeLink) error {
	if p.json {
		return p.printJSON(linkView{u.Username, string(l.Purpose), l.URL, l.MailedTo, millis(l.ExpiresAt)})
	}
	if l.URL == "" {
		fmt.Fprintf(p.stdout, "A mail to %s is queued; a running server sends it. Its link works once, until %s.\n", l.MailedTo, when(l.ExpiresAt))
		return nil
	}
	fmt.Fprintf(p.stdout, "%s\nGive this link to %s, and to nobody else: it works once, until %s.\n", l.URL, u.Username, when(l.ExpiresAt))
	return nil
}

func (p *program) userInvite() *cobra.Command {
	var n broker.NewUser
	var role string
	var how broker.Handover
	c := &cobra.Command{
		Use: "invite NAME", Short: "Make a user, and a link with which the user chooses a password", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Username, n.Role = args[0], broker.Role(role)
			if !n.Role.Valid() {
				return usageError{errRole}
			}
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, l, err := b.SendInvitation(cmd.Context(), n, how)
				if err != nil {
					return err
				}
				return p.printLink(u, l)
			})
		},
	}
	accountFlags(c, &n, &role)
	mailFlag(c, &how)
	p.jsonFlag(c)
	return c
}

// mailFlag lets the link be mailed.
func mailFlag(c *cobra.Command, how *broker.Handover) {
	c.Flags().BoolVar(&how.ByMail, "mail", false, "mail the link to the user's address instead of printing it")
}

func (p *program) userResetLink() *cobra.Command {
	var how broker.Handover
	c := &cobra.Command{
		Use: "reset-link NAME", Short: "Make a link with which a user sets a password; an earlier link is void", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, err := findUser(cmd.Context(), b, args[0])
				if err != nil {
					return err
				}
				l, err := b.SendPasswordLink(cmd.Context(), nil, u.ID, "", how)
				if err != nil {
					return err
				}
				return p.printLink(u, l)
			})
		},
	}
	mailFlag(c, &how)
	p.jsonFlag(c)
	return c
}
