package measure

// The statements have the shape of those in package storage, which keeps its
// own to itself; the schema is the product's migration.
const (
	sessionColumns = `id, user_id, client_id, parent_id, provider_id, idp_subject, idp_session, amr, auth_time, scope,
	rt_gen, rt_branch, rt_parent_branch, rt_advanced_at, rt_issued_at, idle_expires_at, abs_expires_at, dpop_jkt,
	created_at, last_seen_at, created_ip, last_ip, user_agent, ended_at, end_cause, wipe`

	sessionUser = `(SELECT json_array(u.id, u.username, u.display_name, u.email, u.email_verified, u.role, u.idp_groups,
	u.password_hash, u.created_at, u.updated_at, u.last_seen_at, u.disabled_at,
	CASE WHEN EXISTS (SELECT 1 FROM identities i WHERE i.user_id = u.id) THEN 1 ELSE 0 END)
	FROM users u WHERE u.id = sessions.user_id)`

	insertSession = `INSERT INTO sessions (` + sessionColumns + `, gc_after) VALUES (?, ?, 'app', NULL, '', '', '', '["pwd"]', ?, 'openid profile',
	0, 0, NULL, ?, ?, ?, ?, NULL, ?, ?, '192.0.2.1', '192.0.2.1', 'benchmark/1.0 (Linux)', NULL, NULL, 0, ?)`

	selectSession = `SELECT ` + sessionColumns + `, ` + sessionUser + ` FROM sessions WHERE id = ?`

	advance = `UPDATE sessions SET rt_parent_branch = ?, rt_gen = rt_gen + 1, rt_branch = 0, rt_advanced_at = ?, rt_issued_at = ?,
	last_seen_at = ?, last_ip = ?, idle_expires_at = CASE WHEN abs_expires_at < ? THEN abs_expires_at ELSE ? END
	WHERE id = ? AND rt_gen = ? AND rt_branch >= ? AND rt_advanced_at <= ? AND ended_at IS NULL
	AND idle_expires_at > ? AND abs_expires_at > ? AND client_id = ? AND dpop_jkt IS NULL
	AND EXISTS (SELECT 1 FROM users u WHERE u.id = sessions.user_id AND u.disabled_at IS NULL)
	RETURNING ` + sessionColumns + `, ` + sessionUser
)
