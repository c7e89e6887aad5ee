package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/*
var staticFiles embed.FS

// pages are the parsed templates, each with the layout, and the static files
// with the hash that stands in their URLs.
type pages struct {
	byName map[string]*template.Template
	assets map[string]asset
}

type asset struct {
	body    []byte
	version string
}

// loadPages reads what is embedded, once in a process.
var loadPages = sync.OnceValues(func() (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}, assets: map[string]asset{}}
	files, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		body, err := staticFiles.ReadFile("static/" + file.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		p.assets[file.Name()] = asset{body, hex.EncodeToString(sum[:6])}
	}
	layout, err := template.New("").Funcs(template.FuncMap{"asset": p.url, "person": person}).ParseFS(templateFiles, "templates/layout.html", "templates/parts*.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if base := path.Base(name); base == "layout.html" || strings.HasPrefix(base, "parts") {
			continue
		}
		t, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if p.byName[strings.TrimSuffix(path.Base(name), ".html")], err = t.ParseFS(templateFiles, name); err != nil {
			return nil, err
		}
	}
	return p, nil
})

// url is where a static file is, below the base: it changes with the file.
func (p *pages) url(name string) (string, error) {
	a, ok := p.assets[name]
	if !ok {
		return "", fmt.Errorf("no static file %q", name)
	}
	return "/static/" + name + "?v=" + a.version, nil
}

// page is what every template gets. Base is the path prefix of the public URL.
type page struct {
	Title *text
	Shape string  // empty: the door
	Nav   []place // of a room or an office
	// View is what this one page is about: a struct of its own.
	View any
	// InSetup: the administrator comes from the set-up and is led back to it.
	InSetup bool
	Base    string
	Notice  *text  // a sentence about what happened
	Error   *text  // a sentence about what went wrong
	Code    string // of the notice or error, for support
	Help    *text  // a sentence on what to do about the error
	Detail  string // the error as whoever set the app up reads it
	Wrong   string // the field to look at
	Values  map[string]string
	Local   bool
	// Passkeys: somebody may log in with one.
	Passkeys bool
	// Forgotten: whoever forgot the password can ask for a mail.
	Forgotten bool
	Token     string
	Ticket    string // stands for a temporary password
	// MinPassword is how many characters a new password has at least.
	MinPassword int

	Next    string
	Buttons []button
	User    *broker.User // who is logged in
	Onward  string       // the way on for whoever is logged in

	Client *client // the program that a login, a consent or a logout is about
	Scopes []*text // what it will get
	Fields []field // hidden fields of the page's form
	// Action is where a form leads outside: a redirect URI that was registered,
	// of a scheme that html/template may not know.
	Action template.URL
	Done   string // what was done on the page
	Again  bool   // whoever is logged in has to log in again
	Choose bool   // whoever is logged in is asked whether to go on as such
	Device bool   // the login is for connecting a device

	atField bool // what is wrong stands at its field
	// popup: a client may have opened the page in a window of its own, and waits
	// for that window.
	popup bool
	// outward: a form of the page leads on to a client or an IdP.
	outward bool
	// Languages are those that the page can be read in; none: it cannot be opened again.
	Languages []choice
	// here is the address that an answer to a form can be opened again by.
	here string
	// locales are the ui_locales of the authorization request that waits.
	locales string
	tongue  *tongue
}

// button leads on: to an IdP, which has a name, or to what helps after an error.
type button struct {
	Name, URL string
	Text      *text
	id        string // of the provider
	// Logo is the URL of the provider's logo; Mark, a letter, stands in for it.
	Logo, Mark string
	Trouble    *text // what is the matter with the provider; nil: nothing
}

// show renders whole before it writes: a template that fails is an error, not
// half a page.
func (s *Server) show(c *gin.Context, status int, name string, p page) error {
	p.Base = strings.TrimSuffix(s.publicURL.EscapedPath(), "/")
	p.MinPassword, p.tongue = s.broker.MinPassword(), s.tongueFor(c, p.locales)
	p.Languages = s.languagesOf(c, &p)
	s.noteRefusal(c, status, &p)
	var out bytes.Buffer
	if err := s.pages.byName[name].ExecuteTemplate(&out, "layout.html", p); err != nil {
		return err
	}
	// Chrome holds form-action against every redirect that follows, those of the
	// client too: a callback that leads on to another host, or into an app, would
	// end in nothing. Where it goes is not ours to know.
	forms := "; form-action 'self'"
	if p.outward {
		forms = ""
	}
	c.Header("Content-Security-Policy", contentSecurityPolicy+forms)
	// Only here: redirects, which have no document, would cut a popup off as well.
	opener := "same-origin"
	if p.popup {
		opener = "unsafe-none"
	}
	c.Header("Cross-Origin-Opener-Policy", opener)
	// With no-referrer a browser says Origin: null of our own forms, and over plain
	// http it says nothing else by which checkOrigin could know them.
	c.Header("Referrer-Policy", "same-origin")
	c.Header("Cache-Control", "no-store")
	c.Writer.Header().Add("Vary", "Accept-Language")
	c.Data(status, "text/html; charset=utf-8", out.Bytes())
	return nil
}

// noteRefusal puts the code that a page shows into the log, where support looks
// for it. Trouble of ours is there already.
func (s *Server) noteRefusal(c *gin.Context, status int, p *page) {
	if p.Error == nil || status < 400 || status >= 500 {
		return
	}
	level := slog.LevelInfo
	if status == http.StatusNotFound && p.User == nil { // of which strangers make many
		level = slog.LevelDebug
	}
	s.cfg.Log.Log(c.Request.Context(), level, "a page said no", "event", "page.refused", "route", c.FullPath(), "code", p.Code, "status", status)
}

// static serves the few files that pages need. A URL with the right hash never
// changes its content.
func (s *Server) static(c *gin.Context) {
	name := strings.TrimPrefix(c.Param("file"), "/")
	a, ok := s.pages.assets[name]
	if !ok {
		c.String(http.StatusNotFound, "Not Found")
		return
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
	if c.Header("Cache-Control", "no-cache"); c.Query("v") == a.version {
		c.Header("Cache-Control", "public, max-age=31536000, immutable")
	}
	c.Data(http.StatusOK, types[path.Ext(name)], a.body)
}
