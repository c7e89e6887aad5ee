package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// overviewView is the administration's first page: what happened lately, and
// whether all is well.
type overviewView struct {
	Spans      []place
	Unfinished bool // no provider and no client yet
	Live       *text
	LiveAt     *moment // nil: not counted yet
	CountedAt  *moment
	Plots      []plot
	Rows       []figuresRow // the plots as a table
	Now        []ranking    // live sessions
	Lately     []ranking
	Providers  []providerState
	Mail       *mailState // nil: no mail is sent
	Version    string
	Database   string
	Key        *broker.KeyState // that signs; nil: none
	KeySince   moment
}

// figuresRow is a step with its figures, in the order of the plots.
type figuresRow struct {
	When    *text
	Figures []labelled
}

// labelled is a figure with the name of its column, for narrow windows.
type labelled struct{ Label, N *text }

// ranking is how a figure divides among its labels, the greatest first.
type ranking struct {
	ID    string
	Title *text
	Empty *text
	Parts []share
}

type share struct {
	Text  *text
	Name  string // from outside, where there is no text
	URL   string // empty: it leads nowhere
	N     *text
	Width float64 // of 100, against the greatest
}

// providerState is a provider with what is known of it without asking.
type providerState struct {
	Name, URL string
	Health    health
}

const mostShares = 8

var spanTexts = map[string]*text{"24h": say("24 hours"), "7d": say("7 days"), "30d": say("30 days")}

// officeOverview is GET /admin.
func (s *Server) officeOverview(c *gin.Context, p broker.Principal) error {
	span := broker.OverviewSpans[0]
	for _, one := range broker.OverviewSpans {
		if one.Name == c.Query("span") {
			span = one
		}
	}
	o, err := s.broker.Overview(c.Request.Context(), span)
	if err != nil {
		return err
	}
	clients, err := s.ownClients(c)
	if err != nil {
		return err
	}
	view := overviewView{
		Unfinished: len(clients) == 0 && len(s.broker.Providers()) == 0, LiveAt: s.momentOr(o.LiveAt), CountedAt: s.momentOr(o.CountedAt),
		Version: s.cfg.Version, Database: s.broker.Database(), Live: grouped(0),
	}
	for _, one := range s.broker.Providers() {
		view.Providers = append(view.Providers, providerState{one.Name, providersPath + "/" + url.PathEscape(one.ID), s.healthOf(s.broker.ProviderHealth(one.ID))})
	}
	for _, one := range broker.OverviewSpans {
		view.Spans = append(view.Spans, place{Path: "/admin?span=" + one.Name, Text: spanTexts[one.Name], Here: one.Name == span.Name})
	}
	for _, k := range s.broker.SigningKeys() {
		if k.Signs {
			view.Key, view.KeySince = &k, s.moment(k.ActiveAt)
		}
	}
	view.Plots, view.Rows = plotsOf(o, span)
	if view.Now, err = s.liveRankings(c, o); err != nil {
		return err
	}
	view.Lately = rankingsOf(o)
	for _, f := range o.Live {
		if f.Name == broker.FigureLive {
			view.Live = grouped(f.N)
		}
	}
	if view.Mail, err = s.mailState(c); err != nil {
		return err
	}
	out := office(c, p, say("Overview"))
	out.View = view
	return s.show(c, http.StatusOK, "office_overview", out)
}

// mailState is what is the matter with mail.
type mailState struct {
	Waiting, Failed *text // nil: none
	Since           moment
	LastError       string
	LastAt          moment
}

func (s *Server) mailState(c *gin.Context) (*mailState, error) {
	if !s.broker.MailsSent() {
		return nil, nil
	}
	t, err := s.broker.MailTrouble(c.Request.Context())
	if err != nil {
		return nil, err
	}
	state := &mailState{Since: s.moment(t.Since), LastError: t.LastError, LastAt: s.moment(t.LastAt)}
	switch {
	case t.Waiting == 1:
		state.Waiting = say("1 mail waits since:")
	case t.Waiting > 1:
		state.Waiting = say("{n} mails wait since:", t.Waiting)
	}
	switch {
	case t.Failed == 1:
		state.Failed = say("1 mail was never sent in the last days.")
	case t.Failed > 1:
		state.Failed = say("{n} mails were never sent in the last days.", t.Failed)
	}
	return state, nil
}

