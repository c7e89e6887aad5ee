package storage

import (
	"encoding/json"

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
