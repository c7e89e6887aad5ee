package web

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	cookieLanguage = "latchkey_language"
	languageLife   = 365 * 24 * time.Hour
)

// tongueFor is the language of a page: that of its own address, which is kept for
// the pages to come; else the one that was kept; else waiting, the ui_locales of
// the request that the page is about; else that of the browser.
func (s *Server) tongueFor(c *gin.Context, waiting string) *tongue {
	name := s.hostName(c, cookieLanguage)
	asked, kept := askedLocales(c), readCookie(c, name)
	l := s.tongues.choose(cmp.Or(asked, kept, waiting), c.GetHeader("Accept-Language"))
	if asked != "" && kept != l.tag.String() {
		s.setCookie(c, name, l.tag.String(), languageLife)
	}
	return l
}

// askedLocales is the language that an address asks for; said twice, it says nothing.
func askedLocales(c *gin.Context) string {
	if once := c.QueryArray("ui_locales"); len(once) == 1 {
		return once[0]
	}
	return ""
}

// inLanguage is where a page leads on to at once, in the language that was asked for.
func (s *Server) inLanguage(c *gin.Context, to string) string {
	if asked := askedLocales(c); asked != "" {
		return withParams(to, url.Values{"ui_locales": {asked}})
	}
	return to
}

// choice is a language that the page can be read in, at its foot.
type choice struct {
	Tag, Name, URL string
	Here           bool
}

// maxHere bounds the address of a page that stands on it again, in bytes.
const maxHere = 4096

// secretive reports whether a parameter of this name may have a secret. No link
// of an error page repeats one: it would stand in what people copy and send on.
func secretive(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"token", "code", "state", "nonce", "secret", "password", "assertion", "credential", "key", "ticket", "otp", "verifier"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// languagesOf are the languages of a page that can be opened again: by its own
// address, or as the door. What came back from an IdP is used up.
func (s *Server) languagesOf(c *gin.Context, p *page) (out []choice) {
	target := p.here
	if c.Request.Method == http.MethodGet && (!strings.HasPrefix(c.FullPath(), "/auth/") || c.FullPath() == confirmPath) {
		target = strings.TrimSuffix(s.publicURL.EscapedPath(), "/") + c.Request.URL.RequestURI()
	}
	at, ok := s.ownPage(target)
	u, err := url.Parse(at)
	if target == "" || !ok || err != nil || len(at) > maxHere {
		return nil
	}
	q := u.Query()
	if endings[broker.Code(q.Get("ended"))].plain == nil { // what says nothing is not said on
		q.Del("ended")
	}
	if sentences[broker.Code(q.Get("error"))] == nil {
		q.Del("error")
	}
	if p.Error != nil { // it is the same without
		maps.DeleteFunc(q, func(name string, _ []string) bool { return secretive(name) })
	}
	q.Del("id_token_hint") // who it is about is known by the session, or asked
	for _, l := range s.tongues.list {
		q.Set("ui_locales", l.tag.String())
		u.RawQuery = q.Encode()
		out = append(out, choice{l.tag.String(), l.plain(say("English")), u.String(), l == p.tongue})
	}
	return out
}
