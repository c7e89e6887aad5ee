package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// asPage says an error to a person; to a program, in JSON.
func asPage(s *Server, c *gin.Context, e *broker.Error, a answer) {
	if wantsJSON(c) {
		asJSON(s, c, e, a)
		return
	}
	if c.Request.URL.Path == "/favicon.ico" { // asked for beside answers that are no page
		c.Writer.Header().Del("Latchkey-Code")
		c.Header("Cache-Control", "public, max-age=86400")
		c.Status(http.StatusNoContent)
		return
	}
	name, p := s.errorPage(c, e, a)
	if err := s.show(c, a.status, name, p); err != nil {
		c.String(a.status, "%s", a.text)
	}
}

// errorPage offers what helps: the door where the IdP failed, because the other
// ways in are there, and the same request once more where nothing was used up.
func (s *Server) errorPage(c *gin.Context, e *broker.Error, a answer) (name string, p page) {
	provider, begins := c.Param("provider"), c.FullPath() == "/auth/:provider"
	callback := strings.HasSuffix(c.FullPath(), "/callback") || strings.HasSuffix(c.FullPath(), "/mobile-redirect")
	if (begins || callback) && ofIdP(e) && !c.GetBool(keyLinking) {
		next := c.Query("callback")
		if begun := c.GetString(keyReturnTo); begun != "" {
			next = begun
		}
		p = s.doorFor(c, next)
		p.Error, p.Code = sentence(e, a), string(e.Code)
		if name := s.providerName(provider); name != "" && e.Code == broker.TemporarilyUnavailable {
			p.Error = name + " does not answer at the moment. Try again shortly, or choose another way in."
		}
		return "login", p
	}
	p = page{Title: titleOf(e.Code, a.status), Error: sentence(e, a), Code: string(e.Code)}
	login := s.broker.PublicURL() + "/login"
	switch {
	case badlySetUp(c, e):
		p.Title, p.Error, p.Detail = "This app is not set up correctly", sentence(&broker.Error{Code: e.Code}, a), e.Message
		if e.Code == broker.InvalidRequest {
			p.Error = "The app asks for something that makes no sense here; whoever runs it has to correct it."
		}
		if p.Help = "You did nothing wrong, and trying again does not help."; c.FullPath() == "/oauth2/authorize" {
			break
		}
		p.Help = "You are still logged in here."
		p.Buttons = []button{{Name: "Log out here", URL: s.broker.PublicURL() + "/oauth2/logout"}}
	case e.Code == broker.InvalidState && strings.HasPrefix(c.FullPath(), "/oauth2/"):
		p.Title, p.Help = "This login is over", "If the app has you logged in already, all is well, and you can close this page."
	case c.GetBool(keyLinking):
		p.Buttons = []button{{Name: "Back to your logins", URL: s.broker.PublicURL() + identitiesPath}}
	case callback:
		p.Buttons = []button{{Name: "Log in again", URL: login}} // the URL that came back is used up
	case a.status == http.StatusUnauthorized, e.Code == broker.SetupDone, e.Code == broker.PasswordLinkInvalid:
		p.Buttons = []button{{Name: "Log in", URL: login}}
	case a.status == http.StatusServiceUnavailable && c.Request.Method == http.MethodGet:
		// Absolute and of our origin: a path of two slashes would lead elsewhere.
		if again, ok := s.ownPage(strings.TrimSuffix(s.publicURL.EscapedPath(), "/") + c.Request.URL.RequestURI()); ok {
			p.Buttons = []button{{Name: "Try again", URL: again}}
		}
	}
	return "error", p
}

// badlySetUp reports whether an app sent the browser with what no person can
// mend. The address to go back to is not proven: the page has no link to it.
func badlySetUp(c *gin.Context, e *broker.Error) bool {
	switch c.FullPath() {
	case "/oauth2/authorize", "/oauth2/logout", "/oauth2/logout/confirm":
		return e.Code == broker.ClientUnknown || e.Code == broker.InvalidRedirectURI || e.Code == broker.InvalidRequest
	}
	return false
}

// ofIdP reports whether an error is an IdP's answer about a browser's own login.
func ofIdP(e *broker.Error) bool {
	switch e.Code {
	case broker.IdPRefused, broker.AccessDenied, broker.IdPBadResponse, broker.IssuerMismatch, broker.NonceMismatch, broker.NotProvisioned,
		broker.GroupNotAllowed, broker.DomainNotAllowed, broker.EmailNotVerified, broker.IdentityConflict, broker.UserDisabled, broker.ProviderUnknown:
		return true
	}
	return e.Code == broker.TemporarilyUnavailable && e.Message != "" // ours has no message
}

