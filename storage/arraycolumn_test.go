package storage

import (
	"database/sql"
	"strings"
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
	// Which column it is, as database/sql says of others.
	for bad, which := range map[string]string{`["a",1,2,3,7,""]`: "element 4: ", `["a",1,2,3,"b","{"]`: "element 5: ", `["a",1.5,2,3,"b",""]`: "element 1: ", `["a"`: "element 1: "} {
		if err := scanArray(bad, into...); err == nil || !strings.HasPrefix(err.Error(), which) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
