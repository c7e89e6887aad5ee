package storage

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// PoolStats is how busy a pool of connections is, and was since it was opened.
type PoolStats struct {
	Name        string // main, or writer and reader; and relaxed
	Max         int    // connections at most; 0: no limit
	InUse, Idle int
	Waits       int64         // how often a statement had to wait for a connection, or for its turn to write on SQLite
	Waited      time.Duration // how long, altogether
}

// PoolStats is each pool once. The one that reads and writes is called main.
func (s *Store) PoolStats() (out []PoolStats) {
	names := map[*pool]string{}
	names[s.pools.reader], names[s.pools.relaxed], names[s.pools.writer] = "reader", "relaxed", "writer"
	if s.pools.writer == s.pools.reader {
		names[s.pools.writer] = "main"
	}
	for p, name := range names {
		d := p.db.Stats()
		stats := PoolStats{
			Name: name, Max: d.MaxOpenConnections, InUse: d.InUse, Idle: d.Idle, Waits: p.places.waits.Load(), Waited: time.Duration(p.places.waited.Load()),
		}
		if p == s.pools.writer && s.pools.writing != nil {
			stats.Waits += s.pools.writing.waits.Load()
			stats.Waited += time.Duration(s.pools.writing.waited.Load())
		}
		out = append(out, stats)
	}
	return out
}

// LogBytes is how long SQLite's write-ahead log is; none in memory, and on PostgreSQL.
func (s *Store) LogBytes() (n int64, there bool) {
	if s.d.path == "" {
		return 0, false
	}
	log, err := os.Stat(s.d.logFile())
	if err != nil {
		return 0, errors.Is(err, fs.ErrNotExist)
	}
	return log.Size(), true
}
