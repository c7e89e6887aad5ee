package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

// Somebody who has never seen Latchkey gets from `latchkey serve` to a login
// through an IdP, a device list and an API key, by the pages alone. Where
// LATCHKEY_SCREENS names a folder, the pictures go there.
func TestFirstRun(t *testing.T) {
	x := serve(t, proc.Port(t), "")
	o := newOP(t, x.base, readers, "oidc")
	node(t, "first_run.mjs", map[string]any{"base": x.base, "setup": x.setupLink(t), "op": o.issuer, "pictures": os.Getenv("LATCHKEY_SCREENS")})
	if strings.Contains(x.Out.String(), "a secret of a test") {
		t.Error("the provider's secret is in the log")
	}
}
