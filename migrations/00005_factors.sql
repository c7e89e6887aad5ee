-- +goose Up

-- second_factor: the account has an authenticator app that counts, or a passkey,
-- so that its password alone lets nobody in. Written with those rows.
ALTER TABLE users ADD COLUMN second_factor BIGINT NOT NULL DEFAULT 0;

-- The authenticator app of a user (RFC 6238). secret is sealed. It counts once
-- confirmed_at is set; until then it belongs to the session that began it.
-- last_step is the time step of the last code that was taken: no code of it or of
-- an earlier one is taken again.
CREATE TABLE totps (
    user_id       TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret        TEXT NOT NULL,
    session_id    TEXT NOT NULL,
    last_step     BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    confirmed_at  BIGINT
);

-- Recovery codes, each by its hash; a code that was used is gone.
CREATE TABLE recovery_codes (
    id       TEXT PRIMARY KEY,
    user_id  TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX recovery_codes_user ON recovery_codes (user_id);

-- Passkeys (WebAuthn). credential_id is base64url, public_key the COSE key in
-- base64url, as the authenticator gave it. synced: it may be on more than one device.
CREATE TABLE passkeys (
    id             TEXT PRIMARY KEY,
    credential_id  TEXT NOT NULL UNIQUE,
    user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name           TEXT NOT NULL,
    public_key     TEXT NOT NULL,
    aaguid         TEXT NOT NULL,
    transports     TEXT NOT NULL,
    sign_count     BIGINT NOT NULL,
    synced         BIGINT NOT NULL,
    backed_up      BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    last_used_at   BIGINT
);
CREATE INDEX passkeys_user ON passkeys (user_id, id);

-- Logins whose password was right and that wait for the second factor. id is the
-- hash of the browser's secret; password is the hash that was compared with.
CREATE TABLE pending_logins (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    password    TEXT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX pending_logins_expiry ON pending_logins (expires_at);

-- Challenges that passkeys were asked to sign, each by its hash. kind is register,
-- login or second; bound_to is the hash of what may answer: a session, a browser, a
-- pending login.
CREATE TABLE passkey_challenges (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    bound_to    TEXT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX passkey_challenges_expiry ON passkey_challenges (expires_at);
