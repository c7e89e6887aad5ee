package broker

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Answer is what a client is sent through the browser (RFC 6749 section 4.1.2).
type Answer struct {
	RedirectURI string
	FormPost    bool // as a form that posts itself; else in the query
	Params      url.Values
	Code        Code // of an error, for our own log; empty: success
}

// Step is what an authorization request needs next: an answer is ready, or the
// person has something to do first.
type Step struct {
	Answer  *Answer
	Login   bool // log in, then continue
	Consent bool // ask, then decide
	Waiting *Waiting
}

// Waiting is an authorization request that waits for the person in this
// browser. ID and Secret name it: the ID in URLs, the Secret in a cookie.
type Waiting struct {
	ID     string
	Secret string // only when it was just made
	Client Client
	Scope  string
	// RedirectURI is where the browser goes in the end.
	RedirectURI string
	LoginHint   string
	IdPHint     string // the provider to go to at once
	Prompt      string // for the IdP: login, select_account or empty
	MaxAge      *int64 // for the IdP, in seconds
	UILocales   string
	// Again: the browser's session does not do; another login is needed. Choose:
	// it would do, if the person chooses it.
	Again, Choose bool
}

// Authorize handles an authorization request. Errors come back as such while
// it is not proven where the client wants its answers; after that they are
// answers. who is nil where nobody is logged in.
func (b *Broker) Authorize(ctx context.Context, r AuthorizationRequest, who *Principal) (Step, error) {
	asked, step, err := b.understand(ctx, r)
	if err != nil || step.Answer != nil {
		return step, err
	}
	return b.decide(ctx, &asked, who)
}

// decide is [Broker.next] for a request that has not waited; trouble of ours is an
// answer too, and so is a limit in a frame that shows no page, or where the page cannot
// be loaded again.
func (b *Broker) decide(ctx context.Context, asked *authorizationAsked, who *Principal) (Step, error) {
	step, err := b.next(ctx, asked, who, nil)
	switch {
	case errors.Is(err, TemporarilyUnavailable):
		return b.answerTrouble(ctx, asked, err)
	case errors.Is(err, RateLimited) && (asked.taken || slices.Contains(asked.prompt, "none")):
		return b.answerError(asked.request, err)
	}
	return step, err
}

// understand reads an authorization request for the first time. A step with an
// answer is the end of it.
func (b *Broker) understand(ctx context.Context, r AuthorizationRequest) (authorizationAsked, Step, error) {
	c, err := b.Client(ctx, r.ClientID)
	if err != nil {
		return authorizationAsked{}, Step{}, err
	}
	taken := r.RequestURI != ""
	r, err = b.takePushed(ctx, &c, r)
	if err != nil {
		return authorizationAsked{}, Step{}, err
	}
	if !c.RedirectAllowed(r.RedirectURI) {
		return authorizationAsked{}, Step{}, refuse(InvalidRedirectURI, "the redirect_uri is not one that "+c.DisplayName()+" registered")
	}
	asked, err := b.checkAuthorization(&c, r)
	if err != nil {
		step, err := b.answerError(r, err)
		return asked, step, err
	}
	asked.taken = taken
	return asked, Step{}, nil
}

func (b *Broker) answerTrouble(ctx context.Context, asked *authorizationAsked, err error) (Step, error) {
	b.cfg.Log.ErrorContext(ctx, "authorization not possible at the moment", "event", "authorization.failed", "client_id", asked.client.ID, "error", err)
	return b.answerError(asked.request, err)
}

// ContinueAuthorization goes on with a request that waited, in the browser that
// began it.
func (b *Broker) ContinueAuthorization(ctx context.Context, id, secret string, who *Principal, chosen bool) (Step, error) {
	asked, p, err := b.pending(ctx, id, secret)
	if err != nil {
		return Step{}, err
	}
	asked.chosen = chosen
	step, err := b.next(ctx, asked, who, p)
	if step.Waiting != nil {
		step.Waiting.ID = id
	}
	return step, err
}

