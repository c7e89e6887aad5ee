-- +goose Up

-- cookie_hash: the hash of the cookie by which a browser is known at an app behind
-- a proxy; empty for all other sessions.
ALTER TABLE sessions ADD COLUMN cookie_hash TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX sessions_cookie ON sessions (cookie_hash) WHERE cookie_hash <> '';
