package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// bounds are what an HTTP server takes of strangers. What a request may have in it
// is in web/bounds.go.
type bounds struct {
	header      time.Duration // until a header has come, and a TLS handshake is done
	read        time.Duration // until a request has come whole
	write       time.Duration // from the header's end until the answer has gone
	idle        time.Duration // between two requests
	ending      time.Duration // until what is under way is answered, once the server ends
	headerBytes int
	streams     int                   // requests of one HTTP/2 connection at once
	connections int                   // at once; see [crowd]
	patience    time.Duration         // with a connection on which something has just begun or ended
	proxies     func() []netip.Prefix // that are trusted now; nil: none
}

// ordinary bounds. Idle connections live longer than those of the usual proxies, so
// that no proxy reuses one that was just closed. A header takes as much as nginx
// takes. An idle connection costs about 10 KiB, one by TLS four times as much.
var ordinary = bounds{
	header: 10 * time.Second, read: 30 * time.Second, write: 60 * time.Second, idle: 3 * time.Minute, ending: 20 * time.Second,
	headerBytes: 32 << 10, streams: 100, connections: 4096, patience: 4 * time.Second,
}

// server is an HTTP server, and the listener that it has to serve.
func (b bounds) server(h http.Handler, l net.Listener, log *slog.Logger) (*http.Server, net.Listener) {
	// The database and the files need descriptors too.
	b.connections = max(1, min(b.connections, openFiles()/2))
	guests := newCrowd(l, b, log)
	return &http.Server{
		Handler: attended(h), ReadHeaderTimeout: b.header, ReadTimeout: b.read, WriteTimeout: b.write, IdleTimeout: b.idle,
		MaxHeaderBytes: b.headerBytes, ConnState: guests.changed, ConnContext: introduced, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: b.streams, WriteByteTimeout: b.write},
	}, guests
}
