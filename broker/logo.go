package broker

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"
)

// maxLogo bounds a provider's logo, in bytes of the image.
const maxLogo = 16 << 10

// logoKinds are the images that browsers show, and how each begins.
var logoKinds = map[string]func(image []byte) bool{
	"image/png":  func(image []byte) bool { return bytes.HasPrefix(image, []byte("\x89PNG\r\n\x1a\n")) },
	"image/webp": func(image []byte) bool { return len(image) > 12 && string(image[:4])+string(image[8:12]) == "RIFFWEBP" },
	"image/svg+xml": func(image []byte) bool {
		return utf8.Valid(image) && bytes.Contains(image[:min(len(image), 1024)], []byte("<svg"))
	},
}

var errLogo = errors.New("must be a data: URL with a PNG, SVG or WebP image of at most 16 KiB in base64, such as data:image/png;base64,iVBORw0")

// ReadLogo reads the logo of a provider's settings: a data: URL (RFC 2397) with
// an image of at most 16 KiB. Of none it is nil.
func ReadLogo(logo string) (kind string, image []byte, err error) {
	if logo == "" {
		return "", nil, nil
	}
	head, encoded, _ := strings.Cut(logo, ",")
	kind = strings.TrimSuffix(strings.TrimPrefix(head, "data:"), ";base64")
	is := logoKinds[kind]
	if head != "data:"+kind+";base64" || is == nil || len(encoded) > base64.StdEncoding.EncodedLen(maxLogo) {
		return "", nil, errLogo
	}
	if image, err = base64.StdEncoding.Strict().DecodeString(encoded); err != nil || len(image) > maxLogo || !is(image) {
		return "", nil, errLogo
	}
	return kind, image, nil
}
