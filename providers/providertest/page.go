package providertest

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

const pageStyle = `
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:#faf9f6;color:#18212b;font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:26rem}
.brand{display:inline-block;margin:0 0 1.5rem;padding:.25rem .75rem;border-radius:1rem;background:#5b3fa8;color:#fff;font-size:.875rem;font-weight:600}
h1{margin:0 0 .5rem;font-size:1.75rem;line-height:1.2}
p{margin:0 0 1.5rem;overflow-wrap:anywhere}
ul{margin:0 0 1rem;padding:0;list-style:none}
li{margin-bottom:.75rem}
button{width:100%;padding:.75rem 1rem;border:1px solid #8d85a3;border-radius:.625rem;background:#fff;color:inherit;font:inherit;text-align:left;overflow-wrap:anywhere;cursor:pointer}
button:hover{border-color:#5b3fa8;background:#f4f0fc}
button:focus-visible{outline:3px solid #5b3fa8;outline-offset:2px}
button b,button span{display:block}
button span{color:#4a5361;font-size:.875rem}
button.cancel{border-color:transparent;background:none;color:#5b3fa8;text-align:center}
.note{color:#4a5361;font-size:.875rem}
`

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{if .Problem}}Demo IdP{{else}}Log in – Demo IdP{{end}}</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<p class="brand">Demo IdP</p>
{{if .Problem -}}
<h1>{{.Problem}}</h1>
{{- else -}}
<h1>Who are you?</h1>
<p><strong>{{.Client}}</strong> at {{.Host}} asks.</p>
<form method="post">
<ul>
{{- range .Users}}
<li><button name="user" value="{{.Username}}"><b>{{.Name}}</b>{{range .Details}}<span>{{.}}</span>{{end}}</button></li>
{{- end}}
</ul>
<button class="cancel" name="user" value="">Cancel</button>
</form>
<p class="note">This identity provider is for trying things out. It knows no passwords.</p>
{{- end}}
</main>
</body>
</html>
`))

// pageCSP has no form-action on purpose: browsers apply it to the redirects
// that follow the form too, and those lead to the client and from there to
// places that the provider cannot know.
var pageCSP = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

type page struct {
	Problem string // instead of all that follows
	Client  string
	Host    string
	Users   []choice
}

type choice struct {
	Username string
	Name     string
	Details  []string
}

func showProblem(w http.ResponseWriter, status int, text string) {
	showPage(w, status, page{Problem: text})
}

func showLogin(w http.ResponseWriter, client Client, redirectURI string, users []User) {
	content := page{Client: client.ID, Host: redirectURI}
	if u, err := url.Parse(redirectURI); err == nil && u.Host != "" {
		content.Host = u.Host
	}
	for _, u := range users {
		content.Users = append(content.Users, u.choice())
	}
	showPage(w, http.StatusOK, content)
}

// choice is the user as a button tells about them.
func (u User) choice() choice {
	c := choice{Username: u.Username, Name: cmp.Or(u.Name, u.Username)}
	if u.Email != "" {
		line := u.Email
		if u.EmailVerified != true {
			line += " (not verified)"
		}
		c.Details = append(c.Details, line)
	}
	if groups, ok := u.Groups.([]string); ok && len(groups) > 0 {
		c.Details = append(c.Details, "Groups: "+strings.Join(groups, ", "))
	}
	return c
}

func showPage(w http.ResponseWriter, status int, content page) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pageCSP)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = pageTemplate.Execute(w, content)
}
