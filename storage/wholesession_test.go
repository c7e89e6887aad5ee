package storage_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// distinct gives each column of a table a value of its own, and each text every control
// character that both databases hold.
func distinct(t *testing.T, url, table string, kept map[string]string) {
	t.Helper()
	db := raw(t, url)
	controls := "'"
	for c := 1; c < 0x20; c++ {
		controls += string(rune(c))
	}
	query := `SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1`
	if _, ok := storage.IsSQLite(url); ok {
		query = `SELECT name, type FROM pragma_table_info(?)`
	}
	var set []string
	var args []any
	for i, column := range lines(t, db, query, table) {
		name, kind, _ := strings.Cut(column, " ")
		var value any = name + controls + "\x7f\u2028😀"
		switch {
		case kept[name] == "as it is":
			continue
		case kept[name] != "":
			value = kept[name]
		case strings.EqualFold(kind, "bigint"):
			value = 1<<53 + int64(i) // no float64 holds each of these
		}
		args = append(args, value)
		set = append(set, fmt.Sprintf("%s = $%d", name, len(args)))
	}
	if _, err := db.Exec(`UPDATE `+table+` SET `+strings.Join(set, ", "), args...); err != nil {
		t.Fatal(err)
	}
}

// What reads a session or a user as one column finds in each field what those find who
// read a column for each.
func TestWholeSessionIsTheSession(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		s, u := open(t, url), newUser("anna")
		session := broker.Session{ID: "s", UserID: u.ID, ClientID: "c", CookieHash: "hash"}
		if err := s.InsertUser(ctx, u); err != nil {
			t.Fatal(err)
		}
		if err := second(s.InsertSession(ctx, session, "")); err != nil {
			t.Fatal(err)
		}
		distinct(t, url, "users", map[string]string{"id": "as it is", "idp_groups": `["a"]`, "permissions": `{"download":true}`, "notice": `{}`,
			"language": "as it is", "email_vouched": "as it is"}) // which are not read with a session
		distinct(t, url, "sessions", map[string]string{"id": "as it is", "user_id": "as it is", "client_id": "as it is", "cookie_hash": "as it is",
			"wipe": "0", "amr": `["pwd"]`, "request": `{"Resource":"r"}`})
		wanted, err := s.UserByID(ctx, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := s.ListSessions(ctx, broker.SessionFilter{UserID: u.ID}, 0, 1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		for how, read := range map[string]func() (broker.Session, broker.User, error){
			"by id":     func() (broker.Session, broker.User, error) { return s.SessionByID(ctx, "s") },
			"by cookie": func() (broker.Session, broker.User, error) { return s.SessionByCookie(ctx, "c", "hash") },
		} {
			got, owner, err := read()
			if err != nil || !reflect.DeepEqual(got, list[0]) || !reflect.DeepEqual(owner, wanted) {
				t.Errorf("%s: %v\n%+v\n%+v\n\n%+v\n%+v", how, err, got, list[0], owner, wanted)
			}
		}
	})
}
