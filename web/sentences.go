package web

import (
	"cmp"
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
			p.Error = say("{provider} does not answer at the moment. Try again shortly, or choose another way in.", name)
		}
		return "login", p
	}
	p = page{Title: titleOf(e.Code, a.status), Error: sentence(e, a), Code: string(e.Code)}
	login := s.loginAddress()
	switch {
	case badlySetUp(c, e):
		p.Title, p.Error, p.Detail = say("This app is not set up correctly"), sentence(&broker.Error{Code: e.Code}, a), e.Message
		if e.Code == broker.InvalidRequest {
			p.Error = say("The app asks for something that makes no sense here; whoever runs it has to correct it.")
		}
		if p.Help = say("You did nothing wrong, and trying again does not help."); c.FullPath() == "/oauth2/authorize" {
			break
		}
		p.Help = say("You are still logged in here.")
		p.Buttons = []button{{Text: say("Log out here"), URL: s.broker.PublicURL() + "/oauth2/logout"}}
	case e.Code == broker.InvalidState && (strings.HasPrefix(c.FullPath(), "/oauth2/") || c.FullPath() == confirmPath):
		p.Title, p.Help = say("This login is over"), say("If the app has you logged in already, all is well, and you can close this page.")
	case c.GetBool(keyLinking):
		p.Buttons = []button{{Text: say("Back to your logins"), URL: s.broker.PublicURL() + identitiesPath}}
	case callback:
		p.Buttons = []button{{Text: say("Log in again"), URL: login}} // the URL that came back is used up
	case e.Code == broker.PasswordLinkInvalid && s.broker.ForgottenOffered():
		p.Error = say("This link is not valid: it was used already, is too old, or a newer one took its place. Ask for another one.")
		p.Buttons = []button{{Text: say("Send me a link"), URL: s.broker.PublicURL() + forgottenPath}, {Text: say("Log in"), URL: login}}
	case a.status == http.StatusUnauthorized, e.Code == broker.SetupDone, e.Code == broker.PasswordLinkInvalid:
		p.Buttons = []button{{Text: say("Log in"), URL: login}}
	case a.status == http.StatusServiceUnavailable && c.Request.Method == http.MethodGet:
		for name := range c.Request.URL.Query() {
			if secretive(name) { // an empty address is that of the page, and repeats none of it
				p.Buttons = []button{{Text: say("Try again")}}
				return "error", p
			}
		}
		// Absolute and of our origin: a path of two slashes would lead elsewhere.
		if again, ok := s.ownPage(strings.TrimSuffix(s.publicURL.EscapedPath(), "/") + c.Request.URL.RequestURI()); ok {
			p.Buttons = []button{{Text: say("Try again"), URL: again}}
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

// providerName is how a provider is called; empty: there is none of that id.
func (s *Server) providerName(id string) string {
	p, _ := s.provider(id)
	return p.Name
}

// providerOr is the name of a provider, or its id once that is gone.
func (s *Server) providerOr(id string) string { return cmp.Or(s.providerName(id), id) }

func titleOf(code broker.Code, status int) *text {
	switch {
	case code == broker.SetupDone:
		return say("Already set up")
	case status == http.StatusNotFound:
		return say("Not found")
	case status >= 500:
		return say("Not possible at the moment")
	}
	return say("That did not work")
}

// sentence says an error to a person: in the broker's own words about this very
// case, and where there are none, or a language does not have them, in those of
// the code.
func sentence(e *broker.Error, a answer) *text {
	t := sentences[e.Code]
	if t == nil {
		t = &text{key: that(a.status).key, english: a.text + "."}
	}
	if e.Message != "" {
		first, size := utf8.DecodeRuneInString(e.Message)
		t = &text{key: t.key, refusal: e.Message, english: string(unicode.ToUpper(first)) + strings.TrimSuffix(e.Message[size:], ".") + "."}
	}
	if e.Code == broker.RateLimited && e.RetryAfter > 0 {
		t = say("{problem} Try again in {time}.", t, e.RetryAfter+time.Minute-1)
	}
	return t
}

// that is what can be said of a code without a sentence.
func that(status int) *text {
	if status >= 500 {
		return sentences[broker.TemporarilyUnavailable]
	}
	return say("That did not work.")
}

// ending is how a person is told why a session is over: full where the session
// is at hand, plain where only the cause is known.
type ending struct{ plain, full *text }

// endings has one sentence per cause. The place of a full one is filled by
// [Server.ended].
var endings = map[broker.Code]ending{
	broker.LoggedOut:       {say("You logged out on this device."), nil},
	broker.RevokedByUser:   {say("You ended this device from your account page."), say("You ended this device from your account page on {when}.")},
	broker.RevokedByAdmin:  {say("An administrator ended this device."), say("An administrator ended this device on {when}.")},
	broker.PasswordChanged: {say("Your password was changed; every device has to log in again."), say("Your password was changed on {when}; every device has to log in again.")},
	broker.SessionExpired:  {say("This device was not used for a long time."), say("This device was not used for {days}.")},
	broker.SessionMaxAge:   {say("This login reached its age limit."), say("This login reached its limit of {days}.")},
	broker.SessionLimit:    {say("You logged in on more devices than are allowed; the one unused for longest was ended."), say("You logged in on more than {devices}; the one unused for longest was ended.")},
	broker.TokenReused:     {say("Two devices used the same login, so it was ended for safety. If one of them was not you, change your password."), nil},
	broker.CodeReused:      {say("This login was redeemed twice, so it was ended for safety."), nil},
	broker.IdPLogout:       {say("Your identity provider ended your session there."), say("{idp} ended your session there.")},
	broker.IdPRevoked:      {say("Your identity provider says that your account may no longer log in."), say("{idp} says that your account may no longer log in.")},
	broker.UserDisabled:    {say("Your account was disabled by an administrator."), nil},
	broker.UserDeleted:     {say("Your account was deleted by an administrator."), nil},
	broker.ClientRemoved:   {say("The app that this login was for has been removed by an administrator."), nil},
	broker.LinkUndone:      {say("The link to the account that you logged in with was removed."), nil},
	broker.SessionUnknown:  {say("This login is not known any more."), nil},
}

// ended says why the session of the browser's cookie is over. The cookie was
// checked: that is how the code came about.
func (s *Server) ended(c *gin.Context, code broker.Code) *text {
	e, ok := endings[code]
	if !ok {
		return say("This login is over.")
	}
	id, _, _ := strings.Cut(readCookie(c, s.hostName(c, cookieSession)), ".")
	found, _, err := s.broker.SessionsBy(c.Request.Context(), broker.SessionFilter{ID: id}, 0, 1)
	if id == "" || err != nil || len(found) != 1 {
		return e.plain
	}
	return s.why(code, found[0])
}

// followersLimited is said of what follows a browser, by itself or with it: it is no
// device, and others are counted.
var followersLimited = say("There were more logins than are allowed; this one, or the browser that it belonged to, was unused for longest.")

// why says why a session is over, as fully as the session tells.
func (s *Server) why(code broker.Code, x broker.Session) *text {
	if code == broker.SessionLimit && x.FollowsParent {
		return followersLimited
	}
	e := endings[code]
	if e.full == nil {
		return e.plain
	}
	if value := s.endedBy(code, x); value != nil {
		return e.full.with(value)
	}
	return e.plain
}

// endedBy is what a session knows of its end; nil: nothing.
func (s *Server) endedBy(code broker.Code, x broker.Session) any {
	life := time.Duration(0)
	switch code {
	case broker.SessionExpired:
		life = x.IdleExpiresAt.Sub(x.LastSeenAt)
	case broker.SessionMaxAge:
		life = x.AbsExpiresAt.Sub(x.CreatedAt)
	case broker.SessionLimit:
		if n := s.broker.SessionLimit(); n > 1 {
			return say("{n} devices", n)
		} else if n == 1 {
			return say("1 device")
		}
	case broker.IdPLogout, broker.IdPRevoked:
		if name := s.providerName(x.ProviderID); name != "" {
			return name
		}
	default:
		if !x.EndedAt.IsZero() {
			return x.EndedAt
		}
	}
	if life >= time.Minute {
		return life
	}
	return nil
}

// sentences are for errors that come without a message of their own.
var sentences = map[broker.Code]*text{
	broker.TemporarilyUnavailable: say("Something that Latchkey needs does not answer. Nothing is lost: try again in a moment."),
	broker.RateLimited:            say("There were too many failed attempts."),
	broker.LocalLoginDisabled:     say("Logging in with a password is switched off."),
	broker.InvalidRequest:         say("The request is not complete or not valid."),
	broker.InvalidCredentials:     say("The username or the password is wrong."),
	broker.InvalidRedirectURI:     say("The app wants to send you to an address that is not registered for it, so you are not sent there; whoever runs it can correct that, or an administrator can add it."),
	broker.InvalidState:           say("This login is not known, was used already, or took too long; begin again."),
	broker.StateMismatch:          say("This login was begun in another browser; begin again in this one."),
	broker.IssuerMismatch:         say("The answer is not from the identity provider that was asked."),
	broker.NonceMismatch:          say("The identity provider's answer belongs to another login."),
	broker.AccessDenied:           say("The identity provider refused the login."),
	broker.IdPRefused:             say("The identity provider refused the login."),
	broker.IdPBadResponse:         say("The identity provider's answer is not valid; an administrator finds the reason in the log."),
	broker.ProviderUnknown:        say("There is no identity provider of that name."),
	broker.NotProvisioned:         say("There is no account here for that login; ask an administrator."),
	broker.GroupNotAllowed:        say("Your groups may not log in here."),
	broker.DomainNotAllowed:       say("Your e-mail address may not log in here."),
	broker.EmailNotVerified:       say("Your e-mail address has not been verified."),
	broker.IdentityConflict:       say("Your e-mail address belongs to an account that cannot be linked; ask an administrator."),
	broker.LastLoginMethod:        say("This is the last way to log in to your account; set a password or link another one first."),
	broker.PasswordChangeRequired: say("Your password is temporary; choose another one."),
	broker.PasswordLinkInvalid:    say("This link is not valid: it was used already, is too old, or a newer one took its place. Ask your administrator for another one."),
	broker.WeakPassword:           say("This password is too short, or too easy to guess; choose a longer one."),
	broker.WrongPassword:          say("The password is wrong."),
	broker.UsernameTaken:          say("This username is taken; choose another one."),
	broker.InvalidUsername:        say("A username has 1 to 64 letters, digits and signs, and no space at its ends."),
	broker.UserDisabled:           say("Your account was disabled by an administrator."),
	broker.UserDeleted:            say("Your account was deleted by an administrator."),
	broker.LastAdmin:              say("This is the last administrator who can log in; make somebody else one first."),
	broker.Forbidden:              say("This is not for your account."),
	broker.NotFound:               say("There is no such page."),
	broker.SetupDone:              say("This installation has an administrator already."),
	broker.NoToken:                say("You are not logged in."),
	broker.SecondFactorRequired:   say("Your account asks for a second factor; log in again."),
	broker.SecondFactorInvalid:    say("The code is wrong, or was used already. Wait for the next one, or use a recovery code."),
	broker.WrongCode:              say("The code is wrong, or was used already."),
	broker.FactorExists:           say("There is an authenticator app already; remove it first."),
	broker.PasskeyInvalid:         say("The passkey was refused, or it took longer than five minutes; try again."),
	broker.FormUsed:               say("This form was sent already, or is older than a day; open the page again."),

	broker.ClientUnknown:           say("The app that sent you here is not registered with Latchkey; whoever runs it can correct that, or an administrator can add it."),
	broker.ClientExists:            say("There is a client with this id already."),
	broker.ReadOnlyClient:          say("This client is built in or stands in the configuration."),
	broker.InvalidClientMetadata:   say("Something about this client cannot be so."),
	broker.ClientMismatch:          say("This login belongs to another app; begin again in the one that you want to use."),
	broker.UnauthorizedClient:      say("The app asks for something that it is not registered for; whoever runs it has to correct it."),
	broker.InvalidScope:            say("The app asks for something that does not exist here; whoever runs it has to correct it."),
	broker.InvalidTarget:           say("The app asks for access to a service that it is not registered for; whoever runs it has to correct it."),
	broker.InvalidRequestURI:       say("The app's request is not known, was used already, or is too old; begin again in the app."),
	broker.RequestNotSupported:     say("The app asks in a way that is not supported here; whoever runs it has to correct it."),
	broker.RequestURINotSupported:  say("The app asks in a way that is not supported here; whoever runs it has to correct it."),
	broker.UnsupportedResponseType: say("The app asks in a way that is not supported here; whoever runs it has to correct it."),
	broker.LoginRequired:           say("The app needs a new login; begin again in the app."),
	broker.ConsentRequired:         say("The app needs your consent; begin again in the app."),
	broker.UnmetRequirements:       say("The app needs a stronger way of logging in than the one that you used; begin again in the app and choose another."),
	broker.UserCodeUnknown:         say("This code is not known, was used already, or is older than ten minutes; look at the device again."),
	broker.UserCodeTaken:           say("No code could be made at the moment; try again."),
	broker.DeviceCodeExpired:       say("This code is older than ten minutes; begin again on the device."),
	broker.CrossSite:               say("This request was made by another site and was not carried out; open the page here and do it again."),
}
