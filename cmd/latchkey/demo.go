package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

const (
	demoAppURI = "audiobookshelf://oauth"
	demoGrace  = time.Second
)

func (p *program) demoCommand() *cobra.Command {
	var once bool
	var listen string
	c := &cobra.Command{
		Use: "demo", Short: "The tour: a broker, an OpenID provider and a phone's app, over HTTP", Args: cobra.NoArgs,
		Long: "A broker on a temporary database, a small real OpenID provider in the same process on its own port, two users and\n" +
			"an app that behaves like the official Audiobookshelf app. Prints each step of a mobile login, the decoded tokens\n" +
			"and a URL to click through in a browser, then keeps serving until Ctrl-C.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{out: p.stdout, stderr: p.stderr, listen: listen}
			return d.run(cmd.Context(), once)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "stop after the tour; exit 0 only if every step worked")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "where the broker listens; another port is taken if it is in use")
	return c
}

// demo is the tour's set-up: two servers that know each other by HTTP alone.
type demo struct {
	out, stderr io.Writer
	listen      string
	base        string
	idp         *providertest.IdP
	step        int
}

func (d *demo) run(ctx context.Context, once bool) error {
	folder, err := os.MkdirTemp("", "latchkey-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served, err := d.start(ctx, folder)
	if err != nil {
		return err
	}
	if err := d.tour(ctx); err != nil {
		cancel()
		return errors.Join(fmt.Errorf("step %d: %w", d.step, err), <-served)
	}
	if once {
		fmt.Fprintln(d.out, "\nEvery step worked.")
		cancel()
		return <-served
	}
	fmt.Fprintf(d.out, "\nNow you: open %s/login in a browser, and log in through Demo IdP or as %s with the password %q.\nCtrl-C stops the tour.\n", d.base, stageLocal, stagePassword)
	return <-served
}

// start runs both servers on loopback ports of their own.
func (d *demo) start(ctx context.Context, folder string) (<-chan error, error) {
	brokerListener, err := net.Listen("tcp", d.listen)
	if err != nil {
		if brokerListener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	idpListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d.base = fmt.Sprintf("http://localhost:%d", port(brokerListener))
	issuer := fmt.Sprintf("http://localhost:%d", port(idpListener))
	log := slog.New(slog.NewTextHandler(d.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	stage, err := newStage(folder, d.base, issuer, "", nil, log)
	if err != nil {
		return nil, err
	}
	d.idp = stage.idp
	// Within the grace a refresh answers the same pair; the tour shows what comes
	// after it.
	stage.cfg.Tokens.RefreshGrace = duration(demoGrace)
	return stage.serve(ctx, brokerListener, idpListener), stage.ready(ctx, d.base)
}

func (d *demo) say(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.out, "\n%2d. %s\n", d.step, fmt.Sprintf(format, args...))
}

func (d *demo) show(format string, args ...any) {
	fmt.Fprintf(d.out, "      %s\n", fmt.Sprintf(format, args...))
}

// tour is the main job, step by step.
func (d *demo) tour(ctx context.Context) error {
	fmt.Fprintf(d.out, "Latchkey %s\n  broker  %s\n  IdP     %s\n", version, d.base, d.idp.Issuer())
	app := newDemoApp(d.base)
	if err := d.mobileLogin(ctx, app); err != nil {
		return err
	}
	if err := d.lifeOfASession(ctx, app); err != nil {
		return err
	}
	return d.passwordLogin(ctx)
}

func (d *demo) mobileLogin(ctx context.Context, app *demoApp) error {
	d.say("The app asks how to log in: GET /status")
	methods, err := app.status(ctx)
	if err != nil {
		return err
	}
	d.show("authMethods %v", methods)

	d.say("The app begins a login: GET /auth/openid with its own PKCE challenge, redirects off")
	open, err := app.begin(ctx, demoAppURI)
	if err != nil {
		return err
	}
	d.show("302 %s", open)
	d.show("The app rebuilds that URL from seven parameters and opens it in the system browser.")

	d.say("The system browser opens it and is sent to the IdP with Latchkey's own state, nonce and PKCE")
	browser := newDemoBrowser()
	atIdP, err := browser.follow(ctx, app.rebuilt)
	if err != nil {
		return err
	}
	d.show("302 %s", shorten(atIdP))

	d.say("Anna logs in at the IdP, which sends the browser back to Latchkey")
	callback, err := d.idp.Authorize(ctx, atIdP, "anna")
	if err != nil {
		return err
	}
	d.show("303 %s", shorten(callback))

	d.say("Latchkey redeems the IdP's code, finds or makes the user, and hands the app a one-time code of its own")
	appURI, err := browser.follow(ctx, callback)
	if err != nil {
		return err
	}
	d.show("302 %s", appURI)

	d.say("The app redeems it with its verifier, and no cookie: GET /auth/openid/callback")
	if err := app.redeem(ctx, appURI); err != nil {
		return err
	}
	d.show("access token   %s", app.describe(app.access))
	d.show("refresh token  %s", app.describe(app.refresh))
	return nil
}

func (d *demo) lifeOfASession(ctx context.Context, app *demoApp) error {
	d.say("The app uses the access token: POST /api/authorize, GET /api/me")
	name, err := app.whoAmI(ctx)
	if err != nil {
		return err
	}
	d.show("username %s", name)

	time.Sleep(demoGrace + 100*time.Millisecond)
	d.say("The app refreshes with an empty body: POST /auth/refresh. The answer is lost on the way.")
	kept := app.refresh
	if err := app.refreshTokens(ctx); err != nil {
		return err
	}
	lost := app.generation()
	app.refresh = kept
	d.show("200 with generation %d, and the app never saw it", lost)

	d.say("It tries again with the token it still has, as a phone does after a tunnel")
	if err := app.refreshTokens(ctx); err != nil {
		return err
	}
	d.show("200; refresh token %s", app.describe(app.refresh))
	if again := app.generation(); lost != 1 || again != lost {
		return fmt.Errorf("the lost answer had generation %d, the second one %d; both should be 1", lost, again)
	}

	d.say("Anna logs out: POST /logout. The session can say why it is over.")
	if err := app.logout(ctx); err != nil {
		return err
	}
	status, code, verdict, err := app.refused(ctx)
	if err != nil {
		return err
	}
	d.show("the next refresh: %d code=%s verdict=%s", status, code, verdict)
	if status != http.StatusUnauthorized || code != string(broker.LoggedOut) {
		return fmt.Errorf("a session that was logged out answered %d %s", status, code)
	}
	return nil
}

func (d *demo) passwordLogin(ctx context.Context) error {
	d.say("With a local password it is the same session: POST /login")
	app := newDemoApp(d.base)
	if err := app.password(ctx, stageLocal, stagePassword); err != nil {
		return err
	}
	if err := app.refreshTokens(ctx); err != nil {
		return err
	}
	d.show("access token   %s", app.describe(app.access))
	d.show("refresh token  %s", app.describe(app.refresh))
	return nil
}

// shorten leaves out most of a long URL's parameters.
func shorten(text string) string {
	u, err := url.Parse(text)
	if err != nil || len(text) < 160 {
		return text
	}
	names := ""
	for name := range u.Query() {
		names += " " + name
	}
	u.RawQuery = ""
	return u.String() + "? with" + names
}
