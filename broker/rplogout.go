package broker

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// LogoutRequest is an RP-initiated logout (OIDC RP-Initiated Logout section 2).
type LogoutRequest struct {
	IDTokenHint           string
	ClientID              string
	PostLogoutRedirectURI string
	State                 string
	UILocales             string
}

// AskedLogout is a logout request that was understood: whom its ID token names,
// without the token.
type AskedLogout struct {
	ClientID    string `json:"client_id,omitempty"`
	RedirectURI string `json:"redirect_uri,omitempty"`
	State       string `json:"state,omitempty"`
	UILocales   string `json:"ui_locales,omitempty"`
	Subject     string `json:"subject,omitempty"` // empty: no ID token was sent
	// SessionID is the client's own session by the ID token, or empty.
	SessionID string `json:"session_id,omitempty"`
}

// LogoutPlan is what a logout request comes to.
type LogoutPlan struct {
	AskedLogout
	// Confirm: nothing proves that the person wants it, so that the page asks.
	Confirm bool
	Client  *Client // who asks; nil: not said

	kept *PendingAuthorization // what it was kept as; nil: it was not
}

// PlanLogout judges a logout request. A redirect needs a client and a URI
// that it registered; who asks without a hint of ours, or for another person
// than the one at this browser, is asked to confirm.
func (b *Broker) PlanLogout(ctx context.Context, r LogoutRequest, who *Principal) (LogoutPlan, error) {
	asked := AskedLogout{ClientID: r.ClientID, RedirectURI: r.PostLogoutRedirectURI, State: r.State, UILocales: cleanText(r.UILocales, maxHint)}
	if len(r.State) > maxRequestParam {
		return LogoutPlan{}, invalidRequest("state has at most 8192 bytes")
	}
	if r.IDTokenHint != "" {
		hint, err := b.keys.Load().ParseIDToken(r.IDTokenHint, b.cfg.PublicURL)
		if err != nil {
			return LogoutPlan{}, &Error{Code: InvalidRequest, Message: "the id_token_hint is not an ID token of this issuer", Err: err}
		}
		if r.ClientID != "" && r.ClientID != hint.Audience {
			return LogoutPlan{}, invalidRequest("the id_token_hint is another client's")
		}
		asked.ClientID, asked.Subject, asked.SessionID = hint.Audience, hint.Subject, hint.SessionID
	}
	return b.planLogout(ctx, asked, who)
}

func (b *Broker) planLogout(ctx context.Context, asked AskedLogout, who *Principal) (LogoutPlan, error) {
	plan := LogoutPlan{AskedLogout: asked, Confirm: who != nil && who.User.ID != asked.Subject}
	if asked.ClientID == "" { // nobody says whose the redirect URI would be: a page of ours
		plan.RedirectURI = ""
		return plan, nil
	}
	c, err := b.Client(ctx, asked.ClientID)
	if err != nil {
		return plan, err
	}
	if asked.RedirectURI != "" && !c.postLogoutAllowed(asked.RedirectURI) {
		return plan, refuse(InvalidRedirectURI, "the post_logout_redirect_uri is not one that "+c.DisplayName()+" registered")
	}
	plan.Client = &c
	return plan, nil
}

// KeepLogout keeps a logout request for one browser: until that browser comes with
// its cookies, or the person at it has answered.
func (b *Broker) KeepLogout(ctx context.Context, plan LogoutPlan, device Device) (Kept, error) {
	if err := b.begins(ctx, device, plan.AskedLogout); err != nil {
		return Kept{}, err
	}
	return b.keep(ctx, "logout", PendingAuthorization{ClientID: plan.ClientID, Logout: &plan.AskedLogout}, pendingLife)
}

// KeptLogout is [Broker.PlanLogout] of a request that was kept for this browser.
func (b *Broker) KeptLogout(ctx context.Context, id, secret string, who *Principal) (LogoutPlan, error) {
	gone := refuse(InvalidState, "this logout is not known in this browser, is finished, or took longer than 15 minutes")
	if id == "" || secret == "" {
		return LogoutPlan{}, gone
	}
	var p PendingAuthorization
	err := b.retry(ctx, func() (err error) {
		p, err = b.cfg.Store.Pending(ctx, hash("logout", id), hash("browser", secret), b.now())
		return err
	})
	if errors.Is(err, NotFound) || err == nil && p.Logout == nil {
		return LogoutPlan{}, gone
	}
	if err != nil {
		return LogoutPlan{}, err
	}
	plan, err := b.planLogout(ctx, *p.Logout, who)
	plan.kept = &p
	return plan, err
}

// LogoutBrowser carries a logout out: the client's own session, and the
// browser's with all that follows it. A request that was kept is used up by it.
func (b *Broker) LogoutBrowser(ctx context.Context, plan LogoutPlan, who *Principal, device Device) error {
	ends := []SessionFilter{}
	if plan.SessionID != "" && plan.Client != nil {
		ends = append(ends, SessionFilter{ID: plan.SessionID, ClientID: plan.Client.ID})
	}
	if who != nil {
		ends = append(ends, SessionFilter{ID: who.Session.ID})
	}
	return b.retryTx(ctx, func(store Store) error {
		if plan.kept != nil {
			if err := b.takePendingIn(ctx, store, plan.kept); err != nil {
				return err
			}
		}
		for _, f := range ends {
			if _, err := b.endSessions(ctx, store, f, LoggedOut, false, device.IP); err != nil {
				return err
			}
		}
		return nil
	})
}

