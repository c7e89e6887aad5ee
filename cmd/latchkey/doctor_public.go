package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	// soon is how long before its end a certificate is worth a word.
	soon = 14 * 24 * time.Hour
	// clockApart is how far clocks may be apart: tokens forgive twice as much.
	clockApart = 30 * time.Second
)

// checkPublicURL asks at public_url, as everybody does.
func checkPublicURL(ctx context.Context, d *doctor) (out []finding, looked bool) {
	s, local := d.public(), d.local()
	v := values{"public_url": d.config.PublicURL, "status": strconv.Itoa(s.status), "location": s.location, "local": local.base}
	switch {
	case !s.reached():
		return d.unreachable(ctx, s, local)
	case s.proven:
		return d.standing(ctx, s), true
	case s.status >= 300 && s.status < 400:
		return []finding{found("public_url_leads_on", "", v)}, true
	case s.latchkey == string(broker.TemporarilyUnavailable):
		return []finding{found("server_not_ready", "", v)}, true
	case s.status >= http.StatusBadGateway && s.status <= http.StatusGatewayTimeout:
		if !local.isLatchkey() {
			return []finding{found("server_not_running", "", v)}, false
		}
		return []finding{found("proxy_finds_no_server", "", v)}, true
	case s.latchkey != "" && strings.Contains(s.body, "too far apart"):
		return []finding{found("server_clock", "", values{"seconds": "300 or more"})}, true
	}
	if same, known := d.sameKeys(ctx, s.keys); same || !known && len(s.keys) > 0 {
		return nil, true // it is this one, with another secret or of an older version: other checks say so
	}
	return []finding{found("public_url_other_server", "", v)}, true
}

// standing looks at what a server of ours said.
func (d *doctor) standing(ctx context.Context, s sighting) (out []finding) {
	if s.seen.PublicURL != d.config.PublicURL {
		out = append(out, found("server_other_configuration", "", values{"public_url": d.config.PublicURL, "served": s.seen.PublicURL}))
	}
	if same, known := d.sameKeys(ctx, s.seen.Keys); known && !same && len(s.seen.Keys) > 0 {
		out = append(out, found("public_url_other_database", "", values{"public_url": d.config.PublicURL}))
	}
	if apart := time.UnixMilli(s.seen.Now).Sub(d.now()).Abs(); apart > clockApart {
		out = append(out, found("server_clock", "", values{"seconds": strconv.Itoa(int(apart.Seconds()))}))
	}
	if !s.until.IsZero() && s.until.Sub(d.now()) < soon {
		out = append(out, found("certificate_expiring", d.config.PublicURL, values{"where": "at " + d.config.PublicURL, "until": when(s.until)}))
	}
	return out
}

// unreachable tells why nobody answers at public_url. Where no server runs here
// either, nothing else is to be expected.
func (d *doctor) unreachable(ctx context.Context, s, local sighting) (out []finding, looked bool) {
	u, _ := url.Parse(d.config.PublicURL) // checked with the configuration
	v := values{"public_url": d.config.PublicURL, "host": u.Hostname(), "reason": reasonOf(s.err), "local": local.base}
	noHost, isDNS := errors.AsType[*net.DNSError](s.err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](s.err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](s.err)
	switch {
	case isDNS && noHost.IsNotFound:
		return []finding{found("public_url_no_host", "", v)}, true
	case untrusted:
		return []finding{found("public_url_certificate", "", v)}, true
	case noTLS, strings.Contains(s.err.Error(), "HTTP response to HTTPS client"):
		return []finding{found("public_url_no_tls", "", v)}, true
	case !local.isLatchkey():
		return []finding{found("server_not_running", "", v)}, false
	case isHere(ctx, u.Hostname()):
		return []finding{found("public_url_unreachable", "", v)}, true
	}
	return []finding{found("public_url_hairpin", "", v)}, true
}

// isHere reports whether a name leads to an address of this machine.
func isHere(ctx context.Context, host string) bool {
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	own, ownErr := net.InterfaceAddrs()
	if err != nil || ownErr != nil {
		return false
	}
	for _, a := range addresses {
		if a.IP.IsLoopback() {
			return true
		}
		for _, o := range own {
			if network, ok := o.(*net.IPNet); ok && network.IP.Equal(a.IP) {
				return true
			}
		}
	}
	return false
}

// checkProxy looks at what stands between public_url and the server.
func checkProxy(_ context.Context, d *doctor) (out []finding, looked bool) {
	s := d.public()
	if !s.proven || !s.behindProxy(d.config.PublicURL) {
		return nil, s.proven
	}
	u, _ := url.Parse(d.config.PublicURL)
	peer, _, _ := net.SplitHostPort(s.seen.Peer)
	v := values{"public_url": d.config.PublicURL, "peer": peer, "scheme": u.Scheme, "said": s.seen.ForwardedProto, "host": u.Host, "passed": s.seen.Host}
	if s.seen.ForwardedFor == "" || s.seen.ForwardedFor == forgedAddress {
		out = append(out, found("proxy_forwarded_for", "", v))
	}
	if !s.seen.PeerTrusted {
		out = append(out, found("trusted_proxies_missing", "", v))
	}
	switch said := strings.TrimSpace(s.seen.ForwardedProto); {
	case said == "":
		out = append(out, found("proxy_forwarded_proto", "", v))
	case !strings.EqualFold(said, u.Scheme):
		out = append(out, found("proxy_other_proto", "", v))
	}
	if !strings.EqualFold(s.seen.Host, u.Host) {
		out = append(out, found("proxy_other_host", "", v))
	}
	return out, true
}

// behindProxy reports whether something stands in between that speaks HTTP. A
// connection that arrives as it left is a direct one. One that does not may only
// have been translated on the way, as containers do, so that it takes a trace of
// a proxy as well.
func (s sighting) behindProxy(publicURL string) bool {
	if s.seen.Peer == s.from {
		return false
	}
	u, _ := url.Parse(publicURL)
	return u.Scheme == "https" && !s.seen.TLS || s.seen.Protocol == "HTTP/1.0" || s.seen.ForwardedProto != "" ||
		s.seen.ForwardedFor != forgedAddress || !strings.EqualFold(s.seen.Host, u.Host)
}

// checkListen asks at our own port.
func checkListen(_ context.Context, d *doctor) (out []finding, looked bool) {
	v := values{"listen": d.config.Listen}
	switch s := d.local(); {
	case s.isLatchkey():
		return nil, true
	case s.reached():
		return []finding{found("listen_taken", "", v)}, true
	}
	listener, err := net.Listen("tcp", d.config.Listen)
	if err == nil {
		_ = listener.Close()
		return nil, true
	}
	if isInUse(err) {
		return []finding{found("listen_taken", "", v)}, true
	}
	v["reason"] = reasonOf(err)
	return []finding{found("listen_impossible", "", v)}, true
}
