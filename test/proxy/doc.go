// Package proxy tries forward auth, and requests of two readings, with the real nginx and the real Caddy (and, for
// `make traefik`, the real Traefik), as the files in deploy set them up: an app that echoes what it gets, a Latchkey, and a
// proxy before both.
package proxy
