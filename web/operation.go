package web

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
)

// healthz says that the process lives, and asks nothing of anything else.
func (s *Server) healthz(c *gin.Context) { c.String(http.StatusOK, "ok\n") }

// readyz says whether requests can be served. It never depends on an IdP.
func (s *Server) readyz(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	ctx, cancel := context.WithTimeout(c.Request.Context(), 2*time.Second)
	defer cancel()
	err := s.broker.Ready()
	if err == nil {
		err = s.pingDatabase(ctx)
	}
	if err != nil {
		// The reason is in the log: this page is for anybody.
		s.cfg.Log.WarnContext(ctx, "not ready", "event", "not_ready", "error", err)
		c.Header("Retry-After", "2")
		c.String(http.StatusServiceUnavailable, "not ready\n")
		return
	}
	c.String(http.StatusOK, "ready\n")
}

// pingDatabase does not wait for a database that is silent: a driver may not
// listen to its context.
func (s *Server) pingDatabase(ctx context.Context) error {
	answer := make(chan error, 1)
	go func() { answer <- s.broker.Ping(ctx) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// jwks publishes the keys. It may be cached shorter than a new key is
// published before it signs.
func (s *Server) jwks(c *gin.Context) {
	c.Header("Cache-Control", "public, max-age=300")
	c.Header("Access-Control-Allow-Origin", "*")
	c.Data(http.StatusOK, "application/json", s.broker.KeyRing().JWKS())
}

// discovery is the part of OIDC Discovery and RFC 8414 that readers of our
// tokens need. It names no endpoint that does not exist.
func (s *Server) discovery(c *gin.Context) {
	c.Header("Cache-Control", "public, max-age=300")
	c.Header("Access-Control-Allow-Origin", "*")
	public := s.broker.PublicURL()
	algs := []string{}
	for _, k := range s.broker.KeyRing().Keys() {
		if !slices.Contains(algs, k.Algorithm) {
			algs = append(algs, k.Algorithm)
		}
	}
	c.JSON(http.StatusOK, gin.H{
		"issuer":                                public,
		"jwks_uri":                              public + "/.well-known/jwks.json",
		"response_types_supported":              []string{},
		"grant_types_supported":                 []string{},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": algs,
	})
}
