package web

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// Routes lists what a handler of [New] serves, where the public URL has no path.
func Routes(h http.Handler) gin.RoutesInfo { return h.(*gin.Engine).Routes() }

// OpenAPI is the document as it is embedded.
var OpenAPI = openAPI
