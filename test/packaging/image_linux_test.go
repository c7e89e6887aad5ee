package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// settings are the configuration of an image, in Docker's format.
type settings struct {
	User, StopSignal     string
	Env, Entrypoint, Cmd []string
	Volumes              map[string]struct{}
	ExposedPorts         map[string]struct{}
	Labels               map[string]string
	Healthcheck          struct{ Test []string }
}

// builder is buildah with a store of its own; vfs is the one driver that needs nothing
// of the file system below.
type builder struct {
	t      *testing.T
	folder string
}

func (b *builder) try(args ...string) (string, error) {
	c := exec.CommandContext(b.t.Context(), "buildah", append([]string{
		"--root", filepath.Join(b.folder, "store"), "--runroot", filepath.Join(b.folder, "run"), "--storage-driver", "vfs", "--registries-conf", os.DevNull,
	}, args...)...)
	c.Dir = root(b.t)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, said strings.Builder
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("buildah %v: %w\n%s%s", args, err, &out, &said)
	}
	return strings.TrimSpace(out.String()), nil
}

func (b *builder) run(args ...string) string {
	b.t.Helper()
	out, err := b.try(args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// builds are where Go keeps what the build of the image needs, here and in the base.
func builds(t *testing.T) (volumes []string, env string) {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download") // the builder then asks for nothing that only this machine may reach
	download.Dir = root(t)
	if out, err := download.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, there := range map[string]string{"GOROOT": "/usr/local/go", "GOMODCACHE": "/go/pkg/mod", "GOCACHE": "/root/.cache/go-build"} {
		here := strings.TrimSpace(command(t, "go", "env", name))
		volumes = append(volumes, "--volume", here+":"+there)
	}
	env = "ENV PATH=/usr/local/go/bin:/bin GOPATH=/go GOCACHE=/root/.cache/go-build"
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN"} {
		env += fmt.Sprintf(" %s=%q", name, strings.TrimSpace(command(t, "go", "env", name)))
	}
	return volumes, env
}

// base builds what stands in place of golang:1.26: busybox, and room for this
// machine's Go. An error says that this machine lets buildah run nothing.
func (b *builder) base(env string) error {
	t := b.t
	t.Helper()
	base := filepath.Join(b.folder, "base")
	command(t, "mkdir", "-p", filepath.Join(base, "bin"), filepath.Join(base, "tmp"), filepath.Join(base, "etc/ssl/certs"))
	command(t, "cp", "-L", "/etc/ssl/certs/ca-certificates.crt", filepath.Join(base, "etc/ssl/certs"))
	command(t, "cp", "/bin/busybox", filepath.Join(base, "bin"))
	for _, name := range []string{"sh", "mkdir"} {
		command(t, "ln", "-s", "busybox", filepath.Join(base, "bin", name))
	}
	file := filepath.Join(b.folder, "Containerfile")
	if err := os.WriteFile(file, []byte("FROM scratch\nCOPY . /\n"+env+"\nRUN mkdir /src\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := b.try("build", "--isolation", "chroot", "--format", "docker", "--tag", "docker.io/library/golang:1.26", "--file", file, base)
	return err
}

// image builds the Dockerfile and unpacks the result.
func (b *builder) image(volumes []string) (fs string, final settings) {
	t := b.t
	t.Helper()
	b.run(append(append([]string{"build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--platform", "linux/" + runtime.GOARCH}, volumes...),
		"--tag", "localhost/latchkey", ".")...)
	var seen struct{ Docker struct{ Config settings } }
	if err := json.Unmarshal([]byte(b.run("inspect", "--type", "image", "localhost/latchkey")), &seen); err != nil {
		t.Fatal(err)
	}
	return b.run("mount", b.run("from", "--pull-never", "localhost/latchkey")), seen.Docker.Config
}

// inImage is a command in the image as the Compose file runs it: its user, a root
// that cannot be written, no capabilities.
func inImage(fs, user string, args []string) *exec.Cmd {
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
	if os.Getuid() != 0 {
		fmt.Println("IMAGE: NOT built, for that needs root")
		return
	}
	volumes, ofGo := builds(t)
	b := &builder{t, t.TempDir()}
	if err := b.base(ofGo); err != nil {
		fmt.Println("IMAGE: NOT built, for here buildah runs nothing:", err)
		return
	}
	fs, final := b.image(volumes)
	fmt.Println("IMAGE: built by buildah from busybox and this machine's Go, NOT from golang:1.26; run by chroot as", final.User, "on a root that cannot be written")
	if want := (settings{
		User: "65532:65532", StopSignal: "SIGTERM", Entrypoint: []string{"/latchkey"}, Cmd: []string{"serve"}, Env: final.Env, Labels: final.Labels,
		Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Healthcheck: struct{ Test []string }{[]string{"CMD", "/latchkey", "healthcheck"}},
	}); !reflect.DeepEqual(final, want) {
		t.Fatalf("the image is configured as\n%+v, want\n%+v", final, want)
	}
	if final.Labels["org.opencontainers.image.licenses"] != "Apache-2.0" || final.Labels["org.opencontainers.image.version"] != "0.1.0" {
		t.Errorf("labels %v", final.Labels)
	}
	if got := contentsOf(t, fs); !slices.Equal(got, []string{"/data", "/etc/ssl/certs/ca-certificates.crt", "/latchkey"}) {
		t.Errorf("in the image are %v", got)
	}

	address := freeAddress(t)
	env := append([]string{"LATCHKEY_LISTEN=" + address, "LATCHKEY_PUBLIC_URL=http://" + address}, final.Env...)
	env = append(env, "PATH="+os.Getenv("PATH")) // of what leads into the image
	health := func() error {
		c := inImage(fs, final.User, final.Healthcheck.Test[1:])
		c.Env = env
		out, err := c.CombinedOutput()
		t.Logf("health check: %v %s", err, out)
		return err
	}
	if health() == nil {
		t.Error("the health check is content before anything runs")
	}
	create := inImage(fs, final.User, append(final.Entrypoint, "user", "create", "root", "--role", "root", "--password-stdin"))
	create.Env, create.Stdin = env, strings.NewReader(password+"\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	serve(t, inImage(fs, final.User, append(final.Entrypoint, final.Cmd...)), env, "http://"+address)
	if err := health(); err != nil {
		t.Error(err)
	}
	loginAt(t, "http://"+address)
	if _, err := os.Stat(filepath.Join(fs, "data", "latchkey.db")); err != nil {
		t.Error(err)
	}
}

// contentsOf are the files of an image, and its empty folders.
func contentsOf(t *testing.T, fs string) (paths []string) {
	t.Helper()
	for _, path := range strings.Fields(command(t, "find", fs, "-type", "f", "-o", "-type", "d", "-empty")) {
		paths = append(paths, strings.TrimPrefix(path, fs))
	}
	slices.Sort(paths)
	return paths
}
