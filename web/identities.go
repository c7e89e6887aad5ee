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

// identityJSON is a linked identity. The id is opaque: issuer and subject stand
// in no URL. Times are Unix ms.
type identityJSON struct {
	ID         string `json:"id"`
	Provider   string `json:"provider"`
	Name       string `json:"name"`
	Email      string `json:"email"`
	LinkedAt   int64  `json:"linkedAt"`
	LastUsedAt int64  `json:"lastUsedAt"`
	How        string `json:"how"`       // created, email, hand or import
	UndoUntil  *int64 `json:"undoUntil"` // null: unlinking it restores nothing
}

func (s *Server) toIdentitiesJSON(list []broker.Identity) gin.H {
	out := []identityJSON{}
	for _, i := range list {
		j := identityJSON{
			ID: i.ID(), Provider: i.ProviderID, Name: i.Username, Email: i.Email, How: i.Link.How,
			LinkedAt: i.CreatedAt.UnixMilli(), LastUsedAt: i.LastUsedAt.UnixMilli(),
		}
		if j.How == "" {
			j.How = "created"
		}
		if until := i.UndoUntil(); s.broker.Now().Before(until) {
			ms := until.UnixMilli()
			j.UndoUntil = &ms
		}
		out = append(out, j)
	}
	return gin.H{"identities": out}
}

// myIdentities is GET /api/me/identities.
func (s *Server) myIdentities(c *gin.Context, p broker.Principal) error {
	list, err := s.broker.Identities(c.Request.Context(), p.User.ID)
	if err == nil {
		c.JSON(http.StatusOK, s.toIdentitiesJSON(list))
	}
	return err
}

// unlinkMine is DELETE /api/me/identities/:id, with the password in the body
// where the login is older than five minutes.
func (s *Server) unlinkMine(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "password")
	if err != nil {
		return err
	}
	if err := s.broker.Unlink(c.Request.Context(), p, c.Param("id"), f["password"], device(c)); err != nil {
		return err
	}
	c.String(http.StatusOK, "OK")
	return nil
}

// identitiesOf is GET /api/users/:id/identities.
func (s *Server) identitiesOf(c *gin.Context, _ broker.Principal) error {
	u, err := s.broker.FindUser(c.Request.Context(), c.Param("id"))
	if err != nil {
		return err
	}
	list, err := s.broker.Identities(c.Request.Context(), u.ID)
	if err == nil {
		c.JSON(http.StatusOK, s.toIdentitiesJSON(list))
	}
	return err
}

// unlinkOne is DELETE /api/users/:id/identities/:identity.
func (s *Server) unlinkOne(c *gin.Context, p broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	_, err := s.broker.UnlinkByAdmin(c.Request.Context(), p, c.Param("id"), c.Param("identity"), device(c))
	if err == nil {
		c.Status(http.StatusNoContent)
	}
	return err
}

// unlinkAll is PATCH /api/users/:id/openid-unlink of the JSON contract.
func (s *Server) unlinkAll(c *gin.Context, p broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	_, err := s.broker.UnlinkByAdmin(c.Request.Context(), p, c.Param("id"), "", device(c))
	if err == nil {
		c.String(http.StatusOK, "OK")
	}
	return err
}

// identityView is a linked identity as a person reads it.
type identityView struct {
	ID, Provider, Name, Email string
	How                       *text
	UndoUntil                 *text // what unlinking does until then; nil: no more than that
	Linked, Used              moment
}

var howTexts = map[string]*text{
	"":                    say("your account was made for it"),
	broker.LinkedByHand:   say("you linked it"),
	broker.LinkedByEmail:  say("linked by your e-mail address"),
	broker.LinkedByImport: say("an administrator linked it"),
}

// identitiesPage lists what is linked, with a form for each and one for each
// provider.
func (s *Server) identitiesPage(c *gin.Context) error {
	p, err := s.pagePrincipal(c)
	if err != nil {
		return s.toLogin(c, err)
	}
	view, err := s.identitiesView(c, p)
	if err != nil {
		return err
	}
	return s.show(c, http.StatusOK, "identities", view)
}

func (s *Server) identitiesView(c *gin.Context, p broker.Principal) (page, error) {
	view := page{Title: say("Your logins"), User: &p.User, outward: true}
	list, err := s.broker.Identities(c.Request.Context(), p.User.ID)
	if err != nil {
		return view, err
	}
	for _, i := range list {
		v := identityView{
			ID: i.ID(), Provider: s.providerName(i.ProviderID), Name: i.Username, Email: i.Email, How: howTexts[i.Link.How],
			Linked: s.moment(i.CreatedAt), Used: s.moment(i.LastUsedAt),
		}
		if v.Provider == "" {
			v.Provider = i.ProviderID
		}
		if until := i.UndoUntil(); s.broker.Now().Before(until) {
			v.UndoUntil = say("Until {when}, your account becomes again what it was before the link.", until)
		}
		view.Identities = append(view.Identities, v)
	}
	for _, provider := range s.broker.Providers() {
		view.Buttons = append(view.Buttons, button{Name: provider.Name, id: provider.ID, URL: provider.ID})
	}
	recent, err := s.broker.RecentlyProven(c.Request.Context(), p)
	view.Confirm = !recent && p.User.PasswordHash != "" && s.cfg.LocalLogin
	view.Refresh = !recent && !view.Confirm
	return view, err
}

// linkForm begins a link by hand, and unlinkForm takes one away.
func (s *Server) linkForm(c *gin.Context) error {
	return s.changeIdentities(c, "provider", func(p broker.Principal, provider string, password *string) error {
		to, state, err := s.broker.BeginLink(c.Request.Context(), p, provider, s.broker.PublicURL()+identitiesPath, password, device(c))
		if err != nil {
			return err
		}
		s.setFlow(c, state)
		s.onward(c, to)
		return nil
	})
}

func (s *Server) unlinkForm(c *gin.Context) error {
	return s.changeIdentities(c, "id", func(p broker.Principal, id string, password *string) error {
		if err := s.broker.Unlink(c.Request.Context(), p, id, password, device(c)); err != nil {
			return err
		}
		s.onward(c, s.broker.PublicURL()+identitiesPath)
		return nil
	})
}

// changeIdentities reads a form of the page, by whoever is logged in on it. No
// field says whose identity it is: it is always theirs.
func (s *Server) changeIdentities(c *gin.Context, field string, change func(p broker.Principal, value string, password *string) error) error {
	c.Set(keyLinking, true)
	if err := s.sameOrigin(c); err != nil {
		return err
	}
	p, err := s.pagePrincipal(c)
	if err != nil {
		return s.toLogin(c, err)
	}
	f, err := onlyFields(c, field, "password")
	if err != nil {
		return err
	}
	if f[field] == nil {
		return badRequest("the field " + field + " is missing")
	}
	if err := change(p, *f[field], f["password"]); err != nil {
		return s.identitiesAgain(c, p, err)
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
	return s.identitiesAgain(c, p, err)
}

// identitiesAgain shows the page with what went wrong.
func (s *Server) identitiesAgain(c *gin.Context, p broker.Principal, err error) error {
	view, trouble := s.identitiesView(c, p)
	if trouble != nil {
		return trouble
	}
	return s.again(c, "identities", view, err)
}
