package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// keyJSON is a signing key in the admin API: its name and its state, and nothing else.
type keyJSON struct {
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	State     string `json:"state"`
	Signs     bool   `json:"signs"` // access tokens, now
	CreatedAt *int64 `json:"createdAt"`
	ActiveAt  *int64 `json:"activeAt"`
	NotBefore *int64 `json:"notBefore"` // the earliest that one that waits signs
	RetiredAt *int64 `json:"retiredAt"`
}

func keysJSON(c *gin.Context, status int, keys []broker.KeyState) {
	out := []keyJSON{}
	for _, k := range keys {
		out = append(out, keyJSON{
			k.ID, k.Algorithm, string(k.State), k.Signs, millis(k.CreatedAt), millis(k.ActiveAt), millis(k.NotBefore), millis(k.RetiredAt),
		})
	}
	c.JSON(status, gin.H{"keys": out})
}

// listKeys is GET /api/keys: what signs, what is published to sign later, and
// what has signed.
func (s *Server) listKeys(c *gin.Context, _ broker.Principal) error {
	keysJSON(c, http.StatusOK, s.broker.SigningKeys())
	return nil
}

// rotateKeys is POST /api/keys/rotate: new keys are published. The answer has
// those that wait for their turn.
func (s *Server) rotateKeys(c *gin.Context, _ broker.Principal) error {
	waiting, err := s.broker.RotateKeys(c.Request.Context())
	if err == nil {
		keysJSON(c, http.StatusOK, waiting)
	}
	return err
}

// revokeKey is DELETE /api/keys/:id.
func (s *Server) revokeKey(c *gin.Context, _ broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	_, err = s.broker.RevokeKey(c.Request.Context(), id)
	if err == nil {
		c.Status(http.StatusNoContent)
	}
	return err
}
