// Command gin is an API server on Gin that takes Latchkey's access tokens.
//
//	go run ./examples/api-server/gin -issuer http://localhost:8080 -listen :9090
//	curl -H "Authorization: Bearer $ACCESS_TOKEN" http://localhost:9090/books
package main

import (
	"flag"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

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
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	if err := engine.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	engine.Use(gin.Recovery(), accessToken(verifier))
	engine.GET("/books", books)
	return engine, nil
}

// accessToken is the verifier as Gin middleware. Refuse writes the answer:
// 401 for a bad token, 503 where Latchkey's keys could not be had.
func accessToken(v *verify.Verifier) gin.HandlerFunc {
	return func(c *gin.Context) {
		claims, err := v.VerifyRequest(c.Request, "")
		if err != nil {
			verify.Refuse(c.Writer, err)
			c.Abort()
			return
		}
		c.Request = c.Request.WithContext(verify.NewContext(c.Request.Context(), claims))
	}
}

func books(c *gin.Context) {
	claims, ok := verify.FromContext(c.Request.Context())
	if !ok { // only without the middleware
		c.Status(http.StatusInternalServerError)
		return
	}
	c.JSON(http.StatusOK, gin.H{
		"user_id": claims.Subject, "username": claims.Username, "role": claims.Role, "books": []string{},
	})
}
