-- +goose Up

-- How many times something changed that processes keep in memory: signing keys,
-- providers, clients, the root secret. Whoever changes any of it counts up in the
-- same transaction.
CREATE TABLE revisions (
    id  BIGINT PRIMARY KEY,
    n   BIGINT NOT NULL
);

-- The servers that run on this database, and the revision that each has loaded.
CREATE TABLE replicas (
    id       TEXT PRIMARY KEY,
    seen_at  BIGINT NOT NULL,
    loaded   BIGINT NOT NULL
);

-- revision: the one in which the key was published.
ALTER TABLE signing_keys ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;

-- A key that waits for its turn is active at the end of the year 9999, so that an
-- older program does not sign with it; one of each algorithm waits at a time.
CREATE UNIQUE INDEX signing_keys_waiting ON signing_keys (algorithm) WHERE active_at = 253402300799000;
