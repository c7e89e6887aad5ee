package main

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

var errNoMail = errors.New("no mail is sent: smtp.host (LATCHKEY_SMTP_HOST) is not set")

func (p *program) mailCommand() *cobra.Command {
	c := &cobra.Command{Use: "mail", Short: "Try the mail server", Args: cobra.NoArgs}
	c.AddCommand(p.mailTest())
	return c
}

// mailTest sends one mail at once, past the outbox and without a database.
func (p *program) mailTest() *cobra.Command {
	return &cobra.Command{
		Use: "test ADDRESS", Short: "Send a mail to an address, at once, and say what the mail server says", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := netmail.ParseAddress(args[0])
			if err != nil || to.Name != "" {
				return usageError{errors.New("ADDRESS is one plain address, such as anna@example.org")}
			}
			c, err := p.loadConfig()
			if err != nil {
				return err
			}
			sender, err := c.mailSender()
			if err != nil {
				return err
			}
			if sender == nil {
				return errNoMail
			}
			now := time.Now()
			text := "This is a test of the mail server, sent by the command latchkey mail test.\nPublic URL: " + c.PublicURL
			err = sender.SendMail(cmd.Context(), broker.Message{
				ID: fmt.Sprintf("test-%d", now.UnixNano()), To: to.Address, At: now,
				MailText: broker.MailText{Subject: "Test of the mail server", Text: text + "\n", HTML: "<p>" + strings.ReplaceAll(htmlEscape(text), "\n", "<br>") + "</p>"},
			})
			if err != nil {
				return fmt.Errorf("not sent: %w", err)
			}
			fmt.Fprintf(p.stdout, "%s took the mail for %s. Look whether it arrives, and where.\n", sender.Address(), to.Address)
			return nil
		},
	}
}

func htmlEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;").Replace(s)
}

// checkMail connects to the mail server, encrypts and logs in, and sends nothing.
// It is errNoMail where none is configured.
func (c *config) checkMail(ctx context.Context) error {
	sender, err := c.mailSender()
	if err != nil {
		return err
	}
	if sender == nil {
		return errNoMail
	}
	return sender.Check(ctx)
}
