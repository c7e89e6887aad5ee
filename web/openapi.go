package web

import (
	_ "embed"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
)

// openAPI describes every route that programs call (OpenAPI 3.1). The version
// and the address are filled in.
//
//go:embed openapi.yaml
var openAPI string

func (s *Server) openAPI(c *gin.Context) {
	c.Header("Cache-Control", "public, max-age=300")
	c.Header("Access-Control-Allow-Origin", "*")
	c.Data(http.StatusOK, "application/yaml", s.document)
}

// describeAPI is the document of this server, made once: it is long.
func (s *Server) describeAPI() []byte {
	filled := strings.NewReplacer("version: VERSION", "version: "+strconv.Quote(s.cfg.Version), "PUBLIC_URL", strconv.Quote(s.broker.PublicURL()))
	return []byte(filled.Replace(openAPI))
}
