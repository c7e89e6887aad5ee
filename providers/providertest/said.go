package providertest

import (
	"encoding/json"
	"net/url"
	"strings"
)

// Media types in which token endpoints answer.
const (
	MediaJSON = "application/json"
	MediaForm = "application/x-www-form-urlencoded"
	MediaText = "text/plain" // read as a form too
)

// Said are the texts of a member of a token endpoint's answer, each of those that are
// there twice, and in JSON whatever the case of its name.
func Said(media, body, member string) (texts []string) {
	if media == MediaForm || media == MediaText {
		form, _ := url.ParseQuery(body)
		return form[member]
	}
	decoder := json.NewDecoder(strings.NewReader(body))
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
