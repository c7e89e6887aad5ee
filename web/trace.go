package web

import (
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// trace makes each request a span, as a part of the trace of whoever sent it.
// Of the address only the pattern of the route is noted.
func (s *Server) trace(c *gin.Context) {
	method, pattern := c.Request.Method, c.FullPath()
	if !slices.Contains(methods, method) {
		method = otherMethod
	}
	if pattern == "" {
		pattern = noRoute
	}
	ctx := broker.WithTracer(c.Request.Context(), s.cfg.Tracer)
	ctx = s.cfg.Tracer.Continue(ctx, c.GetHeader("traceparent"))
	ctx, span := broker.BeginSpan(ctx, broker.SpanRequest, method+" "+pattern)
	c.Request = c.Request.WithContext(ctx)
	c.Next()
	span.About("http.request.method", method)
	span.About("http.route", pattern)
	span.Count("http.response.status_code", c.Writer.Status())
	if code := c.Writer.Header().Get("Latchkey-Code"); code != "" {
		span.About("latchkey.code", code)
	}
	var err error
	if c.Writer.Status() >= 500 {
		err = broker.TemporarilyUnavailable
	}
	span.End(err)
}
