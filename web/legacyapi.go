package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// endLegacyTokens is POST /api/users/:id/end-legacy-tokens: the user's token
// that never expires counts no more.
func (s *Server) endLegacyTokens(c *gin.Context, _ broker.Principal) error {
	n, err := s.broker.EndLegacyTokens(c.Request.Context(), c.Param("id"), device(c))
	if err == nil {
		c.JSON(http.StatusOK, gin.H{"ended": n})
	}
	return err
}