// plotsOf are the plots of a span, and the same as a table.
func plotsOf(o broker.Overview, span broker.OverviewSpan) ([]plot, []figuresRow) {
	of := func(title *text, name string, second bool) series {
		values := make([]int64, int(span.Whole/span.Step))
		for _, f := range o.Figures {
			if i := int(f.Hour.Sub(o.From) / span.Step); f.Name == name && i >= 0 && i < len(values) {
				values[i] += f.N
			}
		}
		return series{Name: title, Values: values, Second: second}
	}
	logins, refreshes := of(say("Logins"), broker.FigureLogins, false), of(say("Refreshes"), broker.FigureRefreshes, false)
	refused := []series{of(say("Refused logins"), broker.FigureLoginRefused, false), of(say("Refused refreshes"), broker.FigureRefreshRefused, true)}
	repeated := int64(0)
	for _, f := range o.Figures {
		if f.Name == broker.FigureRefreshes && slices.Contains(lostAnswers, broker.Outcome(f.Label)) {
			repeated += f.N
		}
	}
	plots := []plot{
		newPlot("logins", say("Logins"), o, span, logins), newPlot("refreshes", say("Refreshes"), o, span, refreshes),
		newPlot("refused", say("Refused"), o, span, refused...),
	}
	if repeated > 0 {
		plots[1].Note = say("{n} of them got an answer once more that was lost on its way.", grouped(repeated))
	}
	rows := []figuresRow{}
	for i := range logins.Values {
		row := figuresRow{When: when(o.From.Add(time.Duration(i)*span.Step), span)}
		for _, one := range append([]series{logins, refreshes}, refused...) {
			row.Figures = append(row.Figures, labelled{one.Name, grouped(one.Values[i])})
		}
		rows = append(rows, row)
	}
	return plots, rows
}

// lostAnswers are the refreshes that were answered once more.
var lostAnswers = []broker.Outcome{broker.OutcomeConverge, broker.OutcomeReissue}

// liveRankings are the live sessions, by what they are at and came through.
func (s *Server) liveRankings(c *gin.Context, o broker.Overview) ([]ranking, error) {
	ids := []string{}
	for _, f := range o.Live {
		if f.Name == broker.FigureLiveClients && f.N > 0 {
			ids = append(ids, f.Label)
		}
	}
	names, err := s.broker.ClientNames(c.Request.Context(), ids)
	if err != nil {
		return nil, err
	}
	client := func(id string) share {
		if id == broker.AppClientID {
			return share{Text: say("Browsers, and apps of the JSON API"), URL: "/admin/sessions?client=" + url.QueryEscape(id)}
		}
		return share{Name: cmp.Or(names[id], id), URL: "/admin/sessions?client=" + url.QueryEscape(id)}
	}
	provider := func(id string) share {
		if id == "" {
			return share{Text: say("With a password")}
		}
		return share{Name: s.providerOr(id), URL: "/admin/sessions?provider=" + url.QueryEscape(id)}
	}
	nobody := say("Nobody was logged in when this was counted.")
	if o.LiveAt.IsZero() {
		nobody = say("Not counted yet.")
	}
	return []ranking{
		ranked("clients", say("By app"), nobody, o.Live, broker.FigureLiveClients, client),
		ranked("providers", say("By identity provider"), nobody, o.Live, broker.FigureLiveProviders, provider),
	}, nil
}

// rankingsOf are the refusals and the ends of a span, by their codes.
func rankingsOf(o broker.Overview) []ranking {
	cause := func(code string) share {
		return share{Text: causeWords[broker.Code(code)], Name: code, URL: "/admin/sessions?cause=" + url.QueryEscape(code)}
	}
	refusal := func(code string) share {
		return share{Text: cmp.Or(refusalWords[broker.Code(code)], causeWords[broker.Code(code)]), Name: code}
	}
	none := say("None in this time.")
	return []ranking{
		ranked("login-refused", say("Why logins were refused"), none, o.Figures, broker.FigureLoginRefused, refusal),
		ranked("refresh-refused", say("Why refreshes were refused"), none, o.Figures, broker.FigureRefreshRefused, refusal),
		ranked("ends", say("Why sessions ended"), none, o.Figures, broker.FigureEnds, cause),
	}
}

