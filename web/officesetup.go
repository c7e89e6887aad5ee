package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	setupPath = "/admin/setup"
	// cookieSetup says that this browser's administrator is setting Latchkey up:
	// every page of the office leads back then. It has no secret.
	cookieSetup = "latchkey_setup"
	setupLife   = 24 * time.Hour
)

// setupView is the whole way from an empty Latchkey to the first login of an app.
// What is done is read from what there is: nothing remembers a step.
type setupView struct{ Steps []setupStep }

type setupStep struct {
	ID     string
	Title  *text
	Text   *text // what it is for
	Done   bool
	Checks []check
	Ways   []button // what can be done
}

// check is one thing that was looked at just now.
type check struct {
	State string // good, warn or bad
	Text  *text
}

// fine reports whether no check found anything wrong.
func (s *setupStep) fine() bool {
	return !slices.ContainsFunc(s.Checks, func(one check) bool { return one.State == "bad" })
}

// officeSetup is GET /admin/setup.
func (s *Server) officeSetup(c *gin.Context, p broker.Principal) error {
	s.setCookie(c, cookieSetup, "1", setupLife)
	view, err := s.setupSteps(c, p)
	if err != nil {
		return err
	}
	out := office(c, p, say("Set up Latchkey"))
	out.View, out.InSetup = view, false // it is where the bar leads
	return s.show(c, http.StatusOK, "office_setup", out)
}

// officeSetupDone is POST /admin/setup: the administrator has seen enough of it.
func (s *Server) officeSetupDone(c *gin.Context, _ broker.Principal) error {
	s.setCookie(c, cookieSetup, "", 0)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/admin")
	return nil
}

func (s *Server) setupSteps(c *gin.Context, p broker.Principal) (setupView, error) {
	ctx := c.Request.Context()
	providers, err := s.broker.ProvidersNow(ctx)
	if err != nil {
		return setupView{}, err
	}
	clients, err := s.ownClients(c)
	if err != nil {
		return setupView{}, err
	}
	tried, err := s.setupTried(c, providers, clients)
	if err != nil {
		return setupView{}, err
	}
	return setupView{[]setupStep{s.setupAddress(c), setupAdministrator(p), s.setupProviders(c, providers), setupClients(clients), tried}}, nil
}

// setupAddress compares how this page was reached with the public address: where
// they differ, every login comes to nothing.
func (s *Server) setupAddress(c *gin.Context) setupStep {
	step := setupStep{ID: "address", Title: say("The address"), Text: say("Everybody reaches Latchkey at one address: browsers, apps and identity providers.")}
	public := s.publicURL.Scheme + "://" + s.publicURL.Host
	scheme := "http"
	if s.overHTTPS(c) {
		scheme = "https"
	}
	opened := scheme + "://" + c.Request.Host
	switch {
	case !strings.EqualFold(c.Request.Host, s.publicURL.Host):
		step.Checks = append(step.Checks, check{"bad", say("You are at {opened}, but the public address is {public}. Open it there, or set public_url (LATCHKEY_PUBLIC_URL) to the right address and restart.", opened, public)})
	case scheme != s.publicURL.Scheme:
		step.Checks = append(step.Checks, check{"bad", say("The public address is {public}, but the request came as {scheme}. A proxy in front has to send X-Forwarded-Proto, and trusted_proxies has to name it.", public, scheme)})
	default:
		step.Checks = append(step.Checks, check{"good", say("You are at {public}, which is the public address.", public)})
	}
	if s.publicURL.Scheme == "http" && !broker.LoopbackName(s.publicURL.Hostname()) {
		step.Checks = append(step.Checks, check{"warn", say("Without https everybody on the way can read passwords and tokens. Put a proxy with a certificate in front, or set tls.cert_file and tls.key_file.")})
	}
	if c.GetHeader("X-Forwarded-For") != "" && !s.trusted(c.RemoteIP()) {
		step.Checks = append(step.Checks, check{"warn", say("A proxy stands in front that trusted_proxies does not name: all devices seem to come from {address}.", c.RemoteIP())})
	}
	step.Done = step.fine()
	return step
}

