-- +goose Up

CREATE TABLE facts (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL
);

CREATE TABLE users (
    id              TEXT PRIMARY KEY,
    username        TEXT NOT NULL,
    username_key    TEXT NOT NULL UNIQUE,
    display_name    TEXT NOT NULL,
    email           TEXT NOT NULL,
    email_key       TEXT NOT NULL,
    email_verified  BIGINT NOT NULL,
    role            TEXT NOT NULL,
    idp_groups      TEXT NOT NULL,
    password_hash   TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    last_seen_at    BIGINT,
    disabled_at     BIGINT
);
CREATE INDEX users_email ON users (email_key) WHERE email_key <> '';
CREATE INDEX users_admins ON users (role) WHERE role IN ('root', 'admin');

CREATE TABLE identities (
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    provider_id   TEXT NOT NULL,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email         TEXT NOT NULL,
    username      TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    last_used_at  BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);

-- One row per login on any face. user_id has no foreign key: the rows of a
-- deleted user stay for their retention, to say why they ended. No rt_ column
-- is indexed, so that PostgreSQL updates a refreshed row in place.
CREATE TABLE sessions (
    id                TEXT PRIMARY KEY,
    user_id           TEXT NOT NULL,
    client_id         TEXT NOT NULL,
    parent_id         TEXT,
    provider_id       TEXT NOT NULL,
    idp_subject       TEXT NOT NULL,
    idp_session       TEXT NOT NULL,
    amr               TEXT NOT NULL,
    auth_time         BIGINT NOT NULL,
    scope             TEXT NOT NULL,
    rt_gen            BIGINT NOT NULL,
    rt_branch         BIGINT NOT NULL,
    rt_parent_branch  BIGINT,
    rt_advanced_at    BIGINT NOT NULL,
    rt_issued_at      BIGINT NOT NULL,
    idle_expires_at   BIGINT NOT NULL,
    abs_expires_at    BIGINT NOT NULL,
    dpop_jkt          TEXT,
    created_at        BIGINT NOT NULL,
    last_seen_at      BIGINT NOT NULL,
    created_ip        TEXT NOT NULL,
    last_ip           TEXT NOT NULL,
    user_agent        TEXT NOT NULL,
    ended_at          BIGINT,
    end_cause         TEXT,
    wipe              BIGINT NOT NULL,
    gc_after          BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_parent ON sessions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX sessions_gc ON sessions (gc_after);

CREATE TABLE auth_requests (
    id            TEXT PRIMARY KEY,
    provider_id   TEXT NOT NULL,
    redirect_uri  TEXT NOT NULL,
    state         TEXT NOT NULL,
    challenge     TEXT NOT NULL,
    expires_at    BIGINT NOT NULL,
    redeemed_at   BIGINT
);
CREATE INDEX auth_requests_expiry ON auth_requests (expires_at);

CREATE TABLE idp_logins (
    id           TEXT PRIMARY KEY,
    request_id   TEXT NOT NULL,
    provider_id  TEXT NOT NULL,
    return_to    TEXT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX idp_logins_expiry ON idp_logins (expires_at);

CREATE TABLE grants (
    id           TEXT PRIMARY KEY,
    request_id   TEXT NOT NULL,
    provider_id  TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    state        TEXT NOT NULL,
    challenge    TEXT NOT NULL,
    claims       TEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    redeemed_at  BIGINT,
    session_id   TEXT
);
CREATE INDEX grants_expiry ON grants (expires_at);

CREATE TABLE signing_keys (
    id          TEXT PRIMARY KEY,
    algorithm   TEXT NOT NULL,
    private     TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    active_at   BIGINT NOT NULL,
    retired_at  BIGINT
);

-- What an IdP said of itself when it last answered.
CREATE TABLE idp_metadata (
    issuer      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    document    TEXT NOT NULL,
    fetched_at  BIGINT NOT NULL,
    PRIMARY KEY (issuer, kind)
);

CREATE TABLE audit_events (
    id          TEXT PRIMARY KEY,
    at          BIGINT NOT NULL,
    name        TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    client_id   TEXT NOT NULL,
    ip          TEXT NOT NULL,
    detail      TEXT NOT NULL
);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_user ON audit_events (user_id, at);
CREATE INDEX audit_events_session ON audit_events (session_id, at);
