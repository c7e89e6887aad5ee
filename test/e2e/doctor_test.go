package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

// The doctor is told by a certified provider whether it knows the redirect URI, and
// asks the program that runs how it sees the doctor.
func TestDoctorAsksACertifiedProvider(t *testing.T) {
	port := proc.Port(t)
	base := fmt.Sprintf("http://localhost:%d", port)
	right, wrong := newOP(t, base, readers, "right"), newOP(t, base, readers, "elsewhere")
	x := serve(t, port, "providers:\n"+provider("right", "Right", right.issuer)+provider("wrong", "Wrong", wrong.issuer))
	cmd := exec.Command(binary, "doctor", "--json")
	cmd.Dir, cmd.Env = x.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + x.dir}
	out, err := cmd.Output()
	failed, isExit := errors.AsType[*exec.ExitError](err)
	var d struct {
		Faults, Warnings int
		Areas            []struct {
			Area, Result string
			Findings     []struct{ ID, Level, Subject, Fix string }
		}
	}
	if !isExit || failed.ExitCode() != 1 || json.Unmarshal(out, &d) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := []string{}
	for _, a := range d.Areas {
		if a.Area == "public_url" && a.Result != "ok" || a.Area == "proxy" && a.Result != "ok" {
			t.Errorf("%s is %s", a.Area, a.Result)
		}
		for _, f := range a.Findings {
			if f.Level != "note" {
				found = append(found, f.ID+" "+f.Subject)
			}
		}
	}
	if !slices.Equal(found, []string{"redirect_uri_unregistered wrong"}) {
		t.Errorf("%s", out)
	}
}
