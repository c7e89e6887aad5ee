-- +goose Up

-- A program that did not keep the service's own time has left sessions as far as
-- they were used: the upgrade may have taken longer than they may lie unused.
INSERT INTO uptime (id, service_at, seen_at)
    SELECT 1, used.at, used.at FROM (SELECT MAX(last_seen_at) AS at FROM sessions) AS used WHERE used.at IS NOT NULL
    ON CONFLICT (id) DO NOTHING;
