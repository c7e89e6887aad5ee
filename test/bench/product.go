package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/password"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/web"
)

const (
	maxWorkers = 32
	otherRows  = 100_000 // sessions of others in the table, where their number is not the question
	publicURL  = "http://localhost:8080"
	rootSecret = "the root secret of the benchmark..."
	goodWord   = "a password for the benchmark"
	someUsers  = 8
	otherUsers = 10_000 // who have the other sessions
	fillCount  = "10000"
	fillUsers  = `INSERT INTO users (id, username, username_key, display_name, email, email_key, email_verified, role, idp_groups, password_hash,
		created_at, updated_at, last_seen_at, disabled_at) SELECT 'u' || i, 'u' || i, 'u' || i, 'Name', '', '', 0, 'user', '[]', '', 1, 1, NULL, NULL FROM n WHERE i <= ` + fillCount
	fillSession = `INSERT INTO sessions (` + sessionColumns + `) SELECT 's' || i, 'u' || (i % ` + fillCount + ` + 1), 'latchkey-app', NULL, '', '', '', '["pwd"]', 1, 'openid', i, 0, NULL, 1, 1,
		9000000000000, 9000000000000, NULL, 1, 1, '192.0.2.1', '192.0.2.1', 'benchmark/1.0 (Linux)', NULL, NULL, 0, 9000000000000 + i, 0, '' FROM n`
)

// sessionColumns in the order in which they are filled here.
const sessionColumns = `id, user_id, client_id, parent_id, provider_id, idp_subject, idp_session, amr, auth_time, scope,
	rt_gen, rt_branch, rt_parent_branch, rt_advanced_at, rt_issued_at, idle_expires_at, abs_expires_at, dpop_jkt, created_at, last_seen_at,
	created_ip, last_ip, user_agent, ended_at, end_cause, wipe, gc_after, follows_parent, request`

// product is a broker with its front end on a loopback port, and a session for
// each worker.
type product struct {
	store   *storage.Store
	broker  *broker.Broker
	db      *sqlx.DB // beside the store, to fill and to count
	address string
	close   func()

	session [maxWorkers]string // IDs
	refresh [maxWorkers]string // the tokens that the workers carry
	access  [maxWorkers]string

	grants grants
}

