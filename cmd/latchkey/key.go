package main

import (
	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

func (p *program) keyCommand() *cobra.Command {
	key := &cobra.Command{Use: "key", Short: "Signing keys"}
	list := &cobra.Command{
		Use: "list", Short: "List signing keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error { return p.printKeys(b) })
		},
	}
	p.jsonFlag(list)
	key.AddCommand(list)
	return key
}

func (p *program) printKeys(b *broker.Broker) error {
	type view struct {
		ID        string        `json:"kid"`
		Algorithm string        `json:"alg"`
		State     broker.KeyUse `json:"state"`
		Signs     bool          `json:"signs"`
		CreatedAt *int64        `json:"createdAt"`
		ActiveAt  *int64        `json:"activeAt"`
		RetiredAt *int64        `json:"retiredAt"`
	}
	views, rows := []view{}, [][]string{}
	for _, k := range b.SigningKeys() {
		views = append(views, view{k.ID, k.Algorithm, k.State, k.Signs, millis(k.CreatedAt), millis(k.ActiveAt), millis(k.RetiredAt)})
		state := string(k.State)
		if k.Signs {
			state = "signs"
		}
		rows = append(rows, []string{k.ID, k.Algorithm, state, when(k.CreatedAt), when(k.ActiveAt)})
	}
	if p.json {
		return p.printJSON(views)
	}
	p.table("KID\tALGORITHM\tSTATE\tMADE\tSIGNS FROM", rows)
	return nil
}
