package web

import (
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/web/metrics"
)

// measured counts requests and how long they take. The routes are known before
// the first request, so that counting one costs no search in a registry.
type measured struct {
	m      *metrics.Metrics
	routes map[routeKey]*metrics.Route
}

// noRoute stands for all addresses where nothing is, whatever they are called.
const noRoute = "none"

// methods are those that are told apart; any other is one.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

const otherMethod = "other"

type routeKey struct{ method, pattern string }

// learn takes in all routes of an engine.
func (x *measured) learn(e *gin.Engine) {
	add := func(method, pattern string) {
		x.routes[routeKey{method, pattern}] = x.m.Route(method, pattern)
	}
	for _, r := range e.Routes() {
		add(r.Method, r.Path)
	}
	for _, method := range append(slices.Clone(methods), otherMethod) {
		add(method, noRoute)
	}
}

// measure is the outermost of all handlers: what a panic is answered with counts too.
func (x *measured) measure(c *gin.Context) {
	begun := time.Now()
	c.Next()
	method, pattern := c.Request.Method, c.FullPath()
	route := x.routes[routeKey{method, pattern}]
	if route == nil {
		if !slices.Contains(methods, method) {
			method = otherMethod
		}
		route = x.routes[routeKey{method, noRoute}]
	}
	route.Answered(c.Writer.Status(), time.Since(begun))
}
