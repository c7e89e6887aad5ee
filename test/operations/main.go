// Command operations types every command of docs/operations.md, in order, as root
// on a Debian machine in a box: a real systemd over a throw-away copy of this
// machine's root file system, with a network of its own. It ends with 0 only if
// every command did, and if what a step promises is so. `make operations` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/test/operations/guide"
)

func main() {
	file := flag.String("guide", "docs/operations.md", "the guide to follow")
	deb := flag.String("deb", "", "the package that the guide installs")
	flag.Parse()
	if err := run(*file, *deb); err != nil {
		fmt.Fprintln(os.Stderr, "operations:", err)
		os.Exit(1)
	}
}

func run(file, deb string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	blocks, err := guide.Blocks(string(text))
	if err != nil {
		return err
	}
	if deb == "" {
		return errors.New("-deb is needed: make deb")
	}
	if err := fetch(blocks); err != nil {
		return err
	}
	box, err := open()
	if err != nil {
		return err
	}
	defer box.close()
	if err := box.bring(deb, "/root/"+filepath.Base(deb)); err != nil {
		return err
	}
	for i, b := range blocks {
		fmt.Printf("\n=== %d/%d %s (line %d)\n", i+1, len(blocks), b.Section, b.Line)
		if err := box.enter(b.Text); err != nil {
			box.explain()
			return fmt.Errorf("%s, line %d: %w", b.Section, b.Line, err)
		}
		for _, c := range checks[b.Section] {
			if !strings.Contains(b.Text, c.after) {
				continue
			}
			fmt.Println("--- check:", c.promise)
			if err := box.enter(c.script); err != nil {
				box.explain()
				return fmt.Errorf("%s: %s: %w", b.Section, c.promise, err)
			}
		}
	}
	fmt.Printf("\nall %d blocks of %s were run\n", len(blocks), file)
	return nil
}

// fetch has apt download what the guide installs: there is no network in the box.
func fetch(blocks []guide.Block) error {
	for _, b := range blocks {
		for line := range strings.Lines(b.Text) {
			if names, ok := strings.CutPrefix(line, "apt-get install -y "); ok && !strings.Contains(names, "./") {
				c := exec.Command("apt-get", append([]string{"install", "-y", "--download-only", "-o", "APT::Keep-Downloaded-Packages=true"}, strings.Fields(names)...)...)
				if out, err := c.CombinedOutput(); err != nil {
					return fmt.Errorf("apt-get: %w\n%s", err, out)
				}
			}
		}
	}
	return nil
}

// box is a machine of its own.
type box struct {
	outer *exec.Cmd // unshare, which takes the machine along when it ends
	init  string    // the process that is the machine's first, as this machine sees it
	dir   string
}

// open boots a box, and waits until its systemd has everything up.
func open() (*box, error) {
	dir, err := os.MkdirTemp("", "latchkey-box-")
	if err != nil {
		return nil, err
	}
	outer := exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child",
		"sh", "test/operations/box.sh", dir)
	outer.Stderr = os.Stderr
	if err := outer.Start(); err != nil {
		return nil, err
	}
	b := &box{outer: outer, dir: dir}
	for range 60 {
		time.Sleep(500 * time.Millisecond)
		child, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", outer.Process.Pid, outer.Process.Pid))
		if b.init = strings.TrimSpace(string(child)); b.init == "" {
			continue
		}
		out, _ := b.inside("systemctl", "is-system-running").Output()
		if state := strings.TrimSpace(string(out)); state == "running" || state == "degraded" {
			return b, nil
		}
	}
	b.close()
	return nil, errors.New("the box does not boot; it needs root, namespaces and overlay mounts")
}

func (b *box) close() {
	if err := b.outer.Process.Kill(); err == nil {
		_ = b.outer.Wait()
	}
	_ = os.Remove(b.dir) // what was mounted there is gone with the box
}

// inside is a command of root's in the box, with an environment of its own.
func (b *box) inside(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	all := append([]string{
		"--target", b.init, "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root=/proc/" + b.init + "/root", "--wd=/proc/" + b.init + "/root/root",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", name,
	}, args...)
	c := exec.CommandContext(ctx, "nsenter", all...)
	c.Cancel = func() error { defer cancel(); return c.Process.Kill() }
	return c
}

// enter types lines at a shell that ends with the first one that fails.
func (b *box) enter(script string) error {
	c := b.inside("bash", "-euxo", "pipefail")
	c.Stdin = strings.NewReader(script)
	c.Stdout, c.Stderr = os.Stdout, os.Stdout
	return c.Run()
}

func (b *box) bring(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	c := b.inside("tee", to)
	c.Stdin = strings.NewReader(string(raw))
	return c.Run()
}

// explain prints what the machine says about a failure.
func (b *box) explain() {
	c := b.inside("sh", "-c", "systemctl --no-pager --failed; journalctl --no-pager -n 60; tail -n 20 /var/log/nginx/error.log")
	c.Stdout, c.Stderr = os.Stdout, os.Stdout
	_ = c.Run()
}
