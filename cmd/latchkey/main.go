// Command latchkey is the broker and everything around it in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	privateFiles()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// program is what every command has: the outside world, as values.
type program struct {
	getenv  func(string) string
	environ []string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer

	configFile string
	json       bool
	started    bool // a command has begun its work: what fails now is no wrong usage
}

// usageError is a wrong way to call a command: exit 2.
type usageError struct{ error }

// run is the whole program; it returns the exit code: 0 success, 1 failure, 2
// wrong usage.
func run(ctx context.Context, args []string, getenv func(string) string, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{getenv: getenv, environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "latchkey:", err)
	if _, ok := errors.AsType[usageError](err); ok || !p.started {
		return 2
	}
	return 1
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "latchkey",
		Short: "An OIDC-aware identity broker: every login ends in a session with a refresh token",
		Long: "Latchkey stands between apps and identity providers. People log in with a local password or through\n" +
			"an OpenID provider, on the web or from a phone, and always get an access token and a refresh token.",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&p.configFile, "config", "", "configuration file (LATCHKEY_CONFIG; else ./latchkey.yaml or "+systemConfig+", if there is one)")
	root.AddCommand(p.serveCommand(), p.demoCommand(), p.labCommand(), p.userCommand(), p.clientCommand(), p.apikeyCommand(), p.sessionCommand(), p.providerCommand(), p.keyCommand(), p.configCommand(), p.doctorCommand(), p.importCommand(), p.mailCommand(), p.backupCommand(), p.restoreCommand(),
		p.loginCommand(), p.tokenCommand(), p.logoutCommand(), p.healthcheckCommand(), p.versionCommand())
	p.prepare(root)
	return root
}

// prepare goes through all commands: it notes when one begins its work, and
// makes an unknown subcommand an error.
func (p *program) prepare(c *cobra.Command) {
	if work := c.RunE; work != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			p.started = true
			return work(c, args)
		}
	}
	if c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, given []string) error {
			if len(given) > 0 {
				return fmt.Errorf("unknown command %q for %q; see %s --help", given[0], c.CommandPath(), c.CommandPath())
			}
			return c.Help()
		}
	}
	for _, sub := range c.Commands() {
		p.prepare(sub)
	}
}
