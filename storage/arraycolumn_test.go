package storage

import (
	"database/sql"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

func TestScanArray(t *testing.T) {
	var text, name string
	var number int64
	var maybe, none sql.NullInt64
	var notice document[broker.Notice]
	into := []any{&text, &number, &maybe, &none, &name, &notice}
	for _, value := range []any{`["a\"\u0001ä",9223372036854775807,-1,null,null,"{}"]`, []byte("[\"a\\\"\\u0001ä\" , 9223372036854775807, -1, null, null, \"\"]")} {
		text, number, maybe, none, name = "", 0, sql.NullInt64{}, sql.NullInt64{}, "stays"
		if err := scanArray(value, into...); err != nil || text != "a\"\x01ä" || number != 1<<63-1 || !maybe.Valid || maybe.Int64 != -1 || none.Valid || name != "stays" {
			t.Errorf("%s: %v, %q %d %v %v %q", value, err, text, number, maybe, none, name)
		}
	}
	if err := scanArray(nil, into...); err != nil {
		t.Errorf("NULL: %v", err)
	}
	for _, bad := range []string{"", "[", `["a",1,2,3,"b",""`, `["a",1,2,3,"b","",6]`, `["a",1,2,3,"b"]`, `["a","1",2,3,"b",""]`, `["a",1.5,2,3,"b",""]`,
		`["a",1,2,9223372036854775808,"b",""]`, `["a",1,2,3,"b","{"]`, `["a",1,2,3,{},""]`, `["a",1,2,3,[],""]`, `["a",1,2,3,true,""]`, `{"a":1}`, `"a"`, `7`, `null`} {
		if err := scanArray(bad, into...); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
