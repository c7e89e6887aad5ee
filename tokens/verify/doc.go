// Package verify checks Latchkey's access tokens in an API server. Latchkey
// guards its own API with it: what is published is what runs.
//
//	keys := verify.NewRemoteKeySet(verify.RemoteConfig{URL: "https://id.example.org/.well-known/jwks.json"})
//	v, err := verify.New(verify.Config{
//		Issuer:  "https://id.example.org",
//		Keys:    keys,
//		BaseURL: "https://api.example.org",
//		Revocations: verify.NewRemoteRevocations(verify.RevocationsConfig{
//			URL: "https://id.example.org/oauth2/revocations", Issuer: "https://id.example.org", Keys: keys,
//		}),
//	})
//	mux.Handle("/books", v.Middleware(books))
//
// A handler reads the claims with [FromContext]. Every refusal is RFC 6750:
// WWW-Authenticate with error="invalid_token" and a description that tells an
// expired token from a malformed one, and no error where no token came.
//
// Without Revocations a token counts until it expires. With [RemoteRevocations]
// it ends within seconds of its session, and where the issuer is down the last
// list counts.
//
// Tokens that are bound to a key (DPoP, RFC 9449) are taken by
// [Verifier.VerifyRequest], and so by the middleware, with their proof and in
// no other way.
package verify
