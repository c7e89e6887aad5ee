package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// stage is a stage of the Dockerfile: its instructions, in their order.
type stage []struct{ name, rest string }

// dockerfile reads the stages of the Dockerfile.
func dockerfile(t *testing.T) (stages []stage) {
	t.Helper()
	text := strings.ReplaceAll(read(t, filepath.Join(root(t), "Dockerfile")), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		last := len(stages) - 1
		stages[last] = append(stages[last], struct{ name, rest string }{name, rest})
	}
	return stages
}

// one is the only instruction of a name.
func (s stage) one(t *testing.T, name string) string {
	t.Helper()
	out := ""
	for _, i := range s {
		if i.name == name {
			if out != "" {
				t.Fatalf("%s twice", name)
			}
			out = i.rest
		}
	}
	if out == "" {
		t.Fatalf("no %s", name)
	}
	return out
}

// argv is an instruction that is a list; there is no shell in the image.
func argv(t *testing.T, text string) (out []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// image runs what the Dockerfile runs and copies what it copies: the root file
// system that the image would have. The base of the first stage is this machine.
func image(t *testing.T) (fs string, final stage) {
	t.Helper()
	stages := dockerfile(t)
	if len(stages) != 2 || stages[1].one(t, "FROM") != "scratch" {
		t.Fatal("the Dockerfile is another one than this test knows")
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, i := range stages[0] {
		if i.name != "RUN" {
			continue
		}
		c := exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(i.rest, "/out", out))
		c.Dir = root(t)
		c.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION=0.1.0")
		if text, err := c.CombinedOutput(); err != nil {
			t.Fatalf("RUN %s: %v\n%s", i.rest, err, text)
		}
	}
	fs = filepath.Join(t.TempDir(), "image")
	for _, i := range stages[1] {
		if i.name != "COPY" {
			continue
		}
		f := strings.Fields(i.rest)
		from, to := strings.Replace(f[len(f)-2], "/out", out, 1), filepath.Join(fs, f[len(f)-1])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, "cp", "-RL", from, to)
		for _, option := range f[:len(f)-2] {
			if owner, ok := strings.CutPrefix(option, "--chown="); ok && os.Getuid() == 0 {
				command(t, "chown", "-R", owner, to)
			}
		}
	}
	return fs, stages[1]
}

// inImage is a command in the image as the Compose file runs it: its user, a root
// that cannot be written, no capabilities. Without root it runs beside the files.
func inImage(fs, user string, args []string) *exec.Cmd {
	if os.Getuid() != 0 {
		return exec.Command(filepath.Join(fs, args[0]), args[1:]...)
	}
	script := `mount --bind "$1" "$1"
mount --bind "$1/data" "$1/data"
mount -o remount,bind,ro "$1"
root=$1 user=$2
shift 2
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"`
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-ec", script, "sh", fs, user}, args...)...)
}

// The image of the Dockerfile starts on an empty base, is its own health check,
// and writes nowhere but to its volume.
func TestImageRunsReadOnlyAsNobody(t *testing.T) {
	fs, final := image(t)
	user := final.one(t, "USER")
	if user != "65532:65532" || final.one(t, "VOLUME") != `["/data"]` || final.one(t, "EXPOSE") != "8080" || final.one(t, "STOPSIGNAL") != "SIGTERM" {
		t.Error("user, volume, port or signal are others than the documentation says")
	}
	how := "in it by chroot, as " + user + ", its root read-only"
	if os.Getuid() != 0 {
		how = "beside it, NOT in it and NOT as its user: that needs root"
	}
	fmt.Println("IMAGE: the Dockerfile's commands ran on this machine, NOT on its base image; the program runs", how)

	address := freeAddress(t)
	env := []string{final.one(t, "ENV"), "LATCHKEY_LISTEN=" + address, "LATCHKEY_PUBLIC_URL=http://" + address, "PATH=" + os.Getenv("PATH")}
	if os.Getuid() != 0 {
		env[0] = "LATCHKEY_DATA_DIR=" + filepath.Join(fs, "data")
	}
	entry := argv(t, final.one(t, "ENTRYPOINT"))
	_, check, _ := strings.Cut(final.one(t, "HEALTHCHECK"), " CMD ")
	health := func() error {
		c := inImage(fs, user, argv(t, check))
		c.Env = env
		out, err := c.CombinedOutput()
		t.Logf("health check: %v %s", err, out)
		return err
	}
	if health() == nil {
		t.Error("the health check is content before anything runs")
	}
	create := inImage(fs, user, append(entry, "user", "create", "root", "--role", "root", "--password-stdin"))
	create.Env, create.Stdin = env, strings.NewReader(password+"\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	serve(t, inImage(fs, user, append(entry, argv(t, final.one(t, "CMD"))...)), env, "http://"+address)
	if err := health(); err != nil {
		t.Error(err)
	}
	loginAt(t, "http://"+address)
	if _, err := os.Stat(filepath.Join(fs, "data", "latchkey.db")); err != nil {
		t.Error(err)
	}
}
