package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/jmoiron/sqlx"
)

// ceilingID is the client of the ceiling's codes and sessions.
const ceilingID = "ceiling"

// oauth adds the handlers beside those of the OpenID provider.
func (c *ceiling) oauth(ctx context.Context, d database, e *gin.Engine, sel *sql.Stmt) error {
	p := c.product
	c.codes = stock{store: p.store, clientID: ceilingID, scope: fullScope, name: "c"}
	x, err := newBareExchange(ctx, d, p)
	if err != nil {
		return err
	}
	introspected, err := answerOf(p.address, p.introspectRequest(p.address, 0))
	if err != nil {
		return err
	}
	userinfo, err := answerOf(p.address, p.userinfoRequest(p.address, 0))
	if err != nil {
		return err
	}
	discovery, err := answerOf(p.address, request("GET", discoveryPath, p.address))
	if err != nil {
		return err
	}
	selecting := func(answer []byte) gin.HandlerFunc {
		return func(c *gin.Context) {
			var user string
			if err := sel.QueryRowContext(c.Request.Context(), c.GetHeader("X-Session")).Scan(&user); err != nil {
				_ = c.AbortWithError(http.StatusInternalServerError, err)
				return
			}
			c.Data(http.StatusOK, "application/json; charset=utf-8", answer)
		}
	}
	e.POST("/oauth2/token", func(c *gin.Context) {
		if err := x.exchange(c.Request.Context(), c.GetHeader("X-Code"), c.GetHeader("X-User"), c.GetHeader("X-Session")); err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		c.Data(http.StatusOK, "application/json; charset=utf-8", x.answer)
	})
	if err := c.login(ctx, d, e, x); err != nil {
		return err
	}
	e.POST("/oauth2/introspect", selecting(introspected))
	e.GET("/oauth2/userinfo", selecting(userinfo))
	e.GET(discoveryPath, func(c *gin.Context) { c.Data(http.StatusOK, "application/json", discovery) })
	return nil
}

func (c *ceiling) introspecting(worker int) (step, end func() error, err error) {
	return fixed(c.address, c.product.introspectRequest(c.address, worker), http.StatusOK, `"active":true`)
}

func (c *ceiling) userinfo(worker int) (step, end func() error, err error) {
	return fixed(c.address, c.product.userinfoRequest(c.address, worker), http.StatusOK, `"sub":"`)
}

func (c *ceiling) discovery(int) (step, end func() error, err error) {
	return fixed(c.address, request("GET", discoveryPath, c.address), http.StatusOK)
}

// bareExchange is the least that an exchange of a code can be: the statements
// of the product, but for the name of its transaction, in one durable transaction, all prepared, and two signatures.
type bareExchange struct {
	db                               *sqlx.DB
	writing                          chan struct{} // as the product waits for SQLite's one writer
	redeem, user, parent, add, event *sql.Stmt
	made                             atomic.Int64
	rsa                              *rsa.PrivateKey
	ecdsa                            *ecdsa.PrivateKey
	idToken, access                  string // what is signed
	answer                           []byte
}

func newBareExchange(ctx context.Context, d database, p *product) (x *bareExchange, err error) {
	x = &bareExchange{writing: make(chan struct{}, d.writers)}
	if x.db, err = d.open(d.durable, d.writers); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&x.redeem, `UPDATE authorization_codes SET redeemed_at = ?, session_id = ? WHERE id = ? AND redeemed_at IS NULL RETURNING granted`},
		{&x.user, `UPDATE users SET last_seen_at = ? WHERE id = ? AND disabled_at IS NULL RETURNING username`},
		{&x.parent, `UPDATE sessions SET wipe = wipe WHERE id = ? AND ended_at IS NULL`},
		{&x.add, `INSERT INTO sessions (` + sessionColumns + `) VALUES (?, ?, '` + ceilingID + `', ?, '', '', '', '["pwd"]', ?, '` + fullScope + `', 0, 0, NULL, ?, ?,
			9000000000000, 9000000000000, NULL, ?, ?, '127.0.0.1', '127.0.0.1', 'benchmark/1.0 (Linux)', NULL, NULL, 0, 9000000000000, 1, '{}')`},
		{&x.event, `INSERT INTO audit_events (id, at, name, user_id, session_id, client_id, ip, detail)
			VALUES (?, ?, 'session.started', ?, ?, '` + ceilingID + `', '127.0.0.1', '{"method":"password"}')`},
	} {
		if *s.into, err = x.db.PrepareContext(ctx, x.db.Rebind(s.query)); err != nil {
			return nil, err
		}
	}
	if x.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if x.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if x.answer, err = p.exchange(ctx, &p.grants.codes); err != nil {
		return nil, err
	}
	for _, t := range []struct {
		into            *string
		name, algorithm string
	}{{&x.idToken, `"id_token":"`, "RS256"}, {&x.access, `"access_token":"`, "ES256"}} {
		token := strings.Split(field(x.answer, t.name), ".")
		if len(token) != 3 {
			return nil, fmt.Errorf("no %s in %s", t.name, x.answer)
		}
		*t.into = token[0] + "." + token[1]
		head, err := base64.RawURLEncoding.DecodeString(token[0])
		if err != nil || !strings.Contains(string(head), t.algorithm) {
			return nil, fmt.Errorf("%s is not signed with %s: %s", t.name, t.algorithm, head)
		}
	}
	return x, nil
}

func (x *bareExchange) exchange(ctx context.Context, code, user, parent string) error {
	if err := x.write(ctx, code, user, parent); err != nil {
		return err
	}
	access, err := jwt.SigningMethodES256.Sign(x.access, x.ecdsa)
	if err != nil {
		return err
	}
	idToken, err := jwt.SigningMethodRS256.Sign(x.idToken, x.rsa)
	if err != nil {
		return err
	}
	_ = x.access + "." + base64.RawURLEncoding.EncodeToString(access)
	_ = x.idToken + "." + base64.RawURLEncoding.EncodeToString(idToken)
	return nil
}

// write has no code and no parent for a login with a password.
func (x *bareExchange) write(ctx context.Context, code, user, parent string) error {
	x.writing <- struct{}{}
	defer func() { <-x.writing }()
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	now := time.Now().UnixMilli()
	n := x.made.Add(1)
	// Each new key comes last in its index, as those of the product do.
	session, event := fmt.Sprintf("d%035x", n), fmt.Sprintf("e%035x", n)
	var granted, username string
	if code != "" {
		if err := tx.StmtContext(ctx, x.redeem).QueryRowContext(ctx, now, session, code).Scan(&granted); err != nil {
			return err
		}
	}
	if err := tx.StmtContext(ctx, x.user).QueryRowContext(ctx, now, user).Scan(&username); err != nil {
		return err
	}
	for _, s := range []struct {
		stmt *sql.Stmt
		args []any
	}{
		{x.parent, []any{parent}},
		{x.add, []any{session, user, sql.NullString{String: parent, Valid: parent != ""}, now, now, now, now, now}},
		{x.event, []any{event, now, user, session}},
	} {
		if _, err := tx.StmtContext(ctx, s.stmt).ExecContext(ctx, s.args...); err != nil {
			return err
		}
	}
	return tx.Commit()
}
