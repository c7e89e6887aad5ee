// Package journal keeps the journal of ends in a file: one line each, with a
// checksum. A line that is torn or damaged is skipped, and counted.
package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// maxLine bounds a line in bytes. The longest that is written is far shorter.
const maxLine = 16 << 10

// File is a journal. Several processes may append to one on a local disk. It
// implements broker.Journal.
type File struct {
	name string
	mu   sync.Mutex
}

var _ broker.Journal = (*File)(nil)

// New names the file. It is made when the first line is written.
func New(name string) *File { return &File{name: name} }

// Name is the file.
func (f *File) Name() string { return f.name }

var sums = crc32.MakeTable(crc32.Castagnoli)

func encode(l broker.JournalLine) ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if len(text) > maxLine-16 {
		return nil, fmt.Errorf("a line of %d bytes is too long", len(text))
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, sums), text), nil
}

func decode(line []byte) (l broker.JournalLine, ok bool) {
	sum, text, found := bytes.Cut(line, []byte{' '})
	if !found || string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, sums)) {
		return l, false
	}
	return l, json.Unmarshal(text, &l) == nil && l.ID != "" && l.Name != ""
}

// Append implements broker.Journal. The file is opened each time, because
// another process may have replaced it.
func (f *File) Append(_ context.Context, lines []broker.JournalLine) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(f.name), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(f.name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := afterTornLine(file)
	if err != nil {
		return err
	}
	fresh := len(text) == 0 && isEmpty(file)
	for _, l := range lines {
		line, err := encode(l)
		if err != nil {
			return err
		}
		text = append(text, line...)
	}
	if _, err := file.Write(text); err != nil { // one write: others append too
		return err
	}
	if err := file.Sync(); err != nil || !fresh {
		return err
	}
	return syncFolder(f.name)
}

func isEmpty(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Size() == 0
}

// afterTornLine is a line's end where a crash has left none.
func afterTornLine(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, info.Size()-1); err != nil {
		return nil, err
	}
	if last[0] == '\n' {
		return nil, nil
	}
	return []byte{'\n'}, nil
}

// Read implements broker.Journal.
func (f *File) Read(context.Context) (lines []broker.JournalLine, damaged int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, &broker.Error{Code: broker.NotFound, Err: err}
	}
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, maxLine)
	for {
		line, err := reader.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = reader.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return nil, damaged, err
		}
		if line = bytes.TrimSuffix(line, []byte{'\n'}); len(line) > 0 {
			if l, ok := decode(line); ok && !long {
				lines = append(lines, l)
			} else {
				damaged++
			}
		}
		if err == io.EOF {
			return lines, damaged, nil
		}
	}
}

// Trim implements broker.Journal: a new file takes the place of the old one. What
// another process appends meanwhile is copied again from the database.
func (f *File) Trim(ctx context.Context, before time.Time) error {
	lines, damaged, err := f.Read(ctx)
	if errors.Is(err, broker.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := []byte{}
	dropped := damaged // what nobody can read is not complained of for ever
	for i, l := range lines {
		if i > 0 && l.At < before.UnixMilli() {
			dropped++
			continue
		}
		line, err := encode(l)
		if err != nil {
			return err
		}
		kept = append(kept, line...)
	}
	if dropped == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return replaceFile(f.name, kept)
}

func replaceFile(name string, text []byte) error {
	part, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	_, err = part.Write(text)
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), name); err != nil {
		return err
	}
	return syncFolder(name)
}

// SetAside implements broker.Journal.
func (f *File) SetAside(_ context.Context, now time.Time) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	aside := f.name + ".of-another-database-" + now.UTC().Format("20060102-150405")
	if err := os.Rename(f.name, aside); err != nil {
		return "", err
	}
	return aside, syncFolder(f.name)
}

// syncFolder makes a new name durable. Systems that cannot sync a folder need
// not.
func syncFolder(name string) error {
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	_ = folder.Sync()
	return folder.Close()
}
