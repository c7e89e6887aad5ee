// Package tokens writes and reads Latchkey's JWTs. It is pure: no clock, no
// storage, no network; time, randomness and keys come in as arguments. Keys of
// others come from a [KeySource] that the caller brings.
//
// What leaves it:
//
//   - The access token (RFC 9068, typ at+jwt) is signed with a key of the
//     [KeyRing] and checked by anyone who reads the JWKS; package
//     [github.com/latchkey-id/latchkey/tokens/verify] is the checking side. For
//     API servers that can do nothing else, a shared key signs it ([NewSharedKey]).
//   - The ID token (OIDC Core), the logout token (OIDC Back-Channel Logout) and
//     the list of ended sessions are signed with a published key, never with a
//     shared one.
//   - The refresh token (typ rt+jwt) is a MAC under a key derived from the
//     [RootSecret]. Only Latchkey reads it. It names a session, a generation
//     and a branch, so that the database holds nothing from which one could
//     be made.
//
// What comes in: refresh tokens and ID tokens of ours, DPoP proofs ([ParseProof],
// RFC 9449) and client assertions ([ParseAssertion], RFC 7523) of others. The
// algorithm is always chosen by the key (RFC 8725), names of claims are matched
// exactly, and none may be there twice.
package tokens
