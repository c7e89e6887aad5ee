-- +goose Up

-- The service's own time: it goes on while a server runs, whatever the wall clock
-- does. service_at is how far it has come, seen_at what the wall clock said then.
CREATE TABLE uptime (
    id          BIGINT PRIMARY KEY,
    service_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL
);

-- idle_away: by how much the wall clock was ahead of the service's own time when
-- idle_expires_at was written. A program that does not know the column writes ends
-- that are too late, never too early.
ALTER TABLE sessions ADD COLUMN idle_away BIGINT NOT NULL DEFAULT 0;
