-- +goose Up

-- What the limits on attempts have counted: id is a hash of what is counted and
-- by whom, value belongs to the algorithm (GCRA's theoretical arrival time, in
-- Unix ns). A row that has expired counts as none.
CREATE TABLE limits (
    id         TEXT NOT NULL PRIMARY KEY,
    value      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX limits_expires ON limits (expires_at);
