package storm

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-id/latchkey/migrations"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
)

// disk is a small file system.
type disk struct {
	t      *testing.T
	folder string
}

// newDisk mounts one; nil where this machine does not permit it, which is said.
func newDisk(t *testing.T, bytes int64) *disk {
	t.Helper()
	folder, err := os.MkdirTemp("", "latchkey-disk-") // PostgreSQL's own user enters no t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	err = unix.Mount("none", folder, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		fmt.Println("DISK: NOT filled, for nothing may be mounted here:", err)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{t, folder}
}

// fill leaves no room; free gives it back.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.folder, "filling"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for _, chunk := range []int{1 << 20, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, chunk))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

func (d *disk) free() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.folder, "filling")); err != nil {
		d.t.Fatal(err)
	}
}

// postgres is an empty database whose tables are on the disk; the log of a server
// that has no room for it ends the server, which is another matter.
func (d *disk) postgres() string {
	d.t.Helper()
	cluster := pgtest.MustStart(d.t)
	url := cluster.NewDatabase(d.t)
	db, err := sql.Open("postgres", cluster.URL("postgres"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	var data string
	if err := db.QueryRow(`SHOW data_directory`).Scan(&data); err != nil {
		d.t.Fatal(err)
	}
	info, err := os.Stat(data)
	if err != nil {
		d.t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(d.folder, int(owner.Uid), int(owner.Gid)); err != nil {
		d.t.Fatal(err)
	}
	name := url[strings.LastIndexByte(url, '/')+1:]
	name, _, _ = strings.Cut(name, "?")
	for _, q := range []string{fmt.Sprintf(`CREATE TABLESPACE small LOCATION '%s'`, d.folder), fmt.Sprintf(`ALTER DATABASE %s SET TABLESPACE small`, name)} {
		if _, err := db.Exec(q); err != nil {
			d.t.Fatalf("%s: %v", q, err)
		}
	}
	return url
}

// onSmallDisks runs a test on either database, each on a disk of its own.
func onSmallDisks(t *testing.T, test func(t *testing.T, d *disk, database string)) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		if d := newDisk(t, stormSize(t).disk); d != nil {
			test(t, d, "sqlite:"+filepath.Join(d.folder, "latchkey.db"))
		}
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		if d := newDisk(t, 24<<20+stormSize(t).disk); d != nil {
			test(t, d, d.postgres())
		}
	})
}

// R44: the disk of the database is full. Whoever has to write is told to come again,
// what is read is answered, and once there is room everything goes on, without a
// restart; what was answered holds.
func TestDiskIsFull(t *testing.T) {
	const grace = time.Second // in a long storm too: what fills the disk here is not many
	onSmallDisks(t, func(t *testing.T, d *disk, database string) {
		p := start(t, database, "REFRESH_TOKEN_GRACE_PERIOD=1", "LATCHKEY_JOURNAL_FILE="+filepath.Join(d.folder, "ends.journal"))
		devices := crowd(p, openDB(t, database), stormSize(t).devices)
		heal(p, devices, time.Minute)
		access := accessOf(devices[0].refresh(p))
		leaver := devices[len(devices)-1]
		d.fill()
		writes, later := 0, 0
		for began := time.Now(); later < 3; { // until pages that are free already are used up
			if time.Since(began) > 3*time.Minute {
				t.Fatalf("the disk is not full: %d refreshes and logins, %d refused", writes, later)
			}
			time.Sleep(grace)
			for i, r := range append(atOnce(p, devices[:5]), tryLogin(p, password)) {
				writes++
				if r.status != http.StatusOK && !r.later() {
					t.Errorf("device %d: %v", i, r)
				}
				if r.later() {
					later++
				}
			}
		}
		for _, path := range []string{"/healthz", "/.well-known/jwks.json"} {
			if got := p.status(path); got != http.StatusOK {
				t.Errorf("%s: %d", path, got)
			}
		}
		if r := call(p, "GET", "/api/me", access, ""); r.status != http.StatusOK {
			t.Errorf("a read: %v", r)
		}
		left, err := post(t.Context(), patient, p.url("/logout"), leaver.token, "")
		if err != nil {
			t.Fatal(err)
		}
		if left.status != http.StatusOK && !left.later() {
			t.Errorf("a logout: %v", left)
		}
		d.free()
		heal(p, devices[:len(devices)-1], time.Minute)
		if r := leaver.refresh(p); (r.status == http.StatusOK) == (left.status == http.StatusOK) {
			t.Errorf("the logout was answered %v, and a refresh after it %v", left, r)
		}
		if r := tryLogin(p, password); r.status != http.StatusOK {
			t.Errorf("a login when there is room: %v", r)
		}
		record(t, fmt.Sprintf("on a full disk %d of %d refreshes and logins were told to come again, and a logout was answered %d; with room again all of %d devices go on",
			later, writes, left.status, len(devices)))
	})
}

// R30: the disk is full while the schema is migrated. Each migration is there whole or
// not at all, nothing is lost, and the next start goes on once there is room.
func TestDiskIsFullWhileMigrating(t *testing.T) {
	newest := len(migrations.Versions())
	onSmallDisks(t, func(t *testing.T, d *disk, database string) {
		s, err := stored.Put(t.Context(), stored.FirstSchema, database)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := schemaOf(t, database)
		p := ofStored(t, database, s)
		d.fill()
		p.launch()
		if code := p.exitCode(3 * time.Minute); code == 0 {
			t.Error("it ended as if all were well")
		}
		last, n := schemaOf(t, database)
		if last != n || last == newest {
			t.Fatalf("the schema is %d, by %d migrations", last, n)
		}
		d.free()
		p.launch()
		p.waitFor("/readyz", http.StatusOK, 60*time.Second)
		if last, n := schemaOf(t, database); last != newest || n != newest {
			t.Errorf("the schema is %d, by %d migrations, want %d", last, n, newest)
		}
		goesOn(t, p, s)
		t.Logf("it came from schema %d to %d while there was no room", before, last)
	})
}
