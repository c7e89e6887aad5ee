package storage

import (
	"database/sql/driver"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-id/latchkey/broker"
)

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// jsonList stores a list of strings as text: lib/pq must not be given []byte
// where text is meant.
func jsonList(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(list) // a list of strings always marshals
	return string(text)
}

func readList(text string) (list []string) {
	if text != "" && text != "[]" {
		_ = json.Unmarshal([]byte(text), &list)
	}
	return list
}

// found turns "no row written" into broker.NotFound.
func found(n int64, err error) error {
	if err == nil && n == 0 {
		return &broker.Error{Code: broker.NotFound}
	}
	return err
}

// document is a column that holds a value as JSON; the empty text is its zero
// value. What cannot be read is trouble of the database: half a document would
// be one with fewer conditions.
type document[T any] struct{ is T }

// Value implements driver.Valuer, with text as jsonList.
func (d document[T]) Value() (driver.Value, error) {
	if reflect.ValueOf(d.is).IsZero() {
		return "", nil
	}
	text, err := json.Marshal(d.is)
	return string(text), err
}

// Scan implements sql.Scanner.
func (d *document[T]) Scan(value any) error {
	text := textOf(value)
	if len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, &d.is)
}

// textOf is a text as either driver brings it.
func textOf(value any) []byte {
	switch value := value.(type) {
	case string:
		return []byte(value)
	case []byte:
		return value
	}
	return nil
}

// possible reports whether both databases can hold a text: PostgreSQL has
// neither NUL nor bytes that are not UTF-8.
func possible(text string) bool {
	return utf8.ValidString(text) && !strings.Contains(text, "\x00")
}

// onlyPossible are the texts of a list that are [possible].
func onlyPossible(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(text string) bool { return !possible(text) })
}
