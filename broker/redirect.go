package broker

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// RedirectAllowed compares a redirect URI with the client's own: plain string
// equality (RFC 9700 section 2.1). Only a native client's loopback URI may have
// any port, because the app does not know it before (RFC 8252 section 7.3).
func (c *Client) RedirectAllowed(uri string) bool {
	return uri != "" && slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		return registered == uri || c.Native() && sameLoopback(registered, uri)
	})
}

// sameLoopback reports whether two URIs are equal but for the port of one and
// the same loopback host.
func sameLoopback(registered, uri string) bool {
	u, err := url.Parse(registered)
	if err != nil || u.Scheme != "http" || !loopbackHost(u.Hostname()) {
		return false
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	prefix := "http://" + host
	rest, ok := strings.CutPrefix(uri, prefix)
	wanted, _ := strings.CutPrefix(registered, prefix)
	return ok && withoutPort(rest) == withoutPort(wanted) && strings.HasPrefix(withoutPort(rest), "/")
}

// withoutPort drops a leading :port; what is no port stays, and fits nothing.
func withoutPort(rest string) string {
	after, ok := strings.CutPrefix(rest, ":")
	if !ok {
		return rest
	}
	digits := after
	if i := strings.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = after[:i]
	}
	if !isPort(digits) {
		return rest
	}
	return after[len(digits):]
}

// isPort reports whether digits are a port that something can listen at.
func isPort(digits string) bool {
	n, err := strconv.ParseUint(digits, 10, 16)
	return err == nil && n != 0
}

// postLogoutAllowed compares a post-logout redirect URI in the same way.
func (c *Client) postLogoutAllowed(uri string) bool {
	return uri != "" && slices.ContainsFunc(c.PostLogoutRedirectURIs, func(registered string) bool {
		return registered == uri || c.Native() && sameLoopback(registered, uri)
	})
}
