package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/cmd/latchkey/lab"
)

// Lifetimes in the lab. An access token lives so long that an app which refreshes a
// minute early does not refresh all the time, and the grace is short, so that
// refreshes move on.
const (
	labAccess = 2 * time.Minute
	labGrace  = time.Second
	labIdle   = 30 * 24 * time.Hour // shorter than what a check lets pass at once
)

// labCommand is what the flags of latchkey lab say.
type labCommand struct {
	p            *program
	host         string
	port         int
	idpPort      int
	redirectURIs []string
	clientID     string
	only, except []string
	files        []string
	patience     time.Duration
	seed         uint64
	strict, list bool
	show         string
}

func (p *program) labCommand() *cobra.Command {
	l := &labCommand{p: p}
	c := &cobra.Command{
		Use: "lab", Short: "Try an app against lost answers, trouble and ended sessions", Args: cobra.NoArgs,
		Long: "A Latchkey on a temporary database, a scripted OpenID provider, and a network between them and your app that fails\n" +
			"on purpose. Point the app at the URL that is printed, log in, and use it while the lab goes through its checks.\n" +
			"Exit 0 if no check failed. See docs/lab.md.",
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	f := c.Flags()
	f.StringVar(&l.host, "host", "localhost", "name or address under which the app reaches this machine")
	f.IntVar(&l.port, "port", 8080, "port for the app")
	f.IntVar(&l.idpPort, "idp-port", 8081, "port of the OpenID provider")
	f.StringArrayVar(&l.redirectURIs, "redirect-uri", nil, "one more redirect URI of the app (repeatable)")
	f.StringVar(&l.clientID, "client-id", "", "register the app as a public OAuth client of this ID, with the redirect URIs")
	f.StringSliceVar(&l.only, "only", nil, "only these checks")
	f.StringSliceVar(&l.except, "except", nil, "not these checks")
	f.StringArrayVar(&l.files, "scenario", nil, "check with this file; without --only, with nothing else (repeatable)")
	f.DurationVar(&l.patience, "patience", 3*time.Minute, "how long a check waits for the app")
	f.Uint64Var(&l.seed, "seed", 1, "of what scenarios leave to chance")
	f.BoolVar(&l.strict, "strict", false, "a check that was not tried counts as failed")
	f.BoolVar(&l.list, "list", false, "print the checks, and end")
	f.StringVar(&l.show, "show", "", "print the file of a check, and end")
	p.jsonFlag(c)
	return c
}

func (l *labCommand) run(ctx context.Context) error {
	if l.show != "" {
		text, err := lab.Source(l.show)
		if err == nil {
			_, err = l.p.stdout.Write(text)
		}
		return err
	}
	if l.clientID != "" && len(l.redirectURIs) == 0 {
		return usageError{errors.New("--client-id needs a --redirect-uri")}
	}
	scenarios, err := l.scenarios()
	if err != nil {
		return err
	}
	if l.list {
		return l.printScenarios(scenarios)
	}
	report, err := l.try(ctx, scenarios)
	if err != nil {
		return err
	}
	if l.p.json {
		err = l.p.printJSON(report)
	} else {
		report.Text(l.p.stdout)
	}
	switch {
	case err != nil:
		return err
	case report.Failed > 0:
		return fmt.Errorf("the app failed %d of %d checks", report.Failed, len(report.Checks))
	case ctx.Err() != nil:
		return errors.New("ended before all checks were made")
	case l.strict && report.NotTried > 0:
		return fmt.Errorf("%d of %d checks were not tried", report.NotTried, len(report.Checks))
	}
	return nil
}

// scenarios are those that were asked for.
func (l *labCommand) scenarios() (out []lab.Scenario, err error) {
	if len(l.files) == 0 || len(l.only) > 0 {
		out = lab.BuiltIn()
	}
	for _, name := range l.files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s, err := lab.Read(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, s)
	}
	for flag, names := range map[string][]string{"--only": l.only, "--except": l.except} {
		for _, name := range names {
			if !slices.ContainsFunc(out, func(s lab.Scenario) bool { return s.Name == name }) {
				return nil, usageError{fmt.Errorf("%s: there is no check %q; see --list", flag, name)}
			}
		}
	}
	return slices.DeleteFunc(out, func(s lab.Scenario) bool {
		return len(l.only) > 0 && !slices.Contains(l.only, s.Name) || slices.Contains(l.except, s.Name)
	}), nil
}

type labScenario struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Lab   string `json:"lab"`
	Must  string `json:"must"`
}

