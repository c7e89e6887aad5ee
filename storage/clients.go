package storage

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type clientRow struct {
	ID         string                  `db:"id"`
	Document   document[broker.Client] `db:"document"`
	SecretHash string                  `db:"secret_hash"`
	CreatedAt  int64                   `db:"created_at"`
	UpdatedAt  int64                   `db:"updated_at"`
}

const clientColumns = `id, document, secret_hash, created_at, updated_at`

func (r clientRow) client() broker.Client {
	c := r.Document.is
	c.ID, c.SecretHash = r.ID, r.SecretHash
	c.CreatedAt, c.UpdatedAt = time.UnixMilli(r.CreatedAt).UTC(), time.UnixMilli(r.UpdatedAt).UTC()
	return c
}

// InsertClient implements broker.ClientStore.
func (s *Store) InsertClient(ctx context.Context, c broker.Client) error {
	return s.inTx(ctx, func(tx *Store) error {
		_, err := tx.change(ctx, `INSERT INTO clients (`+clientColumns+`, access_ttl) VALUES (?, ?, ?, ?, ?, ?)`,
			c.ID, document[broker.Client]{c}, c.SecretHash, c.CreatedAt.UnixMilli(), c.UpdatedAt.UnixMilli(), c.AccessTTL)
		if err != nil {
			return tx.unique(err, broker.ClientExists, "there is a client with this id")
		}
		return tx.insertOrigins(ctx, c)
	})
}

// UpdateClient implements broker.ClientStore. The first statement locks the
// client, so that the origins are those of one update.
func (s *Store) UpdateClient(ctx context.Context, c broker.Client) error {
	return s.inTx(ctx, func(tx *Store) error {
		if err := found(tx.change(ctx, `UPDATE clients SET document = ?, access_ttl = ?, updated_at = ? WHERE id = ?`,
			document[broker.Client]{c}, c.AccessTTL, c.UpdatedAt.UnixMilli(), c.ID)); err != nil {
			return err
		}
		if _, err := tx.exec(ctx, `DELETE FROM client_origins WHERE client_id = ?`, c.ID); err != nil {
			return err
		}
		return tx.insertOrigins(ctx, c)
	})
}

func (s *Store) insertOrigins(ctx context.Context, c broker.Client) error {
	for _, origin := range broker.ClientOrigins(c) {
		_, err := s.exec(ctx, `INSERT INTO client_origins (origin, client_id) VALUES (?, ?) ON CONFLICT (origin, client_id) DO NOTHING`, origin, c.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// SetClientSecret implements broker.ClientStore.
func (s *Store) SetClientSecret(ctx context.Context, id, hash string, now time.Time) error {
	return found(s.change(ctx, `UPDATE clients SET secret_hash = ?, updated_at = ? WHERE id = ?`, hash, now.UnixMilli(), id))
}

// DeleteClient implements broker.ClientStore. Its origins go with the row. The
// other tables know of clients that are not in this one, and so have no foreign key.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	return s.inTx(ctx, func(tx *Store) error {
		if err := found(tx.change(ctx, `DELETE FROM clients WHERE id = ?`, id)); err != nil {
			return err
		}
		for _, table := range []string{"consents", "authorizations", "authorization_codes", "device_codes", "logout_notices"} {
			if _, err := tx.exec(ctx, `DELETE FROM `+table+` WHERE client_id = ?`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// ClientByID implements broker.ClientStore.
func (s *Store) ClientByID(ctx context.Context, id string) (broker.Client, error) {
	var r clientRow
	err := s.get(ctx, &r, `SELECT `+clientColumns+` FROM clients WHERE id = ?`, id)
	if err != nil {
		return broker.Client{}, err
	}
	return r.client(), nil
}

// ListClients implements broker.ClientStore.
func (s *Store) ListClients(ctx context.Context, afterID string, limit int) ([]broker.Client, error) {
	return s.clients(ctx, `id > ? ORDER BY id LIMIT ?`, afterID, limit)
}

// ClientsByID implements broker.ClientStore.
func (s *Store) ClientsByID(ctx context.Context, ids []string) ([]broker.Client, error) {
	if ids = onlyPossible(ids); len(ids) == 0 {
		return nil, nil
	}
	return s.clients(ctx, `id IN (`+placeholders(len(ids))+`)`, anyOf(ids)...)
}

func (s *Store) clients(ctx context.Context, condition string, args ...any) ([]broker.Client, error) {
	var rows []clientRow
	err := s.list(ctx, &rows, `SELECT `+clientColumns+` FROM clients WHERE `+condition, args...)
	clients := make([]broker.Client, 0, len(rows))
	for _, r := range rows {
		clients = append(clients, r.client())
	}
	return clients, err
}

// LongestAccessTTL implements broker.ClientStore.
func (s *Store) LongestAccessTTL(ctx context.Context) (seconds int64, err error) {
	err = s.get(ctx, &seconds, `SELECT COALESCE(MAX(access_ttl), 0) FROM clients`)
	return seconds, err
}

// OriginKnown implements broker.ClientStore.
func (s *Store) OriginKnown(ctx context.Context, origin string) (bool, error) {
	var one int
	err := s.get(ctx, &one, `SELECT 1 FROM client_origins WHERE origin = ? LIMIT 1`, origin)
	if errors.Is(err, broker.NotFound) {
		return false, nil
	}
	return err == nil, err
}
