package web

import (
	"cmp"

	"github.com/latchkey-id/latchkey/broker"
)

// auditWords say an event in plain language.
type auditWords struct {
	s              *Server
	e              broker.Event
	users, clients map[string]string
}

// sentence is what happened; an event that has no sentence is its name.
func (w auditWords) sentence() *text {
	if sentence, ok := auditSentences[w.e.Name]; ok {
		return sentence(w)
	}
	return say("{event}", w.e.Name)
}

// by is the administrator who did it.
func (w auditWords) by() *text {
	switch w.e.Actor {
	case "":
		return nil
	case broker.ActorCommand:
		return say("by the command line")
	}
	return say("by {name}", cmp.Or(w.users[w.e.Actor], w.e.Actor))
}

// user is whom the event is about, by the name of now, else of then.
func (w auditWords) user() any {
	if name := cmp.Or(w.users[w.e.UserID], w.e.Detail["username"], w.e.UserID); name != "" {
		return name
	}
	return say("somebody")
}

func (w auditWords) app() any {
	if id := w.e.ClientID; id != "" && id != broker.AppClientID {
		return cmp.Or(w.clients[id], w.e.Detail["name"], id)
	}
	return say("Latchkey")
}

func (w auditWords) provider() any {
	if name := w.s.providerOr(w.e.Detail["provider"]); name != "" {
		return name
	}
	return say("an identity provider")
}

// factor names what was added or removed.
func (w auditWords) factor() *text {
	if w.e.Detail["factor"] == broker.FactorPasskey {
		return say("A passkey")
	}
	return say("An authenticator app")
}

func (w auditWords) cause() any {
	code := broker.Code(cmp.Or(w.e.Detail["cause"], w.e.Detail["code"]))
	if words := cmp.Or(causeWords[code], refusalWords[code]); words != nil {
		return words
	}
	return cmp.Or(string(code), "?")
}

func (w auditWords) login() *text {
	switch method := w.e.Detail["method"]; method {
	case "", "password":
		return say("{user} logged in to {app} with a password.", w.user(), w.app())
	case "import":
		return say("A session of {user} came over by an import.", w.user())
	default:
		return say("{user} logged in to {app} through {provider}.", w.user(), w.app(), w.s.providerOr(method))
	}
}

// refusedLogins are those of one account, or of none that is known, and at last those
// that were too many to be told one by one.
func (w auditWords) refusedLogins() *text {
	n, one := w.e.Detail["count"], say("A login was refused: {cause}.", w.cause())
	switch {
	case w.e.Detail["code"] == "":
		return say("Beyond what is told one by one, logins were refused {n} times.", n)
	case w.e.UserID != "":
		one = say("A login as {user} was refused: {cause}.", w.user(), w.cause())
	}
	if n == "1" {
		return one
	}
	return say("{n} times: {event}", n, one)
}

func (w auditWords) updated() *text {
	if fields := w.e.Detail["changed"]; fields != "" {
		return say("The account of {user} was changed: {fields}.", w.user(), fields)
	}
	return say("The account of {user} was changed.", w.user())
}