// DecideConsent carries out what the person said of a client. Everything but
// the decision comes from the request that waited.
func (b *Broker) DecideConsent(ctx context.Context, id, secret string, who *Principal, said Reply) (Step, error) {
	asked, p, err := b.pending(ctx, id, secret)
	if err != nil {
		return Step{}, err
	}
	if err := b.readUpstream(ctx, asked.client, who); err != nil {
		return Step{}, err
	}
	if who == nil || b.needsLogin(asked, who) != "" {
		step, err := b.next(ctx, asked, who, p)
		if step.Waiting != nil {
			step.Waiting.ID = id
		}
		return step, err
	}
	if !said.Allow {
		if err := b.takePending(ctx, p); err != nil {
			return Step{}, err
		}
		return b.answerError(asked.request, refuse(AccessDenied, "the person refused"))
	}
	given, err := b.letIn(ctx, *who, asked.client, said)
	if err != nil {
		return Step{}, err
	}
	step, err := b.issueCode(ctx, asked, who, p, given.take, func(ctx context.Context, store Store) error {
		if forgettable(asked.client) {
			return nil
		}
		return b.saveConsent(ctx, store, Consent{UserID: who.User.ID, ClientID: asked.client.ID, Scope: asked.scope, GrantedAt: b.now()})
	})
	return step, given.counted(ctx, err)
}

// WaitingAuthorization describes a request that waits, for the login page.
func (b *Broker) WaitingAuthorization(ctx context.Context, id, secret string, who *Principal) (*Waiting, error) {
	asked, _, err := b.pending(ctx, id, secret)
	if err != nil {
		return nil, err
	}
	if err := b.readUpstream(ctx, asked.client, who); err != nil {
		return nil, err
	}
	w := asked.waiting()
	w.ID, w.Again = id, who != nil && b.needsLogin(asked, who) != ""
	asked.chosen = true
	if w.Again && b.needsLogin(asked, who) == "" {
		w.Again, w.Choose = false, true
	}
	return w, nil
}

// forgettable reports whether a remembered consent proves nothing: any program on the
// device may hold the client's name and its redirect URI (RFC 8252 section 8.6).
func forgettable(c *Client) bool { return c.Public() && slices.ContainsFunc(c.RedirectURIs, nativeURI) }

func (b *Broker) saveConsent(ctx context.Context, store Store, consent Consent) error {
	if err := store.SaveConsent(ctx, consent); err != nil {
		return err
	}
	return b.audit(ctx, store, Event{
		Name: EventConsentGiven, UserID: consent.UserID, ClientID: consent.ClientID, Detail: map[string]string{"scope": consent.Scope},
	})
}

