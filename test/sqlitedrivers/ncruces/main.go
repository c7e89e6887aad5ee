// Command ncruces measures github.com/ncruces/go-sqlite3.
package main

import (
	"strings"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/latchkey-id/latchkey/test/sqlitedrivers/measure"
)

func main() {
	measure.Main("sqlite3", func(path string, write bool, pragmas ...string) string {
		dsn := "file:" + path + "?_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)"
		if write {
			return dsn + "&_pragma=journal_mode(wal)&_txlock=immediate&_pragma=" + strings.Join(pragmas, "&_pragma=")
		}
		return dsn + "&_pragma=query_only(1)"
	})
}
