package web

import (
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// What a request may have. Times, the length of its header and how many connections
// there are is bounded by the server that is in front of the handler; what a field
// may have is the broker's.
const (
	// maxBody is of every body; the longest that is meant is a few hundred bytes.
	maxBody = 64 << 10
	// maxHeaderFields are lines of a header; browsers send about twenty.
	maxHeaderFields = 100
	// maxQueryValue is of one parameter in the address of a page.
	maxQueryValue = 8 << 10
	// maxParameter is of one parameter at the authorization server, where some are JWTs.
	maxParameter = 16 << 10
)

func limitHeader(c *gin.Context) {
	n := 0
	for _, values := range c.Request.Header {
		n += len(values)
	}
	if n > maxHeaderFields { // in plain text, as net/http says that a header is too long
		c.Header("Connection", "close")
		refusePlainly(c, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("The header has more than %d fields", maxHeaderFields))
		c.Abort()
	}
}

func (s *Server) limitBody(c *gin.Context) {
	if c.Request.ContentLength > maxBody {
		c.Header("Connection", "close")
		s.refuseAsSuch(c, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes", maxBody))
		c.Abort()
		return
	}
	if c.Request.ContentLength != 0 { // -1: not said
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
	}
}
