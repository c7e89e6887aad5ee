package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"                    // registers "postgres"
	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3"
)

// ceiling is what no program of this kind on this machine can pass: for each
// endpoint one gin handler without middleware that does the statements and the
// signatures and answers fixed bytes of the product's length, through the same
// driver and the same kind of pool.
type ceiling struct {
	address string
	close   func()
	product *product
	codes   stock
	advance advances // the statement of a refresh
}

// database is where product and ceiling meet.
type database struct {
	name    string
	url     string // the product's
	driver  string
	dsn     string // of the ceiling's pools, with the product's settings
	durable string // added for writes that are safe on the disk before the answer
	relaxed string // added for the others
	writers int
	readers int
}

func sqliteAt(path string) database {
	return database{
		name: "SQLite", url: "sqlite:" + path, driver: "sqlite3", writers: 1, readers: 4,
		dsn:     "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)",
		durable: "&_pragma=journal_mode(wal)&_txlock=immediate&_pragma=synchronous(full)",
		relaxed: "&_pragma=journal_mode(wal)&_txlock=immediate&_pragma=synchronous(normal)",
	}
}

func postgresAt(url string) database {
	return database{name: "PostgreSQL", url: url, driver: "postgres", dsn: url, relaxed: "&synchronous_commit=off", writers: 16, readers: 16}
}

func (d database) open(extra string, size int) (*sqlx.DB, error) {
	db, err := sqlx.Open(d.driver, d.dsn+extra)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

func newCeiling(ctx context.Context, d database, p *product) (*ceiling, error) {
	writer, err := d.open(d.relaxed, d.writers)
	if err != nil {
		return nil, err
	}
	reader, err := d.open("", d.readers)
	if err != nil {
		return nil, err
	}
	update, err := writer.PrepareContext(ctx, writer.Rebind(`UPDATE sessions SET rt_gen = rt_gen + 1, rt_advanced_at = ? WHERE id = ?`))
	if err != nil {
		return nil, err
	}
	sel, err := reader.PrepareContext(ctx, reader.Rebind(`SELECT user_id FROM sessions WHERE id = ?`))
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	text := p.access[0][:strings.LastIndexByte(p.access[0], '.')]
	// The ceiling works on the last worker's neighbours in the table, so that
	// it does not move the generations of the product's sessions.
	refreshed, err := answerOf(p.address, refreshRequest(p.address, p.refresh[0], p.session[0]))
	if err != nil {
		return nil, err
	}
	p.refresh[0] = tokenIn(refreshed)
	me, err := answerOf(p.address, meRequest(p.address, p.access[0], p.session[0]))
	if err != nil {
		return nil, err
	}
	keys, err := answerOf(p.address, request("GET", "/.well-known/jwks.json", p.address))
	if err != nil {
		return nil, err
	}

	writing := make(chan struct{}, d.writers)
	advance := func(ctx context.Context, session string) error {
		writing <- struct{}{}
		result, err := update.ExecContext(ctx, time.Now().UnixMilli(), session)
		<-writing
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); n != 1 {
			return fmt.Errorf("%d rows of session %s, %v", n, session, err)
		}
		return nil
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.POST("/auth/refresh", func(c *gin.Context) {
		if err := advance(c.Request.Context(), c.GetHeader("X-Session")); err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		signature, err := jwt.SigningMethodES256.Sign(text, key)
		if err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		_ = text + "." + base64.RawURLEncoding.EncodeToString(signature)
		c.Data(http.StatusOK, "application/json; charset=utf-8", refreshed)
	})
	e.POST(barePath, func(c *gin.Context) { c.Data(http.StatusOK, "application/json; charset=utf-8", refreshed) })
	e.GET("/api/me", func(c *gin.Context) {
		var user string
		if err := sel.QueryRowContext(c.Request.Context(), c.GetHeader("X-Session")).Scan(&user); err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		c.Data(http.StatusOK, "application/json; charset=utf-8", me)
	})
	e.GET("/.well-known/jwks.json", func(c *gin.Context) { c.Data(http.StatusOK, "application/json", keys) })
	c := &ceiling{product: p, advance: advance}
	if err := c.oauth(ctx, d, e, sel); err != nil {
		return nil, err
	}
	c.address, c.close, err = serve(e)
	return c, err
}

// refreshing has the work of the product's client too: it takes the token out
// of the answer and sends it with the next request.
func (c *ceiling) refreshing(worker int) (step, end func() error, err error) {
	conn, err := dial(c.address)
	if err != nil {
		return nil, nil, err
	}
	token, session := c.product.refresh[worker], fmt.Sprintf("s%d", 1000+worker)
	return func() error {
		status, body, err := conn.do(refreshRequest(c.address, token, session))
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("ceiling: status %d, error %v", status, err)
		}
		token = tokenIn(body)
		return nil
	}, func() error { conn.close(); return nil }, nil
}

const barePath = "/bare"

// bareHandler answers what a refresh does, and does nothing for it.
func (c *ceiling) bareHandler(worker int) (step, end func() error, err error) {
	return fixed(c.address, request("POST", barePath, c.address, "X-Refresh-Token", c.product.refresh[worker], "X-Session", c.product.session[worker]), http.StatusOK)
}

// bareStatement is what a refresh asks of the database, without HTTP.
func (c *ceiling) bareStatement(worker int) (step, end func() error, err error) {
	return advancing(context.Background(), c.advance)(worker)
}

func (c *ceiling) me(worker int) (step, end func() error, err error) {
	return fixed(c.address, meRequest(c.address, c.product.access[worker], c.product.session[worker]), http.StatusOK)
}

func (c *ceiling) jwks(int) (step, end func() error, err error) {
	return fixed(c.address, request("GET", "/.well-known/jwks.json", c.address), http.StatusOK)
}
