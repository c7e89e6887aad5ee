package verify_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// exampleIssuer stands for a Latchkey: it publishes a key set, and issues one
// token.
func exampleIssuer() (server *httptest.Server, token string) {
	key, err := tokens.GenerateSigningKey("ES256", rand.Reader)
	if err != nil {
		panic(err)
	}
	ring, err := tokens.NewKeyRing([]*tokens.SigningKey{key})
	if err != nil {
		panic(err)
	}
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(ring.JWKS()) }))
	access, err := key.MintAccess(tokens.AccessClaims{
		Issuer: server.URL, Audience: server.URL, Subject: "anna's id", Username: "anna",
		IssuedAt: time.Now().Unix(), ExpiresAt: time.Now().Add(time.Hour).Unix(),
	})
	if err != nil {
		panic(err)
	}
	return server, access.Reveal()
}

func call(h http.Handler, token string) {
	req, w := httptest.NewRequest(http.MethodGet, "/books", nil), httptest.NewRecorder()
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	h.ServeHTTP(w, req)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"), w.Body.String())
}

// An API server on net/http.
func Example() {
	issuer, token := exampleIssuer()
	defer issuer.Close()
	v, err := verify.New(verify.Config{
		Issuer: issuer.URL,
		Keys:   verify.NewRemoteKeySet(verify.RemoteConfig{URL: issuer.URL + "/.well-known/jwks.json"}),
	})
	if err != nil {
		panic(err)
	}
	books := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		fmt.Fprintf(w, "the books of %s", claims.Username)
	})
	mux := http.NewServeMux()
	mux.Handle("/books", v.Middleware(books))

	call(mux, token)
	call(mux, "")
	// Output:
	// 200  the books of anna
	// 401 Bearer {"error":"no_token"}
}

// The same in gin.
func ExampleRefuse() {
	issuer, token := exampleIssuer()
	defer issuer.Close()
	v, err := verify.New(verify.Config{
		Issuer: issuer.URL,
		Keys:   verify.NewRemoteKeySet(verify.RemoteConfig{URL: issuer.URL + "/.well-known/jwks.json"}),
	})
	if err != nil {
		panic(err)
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.Use(func(c *gin.Context) {
		claims, err := v.VerifyRequest(c.Request, "")
		if err != nil {
			verify.Refuse(c.Writer, err)
			c.Abort()
			return
		}
		c.Request = c.Request.WithContext(verify.NewContext(c.Request.Context(), claims))
	})
	e.GET("/books", func(c *gin.Context) {
		claims, _ := verify.FromContext(c.Request.Context())
		c.String(http.StatusOK, "the books of %s", claims.Username)
	})

	call(e, token)
	call(e, "not a token")
	// Output:
	// 200  the books of anna
	// 401 Bearer error="invalid_token", error_description="the access token is malformed or not from this issuer" {"error":"invalid_token","error_description":"the access token is malformed or not from this issuer"}
}