// ranked sums up the figures of a name by label. What is beyond the greatest ones is
// one part more.
func ranked(id string, title, empty *text, figures []broker.Figure, name string, part func(label string) share) ranking {
	r, sums := ranking{ID: id, Title: title, Empty: empty}, map[string]int64{}
	for _, f := range figures {
		if f.Name == name && f.N > 0 {
			sums[f.Label] += f.N
		}
	}
	others := sums[broker.OtherLabels]
	delete(sums, broker.OtherLabels)
	labels := []string{}
	for label := range sums {
		labels = append(labels, label)
	}
	slices.SortFunc(labels, func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	for i, label := range labels {
		if i >= mostShares {
			others += sums[label]
			continue
		}
		one := part(label)
		one.N, one.Width = grouped(sums[label]), tenth(100*float64(sums[label])/float64(sums[labels[0]]))
		r.Parts = append(r.Parts, one)
	}
	if others > 0 {
		r.Parts = append(r.Parts, share{Text: say("All others"), N: grouped(others)})
	}
	return r
}

// causeWords say why sessions ended, to an administrator.
var causeWords = map[broker.EndCause]*text{
	broker.LoggedOut:       say("Logged out on the device"),
	broker.RevokedByUser:   say("Ended by the person on another device"),
	broker.RevokedByAdmin:  say("Ended by an administrator"),
	broker.PasswordChanged: say("Password changed"),
	broker.SessionExpired:  say("Not used for too long"),
	broker.SessionMaxAge:   say("Reached its age limit"),
	broker.SessionLimit:    say("Too many devices"),
	broker.TokenReused:     say("Two devices used one login"),
	broker.CodeReused:      say("A login was redeemed twice"),
	broker.IdPLogout:       say("Logged out at the identity provider"),
	broker.IdPRevoked:      say("Revoked by the identity provider"),
	broker.UserDisabled:    say("Account disabled"),
	broker.UserDeleted:     say("Account deleted"),
	broker.ClientRemoved:   say("App removed"),
	broker.LinkUndone:      say("Link to the account removed"),
}

// refusalWords say why logins and refreshes were refused; what is not here has
// its code alone.
var refusalWords = map[broker.Code]*text{
	broker.InvalidCredentials:     say("Wrong name or password"),
	broker.SecondFactorInvalid:    say("Wrong code of a second factor"),
	broker.PasskeyInvalid:         say("A passkey that did not do"),
	broker.RateLimited:            say("Too many failures"),
	broker.LocalLoginDisabled:     say("Logins with a password are switched off"),
	broker.TemporarilyUnavailable: say("Something did not answer"),
	broker.InvalidRequest:         say("A request that makes no sense"),
	broker.InvalidState:           say("A login that was unknown, used or too old"),
	broker.StateMismatch:          say("A login that another browser began"),
	broker.IssuerMismatch:         say("An answer of another identity provider"),
	broker.NonceMismatch:          say("An answer that belongs to another login"),
	broker.AccessDenied:           say("Denied at the identity provider"),
	broker.IdPRefused:             say("Refused by the identity provider"),
	broker.IdPBadResponse:         say("A bad answer of the identity provider"),
	broker.ProviderUnknown:        say("An unknown identity provider"),
	broker.NotProvisioned:         say("No account here"),
	broker.GroupNotAllowed:        say("No group that may log in"),
	broker.DomainNotAllowed:       say("An e-mail domain that may not log in"),
	broker.EmailNotVerified:       say("E-mail address not verified"),
	broker.IdentityConflict:       say("Belongs to another account"),
	broker.CodeInvalid:            say("A code that is not valid"),
	broker.SessionUnknown:         say("An unknown session"),
	broker.InvalidToken:           say("Not a token of this Latchkey"),
	broker.WrongTokenType:         say("Another kind of token"),
	broker.NoToken:                say("No token"),
	broker.ClientMismatch:         say("Another app's token"),
	broker.KeyMismatch:            say("Another device's key"),
}
