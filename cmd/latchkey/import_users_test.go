package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/cmd/latchkey/userfile"
)

func usersFile(t *testing.T, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "users.jsonl")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func bcryptOf(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

const django = "pbkdf2_sha256$1000$saltsaltsalt$a6JXHPUrvkRFMJ6ZOPoHLxoehAnf3RzrF9hGD5pXqhU="

func TestImportUsersCommand(t *testing.T) {
	c := newCLI(t)
	file := usersFile(t,
		"\ufeff"+`{"username":"root","role":"root","password_hash":"`+bcryptOf(t, "root's password")+`"}`,
		`{"username":"Anna","email":"Anna@example.org","email_verified":true,"name":"Anna A.","id":"0B4E8DD1-1111-4222-8333-444455556666","password_hash":"`+django+`"}`+"\r",
		"",
		`{"username":"ben","role":"guest","disabled":true,"identities":[{"issuer":"https://idp.test","subject":"b"}],"permissions":{"download":true,"librariesAccessible":["x"]}}`,
		`{"username":"cleo","email":null,"password_hash":null,"identities":null,"permissions":null}`,
	)
	dry := importReport(t, c.must("", "import", "users", "--from", file, "--dry-run", "--json"))
	if dry.Written || dry.Users.Imported != 4 || dry.Identities.Imported != 1 {
		t.Fatalf("%+v", dry)
	}
	first := importReport(t, c.must("", "import", "users", "--from", file, "--json"))
	if !first.Written || first.Users != dry.Users || len(first.Lines) != 0 {
		t.Fatalf("%+v", first)
	}
	again := importReport(t, c.must("", "import", "users", "--from", file, "--json"))
	if again.Users != (broker.ImportCount{Unchanged: 4}) || again.Identities != (broker.ImportCount{}) {
		t.Fatalf("%+v", again)
	}
	out := c.must("", "user", "show", "anna", "--json")
	for _, want := range []string{`"id": "0b4e8dd1-1111-4222-8333-444455556666"`, `"email": "Anna@example.org"`, `"name": "Anna A."`, `"type": "user"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s lacks %s", out, want)
		}
	}
	if out := c.must("", "user", "show", "ben", "--json"); !strings.Contains(out, `"isActive": false`) || !strings.Contains(out, `"hasOpenIDLink": true`) {
		t.Error(out)
	}
	if out := c.must("", "user", "show", "root", "--json"); !strings.Contains(out, `"type": "root"`) {
		t.Error(out)
	}
}

func TestImportUsersRefusesByLineAndField(t *testing.T) {
	long := strings.Repeat("x", userfile.MaxLine)
	for name, x := range map[string]struct{ line, says string }{
		"no object":            {`["anna"]`, "line 2: it is no JSON object"},
		"half":                 {`{"username":"anna"`, "it is not valid JSON"},
		"two objects":          {`{"username":"anna"}{}`, "something stands behind the JSON object"},
		"unknown field":        {`{"username":"anna","passwort_hash":"x"}`, `line 2 "anna": "passwort_hash": is no field`},
		"field in capitals":    {`{"Username":"anna"}`, `line 2: "Username": is no field`},
		"field twice":          {`{"username":"anna","username":"ben"}`, `line 2 "anna": username: stands there twice`},
		"number for a name":    {`{"username":17}`, "line 2: username: is a JSON number"},
		"text for a flag":      {`{"username":"anna","disabled":"no"}`, "disabled: is a JSON string"},
		"identities of others": {`{"username":"anna","identities":{"issuer":"x"}}`, "identities: is no list"},
		"identity's field":     {`{"username":"anna","identities":[{"iss":"x"}]}`, `identities: "iss": is no field`},
		"permission unknown":   {`{"username":"anna","permissions":{"fly":true}}`, `permissions: "fly": is no field`},
		"too long":             {`{"username":"` + long + `"}`, "line 2: the line has more than"},
		"no UTF-8":             {`{"username":"ann` + "\xff" + `"}`, "line 2: the line is not valid UTF-8"},
		"no name":              {`{"email":"a@example.org"}`, "line 2: username: a username is needed"},
		"invisible name":       {`{"username":"a\u0000b"}`, "username: a username has no invisible"},
		"no address":           {`{"username":"anna","email":"a@b@c"}`, "email: the e-mail address"},
		"unknown role":         {`{"username":"anna","role":"king"}`, `role: "king" is none of`},
		"no UUID":              {`{"username":"anna","id":"17"}`, "id: is no UUID"},
		"plain password":       {`{"username":"anna","password_hash":"hunter2"}`, "password_hash: "},
		"dear hash":            {`{"username":"anna","password_hash":"$2b$31$` + strings.Repeat("a", 53) + `"}`, "password_hash: "},
		"the first line again": {`{"username":"FIRST"}`, "line 2 \"FIRST\": id: is that of an earlier line"},
		"name of the first":    {`{"username":"First","id":"0b4e8dd1-1111-4222-8333-444455556666"}`, "username: is that of an earlier line"},
		"identity, no issuer":  {`{"username":"anna","identities":[{"subject":"a"}]}`, `identity in line 2 "anna": no issuer`},
		"identity, no subject": {`{"username":"anna","identities":[{"issuer":"https://idp.test"}]}`, "subject: has 1 to 255 bytes"},
		"identity, provider":   {`{"username":"anna","identities":[{"provider":"nobody","subject":"a"}]}`, `provider: there is no "nobody"`},
		"identity with NUL":    {`{"username":"anna","identities":[{"issuer":"https://idp.test","subject":"a\u0000"}]}`, "subject: is no plain text"},
		"somebody's identity":  {`{"username":"anna","identities":[{"issuer":"https://idp.test","subject":"first"}]}`, "is linked to another user"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCLI(t)
			file := usersFile(t, `{"username":"first","identities":[{"issuer":"https://idp.test","subject":"first"}]}`, x.line, `{"username":"last"}`, "")
			code, out, errs := c.run("", "import", "users", "--from", file)
			if code != 1 || !strings.Contains(out, x.says) || !strings.Contains(errs, "1 refused, nothing was written") || strings.Contains(out+errs, "hunter2") {
				t.Fatalf("exit %d: %s%s, want %q", code, out, errs, x.says)
			}
			if list := c.must("", "user", "list", "--json"); strings.TrimSpace(list) != "[]" {
				t.Error("something was written:", list)
			}
			if out := c.must("", "import", "users", "--from", file, "--allow-partial"); !strings.Contains(out, x.says) {
				t.Error(out)
			}
			if list := c.must("", "user", "list"); !strings.Contains(list, "first") || !strings.Contains(list, "last") {
				t.Error(list)
			}
		})
	}
	if code, _, errs := newCLI(t).run("", "import", "users", "--from", t.TempDir()); code != 1 || !strings.Contains(errs, "is no file") {
		t.Errorf("a folder: exit %d, %s", code, errs)
	}
}

// Many lines are read as they are imported, and not kept.
func TestImportOfManyUsersInBoundedMemory(t *testing.T) {
	const n = 20_000
	name := filepath.Join(t.TempDir(), "users.jsonl")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	hash := bcryptOf(t, "one for all")
	for i := range n {
		fmt.Fprintf(w, `{"username":"person%06d","email":"person%06d@example.org","name":"Person %d","password_hash":%q,"identities":[{"issuer":"https://idp.test","subject":"s%d"}]}`+"\n", i, i, i, hash, i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c := newCLI(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	r := importReport(t, c.must("", "import", "users", "--from", name, "--json"))
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	more := (int64(after.HeapSys) - int64(before.HeapSys)) >> 20
	t.Logf("%d users in %s, heap %d MiB more", n, took.Round(time.Millisecond), more)
	if more > 150 {
		t.Errorf("the heap grew by %d MiB", more)
	}
	if r.Users.Imported != n || r.Identities.Imported != n || r.Refused() != 0 {
		t.Errorf("%+v", r)
	}
}