func (l *labCommand) printScenarios(list []lab.Scenario) error {
	views, rows := []labScenario{}, [][]string{}
	for _, s := range list {
		views = append(views, labScenario{s.Name, s.Title, s.Lab, s.Must})
		rows = append(rows, []string{s.Name, s.Title})
	}
	if l.p.json {
		return l.p.printJSON(views)
	}
	l.p.table("NAME\tCHECK", rows)
	return nil
}

// talk is where people read what to do; standard output is for the report in JSON.
func (l *labCommand) talk() io.Writer {
	if l.p.json {
		return l.p.stderr
	}
	return l.p.stdout
}

// try sets everything up, tries the app, and takes everything down.
func (l *labCommand) try(ctx context.Context, scenarios []lab.Scenario) (report lab.Report, err error) {
	folder, err := os.MkdirTemp("", "latchkey-lab-")
	if err != nil {
		return report, err
	}
	defer os.RemoveAll(folder)
	listeners, err := l.listen()
	if err != nil {
		return report, err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the report comes before the end
	defer cancel()
	log := slog.New(slog.NewTextHandler(l.p.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	clock := lab.NewClock(scenarios)
	base, issuer := l.url(listeners.app), l.url(listeners.idp)
	stage, err := newStage(folder, base, issuer, l.settings(), clock.IdPNow, log)
	if err != nil {
		return report, err
	}
	c := stage.cfg
	if err := l.admit(c); err != nil {
		return report, err
	}
	c.now, c.adminPassword = clock.Now, rand.Text() // others in the network may reach the lab
	c.Tokens.AccessTTL, c.Tokens.RefreshGrace, c.Tokens.RefreshTTL = duration(labAccess), duration(labGrace), duration(labIdle)
	served := stage.serve(work, listeners.broker, listeners.idp)
	defer func() { cancel(); err = errors.Join(err, <-served) }()
	upstream := &url.URL{Scheme: "http", Host: listeners.broker.Addr().String()}
	if err := stage.ready(work, upstream.String()); err != nil {
		return report, err
	}
	place := lab.New(lab.Config{
		Upstream: upstream, Clock: clock, IdP: stage.idp, AccessLife: labAccess, Patience: l.patience, Seed: l.seed,
		EndSessions: func(ctx context.Context) error {
			_, err := stage.broker().EndSessions(ctx, broker.SessionFilter{All: true}, broker.RevokedByAdmin, false, "")
			return err
		},
		Tell: func(line string) { fmt.Fprintln(l.talk(), line) },
	})
	patient := ordinary
	patient.write = 15 * time.Minute // answers are held up
	server, guests := patient.server(place, listeners.app, log)
	go func() { _ = server.Serve(guests) }()
	defer server.Close()
	l.welcome(base, issuer, c.adminPassword)
	return place.Run(ctx, scenarios)
}

func (l *labCommand) welcome(base, issuer, adminPassword string) {
	fmt.Fprintf(l.talk(), "The server for your app:  %s\n  a password:             %s, %q\n  the administrator:      %s, %q\n  an OpenID provider:     %s (choose anybody)\n"+
		"Log in with your app now, and keep it in use; the checks begin when it is logged in.\n", base, stageLocal, stagePassword, stageAdmin, adminPassword, issuer)
}

// settings are lines of the configuration for the lab's network and the app.
func (l *labCommand) settings() string {
	out := "trusted_proxies: [127.0.0.1]\n"
	if l.clientID != "" {
		out += fmt.Sprintf("clients:\n  - {client_id: %q, token_endpoint_auth_method: none, redirect_uris: [%s], first_party: true}\n",
			l.clientID, "\""+strings.Join(l.redirectURIs, "\", \"")+"\"")
	}
	return out
}

// admit lets the app's own redirect URIs in beside the usual ones.
func (l *labCommand) admit(c *config) error {
	bad := problems{}
	for _, uri := range l.redirectURIs {
		checkRedirectURI(&bad, uri)
	}
	c.MobileRedirectURIs = append(c.MobileRedirectURIs, l.redirectURIs...)
	return bad.err()
}

// labListeners are for the app, for the broker behind the lab, and for the IdP.
type labListeners struct{ app, broker, idp net.Listener }

func (l *labCommand) listen() (out labListeners, err error) {
	at := l.host // and no other address of this machine
	if at == "localhost" {
		at = "127.0.0.1"
	}
	for _, each := range []struct {
		listener *net.Listener
		address  string
	}{
		{&out.app, net.JoinHostPort(at, fmt.Sprint(l.port))}, {&out.broker, "127.0.0.1:0"}, {&out.idp, net.JoinHostPort(at, fmt.Sprint(l.idpPort))},
	} {
		if *each.listener, err = net.Listen("tcp", each.address); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (l *labCommand) url(listener net.Listener) string {
	return "http://" + net.JoinHostPort(l.host, fmt.Sprint(port(listener)))
}
