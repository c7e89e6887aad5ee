// Package verify checks Latchkey's access tokens in an API server. Latchkey
// guards its own API with it: what is published is what runs.
//
//	v, err := verify.New(verify.Config{
//		Issuer: "https://id.example.org",
//		Keys:   verify.NewRemoteKeySet(verify.RemoteConfig{URL: "https://id.example.org/.well-known/jwks.json"}),
//	})
//	mux.Handle("/books", v.Middleware(books))
//
// A handler reads the claims with [FromContext]. Every refusal is RFC 6750:
// WWW-Authenticate with error="invalid_token" and a description that tells an
// expired token from a malformed one, and no error where no token came.
package verify
