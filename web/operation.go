package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
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

// Headers of a question of "latchkey doctor", and of the proof of its answer.
const (
	headerQuestion = "Latchkey-Question"
	headerProof    = "Latchkey-Proof"
)

// diagnosis tells "latchkey doctor" how its own request looked when it arrived.
func (s *Server) diagnosis(c *gin.Context) error {
	noStore(c)
	scheme := "http"
	if s.overHTTPS(c) {
		scheme = "https"
	}
	answer, proof, err := s.broker.AnswerQuestion(c.GetHeader(headerQuestion), broker.Sight{
		Version: s.cfg.Version, Address: c.ClientIP(), Peer: c.Request.RemoteAddr, PeerTrusted: s.trusted(c.RemoteIP()),
		Scheme: scheme, TLS: c.Request.TLS != nil, Protocol: c.Request.Proto, Host: c.Request.Host,
		ForwardedFor: strings.Join(c.Request.Header.Values("X-Forwarded-For"), ", "), ForwardedProto: c.GetHeader("X-Forwarded-Proto"),
	})
	if err != nil {
		return err
	}
	c.Header(headerProof, proof)
	c.Data(http.StatusOK, "application/json", answer)
	return nil
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
