package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// logoURL is where the logo of a provider is; empty: it has none. It changes
// with the logo.
func (s *Server) logoURL(p *broker.Provider) string {
	if p.Logo == "" {
		return ""
	}
	return s.broker.PublicURL() + "/auth/" + url.PathEscape(p.ID) + "/logo?v=" + logoVersion(p.Logo)
}

func logoVersion(logo string) string {
	sum := sha256.Sum256([]byte(logo))
	return hex.EncodeToString(sum[:6])
}

// providerLogo is GET /auth/:provider/logo. An SVG is a document of its own to
// whoever opens it, so it may do nothing.
func (s *Server) providerLogo(c *gin.Context) error {
	p, _ := s.provider(c.Param("provider"))
	kind, image, err := broker.ReadLogo(p.Logo)
	if err != nil || image == nil {
		return &broker.Error{Code: broker.NotFound}
	}
	c.Header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	if c.Header("Cache-Control", "no-cache"); c.Query("v") == logoVersion(p.Logo) {
		c.Header("Cache-Control", "public, max-age=31536000, immutable")
	}
	c.Data(http.StatusOK, kind, image)
	return nil
}
