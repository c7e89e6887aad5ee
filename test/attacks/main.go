// Command attacks writes docs/attacks.md or docs/reliability.md: what Latchkey is tried
// with, by which tests, and what came of them. The lists are rows.yaml and
// reliability.yaml, beside this file. Without -from it runs the tests.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	from := flag.String("from", "", "files that go test -json wrote, comma separated, instead of a run")
	top := flag.String("top", ".", "top folder of the repository")
	name := flag.String("list", "attacks", "attacks or reliability")
	flag.Parse()
	c, ok := catalogs[*name]
	if !ok {
		fmt.Fprintln(os.Stderr, "attacks: there is no list", *name)
		os.Exit(2)
	}
	if err := c.run(*top, *from); err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
		os.Exit(1)
	}
}

func (c catalog) run(top, from string) error {
	list, err := readRows(filepath.Join(top, "test/attacks", c.file))
	if err != nil {
		return err
	}
	if bad := c.faults(list, top); len(bad) > 0 {
		return fmt.Errorf("%s:\n  %s", c.file, strings.Join(bad, "\n  "))
	}
	seen := results{}
	if from == "" {
		err = runTests(top, list, seen)
	} else {
		err = readResults(strings.Split(from, ","), seen)
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(top, c.document), []byte(c.table(list, seen)), 0o644); err != nil {
		return err
	}
	for _, r := range list {
		if v := seen.verdict(r); v == fails || v == notRun {
			err = fmt.Errorf("%s: %s", r.ID, v)
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return err
}

func readResults(files []string, seen results) error {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = seen.read(f)
		if err = closed(f, err); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func closed(c io.Closer, err error) error {
	if other := c.Close(); err == nil {
		err = other
	}
	return err
}

// runTests runs the tests of all rows, one package after the other. That one fails
// is for the table to say.
func runTests(top string, list []row, seen results) error {
	names := map[string][]string{}
	for _, r := range list {
		for _, t := range r.Tests {
			folder, name := split(t)
			names[folder] = append(names[folder], name)
		}
	}
	folders := []string{}
	for folder := range names {
		folders = append(folders, folder)
	}
	slices.Sort(folders)
	for _, folder := range folders {
		c := exec.Command("go", "test", "-json", "-count=1", "-timeout", "20m", "-run", "^("+strings.Join(names[folder], "|")+")$", "./"+folder)
		c.Dir, c.Stderr = top, os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		if err := seen.read(out); err != nil {
			return err
		}
		_ = c.Wait() // its result is in what was read
		fmt.Fprintln(os.Stderr, "done:", folder)
	}
	return nil
}
