package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

// control has the clients log in at oidc-provider, without Latchkey.
var control = os.Getenv("LATCHKEY_INTEROP_CONTROL") != ""

// Every client logs in both ways, and then does what else it can.
func TestClients(t *testing.T) {
	var rows []row
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			row := row{client: c}
			defer func() { rows = append(rows, row) }()
			row.version = c.version(t)
			row.application, row.worked = try(t, c)
		})
	}
	if len(rows) == len(clients) && !control {
		checkTable(t, rows)
	}
}

// application is how a client looks from the browser; see browse.mjs.
type application struct {
	Base        string   `json:"base"`
	Lands       string   `json:"lands,omitempty"` // a regular expression of where a login ends; default: at Base
	Login       string   `json:"login"`
	Press       string   `json:"press,omitempty"` // what to press there
	Me          string   `json:"me"`
	Username    string   `json:"username"` // where it is in Me
	InPage      bool     `json:"inPage,omitempty"`
	Refresh     *refresh `json:"refresh,omitempty"`
	Logout      *logout  `json:"logout,omitempty"`
	Backchannel bool     `json:"backchannel,omitempty"`
}

type refresh struct {
	Path   string `json:"path,omitempty"`
	Watch  string `json:"watch,omitempty"` // it refreshes by itself: the token is seen here, in Header or Field
	Header string `json:"header,omitempty"`
	Field  string `json:"field,omitempty"`
}

type logout struct {
	Kind  string `json:"-"`
	Path  string `json:"path"`
	Press string `json:"press,omitempty"`
	Tells bool   `json:"tells,omitempty"` // it answers by itself that it is over
	Says  bool   `json:"says,omitempty"`  // it says so on the page that the browser comes back to
	Ends  bool   `json:"ends,omitempty"`  // the session at the provider ends, too
}

type person struct {
	Way      string `json:"way"`
	Username string `json:"username"`
	Password string `json:"password,omitempty"`
}

// ways to log in.
const (
	withPassword = "password"
	throughIdP   = "idp"
)

const password = "a password of a test"

type idp struct {
	Name   string `json:"name"`
	Origin string `json:"origin"`
}

type provider struct {
	Origin  string `json:"origin"`
	Control bool   `json:"control"`
	IdP     idp    `json:"idp"`
}

// worked says of each way to log in what worked.
type worked map[string]map[string]bool

// both reports whether something worked after either login.
func (w worked) both(step string) bool { return w[withPassword][step] && w[throughIdP][step] }

// try runs one client with a broker and an IdP of its own.
func try(t *testing.T, c client) (app application, w worked) {
	t.Helper()
	base := fmt.Sprintf("http://127.0.0.1:%d", proc.Port(t))
	registration := c.register(base)
	var key any
	if c.key != nil {
		key, registration["jwks"] = c.key(t)
	}
	var p provider
	people := []person{{Way: withPassword, Username: "olga", Password: password}, {Way: throughIdP, Username: "anna"}}
	if control {
		p = provider{Origin: startOP(t, proc.Port(t), registration), Control: true}
		people = people[:1]
	} else {
		p = startLatchkey(t, registration)
	}
	app = c.run(t, settings{base: base, issuer: p.Origin, client: registration, key: key})
	app.Base = base
	out, err := node(t, "browse.mjs", map[string]any{"application": app, "provider": p, "people": people})
	if err != nil {
		t.Error(err)
	}
	if err := json.Unmarshal([]byte(out), &w); err != nil {
		t.Errorf("browse.mjs prints %q: %v", out, err)
	}
	return app, w
}

func startOP(t *testing.T, port int, clients ...registration) string {
	t.Helper()
	origin := fmt.Sprintf("http://127.0.0.1:%d", port)
	start(t, origin+"/.well-known/openid-configuration",
		exec.Command("node", "op.mjs", asJSON(t, map[string]any{"port": port, "clients": clients})))
	return origin
}

// startLatchkey starts a broker with one client and one IdP. Its host is
// localhost and theirs is 127.0.0.1: to the browser they are different sites.
func startLatchkey(t *testing.T, client registration) provider {
	t.Helper()
	port := proc.Port(t)
	p := provider{Origin: fmt.Sprintf("http://localhost:%d", port), IdP: idp{Name: "The Test IdP"}}
	p.IdP.Origin = startOP(t, proc.Port(t), registration{
		"client_id": "latchkey", "client_secret": "a secret of a test", "redirect_uris": []string{p.Origin + "/auth/npm/callback"},
	})
	dir := t.TempDir()
	config := asJSON(t, map[string]any{ // JSON is YAML
		"public_url": p.Origin, "listen": fmt.Sprintf("127.0.0.1:%d", port), "data_dir": filepath.Join(dir, "data"),
		"providers": []any{map[string]any{
			"id": "npm", "name": p.IdP.Name, "issuer": p.IdP.Origin, "client_id": "latchkey", "client_secret": "a secret of a test",
		}},
		"clients": []any{client},
	})
	if err := os.WriteFile(filepath.Join(dir, "latchkey.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
		return cmd
	}
	create := command("user", "create", "olga", "--email", "olga@example.org", "--email-verified", "--full-name", "Olga Example", "--password-stdin")
	create.Stdin = strings.NewReader(password + "\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", create, err, out)
	}
	start(t, fmt.Sprintf("http://127.0.0.1:%d/readyz", port), command("serve"))
	return p
}
