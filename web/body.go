package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

// fields reads a small flat body, JSON or a form: each wanted field at most
// once, each a string or null. Anything else is a bad request, with the reason.
// An empty body has no fields. A field that is not wanted is not read.
func fields(c *gin.Context, names ...string) (map[string]*string, error) {
	return readFields(c, wanted{names: names})
}

// onlyFields is [fields] where a field that we do not know is an error: it may
// ask for something that must not be thought to be done.
func onlyFields(c *gin.Context, names ...string) (map[string]*string, error) {
	return readFields(c, wanted{names: names, only: true})
}

// wanted are the fields of a body.
type wanted struct {
	names []string
	only  bool
}

func readFields(c *gin.Context, names wanted) (map[string]*string, error) {
	mediaType, _, _ := mime.ParseMediaType(c.ContentType())
	switch mediaType {
	case "application/json":
		body, err := io.ReadAll(c.Request.Body)
		if err != nil {
			return nil, bodyError(err)
		}
		return jsonFields(body, names)
	case "application/x-www-form-urlencoded":
		if err := c.Request.ParseForm(); err != nil {
			return nil, bodyError(err)
		}
		return formFields(c.Request.PostForm, names)
	}
	return map[string]*string{}, nil
}

func bodyError(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	return errBadRequest
}

var errBadRequest = badRequest("")

// jsonFields reads token by token: encoding/json would take the last of two
// equal names, and two readers of one body must not see two things.
func jsonFields(body []byte, names wanted) (map[string]*string, error) {
	out := map[string]*string{}
	return out, eachField(body, func(name string, value any) error { return take(out, names, name, value) })
}

// eachField calls f with each field of a JSON object, until it fails. An empty
// body has none.
func eachField(body []byte, f func(name string, value any) error) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !utf8.Valid(body) { // which encoding/json would mend in silence
		return errBadRequest
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errBadRequest
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return errBadRequest
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return errBadRequest
		}
		if err := f(name.(string), value); err != nil {
			return err
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return errBadRequest
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errBadRequest // something stands behind the object
	}
	return nil
}

func formFields(form url.Values, names wanted) (map[string]*string, error) {
	out := map[string]*string{}
	for name, values := range form {
		for _, value := range values {
			if err := take(out, names, name, value); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func take(out map[string]*string, names wanted, name string, value any) error {
	if !slices.Contains(names.names, name) {
		if names.only {
			return badRequest("the field " + strconv.Quote(bounded(name)) + " is not known here")
		}
		return nil
	}
	if _, twice := out[name]; twice {
		return errBadRequest
	}
	switch value := value.(type) {
	case nil:
		out[name] = nil
	case string:
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return errBadRequest
		}
		out[name] = &value
	default:
		return errBadRequest
	}
	return nil
}

// members reads a JSON object into pointers by its members' names: each member
// must be one of them, at most once, and of its type. null leaves a pointer nil.
func members(c *gin.Context, into map[string]any) error {
	if mediaType, _, _ := mime.ParseMediaType(c.ContentType()); mediaType != "application/json" {
		return badRequest("the body must be application/json")
	}
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		return bodyError(err)
	}
	noObject := badRequest("the body is not one JSON object")
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') || !utf8.Valid(body) || !json.Valid(body) {
		return noObject
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, isName := t.(string)
		var value json.RawMessage
		if err != nil || !isName || d.Decode(&value) != nil {
			return noObject
		}
		to, known := into[name]
		switch {
		case !known:
			return badField(shown(name), "there is no such field")
		case seen[name]:
			return badField(name, "it is there twice")
		case json.Unmarshal(value, to) != nil:
			return badField(name, "it has the wrong type")
		}
		seen[name] = true
	}
	return nil
}

// query reads one query parameter, which must not be repeated (RFC 6749
// section 3.1).
func query(c *gin.Context, names ...string) (map[string]string, error) {
	values, out := c.Request.URL.Query(), map[string]string{}
	for _, name := range names {
		switch got := values[name]; {
		case len(got) > 1:
			return nil, badRequest("Invalid request, " + name + " is repeated")
		case len(got) == 1:
			if !utf8.ValidString(got[0]) || strings.ContainsRune(got[0], 0) || len(got[0]) > maxQueryValue {
				return nil, badRequest("Invalid " + name)
			}
			out[name] = got[0]
		}
	}
	return out, nil
}
