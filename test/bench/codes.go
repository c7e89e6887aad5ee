package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// stock are authorization codes that nobody has used yet. They are inserted
// between the runs. Each is of another user and another browser session than
// the thousands around it, so that no exchange waits for the rows of another.
type stock struct {
	store    broker.Store
	clientID string
	scope    string
	name     string // of these codes, beside other stocks of the client

	made int64
	used atomic.Int64
}

// enough codes for the longest run at the highest rate.
const enough = 4000

// code is one of them, and what the ceiling, which does not read what a code
// stands for, has to be told.
type code struct{ text, id, user, parent string }

func (s *stock) code(i int64) code {
	text := fmt.Sprintf("%s%043d", s.name, i)
	sum := sha256.Sum256(fmt.Appendf(nil, "18:authorization code%d:%s", len(text), text)) // as broker.hash
	browser := i%otherRows + 1
	return code{
		text: text, id: base64.RawURLEncoding.EncodeToString(sum[:]),
		user: fmt.Sprintf("u%d", browser%otherUsers+1), parent: fmt.Sprintf("s%d", browser),
	}
}

// fill makes sure of least codes, in one transaction.
func (s *stock) fill(ctx context.Context, least int64) error {
	if s.made-s.used.Load() >= least {
		return nil
	}
	to, now := s.used.Load()+2*least, time.Now()
	challenge := sha256.Sum256([]byte(codeVerifier))
	err := s.store.Tx(ctx, func(store broker.Store) error {
		for i := s.made; i < to; i++ {
			c := s.code(i)
			if err := store.InsertCode(ctx, broker.AuthorizationCode{
				ID: c.id, ClientID: s.clientID, RedirectURI: redirectURI, Challenge: base64.RawURLEncoding.EncodeToString(challenge[:]),
				ExpiresAt: now.Add(24 * time.Hour),
				Authorization: broker.Authorization{
					UserID: c.user, ParentID: c.parent, FollowsParent: true, Scope: s.scope, Nonce: "n-0S6_WzA2Mj", AMR: []string{"pwd"}, AuthTime: now,
				},
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.made = to
	}
	return err
}

// take is a code for one use.
func (s *stock) take() (code, error) {
	i := s.used.Add(1) - 1
	if i >= s.made {
		return code{}, fmt.Errorf("all %d codes are used up; the constant enough is not", s.made)
	}
	return s.code(i), nil
}

// exchanging is POST /oauth2/token with codes, each of them once. At the end of
// a run there must be as many new sessions of the client as exchanges were
// counted.
func (p *product) exchanging(address string, s *stock) load {
	var before, counted int64
	var workers int
	return func(worker int) (step, end func() error, err error) {
		ctx := context.Background()
		if worker == 0 { // the first to be made ready
			if err := s.fill(ctx, enough); err != nil {
				return nil, nil, err
			}
			if before, err = p.sessionsOf(ctx, s.clientID); err != nil {
				return nil, nil, err
			}
			counted, workers = 0, 0
		}
		c, err := dial(address)
		if err != nil {
			return nil, nil, err
		}
		workers++
		n := int64(0)
		return func() error {
				code, err := s.take()
				if err != nil {
					return err
				}
				status, body, err := c.do(codeRequest(address, code))
				if err != nil || status != http.StatusOK {
					return fmt.Errorf("code exchange: status %d, error %v: %s", status, err, body)
				}
				n++
				return nil
			}, func() error {
				c.close()
				counted += n
				if workers--; workers > 0 {
					return nil
				}
				after, err := p.sessionsOf(ctx, s.clientID)
				if err == nil && after-before != counted {
					err = fmt.Errorf("%d code exchanges made %d sessions", counted, after-before)
				}
				return err
			}, nil
	}
}

func (p *product) sessionsOf(ctx context.Context, clientID string) (n int64, err error) {
	return n, p.db.GetContext(ctx, &n, p.db.Rebind(`SELECT COUNT(*) FROM sessions WHERE client_id = ? AND client_id <> 'latchkey-app'`), clientID)
}

// codeRequest has in headers what the ceiling needs; the product does not read
// them.
func codeRequest(host string, c code) []byte {
	return formRequest("/oauth2/token", host, "grant_type=authorization_code&code="+c.text+"&redirect_uri="+redirectURIEncoded+"&code_verifier="+codeVerifier,
		"Authorization", appBasic, "X-Code", c.id, "X-User", c.user, "X-Session", c.parent)
}
