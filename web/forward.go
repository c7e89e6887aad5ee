package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// This file answers reverse proxies that ask whether a request to an app may pass
// (forward auth). How a browser logs in for an app is in forwardlogin.go.

// forwardAuthPath takes every method: what the proxy asks with is not what it asks
// about.
const forwardAuthPath = "/forward-auth"

// forwarded is the request that a proxy asks about.
type forwarded struct {
	broker.ForwardApp
	uri, method string
	demand      broker.ForwardDemand
}

// forwardAuth is /forward-auth: 200 with who it is, 401, 403, or in the mode
// redirect the way to the login.
func (s *Server) forwardAuth(c *gin.Context) {
	noStore(c)
	f, redirect, err := s.askedAbout(c)
	if err != nil {
		s.fail(c, err, asForward)
		return
	}
	p, err := s.forwardPrincipal(c, &f)
	switch code := broker.CodeOf(err); {
	case err == nil:
		passForward(c, p)
	case redirect && answers[code].status == http.StatusUnauthorized && f.demand.ByLogin() && navigates(c):
		s.toForwardLogin(c, &f)
	default:
		s.fail(c, err, asForward)
	}
}

// askedAbout reads what a proxy asks about, and what that has to meet.
func (s *Server) askedAbout(c *gin.Context) (f forwarded, redirect bool, err error) {
	q, err := query(c, "mode")
	if err != nil {
		return f, false, err
	}
	if mode := q["mode"]; mode != "" && mode != "401" && mode != "redirect" {
		return f, false, badRequest("mode is 401 or redirect")
	}
	if f.ForwardApp, err = s.appHost(c); err != nil {
		return f, false, err
	}
	if f.uri, err = forwardedHeader(c, "X-Forwarded-Uri"); err != nil {
		return f, false, err
	}
	if f.method, err = forwardedHeader(c, "X-Forwarded-Method"); err != nil {
		return f, false, err
	}
	f.demand, err = s.broker.JudgeForward(f.ForwardApp, f.uri)
	return f, q["mode"] == "redirect", err
}

// appHost is the app on whose host a request came to a proxy. Only proxies of ours
// are believed, and each header once: of two, one is the client's.
func (s *Server) appHost(c *gin.Context) (app broker.ForwardApp, err error) {
	if !s.trusted(c.RemoteIP()) {
		return app, &broker.Error{Code: broker.Forbidden, Message: "this is for reverse proxies: add the address " + c.RemoteIP() + " to trusted_proxies, if it is one of yours"}
	}
	host, err := forwardedHeader(c, "X-Forwarded-Host")
	if err != nil {
		return app, err
	}
	proto, err := forwardedHeader(c, "X-Forwarded-Proto")
	if err != nil {
		return app, err
	}
	if strings.Contains(host, ",") {
		return app, badRequest("X-Forwarded-Host has more than one value: the proxy has to overwrite what the client sends")
	}
	return broker.ForwardAppOf(proto, host)
}

// forwardedHeader is a header that the proxy has to set, once. No value has a
// space: two would stand with one between them.
func forwardedHeader(c *gin.Context, name string) (string, error) {
	switch got := c.Request.Header.Values(name); {
	case len(got) == 0 || got[0] == "":
		return "", badRequest(name + " is missing: the proxy has to set it")
	case len(got) > 1 || strings.ContainsAny(got[0], " \t"):
		return "", badRequest(name + " has more than one value: the proxy has to overwrite what the client sends")
	default:
		return got[0], nil
	}
}

// forwardPrincipal is who a request comes from, if that meets the demand: by the
// cookie of the app's host, else by what its Authorization header has. Where
// everybody may pass, nobody has to be anybody.
func (s *Server) forwardPrincipal(c *gin.Context, f *forwarded) (broker.Principal, error) {
	cookie := readCookie(c, forwardCookie(f.ForwardApp))
	if f.demand.Open() {
		if cookie == "" {
			return broker.Principal{}, nil
		}
		p, _ := s.broker.AuthenticateForward(c.Request.Context(), f.ForwardApp, cookie, device(c)) // what is open is so to a cookie of yesterday too
		return p, nil
	}
	p, err := s.broker.AuthenticateForward(c.Request.Context(), f.ForwardApp, cookie, device(c))
	if err == nil {
		err = f.demand.Admit(p, nil)
	}
	if bearer := verify.Bearer(c.Request); err == nil || trouble(err) || bearer == "" && !isDPoP(c) {
		return p, err
	}
	var scope *string
	if p, scope, err = s.forwardBearer(c, f); err == nil {
		err = f.demand.Admit(p, scope)
	}
	return p, err
}

