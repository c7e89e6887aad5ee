package e2e

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

// An app is connected on the page, and works with what the page shows.
func TestConnectAnApp(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(clientSite))
	t.Cleanup(site.Close)
	x := serve(t, proc.Port(t), "", "LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD="+rootPassword)
	node(t, "clients.mjs", map[string]any{"base": x.base, "site": site.URL, "user": "root", "password": rootPassword})
}
