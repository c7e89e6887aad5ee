package storage_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// Who only looks reads everything and writes nothing, while others write and not.
func TestLookingWritesNothing(t *testing.T) {
	folder := t.TempDir()
	for name, url := range map[string]string{
		"sqlite": "sqlite:" + filepath.Join(folder, "latchkey.db"), "postgres": pgtest.Shared(t).NewDatabase(t),
		"postgres behind a pooler": pgtest.Shared(t).NewDatabase(t) + "&binary_parameters=yes",
	} {
		t.Run(name, func(t *testing.T) {
			full, err := storage.Open(t.Context(), storage.Options{URL: url, Version: "0.1.0"})
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			if _, err := full.InitFact(t.Context(), "fact", "before"); err != nil {
				t.Fatal(err)
			}
			look(t, url) // beside who writes
			if err := full.Close(); err != nil {
				t.Fatal(err)
			}
			look(t, url)
		})
	}
	left, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if ext := filepath.Ext(entry.Name()); ext == ".db-wal" || ext == ".db-shm" {
			t.Errorf("%s was left behind", entry.Name())
		}
	}
}

func look(t *testing.T, url string) {
	t.Helper()
	s, err := storage.OpenToLook(t.Context(), storage.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Condition(t.Context(), "0.1.0")
	if err != nil || c.Schema != c.Known || c.Schema == 0 || c.TooNew != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if value, err := s.Fact(t.Context(), "fact"); err != nil || value != "before" {
		t.Errorf("%q, %v", value, err)
	}
	for what, write := range map[string]func() error{
		"InitFact":        func() error { _, err := s.InitFact(t.Context(), "other", "x"); return err },
		"SwapFact":        func() error { _, err := s.SwapFact(t.Context(), "fact", "before", "after"); return err },
		"Tx":              func() error { return s.Tx(t.Context(), func(broker.Store) error { return nil }) },
		"SaveIdPMetadata": func() error { return s.SaveIdPMetadata(t.Context(), "i", "k", []byte("x"), time.Now()) },
	} {
		if write() == nil {
			t.Errorf("%s was let through", what)
		}
	}
}

// An empty database is looked at, and stays empty.
func TestLookingMakesNoSchema(t *testing.T) {
	url := pgtest.Shared(t).NewDatabase(t)
	for range 2 {
		s, err := storage.OpenToLook(t.Context(), storage.Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := s.Condition(t.Context(), "0.1.0"); err != nil || c.Schema != 0 || c.SynchronousCommit != "on" || c.Connections < storage.PoolConnections {
			t.Errorf("%+v, %v", c, err)
		}
		_ = s.Close()
	}
	if _, err := storage.OpenToLook(t.Context(), storage.Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "nowhere.db")}); err == nil {
		t.Error("a file that is not there was opened")
	}
}
