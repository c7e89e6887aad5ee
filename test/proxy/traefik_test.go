//go:build traefik

package proxy

import (
	"os"
	"path/filepath"
	"testing"
)

// traefik is started as its documentation has it, with deploy's file and a certificate
// of its own making. `make traefik` runs these tests: Debian has no Traefik to install.
func (w *world) traefik(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	shipped(t, dir, "traefik/dynamic.yml", "127.0.0.1:8080", w.latchkey, "127.0.0.1:3000", w.echo)
	w.run(t, dir, os.Getenv("TRAEFIK"), "--global.checkNewVersion=false", "--entryPoints.websecure.address=127.0.0.1:"+w.port,
		"--providers.file.filename="+filepath.Join(dir, "dynamic.yml"))
}

func TestTraefik(t *testing.T) {
	w := newWorld(t)
	w.traefik(t)
	w.attack(t)
}

func TestX05SmugglingBehindTraefik(t *testing.T) {
	w := newWorld(t)
	w.traefik(t)
	w.smuggles(t)
}