func setupAdministrator(p broker.Principal) setupStep {
	return setupStep{
		ID: "administrator", Title: say("The administrator"), Done: true,
		Checks: []check{{"good", say("You are logged in as {name}. The setup link is used up.", person(&p.User))}},
		Ways:   []button{{Text: say("Add people"), URL: "/admin/users/new"}},
	}
}

func setupClients(clients []broker.Client) setupStep {
	step := setupStep{
		ID: "app", Title: say("An app"), Done: len(clients) > 0,
		Text: say("A client is an app that people log in to through Latchkey. Apps of the Audiobookshelf family need none."),
		Ways: []button{{Text: say("Connect an app"), URL: "/admin/connect"}},
	}
	if len(clients) == 0 {
		step.Checks = []check{{"warn", say("There is none yet.")}}
		return step
	}
	for _, one := range clients[:min(len(clients), 3)] {
		step.Checks = append(step.Checks, check{"good", say("{app} is connected.", one.Name)})
		step.Ways = append([]button{{Text: say("Settings for {app}", one.Name), URL: "/admin/clients/" + url.PathEscape(one.ID)}}, step.Ways...)
	}
	return step
}

// ownClients are the first clients that somebody added; those that Latchkey
// brings along are not among them.
func (s *Server) ownClients(c *gin.Context) ([]broker.Client, error) {
	list, err := s.broker.Clients(c.Request.Context(), "", 10)
	return slices.DeleteFunc(list, func(one broker.Client) bool { return one.ID == broker.AppClientID || one.ID == broker.CLIClientID }), err
}

// setupTried looks for a login of the newest provider and of the first client:
// the proof that they work.
func (s *Server) setupTried(c *gin.Context, providers []broker.Provider, clients []broker.Client) (setupStep, error) {
	step := setupStep{ID: "login", Title: say("The first login"), Text: say("Log in as people will: in a private window of this browser, or on a phone.")}
	look := func(f broker.SessionFilter, yes func(who string) *text, no *text) error {
		found, _, err := s.broker.PageSessions(c.Request.Context(), f, broker.Page{Limit: 1})
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			step.Checks = append(step.Checks, check{"warn", no})
		default:
			step.Done = true
			step.Checks = append(step.Checks, check{"good", yes(found[0].Username)})
		}
		return nil
	}
	if n := len(providers); n > 0 {
		p := providers[n-1]
		err := look(broker.SessionFilter{ProviderID: p.ID},
			func(who string) *text { return say("{name} has logged in through {provider}.", who, p.Name) },
			say("Nobody has logged in through {provider} yet.", p.Name))
		if err != nil {
			return step, err
		}
	}
	forPeople := slices.IndexFunc(clients, func(one broker.Client) bool {
		return one.MayUse(broker.GrantAuthorizationCode) || one.MayUse(broker.GrantDeviceCode)
	})
	switch {
	case forPeople < 0 && len(clients) > 0:
		step.Done = step.Done || len(providers) == 0 // there is nothing to log in to
		step.Checks = append(step.Checks, check{"good", say("{app} acts for itself: nobody logs in to it.", clients[0].Name)})
	case forPeople >= 0:
		one := clients[forPeople]
		err := look(broker.SessionFilter{ClientID: one.ID},
			func(who string) *text { return say("{name} has logged in to {app}.", who, one.Name) },
			say("Nobody has logged in to {app} yet.", one.Name))
		if err != nil {
			return step, err
		}
	}
	if len(providers) > 0 {
		step.Ways = append(step.Ways, button{Text: say("Open the login page"), URL: "/login?switch=1"})
	}
	if len(step.Checks) == 0 {
		step.Checks = []check{{"warn", say("This comes last: connect an identity provider or an app first.")}}
	}
	return step, nil
}
