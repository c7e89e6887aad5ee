package providertest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Media types in which token endpoints answer.
const (
	MediaJSON = "application/json"
	MediaForm = "application/x-www-form-urlencoded"
	MediaText = "text/plain" // read as a form too
)

// maxBearer is how long an access token that is used may be, in bytes.
const maxBearer = 16 << 10

// TokenAnswer is what a token endpoint answers.
type TokenAnswer struct {
	Status      int
	Media, Body string
}

// FuzzedAnswer is the answer that a fuzzer's values stand for: any status that there
// is (200 is 200), and where PAD stands once in the body, so many KiB.
func FuzzedAnswer(status uint16, media uint8, kib uint16, body string) TokenAnswer {
	if strings.Count(body, "PAD") == 1 {
		body = strings.Replace(body, "PAD", strings.Repeat("p", int(kib%4096)<<10), 1)
	}
	return TokenAnswer{100 + (int(status)+400)%500, []string{MediaJSON, MediaForm, MediaText, "\x00"}[media%4], body}
}

// Succeeded reports whether the status says so.
func (a TokenAnswer) Succeeded() bool { return a.Status >= 200 && a.Status <= 299 }

// Gave reports whether a header Authorization has an access token that was said, and one
// that a header can have (RFC 6750 section 2.1).
func (a TokenAnswer) Gave(authorization string) bool {
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	return ok && len(token) <= maxBearer && !strings.ContainsFunc(token, odd) && slices.Contains(a.Says("access_token"), token)
}

// Says are the texts of a member, each of those that are there twice, and in JSON
// whatever the case of its name.
func (a TokenAnswer) Says(member string) (texts []string) {
	if a.Media == MediaForm || a.Media == MediaText {
		form, _ := url.ParseQuery(a.Body)
		return form[member]
	}
	decoder := json.NewDecoder(strings.NewReader(a.Body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return texts
		}
		var value any
		if decoder.Decode(&value) != nil {
			return texts
		}
		if text, ok := value.(string); ok && strings.EqualFold(name.(string), member) {
			texts = append(texts, text)
		}
	}
	return texts
}
