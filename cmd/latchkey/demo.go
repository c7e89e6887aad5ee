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
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

const (
	demoAdmin    = "root"
	demoLocal    = "robin"
	demoPassword = "correct horse battery"
	demoAppURI   = "audiobookshelf://oauth"
	demoGrace    = time.Second
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
	fmt.Fprintf(d.out, "\nNow you: open %s/login in a browser, and log in through Demo IdP or as %s with the password %q.\nCtrl-C stops the tour.\n", d.base, demoLocal, demoPassword)
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
	d.idp, err = providertest.New(providertest.Config{
		Issuer: issuer,
		Users: []providertest.User{
			{Subject: "demo-1", Username: "anna", Name: "Anna Archer", Email: "anna@example.org", EmailVerified: true, Groups: []string{"readers"}},
			{Subject: "demo-2", Username: "ben", Name: "Ben Baker", Email: "ben@example.org", EmailVerified: true},
		},
		Clients: []providertest.Client{{ID: "latchkey", Secret: "demo secret", RedirectURIs: []string{d.base + "/auth/openid/callback"}}},
	})
	if err != nil {
		return nil, err
	}
	cfg, err := d.config(folder, issuer)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(d.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	idp, idpListener := ordinary.server(d.idp, idpListener, log)
	served := make(chan error, 1)
	go func() { _ = idp.Serve(idpListener) }()
	go func() {
		err := cfg.serve(ctx, brokerListener, log)
		_ = idp.Close()
		served <- err
	}()
	return served, d.ready(ctx, cfg)
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func (d *demo) config(folder, issuer string) (*config, error) {
	nothing := &program{getenv: func(string) string { return "" }}
	file := filepath.Join(folder, "latchkey.yaml")
	text := fmt.Sprintf("public_url: %s\ndata_dir: %s\nproviders:\n  - {id: openid, name: Demo IdP, issuer: %s, client_id: latchkey, client_secret: demo secret}\n",
		d.base, folder, issuer)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	nothing.configFile = file
	c, err := nothing.loadConfig()
	if err != nil {
		return nil, err
	}
	c.adminUsername, c.adminPassword = demoAdmin, demoPassword
	// Within the grace a refresh answers the same pair; the tour shows what comes
	// after it.
	c.Tokens.RefreshGrace = duration(demoGrace)
	return c, nil
}

// ready waits for the broker and makes the user with a local password.
func (d *demo) ready(ctx context.Context, c *config) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		res, err := http.Get(d.base + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.New("the broker did not become ready")
		}
	}
	log := slog.New(slog.DiscardHandler)
	store, err := c.openStore(ctx, log)
	if err != nil {
		return err
	}
	defer store.Close()
	b, err := c.newBroker(ctx, store, log)
	if err != nil {
		return err
	}
	_, err = b.CreateUser(ctx, broker.NewUser{Username: demoLocal, Name: "Robin Reader", Password: demoPassword})
	return err
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
	if err := app.password(ctx, demoLocal, demoPassword); err != nil {
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
