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
	return s.inTx(ctx, func(tx *Store) error {
		first, err := tx.InitFact(ctx, "signing_key."+k.Algorithm, k.ID)
		if err != nil || first != k.ID {
			return err
		}
		_, err = tx.AddSigningKey(ctx, k)
		return err
	})
}

// AddSigningKey implements broker.KeyStore.
func (s *Store) AddSigningKey(ctx context.Context, k broker.StoredKey) (bool, error) {
	return s.addKey(ctx, k, ``)
}

// PublishSigningKey implements broker.KeyStore. Of two at once one meets the
// unique index.
func (s *Store) PublishSigningKey(ctx context.Context, k broker.StoredKey, youngest time.Time) (bool, error) {
	k.ActiveAt = broker.KeyWaits
	return s.addKey(ctx, k, ` WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE algorithm = ? AND retired_at IS NULL AND active_at > ?)`, k.Algorithm, youngest.UnixMilli())
}

func (s *Store) addKey(ctx context.Context, k broker.StoredKey, condition string, more ...any) (added bool, err error) {
	err = s.inTx(ctx, func(tx *Store) error {
		if condition == `` { // SQLite would take ON for the condition of a join
			condition = ` WHERE 1 = 1`
		}
		args := append([]any{k.ID, k.Algorithm, k.Sealed, k.CreatedAt.UnixMilli(), k.ActiveAt.UnixMilli(), millis(k.RetiredAt)}, more...)
		n, err := tx.exec(ctx, `INSERT INTO signing_keys (id, algorithm, private, created_at, active_at, retired_at)
			SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT)`+condition+` ON CONFLICT DO NOTHING`, args...)
		if added = n > 0; err != nil || !added {
			return err
		}
		revision, err := tx.changed(ctx)
		if err == nil {
			_, err = tx.exec(ctx, `UPDATE signing_keys SET revision = ? WHERE id = ?`, revision, k.ID)
		}
		return err
	})
	return added, err
}

// ActivateSigningKeys implements broker.KeyStore.
func (s *Store) ActivateSigningKeys(ctx context.Context, a broker.KeyActivation) ([]string, error) {
	return s.activate(ctx, a.Now, `created_at <= ? AND NOT EXISTS
		(SELECT 1 FROM replicas r WHERE r.seen_at > ? AND r.loaded < signing_keys.revision)`, a.MadeBefore.UnixMilli(), a.AliveSince.UnixMilli())
}

// activate lets waiting keys sign, and retires those in whose place they do.
func (s *Store) activate(ctx context.Context, at time.Time, condition string, args ...any) (ids []string, err error) {
	err = s.inTx(ctx, func(tx *Store) error {
		ids = nil
		var rows []struct {
			ID        string `db:"id"`
			Algorithm string `db:"algorithm"`
		}
		if err := tx.list(ctx, &rows, `UPDATE signing_keys SET active_at = ? WHERE active_at = ? AND `+condition+` RETURNING id, algorithm`,
			append([]any{at.UnixMilli(), broker.KeyWaits.UnixMilli()}, args...)...); err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			ids = append(ids, r.ID)
			_, err := tx.exec(ctx, `UPDATE signing_keys SET retired_at = ? WHERE algorithm = ? AND id <> ? AND retired_at IS NULL`, at.UnixMilli(), r.Algorithm, r.ID)
			if err != nil {
				return err
			}
		}
		_, err := tx.changed(ctx)
		return err
	})
	return ids, err
}

// RevokeSigningKey implements broker.KeyStore. The first statement changes nothing:
// it locks the key that waits before the one that signs, as activate does, so that
// the two never wait for each other.
func (s *Store) RevokeSigningKey(ctx context.Context, id string, instead broker.StoredKey) (signs string, err error) {
	err = s.inTx(ctx, func(tx *Store) error {
		signs = ""
		_, err := tx.exec(ctx, `UPDATE signing_keys SET active_at = active_at WHERE algorithm = ? AND active_at = ?`, instead.Algorithm, broker.KeyWaits.UnixMilli())
		if err != nil {
			return err
		}
		if err := found(tx.exec(ctx, `DELETE FROM signing_keys WHERE id = ? AND algorithm = ?`, id, instead.Algorithm)); err != nil {
			return err
		}
		var left int
		err = tx.get(ctx, &left, `SELECT COUNT(*) FROM signing_keys WHERE algorithm = ? AND retired_at IS NULL AND active_at <> ?`, instead.Algorithm, broker.KeyWaits.UnixMilli())
		if err != nil {
			return err
		}
		if left > 0 {
			return tx.NoteChange(ctx)
		}
		// Readers know one that waits already.
		waited, err := tx.activate(ctx, instead.ActiveAt, `algorithm = ?`, instead.Algorithm)
		if err != nil {
			return err
		}
		if len(waited) > 0 {
			signs = waited[0]
			return nil
		}
		signs = instead.ID
		_, err = tx.AddSigningKey(ctx, instead)
		return err
	})
	return signs, err
}

// DropRetiredKeys implements broker.KeyStore.
func (s *Store) DropRetiredKeys(ctx context.Context, before time.Time) error {
	_, err := s.change(ctx, `DELETE FROM signing_keys WHERE retired_at < ?`, before.UnixMilli())
	return err
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
