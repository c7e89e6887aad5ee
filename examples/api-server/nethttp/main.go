// Command nethttp is an API server on net/http alone that takes Latchkey's
// access tokens.
//
//	go run ./examples/api-server/nethttp -issuer http://localhost:8080 -listen :9090
//	curl -H "Authorization: Bearer $ACCESS_TOKEN" http://localhost:9090/books
package main

import (
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/tokens/verify"
)

func main() {
	issuer := flag.String("issuer", "http://localhost:8080", "Latchkey's public_url")
	listen := flag.String("listen", ":9090", "where to listen")
	baseURL := flag.String("url", "", "how clients reach this server, such as https://api.example.org; empty: as they say")
	flag.Parse()

	handler, err := newHandler(*issuer, *baseURL)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *listen, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// newHandler guards every route with the access tokens of one issuer.
func newHandler(issuer, baseURL string) (http.Handler, error) {
	issuer = strings.TrimSuffix(issuer, "/")
	keys := verify.NewRemoteKeySet(verify.RemoteConfig{URL: issuer + "/.well-known/jwks.json"})
	verifier, err := verify.New(verify.Config{
		Issuer:  issuer,
		Keys:    keys,
		BaseURL: baseURL,
		// Without it a token counts until it expires, logged out or not.
		Revocations: verify.NewRemoteRevocations(verify.RevocationsConfig{URL: issuer + "/oauth2/revocations", Issuer: issuer, Keys: keys}),
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /books", books)
	return verifier.Middleware(mux), nil
}

// books answers with the caller's own books. The user's id is the key to store
// things under: it never changes, a username may.
func books(w http.ResponseWriter, r *http.Request) {
	claims, ok := verify.FromContext(r.Context())
	if !ok { // only without the middleware
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"user_id": claims.Subject, "username": claims.Username, "role": claims.Role, "books": []string{},
	})
}
