// Package rp is what Latchkey asks of its own clients over HTTP, where they are
// relying parties (RP): the keys that they publish, and to hear of a logout.
//
// Somebody else has chosen each of these addresses. An administrator's word is
// good for any; a client that registered itself is guarded, which means https
// and public addresses only, so that no registration sends requests into our
// own network (SSRF).
package rp

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// clients are for both kinds of addresses; they share no connection.
type clients struct{ guarded, open *http.Client }

func newClients(l outbound.Limits) clients {
	return clients{guarded: outbound.Public(l), open: outbound.Anywhere(l)}
}

func (c clients) pick(guarded bool) *http.Client {
	if guarded {
		return c.guarded
	}
	return c.open
}

var errAddress = errors.New("the address is not one that a client may have")

// checkAddress is for addresses that were stored before a rule changed; a
// registration is checked by the broker. A loopback address over http gets past
// it, but past the guard only without one.
func checkAddress(uri string, guarded bool) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil, u.Hostname() == "", u.User != nil:
		return errAddress
	case u.Scheme == "https", u.Scheme == "http" && (!guarded || loopback(u.Hostname())):
		return nil
	}
	return errAddress
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
