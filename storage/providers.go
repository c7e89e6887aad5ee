package storage

import (
	"context"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type providerRow struct {
	ID        string                            `db:"id"`
	Document  document[broker.ProviderSettings] `db:"document"`
	Secret    string                            `db:"secret"`
	CreatedAt int64                             `db:"created_at"`
	UpdatedAt int64                             `db:"updated_at"`
}

// InsertProvider implements broker.ProviderStore.
func (s *Store) InsertProvider(ctx context.Context, p broker.StoredProvider) error {
	_, err := s.change(ctx, `INSERT INTO providers (id, document, secret, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`,
		p.Settings.ID, document[broker.ProviderSettings]{p.Settings}, p.Sealed, p.CreatedAt.UnixMilli(), p.UpdatedAt.UnixMilli())
	return s.unique(err, broker.ProviderExists, "there is a provider with this id")
}

// UpdateProvider implements broker.ProviderStore.
func (s *Store) UpdateProvider(ctx context.Context, p broker.StoredProvider, readAt time.Time) error {
	return found(s.change(ctx, `UPDATE providers SET document = ?, secret = ?, updated_at = ? WHERE id = ? AND updated_at = ?`,
		document[broker.ProviderSettings]{p.Settings}, p.Sealed, p.UpdatedAt.UnixMilli(), p.Settings.ID, readAt.UnixMilli()))
}

// ResealProvider implements broker.ProviderStore.
func (s *Store) ResealProvider(ctx context.Context, id, old, sealed string) error {
	_, err := s.exec(ctx, `UPDATE providers SET secret = ? WHERE id = ? AND secret = ?`, sealed, id, old)
	return err
}

// DeleteProvider implements broker.ProviderStore.
func (s *Store) DeleteProvider(ctx context.Context, id string) error {
	return found(s.change(ctx, `DELETE FROM providers WHERE id = ?`, id))
}

// ListProviders implements broker.ProviderStore.
func (s *Store) ListProviders(ctx context.Context) ([]broker.StoredProvider, error) {
	var rows []providerRow
	err := s.list(ctx, &rows, `SELECT id, document, secret, created_at, updated_at FROM providers ORDER BY created_at, id`)
	out := make([]broker.StoredProvider, 0, len(rows))
	for _, r := range rows {
		p := broker.StoredProvider{
			Settings: r.Document.is, Sealed: r.Secret, CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
		}
		p.Settings.ID = r.ID
		out = append(out, p)
	}
	return out, err
}
