package e2e

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

// clientSite is a client's server: it shows what it was sent. Below /on it
// leads on, as clients do, to another host or into an app; /post is a form to the
// parameter to, with the others in it.
func clientSite(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/on/web":
		http.Redirect(w, r, "https://other."+r.Host+"/led-on", http.StatusFound)
		return
	case "/on/app":
		http.Redirect(w, r, "shelf-app://oauth?from=web", http.StatusFound)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if r.URL.Path == "/post" {
		fmt.Fprintf(w, `<!doctype html><title>A client</title><link rel=icon href=data:,><form method=post action="%s">`, html.EscapeString(r.Form.Get("to")))
		for name := range r.Form {
			fmt.Fprintf(w, `<input type=hidden name="%s" value="%s">`, html.EscapeString(name), html.EscapeString(r.Form.Get(name)))
		}
		fmt.Fprint(w, "<button id=go>Go</button></form>")
		return
	}
	r.Form.Set("method", r.Method)
	fmt.Fprintf(w, "<!doctype html><title>A client</title><link rel=icon href=data:,><pre id=got>%s</pre>", html.EscapeString(r.Form.Encode()))
}

// People log in to clients: every page on the way, in a browser that keeps to
// the pages' policies.
func TestClients(t *testing.T) {
	overTLS, plain := httptest.NewTLSServer(http.HandlerFunc(clientSite)), httptest.NewServer(http.HandlerFunc(clientSite))
	t.Cleanup(overTLS.Close)
	t.Cleanup(plain.Close)
	portOf := func(s *httptest.Server) string {
		u, _ := url.Parse(s.URL)
		return u.Port()
	}
	site, home := "https://shelf.test:"+portOf(overTLS), "http://home.test:"+portOf(plain)
	const long = "Volkshochschule Oberammergau-Unterstinkenbrunn, Kursbuchungen" // 60 characters
	hostile := `\"><svg onload=alert(1)>\u202Etxt.exe ` + strings.Repeat("Aa ", 3000)
	port := proc.Port(t)
	o := newOP(t, fmt.Sprintf("http://localhost:%d", port), readers, "npm")
	const password = "a password of a test"
	public := func(id, name, more string) string {
		return fmt.Sprintf("  - {client_id: %s, client_name: \"%s\", token_endpoint_auth_method: none, %s}\n", id, name, more)
	}
	x := serve(t, port, "providers:\n"+provider("npm", "The Test IdP", o.issuer)+"clients:\n"+
		public("shelf", "Shelf", fmt.Sprintf("first_party: true, redirect_uris: [%q, %q, %q], post_logout_redirect_uris: [%q]",
			site+"/cb", site+"/on/web", site+"/on/app", site+"/out"))+
		public("home", "Ö", fmt.Sprintf("first_party: true, redirect_uris: [%q], post_logout_redirect_uris: [%q]", home+"/cb", home+"/out"))+
		public("loop", "A program", `first_party: true, redirect_uris: ["http://127.0.0.1/cb"]`)+
		public("native", "B", `redirect_uris: ["app.one:/oauth"]`)+
		public("asking", long, fmt.Sprintf("redirect_uris: [%q], policy_uri: %q, tos_uri: %q, ", site+"/asking", site+"/policy", site+"/terms")+
			`scope: "openid profile email groups offline_access latchkey:api latchkey:admin shelf:read shelf:write"`)+
		public("hostile", hostile, fmt.Sprintf("redirect_uris: [%q]", site+"/hostile"))+
		public("strict", "Strict", fmt.Sprintf("first_party: true, redirect_uris: [%q], providers: [npm]", site+"/strict"))+
		public("tv", "Living room TV", `grant_types: ["urn:ietf:params:oauth:grant-type:device_code", refresh_token]`),
		"LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD="+password)
	doorPort := proc.Port(t)
	door := fmt.Sprintf("http://door.test:%d", doorPort)
	serve(t, doorPort, "", "LATCHKEY_PUBLIC_URL="+door, "LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD="+password)
	for _, javaScript := range []bool{true, false} {
		t.Run(map[bool]string{true: "JavaScript", false: "no JavaScript"}[javaScript], func(t *testing.T) {
			node(t, "oauth.mjs", map[string]any{
				"base": x.base, "door": door, "op": o.issuer, "site": site, "plain": home, "loopback": "http://127.0.0.1:" + portOf(plain), "password": password,
				"javaScript": javaScript, "shots": !javaScript,
			})
		})
	}
}