// auditSentences has one for every event that is written.
var auditSentences = map[string]func(auditWords) *text{
	broker.EventSessionStarted: auditWords.login,
	broker.EventLoginRefused:   auditWords.refusedLogins,
	broker.EventUserUpdated:    auditWords.updated,
	broker.EventSessionEnded: func(w auditWords) *text {
		return say("A session of {user} in {app} ended: {cause}.", w.user(), w.app(), w.cause())
	},
	broker.EventUserCreated:      func(w auditWords) *text { return say("The account of {user} was made.", w.user()) },
	broker.EventUserDisabled:     func(w auditWords) *text { return say("The account of {user} was disabled.", w.user()) },
	broker.EventUserEnabled:      func(w auditWords) *text { return say("The account of {user} was enabled again.", w.user()) },
	broker.EventUserDeleted:      func(w auditWords) *text { return say("The account of {user} was deleted.", w.user()) },
	broker.EventPasswordChanged:  func(w auditWords) *text { return say("The password of {user} was changed.", w.user()) },
	broker.EventPasswordLinkMade: func(w auditWords) *text { return say("A link to choose a password was made for {user}.", w.user()) },
	broker.EventIdentityLinked: func(w auditWords) *text {
		return say("A login at {provider} was linked to the account of {user}.", w.provider(), w.user())
	},
	broker.EventIdentityUnlinked: func(w auditWords) *text {
		return say("A login at {provider} was unlinked from the account of {user}.", w.provider(), w.user())
	},
	broker.EventClientCreated:    func(w auditWords) *text { return say("The app {app} was added.", w.app()) },
	broker.EventClientUpdated:    func(w auditWords) *text { return say("The app {app} was changed.", w.app()) },
	broker.EventClientSecret:     func(w auditWords) *text { return say("The secret of the app {app} was replaced.", w.app()) },
	broker.EventClientDeleted:    func(w auditWords) *text { return say("The app {app} was deleted.", w.app()) },
	broker.EventConsentGiven:     func(w auditWords) *text { return say("{user} gave {app} consent.", w.user(), w.app()) },
	broker.EventConsentWithdrawn: func(w auditWords) *text { return say("{user} withdrew the consent given to {app}.", w.user(), w.app()) },
	broker.EventTokenExchanged:   func(w auditWords) *text { return say("{app} exchanged a token of {user}.", w.app(), w.user()) },
	broker.EventAPIKeyCreated:    func(w auditWords) *text { return say("An API key of {user} was made.", w.user()) },
	broker.EventAPIKeyUpdated:    func(w auditWords) *text { return say("An API key of {user} was changed.", w.user()) },
	broker.EventAPIKeyDeleted:    func(w auditWords) *text { return say("An API key of {user} was deleted.", w.user()) },
	broker.EventProviderCreated:  func(w auditWords) *text { return say("The identity provider {provider} was added.", w.provider()) },
	broker.EventProviderUpdated:  func(w auditWords) *text { return say("The identity provider {provider} was changed.", w.provider()) },
	broker.EventProviderDeleted:  func(w auditWords) *text { return say("The identity provider {provider} was deleted.", w.provider()) },
	broker.EventKeyPublished:     func(w auditWords) *text { return say("A new signing key was published: {key}.", w.e.Detail["kid"]) },
	broker.EventKeyActivated:     func(w auditWords) *text { return say("The signing key {key} signs from here on.", w.e.Detail["kid"]) },
	broker.EventKeyRevoked:       func(w auditWords) *text { return say("The signing key {key} was taken back.", w.e.Detail["kid"]) },
	broker.EventIdPUnknown: func(w auditWords) *text {
		return say("{provider} does not answer, so that nobody knows whether logins there still stand.", w.provider())
	},
	broker.EventIdPAnswers: func(w auditWords) *text {
		return say("{provider} answers again: it is known whether logins there still stand.", w.provider())
	},
	broker.EventUpstreamUnknown: func(w auditWords) *text {
		return say("Nobody can know whether the login of {user} at {provider} still stands.", w.user(), w.provider())
	},
	broker.EventFactorAdded: func(w auditWords) *text {
		return say("{factor} was added to the account of {user}.", w.factor(), w.user())
	},
	broker.EventFactorRemoved: func(w auditWords) *text {
		return say("{factor} was removed from the account of {user}.", w.factor(), w.user())
	},
	broker.EventFactorRenamed: func(w auditWords) *text { return say("A passkey of {user} got another name.", w.user()) },
	broker.EventFactorsReset:  func(w auditWords) *text { return say("The second factors of {user} were reset.", w.user()) },
	broker.EventRecoveryMade:  func(w auditWords) *text { return say("New recovery codes were made for {user}.", w.user()) },
	broker.EventRecoveryUsed: func(w auditWords) *text {
		return say("{user} used a recovery code; {n} are left.", w.user(), w.e.Detail["left"])
	},
	broker.EventPasskeyCloned: func(w auditWords) *text {
		return say("A passkey of {user} counted backwards, so there may be a copy of it; the login was refused.", w.user())
	},
	broker.EventLegacyUsed: func(w auditWords) *text {
		return say("{user} used a token of the earlier system that never expires.", w.user())
	},
	broker.EventLegacyEnded: func(w auditWords) *text {
		return say("The tokens of the earlier system were ended for {user}.", w.user())
	},
	broker.EventDatabaseRestored: func(auditWords) *text {
		return say("The database was restored from a backup.")
	},
	broker.EventOfRefresh(broker.OutcomeConverge): func(w auditWords) *text {
		return say("{app} got an answer for {user} once more that was lost on its way.", w.app(), w.user())
	},
	broker.EventOfRefresh(broker.OutcomeReissue): func(w auditWords) *text {
		return say("{app} got an answer for {user} once more that was lost long ago.", w.app(), w.user())
	},
	broker.EventOfRefresh(broker.OutcomeAhead): func(w auditWords) *text {
		return say("{app} knew more of a session of {user} than the database, which followed it.", w.app(), w.user())
	},
	broker.EventOfRefresh(broker.OutcomeReuse): func(w auditWords) *text {
		return say("Two devices used one login of {user} in {app}, so it was ended.", w.user(), w.app())
	},
	broker.EventOfRefresh(broker.OutcomeUnknown):        auditWords.refused,
	broker.EventOfRefresh(broker.OutcomeEnded):          auditWords.refused,
	broker.EventOfRefresh(broker.OutcomeExpired):        auditWords.refused,
	broker.EventOfRefresh(broker.OutcomeClientMismatch): auditWords.refused,
	broker.EventOfRefresh(broker.OutcomeKeyMismatch):    auditWords.refused,
}

func (w auditWords) refused() *text {
	return say("{app} could not go on with a session of {user}: {cause}.", w.app(), w.user(), w.cause())
}
