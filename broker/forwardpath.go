package broker

import (
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// This file reads the addresses of apps behind a proxy, as their proxies, their
// frameworks and browsers may read them.

// ForwardPath is the path that proxies pass to Latchkey on the host of every app.
const ForwardPath = "/.latchkey/"

// hostNames maps what is not ASCII as browsers do (UTS 46). Underscores are no
// fault: hosts of private networks have them.
var hostNames = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

const maxHost = 253 // RFC 1035 section 2.3.4

// canonicalHost reads the value of a Host header: the name in lower case and
// ASCII, without a trailing dot, and the port; empty: none.
func canonicalHost(raw string) (host, port string, err error) {
	bad := refuse(Forbidden, "the host of the request is not a name")
	name, port, ok := cutPort(raw)
	if !ok || len(name) > 4*maxHost || !utf8.ValidString(name) {
		return "", "", bad
	}
	if inner, bracketed := strings.CutPrefix(name, "["); bracketed {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || addr.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return "", "", bad
		}
		return "[" + addr.String() + "]", port, nil
	}
	if name, err = hostNames.ToASCII(strings.TrimSuffix(name, ".")); err != nil {
		return "", "", bad
	}
	name = strings.ToLower(name)
	odd := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r) }
	if name == "" || len(name) > maxHost || strings.ContainsFunc(name, odd) || slices.Contains(strings.Split(name, "."), "") {
		return "", "", bad
	}
	return name, port, nil
}

// cutPort cuts the port off a host; ok is false where that is none.
func cutPort(raw string) (host, port string, ok bool) {
	i := strings.LastIndexByte(raw, ':')
	if i < 0 || strings.HasSuffix(raw, "]") {
		return raw, "", raw != ""
	}
	host, port = raw[:i], raw[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0 || port[0] == '0') {
		return "", "", false
	}
	return host, port, host != ""
}

// reading is one way to read a path. folded: it is compared without regard to
// case and the like.
type reading struct {
	text   string
	folded bool
}

// maxForwardURI bounds a URI that is read, and what its path is in the form that Unicode
// calls compatible: there is a letter that becomes eighteen.
const maxForwardURI = 8 << 10

var errAmbiguousPath = refuse(Forbidden, "the path of this address can be read in more than one way; write it plainly")

// pathReadings are the ways in which apps read the path of a URI: decoded once,
// with its dot segments resolved or not, with a slash at its end or not, as it is
// spelt or folded, before its dots are resolved or after. What would be read in yet more
// ways is refused: escapes of what separates segments, escapes within escapes, parameters
// of segments, dots that are dots only to some.
func pathReadings(uri string) ([]reading, error) {
	decoded, err := decodedPath(uri)
	if err != nil {
		return nil, err
	}
	form, ok := compatibleWithin(decoded, maxForwardURI)
	if !ok || readInMoreWays(decoded, form) {
		return nil, errAmbiguousPath
	}
	return readingsOf(decoded, form), nil
}

// checkOwnPath refuses what is below [ForwardPath]: all that is looked for where no rule
// of a host has paths. Nothing else hangs on the path, in however many ways it is read.
func checkOwnPath(uri string) error {
	decoded, err := decodedPath(uri)
	if err != nil {
		return nil // as many ways as it likes
	}
	form, ok := compatibleWithin(decoded, maxForwardURI)
	if !ok {
		return errAmbiguousPath
	}
	own := strings.TrimSuffix(ForwardPath, "/")
	if !strings.Contains(strings.ToLower(form), own) || readInMoreWays(decoded, form) {
		return nil
	}
	if slices.ContainsFunc(readingsOf(decoded, form), reserved) {
		return errReservedPath
	}
	return nil
}

// decodedPath is the path of a URI, decoded once.
func decodedPath(uri string) (string, error) {
	raw, _, _ := strings.Cut(uri, "?")
	lower := strings.ToLower(raw)
	if len(uri) > maxForwardURI || !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") || strings.Contains(raw, "#") ||
		strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") {
		return "", errAmbiguousPath
	}
	decoded, err := url.PathUnescape(raw)
	if err != nil || strings.ContainsAny(decoded, "\\;") || strings.ContainsFunc(decoded, unicode.IsControl) || !utf8.ValidString(decoded) ||
		hasEscape(decoded) || resolvesInTwoWays(decoded) {
		return "", errAmbiguousPath
	}
	return decoded, nil
}

