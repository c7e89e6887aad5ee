package e2e

import (
	"fmt"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

// An administrator connects a provider on the pages, sees by name what is wrong
// there, mends it, and somebody logs in through it.
func TestConnectAProviderOnThePages(t *testing.T) {
	port := proc.Port(t)
	base := fmt.Sprintf("http://localhost:%d", port)
	wrong, right := newOP(t, base, readers, "elsewhere"), newOP(t, base, readers, "npm")
	serve(t, port, "", "LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD="+rootPassword)
	node(t, "providers.mjs", map[string]string{
		"base": base, "wrong": wrong.issuer, "right": right.issuer, "secret": "a secret of a test", "password": rootPassword,
	})
}
