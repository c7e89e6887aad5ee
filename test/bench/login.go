package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/providers/password"
)

// loggingIn is POST /login with the right password.
func (p *product) loggingIn(worker int) (step, end func() error, err error) {
	return fixed(p.address, loginRequest(p.address, worker), http.StatusOK, `"refreshToken":"`)
}

func loginRequest(address string, worker int) []byte {
	form := url.Values{"username": {fmt.Sprintf("worker%d", worker%someUsers)}, "password": {goodWord}}.Encode()
	return formRequest("/login", address, form, "X-Return-Tokens", "true")
}

// login is the least that a login can be: the hash, a look at the user, the new session
// in one durable transaction, and one signature.
func (c *ceiling) login(ctx context.Context, d database, e *gin.Engine, x *bareExchange) error {
	hasher, err := password.New(password.Config{})
	if err != nil {
		return err
	}
	hash, err := hasher.Hash(ctx, goodWord)
	if err != nil {
		return err
	}
	reader, err := d.open("", d.readers)
	if err != nil {
		return err
	}
	user, err := reader.PrepareContext(ctx, reader.Rebind(`SELECT id FROM users WHERE username_key = ?`))
	if err != nil {
		return err
	}
	answer, err := answerOf(c.product.address, loginRequest(c.product.address, 0))
	if err != nil {
		return err
	}
	handle := func(c *gin.Context) error {
		ctx := c.Request.Context()
		var id string
		if err := user.QueryRowContext(ctx, c.PostForm("username")).Scan(&id); err != nil {
			return err
		}
		if ok, _, err := hasher.Verify(ctx, hash, c.PostForm("password")); err != nil || !ok {
			return fmt.Errorf("the right password: %v %w", ok, err)
		}
		if err := x.write(ctx, "", id, ""); err != nil {
			return err
		}
		_, err := jwt.SigningMethodES256.Sign(x.access, x.ecdsa)
		return err
	}
	e.POST("/login", func(c *gin.Context) {
		if err := handle(c); err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		c.Data(http.StatusOK, "application/json; charset=utf-8", answer)
	})
	return nil
}

func (c *ceiling) loggingIn(worker int) (step, end func() error, err error) {
	return fixed(c.address, loginRequest(c.address, worker), http.StatusOK, `"refreshToken":"`)
}