func (s *Server) providerName(id string) string {
	providers := s.broker.Providers()
	for _, p := range providers {
		if p.ID == id {
			return p.Name
		}
	}
	if id == broker.DefaultProviderID && len(providers) > 0 {
		return providers[0].Name
	}
	return ""
}

func titleOf(code broker.Code, status int) string {
	switch {
	case code == broker.SetupDone:
		return "Already set up"
	case status == http.StatusNotFound:
		return "Not found"
	case status >= 500:
		return "Not possible at the moment"
	}
	return "That did not work"
}

// sentence says an error to a person.
func sentence(e *broker.Error, a answer) string {
	text := e.Message
	if text == "" {
		text = sentences[e.Code]
	}
	if text == "" {
		text = a.text
	}
	if first, size := utf8.DecodeRuneInString(text); size > 0 {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if text = strings.TrimSuffix(text, ".") + "."; e.Code == broker.RateLimited && e.RetryAfter > 0 {
		text += " Try again in " + span(e.RetryAfter+time.Minute-1) + "."
	}
	return text
}

// ending is how a person is told why a session is over: full where the session
// is at hand, plain where only the cause is known.
type ending struct{ plain, full string }

// endings has one sentence per cause. {when}, {days} and {idp} are the
// session's, {devices} is the limit.
var endings = map[broker.Code]ending{
	broker.LoggedOut:       {"You logged out on this device.", ""},
	broker.RevokedByUser:   {"You ended this device from your account page.", "You ended this device from your account page on {when}."},
	broker.RevokedByAdmin:  {"An administrator ended this device.", "An administrator ended this device on {when}."},
	broker.PasswordChanged: {"Your password was changed; every device has to log in again.", "Your password was changed on {when}; every device has to log in again."},
	broker.SessionExpired:  {"This device was not used for a long time.", "This device was not used for {days}."},
	broker.SessionMaxAge:   {"This login reached its age limit.", "This login reached its limit of {days}."},
	broker.SessionLimit:    {"You logged in on more devices than are allowed; the one unused for longest was ended.", "You logged in on more than {devices}; the one unused for longest was ended."},
	broker.TokenReused:     {"Two devices used the same login, so it was ended for safety. If one of them was not you, change your password.", ""},
	broker.CodeReused:      {"This login was redeemed twice, so it was ended for safety.", ""},
	broker.IdPLogout:       {"Your identity provider ended your session there.", "{idp} ended your session there."},
	broker.IdPRevoked:      {"Your identity provider says that your account may no longer log in.", "{idp} says that your account may no longer log in."},
	broker.UserDisabled:    {"Your account was disabled by an administrator.", ""},
	broker.UserDeleted:     {"Your account was deleted by an administrator.", ""},
	broker.ClientRemoved:   {"The app that this login was for has been removed by an administrator.", ""},
	broker.LinkUndone:      {"The link to the account that you logged in with was removed.", ""},
	broker.SessionUnknown:  {"This login is not known any more.", ""},
}

// ended says why the session of the browser's cookie is over. The cookie was
// checked: that is how the code came about.
func (s *Server) ended(c *gin.Context, code broker.Code) string {
	e, ok := endings[code]
	if !ok {
		return "This login is over."
	}
	id, _, _ := strings.Cut(readCookie(c, s.hostName(c, cookieSession)), ".")
	found, _, err := s.broker.SessionsBy(c.Request.Context(), broker.SessionFilter{ID: id}, 0, 1)
	if e.full == "" || id == "" || err != nil || len(found) != 1 {
		return e.plain
	}
	x, life := found[0], time.Duration(0)
	switch code {
	case broker.SessionExpired:
		life = x.IdleExpiresAt.Sub(x.LastSeenAt)
	case broker.SessionMaxAge:
		life = x.AbsExpiresAt.Sub(x.CreatedAt)
	}
	values := map[string]string{"{when}": "", "{devices}": "", "{days}": "", "{idp}": s.providerName(x.ProviderID)}
	if !x.EndedAt.IsZero() {
		values["{when}"] = x.EndedAt.UTC().Format(dateAndTime)
	}
	if n := s.broker.SessionLimit(); n == 1 {
		values["{devices}"] = "1 device"
	} else if n > 1 {
		values["{devices}"] = fmt.Sprint(n, " devices")
	}
	if life >= time.Minute {
		values["{days}"] = span(life)
	}
	text := e.full
	for name, value := range values {
		if strings.Contains(e.full, name) {
			if value == "" {
				return e.plain
			}
			text = strings.ReplaceAll(text, name, value)
		}
	}
	return text
}

// sentences are for errors that come without a message of their own.
var sentences = map[broker.Code]string{
	broker.TemporarilyUnavailable: "Something that Latchkey needs does not answer. Nothing is lost: try again in a moment",
	broker.RateLimited:            "There were too many failed attempts",
	broker.LocalLoginDisabled:     "Logging in with a password is switched off",
	broker.InvalidRequest:         "The request is not complete or not valid",
	broker.InvalidCredentials:     "The username or the password is wrong",
	broker.InvalidRedirectURI:     "The app wants to send you to an address that is not registered for it, so you are not sent there; whoever runs it can correct that, or an administrator can add it",
	broker.InvalidState:           "This login is not known, was used already, or took longer than ten minutes; begin again",
	broker.StateMismatch:          "This login was begun in another browser; begin again in this one",
	broker.IssuerMismatch:         "The answer is not from the identity provider that was asked",
	broker.NonceMismatch:          "The identity provider's answer belongs to another login",
	broker.AccessDenied:           "The identity provider refused the login",
	broker.IdPRefused:             "The identity provider refused the login",
	broker.IdPBadResponse:         "The identity provider's answer is not valid; an administrator finds the reason in the log",
	broker.ProviderUnknown:        "There is no identity provider of that name",
	broker.NotProvisioned:         "There is no account here for that login; ask an administrator",
	broker.GroupNotAllowed:        "Your groups may not log in here",
	broker.DomainNotAllowed:       "Your e-mail address may not log in here",
	broker.EmailNotVerified:       "Your e-mail address has not been verified",
	broker.IdentityConflict:       "Your e-mail address belongs to an account that cannot be linked; ask an administrator",
	broker.LastLoginMethod:        "This is the last way to log in to your account; set a password or link another one first",
	broker.PasswordChangeRequired: "Your password is temporary; choose another one",
	broker.PasswordLinkInvalid:    "This link is not valid: it was used already, is too old, or a newer one took its place. Ask your administrator for another one",
	broker.UserDisabled:           "Your account was disabled by an administrator",
	broker.UserDeleted:            "Your account was deleted by an administrator",
	broker.Forbidden:              "This is not for your account",
	broker.NotFound:               "There is no such page",
	broker.SetupDone:              "This installation has an administrator already",
	broker.NoToken:                "You are not logged in",

	broker.ClientUnknown:           "The app that sent you here is not registered with Latchkey; whoever runs it can correct that, or an administrator can add it",
	broker.ClientMismatch:          "This login belongs to another app; begin again in the one that you want to use",
	broker.UnauthorizedClient:      "The app asks for something that it is not registered for; whoever runs it has to correct it",
	broker.InvalidScope:            "The app asks for something that does not exist here; whoever runs it has to correct it",
	broker.InvalidTarget:           "The app asks for access to a service that it is not registered for; whoever runs it has to correct it",
	broker.InvalidRequestURI:       "The app's request is not known, was used already, or is too old; begin again in the app",
	broker.RequestNotSupported:     "The app asks in a way that is not supported here; whoever runs it has to correct it",
	broker.RequestURINotSupported:  "The app asks in a way that is not supported here; whoever runs it has to correct it",
	broker.UnsupportedResponseType: "The app asks in a way that is not supported here; whoever runs it has to correct it",
	broker.LoginRequired:           "The app needs a new login; begin again in the app",
	broker.ConsentRequired:         "The app needs your consent; begin again in the app",
	broker.UnmetRequirements:       "The app needs a stronger way of logging in than the one that you used; begin again in the app and choose another",
	broker.UserCodeUnknown:         "This code is not known, was used already, or is older than ten minutes; look at the device again",
	broker.UserCodeTaken:           "No code could be made at the moment; try again",
	broker.DeviceCodeExpired:       "This code is older than ten minutes; begin again on the device",
	broker.CrossSite:               "This request was made by another site and was not carried out; open the page here and do it again",
}