// pending finds a waiting request of this browser and reads it again.
func (b *Broker) pending(ctx context.Context, id, secret string) (*authorizationAsked, *PendingAuthorization, error) {
	gone := refuse(InvalidState, "this login is not known in this browser, is finished, or took longer than 15 minutes; begin again in the app")
	if id == "" || secret == "" {
		return nil, nil, gone
	}
	var p PendingAuthorization
	err := b.retry(ctx, func() (err error) {
		p, err = b.cfg.Store.Pending(ctx, hash("authorization", id), hash("browser", secret), b.now())
		return err
	})
	if errors.Is(err, NotFound) {
		return nil, nil, gone
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := b.Client(ctx, p.ClientID)
	if err != nil {
		return nil, nil, err
	}
	if !c.RedirectAllowed(p.Request.RedirectURI) {
		return nil, nil, gone // the client changed in between
	}
	asked, err := b.checkAuthorization(&c, p.Request)
	if err != nil {
		return nil, nil, gone
	}
	asked.waited = true
	return &asked, &p, nil
}

// next decides what an authorization request needs: a login, a consent, or
// nothing more. p is nil while it did not wait yet.
func (b *Broker) next(ctx context.Context, asked *authorizationAsked, who *Principal, p *PendingAuthorization) (Step, error) {
	silent := slices.Contains(asked.prompt, "none")
	if err := b.readUpstream(ctx, asked.client, who); err != nil {
		return Step{}, err
	}
	if why := b.needsLogin(asked, who); why != "" {
		fresh := p != nil && who != nil && who.Session.ID != asked.request.SeenSession
		if silent || fresh && why != LoginRequired {
			return b.finishWithError(ctx, asked, p, refuse(why, "another login is needed"))
		}
		if fresh && asked.hintSubject != "" && who.User.ID != asked.hintSubject {
			return b.finishWithError(ctx, asked, p, refuse(LoginRequired, "another account logged in than the one that was asked for"))
		}
		return b.wait(ctx, asked, who, p, Step{Login: true})
	}
	needed, err := b.needsConsent(ctx, asked, who.User)
	if err != nil {
		return Step{}, err
	}
	if needed && silent {
		return b.finishWithError(ctx, asked, p, refuse(ConsentRequired, "the person has to be asked"))
	}
	if !needed && keepsSession(asked.client) {
		proof, err := b.LetInAsked(ctx, *who, asked.client)
		if err != nil {
			return Step{}, err
		}
		if needed = proof != AskedNothing; needed && silent {
			return b.finishWithError(ctx, asked, p, refuse(LoginRequired, "the login is older than five minutes"))
		}
	}
	if needed {
		return b.wait(ctx, asked, who, p, Step{Consent: true})
	}
	return b.issueCode(ctx, asked, who, p)
}

// needsLogin says why the browser's session does not do, or "". A login that
// was asked for is done when the browser has another session than at the start.
func (b *Broker) needsLogin(asked *authorizationAsked, who *Principal) Code {
	if who == nil {
		return LoginRequired
	}
	seen := asked.request.SeenSession
	fresh := asked.waited && seen != who.Session.ID
	switch {
	case !asked.client.TakesWay(who.Session.ProviderID):
		return LoginRequired
	case asked.hintSubject != "" && asked.hintSubject != who.User.ID, asked.badHint && slices.Contains(asked.prompt, "none"):
		return LoginRequired
	case slices.Contains(asked.prompt, "login") && !fresh:
		return LoginRequired
	case slices.Contains(asked.prompt, "select_account") && !fresh && !asked.chosen:
		return LoginRequired
	case asked.maxAge != nil && !fresh && b.now().Unix()-who.Session.AuthTime.Unix() > *asked.maxAge:
		return LoginRequired
	case asked.client.distrusts(&who.Session, b.now()):
		return LoginRequired
	case len(asked.essentialACR) > 0 && !slices.Contains(asked.essentialACR, ACR(who.Session.AMR)):
		if fresh {
			return UnmetRequirements
		}
		return LoginRequired
	}
	return ""
}

// localProvider names the password among the ways to log in.
const localProvider = "local"

func (b *Broker) needsConsent(ctx context.Context, asked *authorizationAsked, u User) (bool, error) {
	if asked.client.FirstParty {
		return false, nil
	}
	if forgettable(asked.client) || slices.Contains(asked.prompt, "consent") {
		return true, nil
	}
	var given Consent
	err := b.retry(ctx, func() (err error) {
		given, err = b.cfg.Store.ConsentOf(ctx, u.ID, asked.client.ID)
		return err
	})
	if errors.Is(err, NotFound) {
		return true, nil
	}
	return !subset(asked.scope, given.Scope), err
}

// wait keeps the request for this browser.
func (b *Broker) wait(ctx context.Context, asked *authorizationAsked, who *Principal, p *PendingAuthorization, step Step) (Step, error) {
	step.Waiting = asked.waiting()
	step.Waiting.Again = who != nil && step.Login
	if p != nil {
		return step, nil // it waits already
	}
	if !asked.request.begun {
		if err := b.begins(ctx, asked.request.Device, asked.request); err != nil {
			return Step{}, err
		}
	}
	if who != nil {
		asked.request.SeenSession = who.Session.ID
	}
	kept, err := b.keep(ctx, "authorization", PendingAuthorization{ClientID: asked.client.ID, Request: asked.request}, pendingLife)
	step.Waiting.ID, step.Waiting.Secret = kept.ID, kept.Secret
	return step, err
}

func (b *Broker) takePending(ctx context.Context, p *PendingAuthorization) error {
	if p == nil {
		return nil
	}
	return b.retryTx(ctx, func(store Store) error { return b.takePendingIn(ctx, store, p) })
}

func (b *Broker) takePendingIn(ctx context.Context, store Store, p *PendingAuthorization) error {
	_, err := store.TakePending(ctx, p.ID, p.Browser, p.ClientID, b.now())
	if errors.Is(err, NotFound) {
		return refuse(InvalidState, "this login is finished; begin again in the app")
	}
	return err
}

func (b *Broker) finishWithError(ctx context.Context, asked *authorizationAsked, p *PendingAuthorization, err error) (Step, error) {
	if taken := b.takePending(ctx, p); taken != nil {
		return Step{}, taken
	}
	return b.answerError(asked.request, err)
}

// issueCode gives the client its code, if the browser has not had too many: single use,
// one minute, bound to client, redirect URI and challenge. What comes first is done in
// the same transaction; a request that did not wait has nothing of that.
func (b *Broker) issueCode(
	ctx context.Context, asked *authorizationAsked, who *Principal, p *PendingAuthorization, first ...func(context.Context, Store) error,
) (Step, error) {
	if err := b.mayHaveCode(ctx, who); err != nil {
		return Step{}, err
	}
	code, r := b.newSecret(32), asked.request
	row := AuthorizationCode{
		ID: hash("authorization code", code), ClientID: asked.client.ID, RedirectURI: r.RedirectURI, Challenge: r.CodeChallenge,
		Authorization: asked.authorization(who), ExpiresAt: b.now().Add(codeLife),
	}
	var err error
	if p == nil { // whoever is logged in already pays for one statement
		err = b.retry(ctx, func() error { return b.cfg.Store.InsertCode(ctx, row) })
	} else {
		err = b.retryTx(ctx, func(store Store) error {
			for _, step := range first {
				if err := step(ctx, store); err != nil {
					return err
				}
			}
			if err := b.takePendingIn(ctx, store, p); err != nil {
				return err
			}
			return store.InsertCode(ctx, row)
		})
	}
	if err != nil {
		return Step{}, err
	}
	return Step{Answer: b.answer(r, url.Values{"code": {code}}, "")}, nil
}

// answer adds what every answer has: state as it came, and iss (RFC 9207).
func (b *Broker) answer(r AuthorizationRequest, params url.Values, code Code) *Answer {
	if r.State != "" {
		params.Set("state", r.State)
	}
	params.Set("iss", b.cfg.PublicURL)
	return &Answer{RedirectURI: r.RedirectURI, FormPost: r.ResponseMode == responseFormPost, Params: params, Code: code}
}

// answerError is an error as an answer; trouble of ours too, so that the app
// learns of it.
func (b *Broker) answerError(r AuthorizationRequest, err error) (Step, error) {
	code := CodeOf(err)
	said := string(code)
	switch code {
	case InvalidState, InvalidRedirectURI, ClientUnknown:
		return Step{}, err
	case RateLimited: // our own word
		said = string(TemporarilyUnavailable)
	}
	params := url.Values{"error": {said}}
	var e *Error
	if errors.As(err, &e) && e.Message != "" {
		params.Set("error_description", plainASCII(e.Message))
	}
	return Step{Answer: b.answer(r, params, code)}, nil
}

// plainASCII keeps to the characters of RFC 6749 section 4.1.2.1.
func plainASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, text)
}

// ACR is the authentication context class of a login: 2 where factors of two
// kinds or a phishing-resistant key took part (RFC 8176), else 1. Two of one
// kind, such as password and PIN, are one factor.
func ACR(amr []string) string {
	var known, had, been bool
	for _, method := range amr {
		switch method {
		case "mfa", "phr", "phrh", "hwk", "mca":
			return "2"
		case "pwd", "pin":
			known = true
		case "otp", "swk", "sms", "sc":
			had = true
		case "fpt", "face", "iris":
			been = true
		}
	}
	if known && had || known && been || had && been {
		return "2"
	}
	return "1"
}
