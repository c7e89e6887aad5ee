package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	identitiesPath = "/account/identities"
	// keyLinking tells the page of an error that it is about a link.
	keyLinking = "linking"
)

// identitiesView is what the page of linked logins is about.
type identitiesView struct {
	Logins  []identityView
	Offers  []offerView
	Guest   bool
	Refresh string // where to log in anew, which changes need; empty: they do not
	Vain    *text  // that it was done, and did not help; nil: it was not
}

// identityView is a linked identity as a person reads it.
type identityView struct {
	ID, Provider, Mark, Name, Email string
	How                             *text
	Linked, Used                    moment
	Undo                            bool    // unlinking it restores what was before
	Stays                           *text   // why it cannot be taken away; nil: it can
	Effects                         []*text // of taking it away
	Proof                           stepUp
}

// offerView is a provider that can be linked.
type offerView struct {
	ID, Provider, Mark string
	Another            bool // one of its logins is linked already
	Proof              stepUp
}

var (
	howTexts = map[string]*text{
		"":                    say("your account was made for it"),
		broker.LinkedByHand:   say("you linked it"),
		broker.LinkedByEmail:  say("linked by your e-mail address"),
		broker.LinkedByImport: say("an administrator linked it"),
	}
	stayTexts = map[broker.Code]*text{
		broker.LastLoginMethod: say("It is the last way to log in to your account. Set a password or link another login, and it can be unlinked."),
		broker.Forbidden:       say("Guests do not change how they log in."),
	}
	identitiesDone = map[string]*text{
		"linked":   say("The login is linked to your account: you can log in through it from now on."),
		"unlinked": say("The login is not linked to your account any more, and whoever had logged in through it has to log in again."),
	}
)

// identitiesPage lists what is linked, with a form for each and one for each
// provider.
func (s *Server) identitiesPage(c *gin.Context, p broker.Principal) error {
	view, err := s.identities(c, p)
	if err != nil {
		return err
	}
	view.Notice = whatWasDone(c, identitiesDone)
	return s.show(c, http.StatusOK, "identities", view)
}

func (s *Server) identities(c *gin.Context, p broker.Principal) (page, error) {
	out := room(c, p, say("Your logins"))
	out.outward = true
	view := &identitiesView{Guest: p.User.Role == broker.RoleGuest}
	out.View = view
	list, err := s.broker.LinkedLogins(c.Request.Context(), p.User)
	if err != nil {
		return out, err
	}
	asked, err := s.broker.ProofAsked(c.Request.Context(), p)
	if err != nil {
		return out, err
	}
	ask := s.askFor(c, p, "", asked)
	if ask.Only {
		view.Refresh, view.Vain = s.loginAgain(identitiesPath), ask.Vain
	}
	linked := map[string]bool{}
	for _, l := range list {
		linked[l.ProviderID] = true
		view.Logins = append(view.Logins, s.identityView(l, p, ask))
	}
	for _, provider := range s.broker.Providers() {
		view.Offers = append(view.Offers, offerView{
			ID: provider.ID, Provider: provider.Name, Mark: monogram(provider.Name), Another: linked[provider.ID], Proof: ask.of("to-link-" + provider.ID),
		})
	}
	return out, nil
}

func (s *Server) identityView(l broker.LinkedLogin, p broker.Principal, ask stepUp) identityView {
	name := s.providerOr(l.ProviderID)
	v := identityView{
		ID: l.ID(), Provider: name, Mark: monogram(name), Name: l.Username, Email: l.Email, How: howTexts[l.Link.How],
		Linked: s.moment(l.CreatedAt), Used: s.moment(l.LastUsedAt), Stays: stayTexts[l.Refusal],
		Proof: ask.of("for-" + l.ID()),
	}
	if until := l.UndoUntil(); s.broker.Now().Before(until) {
		v.Undo = true
		v.Effects = append(v.Effects, say("Until {when}, your account becomes again what it was before the link.", until))
	}
	v.Effects = append(v.Effects, whoLogsInAgain(l.Sessions, p.Session.ID)...)
	return v
}

// whoLogsInAgain says what sessions end.
func whoLogsInAgain(ends []broker.Session, current string) (out []*text) {
	switch n := len(ends); {
	case n == 0:
		return []*text{say("No device is logged in through it at the moment.")}
	case n == 1:
		out = append(out, say("1 device or app logged in through it, and has to log in again."))
	case n < broker.MaxPage:
		out = append(out, say("{n} devices and apps logged in through it, and have to log in again.", n))
	default:
		out = append(out, say("Every device that logged in through it has to log in again."))
	}
	for _, x := range ends {
		if x.ID == current {
			out = append(out, say("This device is one of them: you will be logged out here."))
		}
	}
	return out
}

// linkForm begins a link by hand, and unlinkForm takes one away.
func (s *Server) linkForm(c *gin.Context, p broker.Principal) error {
	return s.changeIdentities(c, p, "provider", func(provider, proof string) error {
		to, state, err := s.broker.BeginLink(c.Request.Context(), p, provider, s.broker.PublicURL()+identitiesPath+"?done=linked", proof, device(c))
		if err != nil {
			return err
		}
		s.setFlow(c, state, state, flowLife)
		s.onward(c, to)
		return nil
	})
}

func (s *Server) unlinkForm(c *gin.Context, p broker.Principal) error {
	return s.changeIdentities(c, p, "id", func(id, proof string) error {
		if err := s.broker.Unlink(c.Request.Context(), p, id, proof, device(c)); err != nil {
			return err
		}
		s.onward(c, s.broker.PublicURL()+identitiesPath+"?done=unlinked")
		return nil
	})
}

// changeIdentities reads a form of the page, by whoever is logged in on it. No
// field says whose identity it is: it is always theirs.
func (s *Server) changeIdentities(c *gin.Context, p broker.Principal, field string, change func(value, proof string) error) error {
	c.Set(keyLinking, true)
	f, gone, err := s.provenFields(c, p, identitiesPath, field, "username")
	if gone || err != nil {
		return err
	}
	if f[field] == nil {
		return badRequest("the field " + field + " is missing")
	}
	if err := change(*f[field], or(f[fieldProof])); err != nil {
		return s.identitiesAgain(c, p, *f[field], err)
	}
	return nil
}

// onward leads a browser on by a redirect, and a program by an answer.
func (s *Server) onward(c *gin.Context, to string) {
	if wantsJSON(c) {
		noStore(c)
		c.JSON(http.StatusOK, gin.H{"redirect_url": to})
		return
	}
	c.Redirect(http.StatusSeeOther, to)
}

// linked is the end of a link by hand: no session is made, and none changes.
func (s *Server) linked(c *gin.Context, returnTo string, err error) error {
	if err == nil {
		c.Redirect(http.StatusFound, returnTo)
		return nil
	}
	c.Set(keyLinking, true)
	p, notIn := s.pagePrincipal(c)
	if notIn != nil {
		return err
	}
	return s.identitiesAgain(c, p, "", err)
}

// identitiesAgain shows the page with what went wrong, and the form of an
// identity or a provider as it was.
func (s *Server) identitiesAgain(c *gin.Context, p broker.Principal, id string, err error) error {
	out, trouble := s.identities(c, p)
	if trouble != nil {
		return trouble
	}
	err, view := ofProof(err), out.View.(*identitiesView)
	for i := range view.Logins {
		if view.Logins[i].ID == id {
			out.atField = view.Logins[i].Proof.refuse(err)
		}
	}
	for i := range view.Offers {
		if view.Offers[i].ID == id {
			out.atField = view.Offers[i].Proof.refuse(err)
		}
	}
	return s.again(c, "identities", out, err)
}
