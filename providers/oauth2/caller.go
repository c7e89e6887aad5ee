package oauth2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// caller calls a provider's API for the person whose access token it holds.
type caller struct {
	client *http.Client
	token  string
	header map[string]string
}

// Errors of what cannot be read.
var (
	errNotJSON = errors.New("not the JSON that was expected")
	errTooMany = errors.New("more pages than anybody has")
)

// get reads one answer. more says that the list goes on (RFC 8288, rel="next").
func (c caller) get(ctx context.Context, target string, into any) (more bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return false, err
	}
	for name, value := range c.header {
		req.Header.Set(name, value)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	body, header, err := idp.Send(c.client, req, idp.MaxAnswer)
	if err != nil {
		return false, err
	}
	// Numbers stay as they are written: an id beyond 2^53 is none as a float.
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if decoder.Decode(into) != nil {
		return false, errNotJSON
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return false, errNotJSON
	}
	return strings.Contains(header.Get("Link"), `rel="next"`), nil
}

// maxPages bounds a list: at a hundred entries a page, nobody has more.
const maxPages = 10

// all reads a list of objects to its end. The pages are counted here: an
// address that stands in an answer is not followed. A list is whole or an error,
// because somebody's role may hang on its last entry.
func (c caller) all(ctx context.Context, target string) (out []map[string]any, err error) {
	for page := 1; page <= maxPages; page++ {
		var list []any
		more, err := c.get(ctx, target+"?per_page=100&page="+strconv.Itoa(page), &list)
		if err != nil {
			return nil, err
		}
		for _, item := range list {
			if object, ok := item.(map[string]any); ok {
				out = append(out, object)
			}
		}
		if !more {
			return out, nil
		}
	}
	return nil, errTooMany
}
