package web

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// This file answers what is wrong with a request as such, whatever it says.

// pageRoots are the addresses below which every GET is a page.
var pageRoots = []string{"account", "admin", "device", "login", "password", "setup"}

// wrongMethod answers a method that an address does not take. An address that a
// form was posted to stands in the address bar: whoever opens it again is led to
// the nearest page above.
func (s *Server) wrongMethod(routes gin.RoutesInfo) gin.HandlerFunc {
	pages := [][]string{}
	for _, route := range routes {
		if parts := strings.Split(route.Path, "/"); route.Method == http.MethodGet && slices.Contains(pageRoots, parts[1]) {
			pages = append(pages, parts)
		}
	}
	isPage := func(at string) bool {
		parts := strings.Split(at, "/")
		return slices.ContainsFunc(pages, func(page []string) bool {
			return slices.EqualFunc(page, parts, func(want, is string) bool { return want == is || strings.HasPrefix(want, ":") })
		})
	}
	return func(c *gin.Context) {
		for at := path.Dir(c.Request.URL.Path); c.Request.Method == http.MethodGet && wantsPage(c) && len(at) > 1; at = path.Dir(at) {
			if isPage(at) {
				noStore(c)
				c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+(&url.URL{Path: at}).EscapedPath())
				return
			}
		}
		s.refuseAsSuch(c, http.StatusMethodNotAllowed, "This address does not take the method "+c.Request.Method)
	}
}

// wantsPage reports whether a browser asks for something to show to a person.
func wantsPage(c *gin.Context) bool { return strings.Contains(c.GetHeader("Accept"), "text/html") }

// wrongAsSuch is how a person is told of a request that is wrong as such.
var wrongAsSuch = map[int]struct {
	code string
	says *text
}{
	http.StatusMethodNotAllowed:      {"method_not_allowed", say("This address is no page: something is sent to it. Begin again at the start.")},
	http.StatusRequestEntityTooLarge: {"request_too_large", say("What was sent is too large. Go back and send less.")},
}

// refuseAsSuch refuses a request that is wrong as such: with a page to a person,
// plainly to a program.
func (s *Server) refuseAsSuch(c *gin.Context, status int, plain string) {
	wrong := wrongAsSuch[status]
	if !wantsPage(c) {
		refusePlainly(c, status, plain)
		return
	}
	s.cfg.Log.InfoContext(c.Request.Context(), "request refused", "event", "request.refused",
		"method", bounded(c.Request.Method), "path", bounded(c.Request.URL.Path), "code", wrong.code)
	noStore(c)
	c.Header("Latchkey-Code", wrong.code)
	p := page{Title: titleOf("", status), Error: wrong.says, Code: wrong.code}
	p.Buttons = []button{{Text: say("Back to the start"), URL: s.broker.PublicURL() + "/"}}
	if err := s.show(c, status, "error", p); err != nil {
		refusePlainly(c, status, plain)
	}
}
