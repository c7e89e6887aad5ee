package web

import (
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// tellLimits lets every answer for which a limit was asked say where whoever asked
// stands with it.
func tellLimits(c *gin.Context) {
	h := c.Writer.Header()
	ctx := broker.WithLimitTeller(c.Request.Context(), func(l broker.LimitState) { limitHeaders(h, l) })
	c.Request = c.Request.WithContext(ctx)
}

// limitHeaders are those of the IETF's draft 6 (draft-ietf-httpapi-ratelimit-headers),
// which the JSON contract has. Where none is left the reset is the time that
// Retry-After says, as section 4 there wants it.
func limitHeaders(h http.Header, l broker.LimitState) {
	reset := l.Reset
	if l.Exceeded {
		reset = l.RetryAfter
	}
	h.Set("RateLimit-Policy", fmt.Sprintf("%d;w=%.0f", l.Limit, l.Window.Seconds()))
	h.Set("RateLimit-Limit", fmt.Sprint(l.Limit))
	h.Set("RateLimit-Remaining", fmt.Sprint(l.Remaining))
	h.Set("RateLimit-Reset", seconds(reset))
}
