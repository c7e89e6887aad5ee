-- +goose Up

-- Metadata under its RFC 7591 names, as JSON, and of it what is asked of all
-- clients at once. A public client has no secret.
CREATE TABLE clients (
    id           TEXT PRIMARY KEY,
    document     TEXT NOT NULL,
    access_ttl   BIGINT NOT NULL,
    secret_hash  TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);

-- The web origins of clients, for CORS.
CREATE TABLE client_origins (
    origin     TEXT NOT NULL,
    client_id  TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    PRIMARY KEY (origin, client_id)
);
CREATE INDEX client_origins_client ON client_origins (client_id);

-- follows_parent: the session ends with the browser session that it was
-- authorized from. request: what the client asked for beyond the scope.
-- replaced_by: the later login of the same browser, whose session took its place.
ALTER TABLE sessions ADD COLUMN follows_parent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN replaced_by TEXT NOT NULL DEFAULT '';
CREATE INDEX sessions_idp_session ON sessions (idp_session) WHERE idp_session <> '';
CREATE INDEX sessions_idp_subject ON sessions (idp_subject) WHERE idp_subject <> '';
CREATE INDEX sessions_client ON sessions (client_id) WHERE client_id <> 'latchkey-app';
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Authorization requests that wait for a person (browser is the hash of that
-- browser's secret), or that a client pushed (browser is empty).
CREATE TABLE authorizations (
    id          TEXT PRIMARY KEY,
    client_id   TEXT NOT NULL,
    browser     TEXT NOT NULL,
    request     TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX authorizations_expiry ON authorizations (expires_at);

-- dpop_jkt is the one of granted, for the condition of the redemption.
CREATE TABLE authorization_codes (
    id             TEXT PRIMARY KEY,
    client_id      TEXT NOT NULL,
    redirect_uri   TEXT NOT NULL,
    challenge      TEXT NOT NULL,
    dpop_jkt       TEXT NOT NULL,
    granted        TEXT NOT NULL,
    expires_at     BIGINT NOT NULL,
    redeemed_at    BIGINT,
    session_id     TEXT
);
CREATE INDEX authorization_codes_expiry ON authorization_codes (expires_at);

-- decision is empty, allowed or denied; granted is empty until then. polled_early
-- says of the last poll that it came before its time.
CREATE TABLE device_codes (
    id             TEXT PRIMARY KEY,
    user_code      TEXT NOT NULL UNIQUE,
    client_id      TEXT NOT NULL,
    scope          TEXT NOT NULL,
    request        TEXT NOT NULL,
    decision       TEXT NOT NULL,
    granted        TEXT NOT NULL,
    poll_interval  BIGINT NOT NULL,
    next_poll_at   BIGINT NOT NULL,
    polled_early   BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    redeemed_at    BIGINT,
    session_id     TEXT
);
CREATE INDEX device_codes_expiry ON device_codes (expires_at);

CREATE TABLE consents (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id   TEXT NOT NULL,
    scope       TEXT NOT NULL,
    granted_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, client_id)
);

-- What may be used once: hashes of assertions, proofs, logout tokens and
-- exchanged ID tokens, until they expire anyway.
CREATE TABLE used_tokens (
    id          TEXT PRIMARY KEY,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX used_tokens_expiry ON used_tokens (expires_at);

-- Back-channel logouts that are still to be told to clients.
CREATE TABLE logout_notices (
    id          TEXT PRIMARY KEY,
    client_id   TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    attempts    BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX logout_notices_next ON logout_notices (next_at);
CREATE INDEX logout_notices_expiry ON logout_notices (expires_at);
