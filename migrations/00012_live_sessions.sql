-- +goose Up

-- What lives is found among what has ended, of which one person may have any number:
-- how many sessions there are is asked whenever one is made, while others wait.
CREATE INDEX sessions_live_user ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_live_parent ON sessions (parent_id) WHERE parent_id IS NOT NULL AND ended_at IS NULL;
