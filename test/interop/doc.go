// Package interop tries real OpenID Connect clients, which nobody here wrote,
// with the real latchkey binary: a login with a password, a login through a
// certified IdP (npm oidc-provider), and the refresh and the logout that the
// client offers. test/install.sh installs them.
//
// The table of clients in docs/interop.md is what came of it: the test fails
// where the two differ, and `make interop` writes the table anew. With
// LATCHKEY_INTEROP_CONTROL=1 the same clients log in at oidc-provider alone: a
// client that fails there, too, fails by itself.
package interop