// readInMoreWays reports whether there is a reading of a path only in its compatible form.
func readInMoreWays(decoded, form string) bool {
	return hasEscape(form) || resolvesInTwoWays(form) || hiddenDots(decoded, form)
}

// readingsOf makes no more compatible forms than it needs: they are what costs. One that
// is made is its own, and what is one segment stays so: no slash is part of a letter.
func readingsOf(decoded, form string) (out []reading) {
	add := func(text string, folded bool) {
		if r := (reading{text, folded}); !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	clean, cleanForm := path.Clean(decoded), form
	if clean != decoded {
		cleanForm = compatible(clean)
	}
	spellings := [][2]string{{clean, cleanForm}, {decoded, form}}
	if strings.HasSuffix(decoded, "/") && clean != "/" {
		spellings = slices.Insert(spellings, 0, [2]string{clean + "/", cleanForm + "/"})
	}
	for _, spelt := range spellings {
		add(spelt[0], false)
	}
	for _, spelt := range spellings {
		folded := foldForm(spelt[1])
		add(folded, true)
		add(path.Clean(folded), true)
		add(foldForm(path.Clean(spelt[1])), true)
	}
	return out
}

// foldPath is a path as systems read it that do not tell letters of two cases
// apart, nor the forms that Unicode calls compatible, nor dots and spaces at the
// end of a name.
func foldPath(text string) string { return foldForm(compatible(text)) }

// foldForm is foldPath of a path in the compatible form.
func foldForm(form string) string {
	return eachSegment(strings.ToLower(form), func(s string) string { return strings.TrimRight(s, " .") })
}

// compatible is a path in the form that Unicode calls compatible, in which there are more
// dots, and more of what separates segments; among it what file systems take for it.
func compatible(text string) string { return slashes.Replace(norm.NFKC.String(text)) }

// compatibleWithin is compatible, unless that is longer than most bytes: then it is not
// made.
func compatibleWithin(text string, most int) (form string, ok bool) {
	if norm.NFKC.IsNormalString(text) {
		form = slashes.Replace(text)
		return form, len(form) <= most
	}
	const margin = 256 // a letter with its marks goes in whole or not
	buffer := make([]byte, most+margin)
	n, _, err := norm.NFKC.Transform(buffer, []byte(text), true)
	if err != nil || n > most {
		return "", false
	}
	return slashes.Replace(string(buffer[:n])), true
}

var slashes = strings.NewReplacer("\\", "/", "\u2044", "/", "\u2215", "/", "\u29f8", "/", "\u2216", "/", "\u29f5", "/", "\u29f9", "/")

// hiddenDots reports whether a segment leads up, or stays, only in some reading: once it
// is in the compatible form, without its parameters, blanks, or what is not seen.
func hiddenDots(decoded, form string) bool {
	plain, read := 0, 0
	isDots := func(s string) bool { return s == "." || s == ".." }
	for s := range strings.SplitSeq(decoded, "/") {
		if isDots(s) {
			plain++
		}
	}
	for s := range strings.SplitSeq(form, "/") {
		s, _, _ = strings.Cut(s, ";")
		if isDots(strings.Map(seen, s)) {
			read++
		}
	}
	return plain != read
}

// seen leaves out what is not seen.
func seen(r rune) rune {
	if unicode.IsSpace(r) || unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
		return -1
	}
	return r
}

func eachSegment(text string, change func(string) string) string {
	segments := strings.Split(text, "/")
	for i := range segments {
		segments[i] = change(segments[i])
	}
	return strings.Join(segments, "/")
}

// resolvesInTwoWays reports whether it matters to the dot segments of a path if its empty
// segments count (RFC 3986 section 5.2.4) or not.
func resolvesInTwoWays(text string) bool {
	return strings.Contains(text, "//") && path.Clean(text) != path.Clean(withoutDots(text))
}

// withoutDots leaves the segments out that are dots.
func withoutDots(text string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(text, "/"), func(s string) bool { return s == "." || s == ".." }), "/")
}

// hasEscape reports whether a text that was decoded would decode once more.
func hasEscape(text string) bool {
	for i := 0; i+2 < len(text); i++ {
		if text[i] == '%' && isHex(text[i+1]) && isHex(text[i+2]) {
			return true
		}
	}
	return false
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

// reserved reports whether a reading is below [ForwardPath].
func reserved(r reading) bool { return strings.HasPrefix(r.text+"/", ForwardPath) }
