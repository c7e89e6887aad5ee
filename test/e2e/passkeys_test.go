package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

// Passkeys in the real browser, with an authenticator that DevTools plays, and the
// real program.
func TestPasskeys(t *testing.T) {
	x := serve(t, proc.Port(t), "", "LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD="+rootPassword)
	const password = "a password of two people"
	for _, name := range []string{"anna", "bo"} {
		cmd := exec.CommandContext(t.Context(), binary, "user", "create", name, "--password-stdin")
		cmd.Dir, cmd.Env, cmd.Stdin = x.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + x.dir}, strings.NewReader(password+"\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("user create %s: %v\n%s", name, err, out)
		}
	}
	node(t, "passkeys.mjs", map[string]any{"base": x.base, "password": password})
}
