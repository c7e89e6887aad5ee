package mail

import (
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"regexp"
	"strings"
	"testing"
)

var linkIn = regexp.MustCompile(`(?m)^https?://\S+$`)

// Letter is the subject of a mail and the address that stands alone on a line of its
// text; empty: none does.
func (g Got) Letter(tb testing.TB) (subject, link string) {
	tb.Helper()
	read, err := netmail.ReadMessage(strings.NewReader(g.Raw))
	if err != nil {
		tb.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(read.Header.Get("Content-Type"))
	if err != nil {
		tb.Fatal(err)
	}
	part, err := multipart.NewReader(read.Body, params["boundary"]).NextPart() // the text comes first
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(part)
	if err != nil {
		tb.Fatal(err)
	}
	subject, err = new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject"))
	if err != nil {
		tb.Fatal(err)
	}
	return subject, strings.TrimSpace(linkIn.FindString(strings.ReplaceAll(string(text), "\r\n", "\n")))
}
