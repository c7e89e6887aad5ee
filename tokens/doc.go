// Package tokens writes and reads Latchkey's JWTs. It is pure: no clock, no
// storage, no network; time, randomness and keys come in as arguments.
//
// Two kinds of token leave it:
//
//   - The access token (RFC 9068, typ at+jwt) is signed with a key of the
//     [KeyRing] and checked by anyone who reads the JWKS; package
//     [github.com/latchkey-id/latchkey/tokens/verify] is the checking side.
//   - The refresh token (typ rt+jwt) is a MAC under a key derived from the
//     [RootSecret]. Only Latchkey reads it. It names a session, a generation
//     and a branch, so that the database holds nothing from which one could
//     be made.
package tokens
