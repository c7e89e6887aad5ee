package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"testing"
)

// Run by root, the doctor says what the server's user would meet: a journal in a
// folder of root's is none.
func TestDoctorOfRootLooksAsTheServer(t *testing.T) {
	w := newWorld(t)
	w.env["LATCHKEY_JOURNAL_FILE"] = filepath.Join(w.mkdir("of-root", 0o700), "ends.journal")
	w.write("latchkey.yaml", w.yaml, 0o644)
	us, err := user.Current()
	w.must(err)
	want, root := us.Username, os.Geteuid() == 0
	if root {
		w.must(os.Chown(w.env["LATCHKEY_DATA_DIR"], 65534, 65534)) // nobody, who has no rights
		want = "nobody"
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "doctor", "--json")
	c.Env = []string{"LATCHKEY_TEST_AS=latchkey"}
	for k, v := range w.env {
		c.Env = append(c.Env, k+"="+v)
	}
	said, _ := c.Output() // it fails where there is a fault
	var d diagnosis
	if err := json.Unmarshal(said, &d); err != nil || d.User != want {
		t.Fatalf("%v: it looked as %q, want %q: %s", err, d.User, want, said)
	}
	if unusable := slices.Contains(d.ids(levelFault), "journal_unusable"); unusable != root {
		t.Errorf("the journal is unusable: %v: %s", unusable, said)
	}
}