// IdPLogout ends what an IdP says has ended there (OIDC Back-Channel Logout
// section 2.7): the sessions of one IdP session, or of everybody that the IdP
// knows by that subject. A logout token counts once.
func (b *Broker) IdPLogout(ctx context.Context, providerID, raw string, device Device) error {
	p, err := b.provider(providerID)
	if err != nil {
		return err
	}
	if raw == "" || len(raw) > tokens.MaxTokenBytes {
		return invalidRequest("logout_token is missing or too long")
	}
	token, err := p.IdP.VerifyLogoutToken(ctx, raw)
	if err != nil {
		return err
	}
	f := SessionFilter{ProviderID: p.ID, IdPSession: token.SessionID, IdPSubject: token.Subject}
	if token.SessionID == "" && !token.IssuedAt.IsZero() { // it may come late: who logged in since is logged in
		f.CreatedBefore = token.IssuedAt.Add(clockLeeway)
	}
	err = b.retryTx(ctx, func(store Store) error {
		expires := later(token.ExpiresAt, b.now()).Add(exchangeLife)
		fresh, err := store.UseOnce(ctx, hash("logout token", p.IdP.Issuer(), token.ID), expires)
		if err != nil {
			return err
		}
		if !fresh {
			return invalidRequest("this logout_token was used before")
		}
		_, err = b.endSessions(ctx, store, f, IdPLogout, false, device.IP)
		return err
	})
	if err == nil {
		b.cfg.Log.InfoContext(ctx, "logout by an IdP", "event", "idp.logout", "provider", p.ID)
	}
	return err
}

// Lifetimes of back-channel logouts to clients.
const (
	noticeLife      = 24 * time.Hour
	noticeBatch     = 20
	noticeLease     = 30 * time.Second // longer than one delivery may take
	logoutTokenLife = 2 * time.Minute
)

// noteLogouts keeps, in the transaction that ends sessions, whom to tell.
func (b *Broker) noteLogouts(ctx context.Context, store Store, ended []Session) error {
	notices, clients, now := []LogoutNotice{}, map[string]Client{}, b.now()
	for _, s := range ended {
		if s.ClientID == AppClientID || s.ClientID == CLIClientID {
			continue
		}
		c, known := clients[s.ClientID]
		if !known {
			var err error
			if c, err = b.clientIn(ctx, store, s.ClientID); err != nil {
				return err
			}
			clients[s.ClientID] = c
		}
		if c.BackchannelLogoutURI != "" {
			notices = append(notices, LogoutNotice{
				ID: b.newID(now), ClientID: c.ID, UserID: s.UserID, SessionID: s.ID, NextAt: now, ExpiresAt: now.Add(noticeLife),
			})
		}
	}
	if len(notices) == 0 {
		return nil
	}
	return store.InsertLogoutNotices(ctx, notices)
}

// DeliverLogouts tells clients of sessions that ended (OIDC Back-Channel Logout
// section 2.5), and returns how many were due. What fails is tried again, at
// longer intervals, for a day.
func (b *Broker) DeliverLogouts(ctx context.Context) (int, error) {
	if b.cfg.LogoutSender == nil || b.Ready() != nil {
		return 0, nil
	}
	now := b.now()
	due, err := b.cfg.Store.DueLogoutNotices(ctx, now, now.Add(noticeLease), noticeBatch)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	done := make(chan error, len(due))
	for _, n := range due {
		go func() { done <- b.deliver(ctx, n) }()
	}
	for range due {
		err = errors.Join(err, <-done)
	}
	return len(due), err
}

func (b *Broker) deliver(ctx context.Context, n LogoutNotice) error {
	now := b.now()
	c, err := b.Client(ctx, n.ClientID)
	if errors.Is(err, ClientUnknown) || err == nil && c.BackchannelLogoutURI == "" {
		return b.cfg.Store.DeleteLogoutNotice(ctx, n.ID)
	}
	if err != nil {
		return err
	}
	token, err := b.logoutToken(ctx, &c, n, now)
	if err != nil {
		return err
	}
	if err := b.cfg.LogoutSender.SendLogout(ctx, c.BackchannelLogoutURI, token, c.Registered); err != nil {
		wait := min(time.Second<<min(n.Attempts, 12), time.Hour)
		if !b.now().Add(wait).Before(n.ExpiresAt) {
			b.cfg.Log.WarnContext(ctx, "a client was never told of a logout", "event", "logout.undelivered", "client_id", c.ID, "sid", n.SessionID, "error", err)
			return b.cfg.Store.DeleteLogoutNotice(ctx, n.ID)
		}
		b.cfg.Log.WarnContext(ctx, "a client did not take a logout; it will be tried again", "event", "logout.postponed",
			"client_id", c.ID, "sid", n.SessionID, "attempt", n.Attempts, "error", err)
		return b.cfg.Store.PostponeLogoutNotice(ctx, n.ID, b.now().Add(wait))
	}
	return b.cfg.Store.DeleteLogoutNotice(ctx, n.ID)
}

func (b *Broker) logoutToken(ctx context.Context, c *Client, n LogoutNotice, now time.Time) (string, error) {
	signer, err := b.idSigner(ctx, c.idTokenAlg(), now)
	if err != nil {
		return "", err
	}
	// Without sub: clients end every session of a sub that they are given, those
	// of other devices too, and those that began since.
	token, err := signer.MintLogout(tokens.LogoutClaims{
		Issuer: b.cfg.PublicURL, Audience: c.ID, SessionID: n.SessionID, ID: b.newSecret(16),
		IssuedAt: now.Unix(), ExpiresAt: now.Add(logoutTokenLife).Unix(),
	})
	return token.Reveal(), err
}
