-- +goose Up

-- permissions: those of the JSON contract, as JSON, where they are not the
-- role's. notice: the last thing that the owner of the account is to be told, as
-- JSON. password_temporary: somebody else chose the password, and knows it.
ALTER TABLE users ADD COLUMN permissions TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN notice TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN password_temporary BIGINT NOT NULL DEFAULT 0;

-- link: how the identity came to an account that was there before it, and what
-- that account was then, as JSON; empty where the account was made for it.
ALTER TABLE identities ADD COLUMN link TEXT NOT NULL DEFAULT '';

-- Links that were undone: no rule makes them again.
CREATE TABLE undone_links (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    undone_at  BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject, user_id)
);
CREATE INDEX undone_links_user ON undone_links (user_id);

-- A trip to an IdP that links what it brings to this user, begun in this session.
ALTER TABLE idp_logins ADD COLUMN link_user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE idp_logins ADD COLUMN link_session_id TEXT NOT NULL DEFAULT '';

-- upstream_id: the login at an IdP that the session stands on, where that is
-- checked again. vouched_at: when the IdP let the person in; 0 where it did not.
ALTER TABLE sessions ADD COLUMN upstream_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN vouched_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX sessions_upstream ON sessions (upstream_id) WHERE upstream_id <> '';

-- Logins at IdPs that are checked again. token is sealed, and empty once it is
-- lost or of no more use. issued_by is the hash of the issuer and client that it
-- is of: no other is ever sent it. state is alive, ended or unknown. doubtful counts the
-- checks that may have used the token up since its last answer. While a check is
-- under way, next_check_at is the end of its lease.
CREATE TABLE upstreams (
    id             TEXT PRIMARY KEY,
    provider_id    TEXT NOT NULL,
    issued_by      TEXT NOT NULL,
    user_id        TEXT NOT NULL,
    subject        TEXT NOT NULL,
    token          TEXT NOT NULL,
    state          TEXT NOT NULL,
    doubtful       BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    alive_at       BIGINT NOT NULL,
    next_check_at  BIGINT NOT NULL
);
CREATE INDEX upstreams_next ON upstreams (provider_id, next_check_at) WHERE token <> '';
CREATE INDEX upstreams_created ON upstreams (created_at);

-- Keys for programs that act for a user. secret_hash is empty for a key that
-- came from elsewhere and is signed there.
CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_by    TEXT NOT NULL,
    scope         TEXT NOT NULL,
    secret_hash   TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    last_used_at  BIGINT,
    disabled_at   BIGINT
);
CREATE INDEX api_keys_user ON api_keys (user_id);

-- One-time links with which people set a password: invitations and resets. id
-- is the hash of the link's secret; password is the hash that stood when it was
-- made, and no other is replaced.
CREATE TABLE password_links (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose     TEXT NOT NULL,
    password    TEXT NOT NULL,
    created_by  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX password_links_user ON password_links (user_id);
CREATE INDEX password_links_expiry ON password_links (expires_at);

-- Identity providers that were added while running. secret is sealed.
CREATE TABLE providers (
    id          TEXT PRIMARY KEY,
    document    TEXT NOT NULL,
    secret      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

-- Tokens of the system that users were imported from, by their hash: a refresh
-- token stands for a session, a legacy token for its user. An ended key is the
-- mark of an API key that was deleted here.
CREATE TABLE imported_tokens (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX imported_tokens_user ON imported_tokens (user_id);
CREATE INDEX imported_tokens_expiry ON imported_tokens (expires_at);

-- name_key: the full name as it is searched, folded.
ALTER TABLE users ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
UPDATE users SET name_key = lower(display_name);
CREATE INDEX users_name ON users (name_key) WHERE name_key <> '';
CREATE INDEX users_role ON users (role, username_key);
DROP INDEX users_admins;
CREATE INDEX users_disabled ON users (username_key) WHERE disabled_at IS NOT NULL;
CREATE INDEX identities_provider ON identities (provider_id, user_id);

-- Lists of sessions go by id, newest first.
DROP INDEX sessions_user;
CREATE INDEX sessions_user ON sessions (user_id, id);
DROP INDEX sessions_client;
CREATE INDEX sessions_client ON sessions (client_id, id) WHERE client_id <> 'latchkey-app';
CREATE INDEX sessions_provider ON sessions (provider_id, id) WHERE provider_id <> '';
CREATE INDEX sessions_cause ON sessions (end_cause, id) WHERE end_cause IS NOT NULL;

-- actor: the administrator who did it; empty where nobody but the user had a hand in it.
ALTER TABLE audit_events ADD COLUMN actor TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_events_actor ON audit_events (actor, at) WHERE actor <> '';
CREATE INDEX audit_events_name ON audit_events (name, at);
CREATE INDEX audit_events_client ON audit_events (client_id, at) WHERE client_id <> '';
CREATE INDEX audit_events_ip ON audit_events (ip, at) WHERE ip <> '';
