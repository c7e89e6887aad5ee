// Package userfile reads users from a file with one JSON object a line. It
// decides nothing: what makes no sense comes with the name of its field.
package userfile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/password"
)

// MaxLine bounds one line, in bytes; one user has a few hundred.
const MaxLine = 64 << 10

// Read gives the users of a file. It is read while it is imported, each time
// anew, so that it may have any length.
func Read(_ context.Context, file string) (broker.Import, error) {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", file)
	}
	return broker.Import{Users: func(yield func(broker.ImportUser, error) bool) {
		f, err := os.Open(file)
		if err != nil {
			yield(broker.ImportUser{}, err)
			return
		}
		defer f.Close()
		readUsers(f, yield)
	}}, err
}

// readUsers yields the users of a file. A line that cannot be read is yielded
// with its problem, and the next one is read.
func readUsers(r io.Reader, yield func(broker.ImportUser, error) bool) {
	lines := bufio.NewReaderSize(r, MaxLine)
	for number := 1; ; number++ {
		line, err := lines.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) { // to its end
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			yield(broker.ImportUser{}, err)
			return
		}
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		switch line = bytes.TrimSpace(line); {
		case tooLong:
			if !yield(broker.ImportUser{Line: number, Problem: fmt.Sprintf("the line has more than %d bytes", MaxLine-1)}, nil) {
				return
			}
		case len(line) > 0:
			u := userOfLine(line)
			u.Line = number
			if !yield(u, nil) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// userOfLine reads one user. What is wrong is said by the name of the field.
func userOfLine(line []byte) (u broker.ImportUser) {
	if !utf8.Valid(line) {
		u.Problem = "the line is not valid UTF-8"
		return u
	}
	var role, hash string
	var permissions *permissionsJSON
	err := readObject(line, map[string]any{
		"id": &u.User.ID, "username": &u.User.Username, "email": &u.User.Email, "email_verified": &u.User.EmailVerified, "name": &u.User.Name,
		"role": &role, "password_hash": &hash, "disabled": &u.Disabled, "identities": (*identitiesJSON)(&u.Identities), "permissions": &permissions,
	})
	if err != nil {
		u.Problem = err.Error()
	}
	u.User.Role, u.User.PasswordHash = broker.Role(role), password.FromDjango(hash)
	u.User.Permissions = (*broker.Permissions)(permissions)
	return u
}

// readObject reads a JSON object into a table of its fields. A name that the
// table does not have, or that stands there twice, is an error: who mistyped a
// field would lose it unnoticed.
func readObject(raw []byte, fields map[string]any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("it is no JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errors.New("it is not valid JSON")
		}
		into, known := fields[name]
		switch {
		case !known:
			return fmt.Errorf("%.64q: is no field that is known", name)
		case seen[name]:
			return fmt.Errorf("%s: stands there twice", name)
		}
		seen[name] = true
		if err := d.Decode(into); err != nil {
			return fmt.Errorf("%s: %w", name, whatIsWrong(err))
		}
	}
	if _, err := d.Token(); err != nil {
		return errors.New("it is not valid JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind the JSON object")
	}
	return nil
}

// whatIsWrong says an error of decoding without the value.
func whatIsWrong(err error) error {
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("is a JSON %s, which is not what is meant", mismatch.Value)
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("is not valid JSON")
	}
	return err
}

// identitiesJSON is a list of what identity providers call a user.
type identitiesJSON []broker.Identity

// UnmarshalJSON implements json.Unmarshaler, strictly.
func (l *identitiesJSON) UnmarshalJSON(raw []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return errors.New("is no list")
	}
	for _, one := range list {
		var i broker.Identity
		if err := readObject(one, map[string]any{"issuer": &i.Issuer, "subject": &i.Subject, "provider": &i.ProviderID}); err != nil {
			return err
		}
		*l = append(*l, i)
	}
	return nil
}

// permissionsJSON are permissions under the names of the JSON contract.
type permissionsJSON broker.Permissions

// UnmarshalJSON implements json.Unmarshaler, strictly.
func (p *permissionsJSON) UnmarshalJSON(raw []byte) error {
	return readObject(raw, map[string]any{
		"download": &p.Download, "update": &p.Update, "delete": &p.Delete, "upload": &p.Upload, "createEreader": &p.CreateEreader,
		"accessAllLibraries": &p.AccessAllLibraries, "accessAllTags": &p.AccessAllTags, "accessExplicitContent": &p.AccessExplicitContent,
		"selectedTagsNotAccessible": &p.SelectedTagsNotAllowed, "librariesAccessible": &p.Libraries, "itemTagsSelected": &p.Tags,
	})
}
