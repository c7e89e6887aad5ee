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

	"github.com/latchkey-id/latchkey/test/box"
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

func run(file, deb string) (err error) {
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
	b, err := box.Boot(box.Options{OwnNetwork: true, Target: "multi-user.target"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	m := machine{b}
	if err := m.bring(deb, "/root/"+filepath.Base(deb)); err != nil {
		return err
	}
	if err := m.follow(blocks); err != nil {
		m.explain()
		return err
	}
	fmt.Printf("\nall %d blocks of %s were run\n", len(blocks), file)
	return nil
}

// fetch has apt download what the guide installs: there is no network in the box.
func fetch(blocks []guide.Block) error {
	for _, b := range blocks {
		for line := range strings.Lines(b.Text) {
			if names, ok := strings.CutPrefix(line, "apt-get install -y "); ok && !strings.Contains(names, "./") {
				c := exec.Command("apt-get", append([]string{"install", "-y", "--download-only", "-o", "APT::Keep-Downloaded-Packages=true", "-o", "DPkg::Lock::Timeout=300"}, strings.Fields(names)...)...)
				if out, err := c.CombinedOutput(); err != nil {
					return fmt.Errorf("apt-get: %w\n%s", err, out)
				}
			}
		}
	}
	return nil
}

// machine is the box that the guide is followed in.
type machine struct{ *box.Box }

// follow types the blocks, with what is checked before and after each. A check
// that fits no block would check nothing.
func (m machine) follow(blocks []guide.Block) error {
	done := 0
	for i, b := range blocks {
		fmt.Printf("\n=== %d/%d %s (line %d)\n", i+1, len(blocks), b.Section, b.Line)
		mine := []check{}
		for _, c := range checks[b.Section] {
			if strings.Contains(b.Text, c.at) {
				mine = append(mine, c)
			}
		}
		for _, c := range mine {
			if err := m.check(c, c.before); err != nil {
				return fmt.Errorf("%s: before %s: %w", b.Section, c.promise, err)
			}
		}
		if err := m.enter(b.Text); err != nil {
			return fmt.Errorf("%s, line %d: %w", b.Section, b.Line, err)
		}
		for _, c := range mine {
			if err := m.check(c, c.after); err != nil {
				return fmt.Errorf("%s: %s: %w", b.Section, c.promise, err)
			}
		}
		done += len(mine)
	}
	for _, all := range checks {
		done -= len(all)
	}
	if done != 0 {
		return fmt.Errorf("the checks and the guide do not fit: %d more were run than there are", done)
	}
	return nil
}

func (m machine) check(c check, script string) error {
	if script == "" {
		return nil
	}
	fmt.Println("--- check:", c.promise)
	return m.enter(helpers + script)
}

// enter types lines at a shell that ends with the first one that fails.
func (m machine) enter(script string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := m.Command("bash", "-euxo", "pipefail", "-c", script)
	c.Stdout, c.Stderr = os.Stdout, os.Stdout
	if err := c.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	return c.Wait()
}

func (m machine) bring(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	c := m.Command("tee", to)
	c.Stdin = strings.NewReader(string(raw))
	return c.Run()
}

// explain prints what the machine says about a failure.
func (m machine) explain() {
	c := m.Command("sh", "-c", "systemctl --no-pager --failed; journalctl --no-pager -n 60; tail -n 20 /var/log/nginx/error.log")
	c.Stdout, c.Stderr = os.Stdout, os.Stdout
	_ = c.Run()
}
