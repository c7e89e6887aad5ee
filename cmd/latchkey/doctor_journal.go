package main

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/storage/journal"
)

// checkJournal looks at the journal of ends as the server would, and writes nothing.
func checkJournal(ctx context.Context, d *doctor) (out []finding, looked bool) {
	name := d.config.journalFile()
	file, sqlite := storage.IsSQLite(d.config.databaseURL())
	switch {
	case name == "" && sqlite: // in memory: there is nothing to restore
		return nil, false
	case name == "":
		return []finding{found("journal_none", "", nil)}, true
	}
	if _, err := os.Lstat(name); err != nil && d.config.JournalFile == "" && sqlite {
		return nil, true // it will be made beside the database, whose folder is looked at there
	}
	v := values{"file": name}
	if reason := whyUnusable(name); reason != "" {
		v["reason"] = reason
		return []finding{found("journal_unusable", name, v)}, true
	}
	_, damaged, err := journal.New(name).Read(ctx)
	switch {
	case errors.Is(err, broker.NotFound): // it is begun by the next start
	case err != nil:
		v["reason"] = reasonOf(err)
		out = append(out, found("journal_unusable", name, v))
	case damaged > 0:
		v["lines"] = strconv.Itoa(damaged)
		out = append(out, found("journal_damaged", name, v))
	}
	// Where it is by default, it is beside the database: who named a place wanted another.
	if d.config.JournalFile != "" && sqlite && file != "" && d.sameDisk(name, file) {
		out = append(out, found("journal_on_same_disk", name, v))
	}
	return out, true
}

// whyUnusable says what keeps lines from being written to a file, or to one that
// will be made there; empty: nothing that can be seen.
func whyUnusable(name string) string {
	there, info, err := nearestThere(name)
	switch {
	case err != nil:
		return reasonOf(err)
	case !isWritable(there):
		return "this user may not write " + there
	case info.Mode().IsRegular():
		return ""
	}
	// Either a folder in which it will be made, or something else in its place.
	if _, err := os.Lstat(name); err == nil || !info.IsDir() {
		return there + " is no file"
	}
	return ""
}

// sameDisk reports whether two files are, or will be, on one disk; false where
// that is not known.
func (d *doctor) sameDisk(one, other string) bool {
	disks := [2]uint64{}
	for i, name := range []string{one, other} {
		there, _, err := nearestThere(name)
		if err != nil {
			return false
		}
		state, err := d.disk(there)
		if err != nil {
			return false
		}
		disks[i] = state.id
	}
	return disks[0] != 0 && disks[0] == disks[1]
}
