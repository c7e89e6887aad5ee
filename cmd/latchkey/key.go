package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

func (p *program) keyCommand() *cobra.Command {
	key := &cobra.Command{Use: "key", Short: "Signing keys"}
	list := &cobra.Command{
		Use: "list", Short: "List signing keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error { return p.printKeys(b.SigningKeys()) })
		},
	}
	rotate := &cobra.Command{
		Use: "rotate", Short: "Publish new signing keys, which sign as soon as everybody knows them", Args: cobra.NoArgs,
		Long: "Publish a new key of every algorithm. It signs once it was in the key set for 20 minutes and every replica\n" +
			"has loaded it; the one before it stays in the set until its last token has expired. A running server does that.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				waiting, err := b.RotateKeys(cmd.Context())
				if err != nil {
					return err
				}
				return p.printKeys(waiting)
			})
		},
	}
	revoke := &cobra.Command{
		Use: "revoke KID", Short: "Take a signing key back at once, in an emergency", Args: cobra.ExactArgs(1),
		Long: "Take a signing key back that somebody else may have. Access tokens that it signed are refused at once by\n" +
			"Latchkey, and by API servers as soon as they have read the key set again. Refresh tokens go on, so that nobody\n" +
			"is logged out: apps get new access tokens, by another key. Write -- before a KID that begins with -.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				signs, err := b.RevokeKey(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if p.json {
					return p.printJSON(map[string]any{"revoked": args[0], "signs": signs})
				}
				fmt.Fprintf(p.stdout, "revoked %s\n", args[0])
				if signs != "" {
					fmt.Fprintf(p.stdout, "%s signs in its place\n", signs)
				}
				return nil
			})
		},
	}
	for _, c := range []*cobra.Command{list, rotate, revoke} {
		p.jsonFlag(c)
		key.AddCommand(c)
	}
	return key
}

func (p *program) printKeys(keys []broker.KeyState) error {
	type view struct {
		ID        string        `json:"kid"`
		Algorithm string        `json:"alg"`
		State     broker.KeyUse `json:"state"`
		Signs     bool          `json:"signs"`
		CreatedAt *int64        `json:"createdAt"`
		ActiveAt  *int64        `json:"activeAt"`
		NotBefore *int64        `json:"notBefore"`
		RetiredAt *int64        `json:"retiredAt"`
	}
	views, rows := []view{}, [][]string{}
	for _, k := range keys {
		views = append(views, view{k.ID, k.Algorithm, k.State, k.Signs, millis(k.CreatedAt), millis(k.ActiveAt), millis(k.NotBefore), millis(k.RetiredAt)})
		state := string(k.State)
		if k.Signs {
			state = "signs"
		}
		from := when(k.ActiveAt)
		if !k.NotBefore.IsZero() {
			from = when(k.NotBefore) + " at the earliest"
		}
		rows = append(rows, []string{k.ID, k.Algorithm, state, when(k.CreatedAt), from})
	}
	if p.json {
		return p.printJSON(views)
	}
	p.table("KID\tALGORITHM\tSTATE\tMADE\tSIGNS FROM", rows)
	return nil
}
