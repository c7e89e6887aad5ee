-- +goose Up

-- Mail that waits to be sent, and for some days what was. fact: what it tells
-- of, so that it is queued once. body: sealed, because it may hold a one-time
-- link; empty once sent or given up. user_id: NULL for the request of somebody
-- who forgot a password, before anybody has looked whose it is. attempts counts
-- the tries, next_at is when the next one is due (or the end of a lease).
CREATE TABLE mails (
    id          TEXT PRIMARY KEY,
    fact        TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    user_id     TEXT REFERENCES users (id) ON DELETE CASCADE,
    body        TEXT NOT NULL,
    attempts    BIGINT NOT NULL,
    error       TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    tried_at    BIGINT,
    expires_at  BIGINT NOT NULL,
    done_at     BIGINT
);
CREATE INDEX mails_due ON mails (next_at) WHERE done_at IS NULL;
CREATE INDEX mails_user ON mails (user_id, kind, created_at);
CREATE INDEX mails_expiry ON mails (expires_at);
CREATE INDEX mails_trouble ON mails (tried_at) WHERE error <> '';

-- The language that the person last read pages in (BCP 47); empty: not known.
ALTER TABLE users ADD COLUMN language TEXT NOT NULL DEFAULT '';

-- Who set the address, "admin" or "root", a space, and the folded address: what
-- an identity provider has put in its place since is not vouched for.
ALTER TABLE users ADD COLUMN email_vouched TEXT NOT NULL DEFAULT '';
