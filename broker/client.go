package broker

import "slices"

// AppClientID is the built-in client of the JSON API.
const AppClientID = "latchkey-app"

// AppScope is what the JSON API's own client is granted.
const AppScope = "openid profile email"

// redirectAllowed compares a redirect URI with the registered ones: plain
// string equality and nothing else (RFC 9700 section 2.1).
func (b *Broker) redirectAllowed(uri string) bool {
	return slices.Contains(b.cfg.MobileRedirectURIs, uri)
}
