package web

import (
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	// cookieStay keeps whoever logged out at the door, however they come back
	// there: an IdP that ended its session too brings them without a word.
	cookieStay = "latchkey_stay"
	stayLife   = 10 * time.Minute
	// cookieLaunch counts how often the door led on by itself: whoever comes back
	// each time without a session is not sent round again.
	cookieLaunch = "latchkey_launch"
	launchLife   = time.Minute
	mostLaunches = 2
)

// launch is where the login page leads on to by itself, without being seen, for
// whoever comes without a session and with nothing to be told; empty: it does
// not. asked is autoLaunch of the JSON contract: 0 keeps the door, 1 leads on
// where the configuration does not say so.
func (s *Server) launch(c *gin.Context, p *page, asked string) string {
	id := s.cfg.AutoLaunch
	if asked == "1" && id == "" {
		id = broker.DefaultProviderID
	}
	provider, ok := s.provider(id)
	if asked == "0" || !ok || wantsJSON(c) {
		return ""
	}
	i := slices.IndexFunc(p.Buttons, func(b button) bool { return b.id == provider.ID })
	switch n, _ := strconv.Atoi(readCookie(c, s.hostName(c, cookieLaunch))); {
	case i < 0 || p.Buttons[i].Trouble == troubles[broker.HealthDark]:
	case readCookie(c, s.hostName(c, cookieStay)) != "":
		p.Notice = endings[broker.LoggedOut].plain
	case n >= mostLaunches || n < 0:
		p.Notice = say("You came back here several times without being logged in. If your browser blocks cookies, allow them for this site.")
	default:
		s.setCookie(c, s.hostName(c, cookieLaunch), strconv.Itoa(n+1), launchLife)
		return p.Buttons[i].URL
	}
	return ""
}

// loginAddress is the login page for whoever has to see it.
func (s *Server) loginAddress() string {
	if s.cfg.AutoLaunch == "" {
		return s.broker.PublicURL() + "/login"
	}
	return s.broker.PublicURL() + "/login?autoLaunch=0"
}

// launches reports whether the door leads on by itself to the provider that apps
// of the JSON contract know.
func (s *Server) launches() bool {
	provider, ok := s.provider(s.cfg.AutoLaunch)
	first, _ := s.provider(broker.DefaultProviderID)
	return ok && provider.ID == first.ID
}

// provider finds a provider by its id, or by the alias that apps know.
func (s *Server) provider(id string) (broker.Provider, bool) {
	providers := s.broker.Providers()
	for _, p := range providers {
		if p.ID == id {
			return p, true
		}
	}
	if id == broker.DefaultProviderID && len(providers) > 0 {
		return providers[0], true
	}
	return broker.Provider{}, false
}
