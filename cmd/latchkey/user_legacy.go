package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

// userLegacy lists who still holds a token that never expires.
func (p *program) userLegacy() *cobra.Command {
	c := &cobra.Command{
		Use: "legacy", Short: "List whose imported token that never expires can still be used, and when it last was", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				uses, err := b.LegacyUses(cmd.Context())
				if err != nil {
					return err
				}
				return p.printLegacy(uses)
			})
		},
	}
	p.jsonFlag(c)
	return c
}

func (p *program) printLegacy(uses []broker.LegacyUse) error {
	type view struct {
		ID         string `json:"id"`
		Username   string `json:"username"`
		LastUsedAt *int64 `json:"lastUsedAt"`
	}
	views, rows := []view{}, [][]string{}
	for _, u := range uses {
		views = append(views, view{u.User.ID, u.User.Username, millis(u.LastUsedAt)})
		rows = append(rows, []string{u.User.Username, when(u.LastUsedAt), u.User.ID})
	}
	if p.json {
		return p.printJSON(views)
	}
	p.table("USERNAME\tLAST USED\tID", rows)
	return nil
}

// userEndLegacy ends the legacy token of a user.
func (p *program) userEndLegacy() *cobra.Command {
	c := &cobra.Command{
		Use: "end-legacy NAME", Short: "End the imported token of a user that never expires", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, err := findUser(cmd.Context(), b, args[0])
				if err != nil {
					return err
				}
				n, err := b.EndLegacyTokens(cmd.Context(), u.ID, broker.Device{})
				if err != nil {
					return err
				}
				if p.json {
					return p.printJSON(map[string]int{"ended": n})
				}
				fmt.Fprintf(p.stdout, "%d ended\n", n)
				return nil
			})
		},
	}
	p.jsonFlag(c)
	return c
}