// newProduct opens a database, fills it with so many sessions of other people, and
// logs the workers in.
func newProduct(ctx context.Context, databaseURL string, others int, fill func() (*sqlx.DB, error)) (*product, error) {
	store, err := storage.Open(ctx, storage.Options{URL: databaseURL})
	if err != nil {
		return nil, err
	}
	secret, err := tokens.NewRootSecret([]byte(rootSecret))
	if err != nil {
		return nil, err
	}
	hasher, err := password.New(password.Config{})
	if err != nil {
		return nil, err
	}
	clients, err := oauthClients()
	if err != nil {
		return nil, err
	}
	p := &product{store: store}
	p.broker, err = broker.New(broker.Config{
		Store: store, Secrets: tokens.Secrets{secret}, Hasher: hasher, PublicURL: publicURL, LocalLogin: true, Clients: clients,
		// Every age is past this grace, so that every refresh is an advance.
		Lifetimes: broker.Lifetimes{Grace: -time.Millisecond, Access: 24 * time.Hour},
	})
	if err != nil {
		return nil, err
	}
	if err := p.broker.Load(ctx); err != nil {
		return nil, err
	}
	handler, err := web.New(web.Config{Broker: p.broker, LocalLogin: true})
	if err != nil {
		return nil, err
	}
	if p.address, p.close, err = serve(handler); err != nil {
		return nil, err
	}
	db, err := fill()
	if err != nil {
		return nil, err
	}
	for _, q := range []string{fillUsers, fillSession} {
		if _, err := db.ExecContext(ctx, fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) %s`, others, q)); err != nil {
			return nil, err
		}
	}
	if db.DriverName() == "postgres" { // which otherwise does so by itself, in the middle of a run
		if _, err := db.ExecContext(ctx, `VACUUM ANALYZE`); err != nil {
			return nil, err
		}
	}
	p.db = db
	if err := p.login(ctx); err != nil {
		return nil, err
	}
	return p, p.loginClients(ctx)
}

func serve(handler http.Handler) (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), func() { _ = server.Close() }, nil
}

func (p *product) login(ctx context.Context) error {
	for i := range maxWorkers {
		name := fmt.Sprintf("worker%d", i%someUsers)
		if i < someUsers {
			if _, err := p.broker.CreateUser(ctx, broker.NewUser{Username: name, Email: name + "@example.org", Role: broker.RoleUser, Password: goodWord}); err != nil {
				return err
			}
		}
		l, err := p.broker.LoginPassword(ctx, name, goodWord, broker.Device{IP: "127.0.0.1", UserAgent: "benchmark/1.0 (Linux)"})
		if err != nil {
			return err
		}
		p.session[i], p.refresh[i], p.access[i] = l.Session.ID, l.RefreshToken.Reveal(), l.AccessToken.Reveal()
	}
	return nil
}

// refreshing is POST /auth/refresh, each worker with the token it was last given.
func (p *product) refreshing(worker int) (step, end func() error, err error) {
	return p.carrying(&p.refresh[worker], tokenIn, func(token string) []byte {
		return refreshRequest(p.address, token, p.session[worker])
	})
}

// carrying sends the token that the answer before gave. At its end the
// generation in that token must have moved by exactly the number of requests:
// every one was an advance.
func (p *product) carrying(token *string, find func(body []byte) string, send func(token string) []byte) (step, end func() error, err error) {
	c, err := dial(p.address)
	if err != nil {
		return nil, nil, err
	}
	before, n := generation(*token), int64(0)
	step = func() error {
		status, body, err := c.do(send(*token))
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("refresh: status %d, error %v: %s", status, err, body)
		}
		*token = find(body)
		n++
		return nil
	}
	return step, func() error {
		c.close()
		if g := generation(*token); g != before+n {
			return fmt.Errorf("%d refreshes moved the generation from %d to %d", n, before, g)
		}
		return nil
	}, nil
}

func refreshRequest(host, token, session string) []byte {
	return request("POST", "/auth/refresh", host, "X-Refresh-Token", token, "X-Session", session)
}

// tokenIn finds the refresh token in an answer of the JSON API.
func tokenIn(body []byte) string { return field(body, `"refreshToken":"`) }

// field is the text that follows in a JSON answer.
func field(body []byte, name string) string {
	_, rest, _ := bytes.Cut(body, []byte(name))
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(text)
}

func generation(token string) int64 {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return -1
	}
	var claims tokens.RefreshClaims
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return -1
	}
	return claims.Generation
}

func (p *product) me(worker int) (step, end func() error, err error) {
	return fixed(p.address, meRequest(p.address, p.access[worker], p.session[worker]), http.StatusOK)
}

func meRequest(host, token, session string) []byte {
	return request("GET", "/api/me", host, "Authorization", "Bearer "+token, "X-Session", session)
}

func (p *product) jwks(int) (step, end func() error, err error) {
	return fixed(p.address, request("GET", "/.well-known/jwks.json", p.address), http.StatusOK)
}

// wrongPasswords is POST /login with a password that is not the user's.
func (p *product) wrongPasswords(worker int) (step, end func() error, err error) {
	form := url.Values{"username": {fmt.Sprintf("worker%d", worker%someUsers)}, "password": {"not the password"}}.Encode()
	return fixed(p.address, formRequest("/login", p.address, form), http.StatusUnauthorized)
}

// fixed sends one request again and again. What it must say stands in every
// answer.
func fixed(address string, request []byte, want int, says ...string) (step, end func() error, err error) {
	c, err := dial(address)
	if err != nil {
		return nil, nil, err
	}
	return func() error {
		status, body, err := c.do(request)
		if err != nil || status != want {
			return fmt.Errorf("status %d, error %v: %s", status, err, body)
		}
		for _, text := range says {
			if !bytes.Contains(body, []byte(text)) {
				return fmt.Errorf("not %s in %s", text, body)
			}
		}
		return nil
	}, func() error { c.close(); return nil }, nil
}

// answerOf is the body of one answer.
func answerOf(address string, request []byte) ([]byte, error) {
	c, err := dial(address)
	if err != nil {
		return nil, err
	}
	defer c.close()
	status, body, err := c.do(request)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	return bytes.Clone(body), err
}
