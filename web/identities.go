package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
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
		out = append(out, s.toIdentityJSON(i))
	}
	return gin.H{"identities": out}
}

func (s *Server) toIdentityJSON(i broker.Identity) identityJSON {
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
	return j
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
	if err := s.broker.Unlink(c.Request.Context(), p, c.Param("id"), or(f["password"]), device(c)); err != nil {
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
