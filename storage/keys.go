package storage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// SigningKeys implements broker.KeyStore, oldest first.
func (s *Store) SigningKeys(ctx context.Context) ([]broker.StoredKey, error) {
	var rows []struct {
		ID        string        `db:"id"`
		Algorithm string        `db:"algorithm"`
		Private   string        `db:"private"`
		CreatedAt int64         `db:"created_at"`
		ActiveAt  int64         `db:"active_at"`
		RetiredAt sql.NullInt64 `db:"retired_at"`
	}
	err := s.list(ctx, &rows, `SELECT id, algorithm, private, created_at, active_at, retired_at FROM signing_keys ORDER BY created_at, id`)
	keys := make([]broker.StoredKey, 0, len(rows))
	for _, r := range rows {
		keys = append(keys, broker.StoredKey{
			ID: r.ID, Algorithm: r.Algorithm, Sealed: r.Private, CreatedAt: time.UnixMilli(r.CreatedAt).UTC(),
			ActiveAt: time.UnixMilli(r.ActiveAt).UTC(), RetiredAt: fromMillis(r.RetiredAt),
		})
	}
	return keys, err
}

// InsertSigningKey implements broker.KeyStore. Of two replicas that start at
// once, the one whose key is in the fact of that algorithm wins.
func (s *Store) InsertSigningKey(ctx context.Context, k broker.StoredKey) error {
	return s.Tx(ctx, func(tx broker.Store) error {
		first, err := tx.InitFact(ctx, "signing_key."+k.Algorithm, k.ID)
		if err != nil || first != k.ID {
			return err
		}
		_, err = tx.(*Store).exec(ctx, `INSERT INTO signing_keys (id, algorithm, private, created_at, active_at, retired_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			k.ID, k.Algorithm, k.Sealed, k.CreatedAt.UnixMilli(), k.ActiveAt.UnixMilli(), millis(k.RetiredAt))
		return err
	})
}

// ResealSigningKey implements broker.KeyStore.
func (s *Store) ResealSigningKey(ctx context.Context, id, oldSealed, newSealed string) error {
	_, err := s.exec(ctx, `UPDATE signing_keys SET private = ? WHERE id = ? AND private = ?`, newSealed, id, oldSealed)
	return err
}

// Fact implements broker.KeyStore.
func (s *Store) Fact(ctx context.Context, name string) (string, error) {
	var value string
	err := s.get(ctx, &value, `SELECT value FROM facts WHERE name = ?`, name)
	return value, err
}

// InitFact implements broker.KeyStore.
func (s *Store) InitFact(ctx context.Context, name, value string) (string, error) {
	stands, err := s.Fact(ctx, name)
	if !errors.Is(err, broker.NotFound) {
		return stands, err
	}
	if _, err := s.exec(ctx, `INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, value); err != nil {
		return "", err
	}
	return s.Fact(ctx, name)
}

// SwapFact implements broker.KeyStore.
func (s *Store) SwapFact(ctx context.Context, name, old, value string) (bool, error) {
	n, err := s.exec(ctx, `UPDATE facts SET value = ? WHERE name = ? AND value = ?`, value, name, old)
	return n > 0, err
}

// IdPMetadata returns what an IdP's document of that kind was when it last
// answered, and when; broker.NotFound.
func (s *Store) IdPMetadata(ctx context.Context, issuer, kind string) ([]byte, time.Time, error) {
	var r struct {
		Document  string `db:"document"`
		FetchedAt int64  `db:"fetched_at"`
	}
	err := s.get(ctx, &r, `SELECT document, fetched_at FROM idp_metadata WHERE issuer = ? AND kind = ?`, issuer, kind)
	return []byte(r.Document), time.UnixMilli(r.FetchedAt).UTC(), err
}

// SaveIdPMetadata keeps such a document.
func (s *Store) SaveIdPMetadata(ctx context.Context, issuer, kind string, document []byte, now time.Time) error {
	_, err := s.exec(ctx, `INSERT INTO idp_metadata (issuer, kind, document, fetched_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (issuer, kind) DO UPDATE SET document = excluded.document, fetched_at = excluded.fetched_at`,
		issuer, kind, string(document), now.UnixMilli())
	return err
}