// forwardBearer is who comes with an API key or an access token, and the scope of a
// token that a client was given.
func (s *Server) forwardBearer(c *gin.Context, f *forwarded) (broker.Principal, *string, error) {
	if key := apiKey(c, ""); key != "" {
		p, err := s.broker.AuthenticateKey(c.Request.Context(), key, device(c))
		return p, nil, err
	}
	path, _, _ := strings.Cut(f.uri, "?")
	asked := *c.Request
	asked.Method = f.method // what a DPoP proof is for is the request to the app
	claims, err := s.verifier.VerifyRequest(&asked, f.Origin+path)
	p, claims, err := s.claimsPrincipal(c, claims, err)
	switch {
	case err != nil:
		return p, nil, err
	case claims.Algorithm == "HS256": // whoever shares the secret can make one for every app
		return p, nil, &broker.Error{Code: broker.InsufficientScope, Message: "this takes no HS256 tokens"}
	case claims.ClientID == broker.AppClientID:
		return p, nil, nil
	}
	return p, &claims.Scope, nil
}

func isDPoP(c *gin.Context) bool {
	return strings.HasPrefix(strings.ToLower(c.GetHeader("Authorization")), "dpop ")
}

// passForward lets a request pass. Every header is there, if empty, so that the
// proxy overwrites what the client sent.
func passForward(c *gin.Context, p broker.Principal) {
	groups := []string{}
	for _, g := range p.User.Groups {
		groups = append(groups, headerItem(g))
	}
	for name, value := range map[string]string{
		"Remote-User": headerValue(p.User.Username), "Remote-Name": headerValue(p.User.Name), "Remote-Email": headerValue(p.User.Email),
		"Remote-Groups": strings.Join(groups, ","), "Remote-Session": p.Session.ID,
	} {
		c.Writer.Header()[name] = []string{value}
	}
	c.Status(http.StatusOK)
}

// headerValue writes a text so that it is safe in a header, and says the same to
// whoever decodes it (RFC 3986 section 2.1): visible ASCII and single spaces stay
// as they are, everything else and the percent sign are percent-encoded.
func headerValue(text string) string { return escaped(text, "%") }

// headerItem is [headerValue] for one of a list with commas.
func headerItem(text string) string { return escaped(text, "%,") }

func escaped(text, reserved string) string {
	var out strings.Builder
	for i := range len(text) {
		b := text[i]
		edge := b == ' ' && (i == 0 || i == len(text)-1)
		if b < ' ' || b > '~' || edge || strings.IndexByte(reserved, b) >= 0 {
			fmt.Fprintf(&out, "%%%02X", b)
			continue
		}
		out.WriteByte(b)
	}
	return out.String()
}

// navigates reports whether somebody opens a page, who can be sent to a login. A
// program that is sent there would take the page for an answer.
func navigates(c *gin.Context) bool {
	h := c.Request.Header
	mode := h.Get("Sec-Fetch-Mode")
	return (mode == "" || mode == "navigate") && h.Get("Authorization") == "" && h.Get("Upgrade") == "" && h.Get("Sec-WebSocket-Key") == "" &&
		!strings.EqualFold(h.Get("X-Requested-With"), "XMLHttpRequest") && !wantsJSON(c)
}

// toForwardLogin sends a browser to where its login begins, on the app's own host.
// It comes back to the address that it asked for, by GET.
func (s *Server) toForwardLogin(c *gin.Context, f *forwarded) {
	if _, err := s.broker.BeginForward(f.ForwardApp); err != nil {
		s.fail(c, err, asForward)
		return
	}
	status := http.StatusFound
	if f.method != http.MethodGet && f.method != http.MethodHead {
		status = http.StatusSeeOther
	}
	c.Redirect(status, f.Origin+broker.ForwardPath+"login?"+url.Values{"to": {f.uri}}.Encode())
}

// asForward refuses on the host of an app, where no page of ours finds its style
// sheet: in a sentence for people, as RFC 6750 has it for programs.
func asForward(s *Server, c *gin.Context, e *broker.Error, a answer) {
	switch {
	case a.status == http.StatusUnauthorized || e.Code == broker.InsufficientScope:
		asBearer(s, c, e, a)
	case wantsJSON(c):
		asJSON(s, c, e, a)
	default:
		c.String(a.status, "%s", s.tongueFor(c, "").plain(sentence(e, a))+"\n"+string(e.Code)+"\n")
	}
	if a.status < 500 && a.status != http.StatusUnauthorized {
		s.cfg.Log.InfoContext(c.Request.Context(), "forward auth refused", "event", "forward.refused", "code", string(e.Code), "reason", e.Message,
			"host", bounded(c.GetHeader("X-Forwarded-Host")))
	}
}
