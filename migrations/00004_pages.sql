-- +goose Up

-- device_name: what the app calls the device that it runs on; empty where it
-- says nothing, and the user agent names it.
ALTER TABLE sessions ADD COLUMN device_name TEXT NOT NULL DEFAULT '';

-- A user's sessions by their end. Uses of a session touch none of its columns.
CREATE INDEX sessions_user_ended ON sessions (user_id, ended_at, id) WHERE ended_at IS NOT NULL;

-- Sessions by where they began. Where they were used last moves with every use.
CREATE INDEX sessions_ip ON sessions (created_ip, id) WHERE created_ip <> '';

-- What is counted for the overview: how many times something happened in an
-- hour (hour is its beginning, Unix ms), by a label such as a cause or a client.
CREATE TABLE figures (
    name   TEXT NOT NULL,
    hour   BIGINT NOT NULL,
    label  TEXT NOT NULL,
    n      BIGINT NOT NULL,
    PRIMARY KEY (name, hour, label)
);

-- Ends are counted by their cause, from the index alone.
DROP INDEX sessions_ended;
CREATE INDEX sessions_ended ON sessions (ended_at, end_cause) WHERE ended_at IS NOT NULL;

-- Keys of a user go by id, page by page.
DROP INDEX api_keys_user;
CREATE INDEX api_keys_user ON api_keys (user_id, id);
