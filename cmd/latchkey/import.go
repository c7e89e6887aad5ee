package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/cmd/latchkey/userfile"
	"github.com/latchkey-id/latchkey/storage/absdb"
)

func (p *program) importCommand() *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Take users over from another system, on the database directly"}
	var verified bool
	abs := p.importFrom("audiobookshelf --from FILE", "Take over the users and devices of an Audiobookshelf database (SQLite, 2.35 or newer)",
		func(ctx context.Context, file string) (broker.Import, error) {
			from, err := absdb.Read(ctx, file)
			if verified && err == nil {
				from.Users = withVerifiedEmail(from.Users)
			}
			return from, err
		})
	abs.Long = abs.Short + ".\n\nDevices stay logged in where import.audiobookshelf_secret is the secret that Audiobookshelf signed with. The file is\n" +
		"only read. Everything is written in one transaction, and nothing where a line is refused, unless --allow-partial."
	abs.Flags().BoolVar(&verified, "emails-verified", false, "the e-mail addresses are known to be the users' own, so that link_by: verified_email may go by them")
	users := p.importFrom("users --from FILE.jsonl", "Take over users from a file with one JSON object a line", userfile.Read)
	users.Long = users.Short + ":\n\n" + `  {"username":"anna","email":"anna@example.org","email_verified":true,"name":"Anna","role":"user","password_hash":"$2b$12$..."}` +
		"\n\nMore fields: id (a UUID), disabled, permissions, and identities with issuer, subject and provider. Hashes are argon2, scrypt,\n" +
		"pbkdf2, bcrypt, or as Django stores them. Everything is written in one transaction, and nothing where a line is refused,\n" +
		"unless --allow-partial."
	c.AddCommand(abs, p.importSecret(), users)
	return c
}

// importSecret prints a secret for who has no sqlite3 that reads the file: that
// takes 3.44.
func (p *program) importSecret() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "audiobookshelf-secret --from FILE", Args: cobra.NoArgs,
		Short: "Print the secret that Audiobookshelf made for itself to sign with",
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, err := absdb.Secret(cmd.Context(), file)
			if err == nil && secret == "" {
				err = errors.New("this Audiobookshelf has made no secret: it was given one as JWT_SECRET_KEY")
			}
			if err == nil {
				_, err = fmt.Fprintln(p.stdout, secret)
			}
			return err
		},
	}
	c.Flags().StringVar(&file, "from", "", "the file to read")
	_ = c.MarkFlagRequired("from")
	return c
}

// withVerifiedEmail vouches for the addresses, which Audiobookshelf says nothing of.
func withVerifiedEmail(users iter.Seq2[broker.ImportUser, error]) iter.Seq2[broker.ImportUser, error] {
	return func(yield func(broker.ImportUser, error) bool) {
		for u, err := range users {
			u.User.EmailVerified = u.User.Email != ""
			if !yield(u, err) {
				return
			}
		}
	}
}

// importFrom is a command that reads a file and imports it.
func (p *program) importFrom(use, short string, read func(ctx context.Context, file string) (broker.Import, error)) *cobra.Command {
	var file string
	var o broker.ImportOptions
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			from, err := read(ctx, file)
			if err != nil {
				return err
			}
			return p.withBroker(ctx, func(b *broker.Broker) error {
				report, err := b.Import(ctx, from, o)
				if err != nil {
					return err
				}
				if err := p.printImport(report); err != nil {
					return err
				}
				if n := report.Refused(); n > 0 && !o.Partial {
					return fmt.Errorf("%d refused, nothing was written; mend them, or take the rest with --allow-partial", n)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&file, "from", "", "the file to read")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would happen, and write nothing")
	c.Flags().BoolVar(&o.Partial, "allow-partial", false, "write what is good though something is refused")
	c.Flags().StringVar(&o.ProviderID, "provider", "", "id of the configured provider whose people the file names by their subject")
	_ = c.MarkFlagRequired("from")
	p.jsonFlag(c)
	return c
}

func (p *program) printImport(r *broker.ImportReport) error {
	if p.json {
		return p.printJSON(r)
	}
	rows := [][]string{}
	for _, k := range []struct {
		name string
		n    broker.ImportCount
	}{{"users", r.Users}, {"identities", r.Identities}, {"sessions", r.Sessions}, {"API keys", r.Keys}} {
		rows = append(rows, []string{k.name, strconv.Itoa(k.n.Imported), strconv.Itoa(k.n.Unchanged), strconv.Itoa(k.n.LeftOut), strconv.Itoa(k.n.Refused)})
	}
	p.table("\tIMPORTED\tTHERE ALREADY\tLEFT OUT\tREFUSED", rows)
	for _, line := range r.Lines {
		fmt.Fprintln(p.stdout, importLine(line))
	}
	for _, note := range r.Notes {
		fmt.Fprintln(p.stdout, "note:", note)
	}
	switch {
	case r.DryRun:
		fmt.Fprintln(p.stdout, "dry run: nothing was written")
	case !r.Written:
		fmt.Fprintln(p.stdout, "nothing was written")
	case r.Users.Imported+r.Identities.Imported+r.Sessions.Imported+r.Keys.Imported == 0:
		fmt.Fprintln(p.stdout, "nothing was new")
	}
	return nil
}

func importLine(l broker.ImportLine) string {
	text := "left out: "
	if l.Refused {
		text = "refused: "
	}
	text += l.Kind
	if l.Line > 0 {
		text += fmt.Sprintf(" in line %d", l.Line)
	}
	if l.Name != "" {
		text += fmt.Sprintf(" %q", l.Name)
	} else if l.ID != "" {
		text += " " + l.ID
	}
	return text + ": " + l.Reason
}
