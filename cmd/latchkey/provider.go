package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

func (p *program) providerCommand() *cobra.Command {
	provider := &cobra.Command{
		Use: "provider", Short: "List identity providers, and try their rules",
		Long: "The identity providers that people log in through: those of the configuration, and those that were added\n" +
			"over the admin API.",
	}
	provider.AddCommand(p.providerList(), p.providerCheck(), p.providerTest())
	return provider
}

func (p *program) providerList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List identity providers, with the redirect URI to register at each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				all, err := b.ProvidersNow(cmd.Context())
				if err != nil {
					return err
				}
				return p.printProviders(b, all)
			})
		},
	}
	p.jsonFlag(c)
	return c
}

func (p *program) printProviders(b *broker.Broker, all []broker.Provider) error {
	views, rows := []broker.ProviderView{}, [][]string{}
	for _, one := range all {
		v := b.ViewProvider(one)
		from := "database"
		if v.ReadOnly {
			from = "configuration"
		}
		if !v.Health.InUse {
			from += ", not usable"
		}
		views, rows = append(views, v), append(rows, []string{v.ID, v.Name, v.Type, v.Issuer, from, v.CallbackURL})
	}
	if p.json {
		return p.printJSON(views)
	}
	p.table("ID\tNAME\tTYPE\tISSUER\tFROM\tREDIRECT URI", rows)
	return nil
}

// errTrial ends the command with a failure, after what is wrong was printed.
var errTrial = errors.New("the provider cannot be used like this")

func (p *program) providerCheck() *cobra.Command {
	c := &cobra.Command{
		Use: "check ID", Short: "Try a provider without a login: is it there, and does it know the client, its secret and its redirect URI?", Args: cobra.ExactArgs(1),
		Long: "Ask a provider what a login would ask, with a code that was made up. It takes at most ten seconds and stores\n" +
			"nothing. It fails if logins cannot work.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				out, err := b.TryProvider(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.printTrial(out)
			})
		},
	}
	p.jsonFlag(c)
	return c
}

func (p *program) printTrial(out broker.Trial) (err error) {
	if p.json {
		err = p.printJSON(out)
	} else {
		for _, s := range out.Steps {
			fmt.Fprintf(p.stdout, "%-8s %-18s %s\n", s.Result, s.Step, s.Detail)
		}
	}
	if err == nil && out.Result == broker.CheckFailed {
		err = errTrial
	}
	return err
}

// maxTestInput bounds a token or claims, in bytes.
const maxTestInput = 64 << 10

func (p *program) providerTest() *cobra.Command {
	var tokenStdin bool
	var claims string
	c := &cobra.Command{
		Use: "test ID (--token-stdin | --claims FILE)", Short: "Show what a provider's rules would do with an ID token or with claims", Args: cobra.ExactArgs(1),
		Long: "Run a login through a provider without doing it: who would be found, linked or made, with which role and\n" +
			"permissions, and which rule decides each. Nothing is written. An ID token is shown even if it has expired;\n" +
			"what is wrong with it is said. Claims that only the provider's userinfo has are not in an ID token.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if tokenStdin == (claims != "") {
				return usageError{errors.New("name one of --token-stdin and --claims")}
			}
			in, err := p.testInput(tokenStdin, claims)
			if err != nil {
				return err
			}
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error { return p.dryRun(cmd.Context(), b, args[0], in) })
		},
	}
	c.Flags().BoolVar(&tokenStdin, "token-stdin", false, "read an ID token from standard input")
	c.Flags().StringVar(&claims, "claims", "", "read claims, a JSON object, from a file (-: standard input)")
	p.jsonFlag(c)
	return c
}

func (p *program) testInput(tokenStdin bool, claims string) (in broker.DryRunInput, err error) {
	from := p.stdin
	if !tokenStdin && claims != "-" {
		file, err := os.Open(claims)
		if err != nil {
			return in, err
		}
		defer file.Close()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxTestInput+1))
	switch {
	case err != nil:
		return in, err
	case len(text) > maxTestInput:
		return in, fmt.Errorf("the input has more than %d bytes", maxTestInput)
	case tokenStdin:
		in.IDToken = strings.TrimSpace(string(text))
	default:
		in.Claims = text
	}
	return in, nil
}

func (p *program) dryRun(ctx context.Context, b *broker.Broker, id string, in broker.DryRunInput) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := b.DryRun(ctx, id, in)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(out)
	}
	for _, c := range out.Token {
		fmt.Fprintf(p.stdout, "token %-12s %s: %s\n", c.Check, c.Result, c.Detail)
	}
	for _, r := range out.Rulings {
		fmt.Fprintf(p.stdout, "%-18s %s   (%s)\n", r.What, ruled(r), r.Rule)
	}
	if out.Outcome == broker.OutcomeRefused {
		fmt.Fprintf(p.stdout, "%-18s %s: %s   (%s)\n", "refused", out.Code, out.Message, out.Rule)
		return nil
	}
	u := out.User
	fmt.Fprintf(p.stdout, "%-18s as %s, %s, e-mail %s, groups %s\n", "would log in", u.Username, u.Role, orDash(u.Email), orDash(strings.Join(u.Groups, ", ")))
	return nil
}

// ruled says a ruling's before and after.
func ruled(r broker.Ruling) string {
	if r.Before == nil {
		return fmt.Sprint(r.After)
	}
	if r.After == nil {
		return "refused"
	}
	return fmt.Sprintf("%+v → %+v", r.Before, r.After)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
