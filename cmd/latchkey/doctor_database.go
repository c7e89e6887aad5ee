package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// troubleIDs say which finding a kind of trouble is.
var troubleIDs = map[storage.Trouble]string{
	storage.TroubleUnreachable: "database_unreachable", storage.TroubleLogin: "database_login", storage.TroubleNoDatabase: "database_missing",
	storage.TroubleTLS: "database_tls", storage.TroubleFull: "database_connections", storage.TroublePooler: "database_pooler",
	storage.TroubleDamaged: "database_damaged", storage.TroubleOther: "database_trouble",
}

// checkDatabase looks at what the database said of itself.
func checkDatabase(_ context.Context, d *doctor) (out []finding, looked bool) {
	v := values{"database": databaseName(d.config.databaseURL())}
	if d.storeErr != nil {
		v["reason"] = withoutPassword(d.storeErr, d.config.databaseURL())
		v["have"], v["need"] = "0", strconv.Itoa(storage.PoolConnections)
		return []finding{found(troubleIDs[storage.TroubleOf(d.storeErr)], "", v)}, true
	}
	if d.store == nil {
		return nil, false // the first start makes it
	}
	c := d.condition
	v["schema"], v["known"] = strconv.FormatInt(c.Schema, 10), strconv.FormatInt(c.Known, 10)
	switch {
	case c.TooNew != nil:
		v["reason"] = c.TooNew.Error()
		out = append(out, found("schema_newer", "", v))
	case c.Schema > 0 && c.Schema < c.Known:
		out = append(out, found("schema_older", "", v))
	}
	if _, embedded := storage.IsSQLite(d.config.databaseURL()); embedded {
		return out, true
	}
	return append(out, d.checkServer(v)...), true
}

// checkRedis asks the Redis that counts failed logins.
func checkRedis(ctx context.Context, d *doctor) (out []finding, looked bool) {
	if d.config.RedisURL == "" {
		return nil, false
	}
	if err := storage.PingRedis(ctx, d.config.RedisURL); err != nil {
		u, _ := url.Parse(d.config.RedisURL) // checked with the configuration
		out = append(out, found("redis_unreachable", "", values{"redis": u.Host + u.Path, "reason": withoutPassword(err, d.config.RedisURL)}))
	}
	return out, true
}

// keysLate is how long signing keys may be behind their time before it is said.
const keysLate = time.Hour

// checkKeys looks whether signing keys change in time, where a server runs to see
// to it.
func checkKeys(_ context.Context, d *doctor) (out []finding, looked bool) {
	if d.broker == nil || !d.storeFits() || !d.local().proven && !d.public().proven {
		return nil, false
	}
	if late := d.broker.KeyChangeOverdue(); late > keysLate {
		out = append(out, found("key_change_overdue", "", values{"hours": strconv.Itoa(int(late.Hours()))}))
	}
	return out, true
}

// checkServer looks at settings of PostgreSQL.
func (d *doctor) checkServer(v values) (out []finding) {
	c := d.condition
	apart := d.lookedAt.Sub(c.Clock).Abs()
	v["have"], v["need"] = strconv.Itoa(max(0, c.Connections-c.Others)), strconv.Itoa(storage.PoolConnections)
	v["seconds"] = strconv.Itoa(int(apart.Seconds()))
	if c.SynchronousCommit == "off" {
		out = append(out, found("database_not_durable", "synchronous_commit", values{"setting": "synchronous_commit"}))
	}
	if c.Fsync == "off" {
		out = append(out, found("database_not_durable", "fsync", values{"setting": "fsync"}))
	}
	if c.Connections-c.Others < storage.PoolConnections {
		out = append(out, found("database_connections", "", v))
	}
	if apart > clockApart {
		out = append(out, found("database_clock", "", v))
	}
	if u, err := url.Parse(d.config.databaseURL()); err == nil && !c.Encrypted && !near(u) {
		out = append(out, found("database_unencrypted", "", v))
	}
	return out
}

// near reports whether a database is on this machine, or in a network of
// containers, whose names have no dot.
func near(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "" || strings.HasPrefix(host, "/") || u.Query().Has("host") || broker.LoopbackName(host) || ip == nil && !strings.Contains(host, ".")
}

// databaseName names a database without credentials.
func databaseName(databaseURL string) string {
	if file, ok := storage.IsSQLite(databaseURL); ok {
		return file
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "the database"
	}
	return u.Host + u.Path
}

// withoutPassword says an error. Drivers do not repeat a password; this makes
// sure of it.
func withoutPassword(err error, databaseURL string) string {
	text := err.Error()
	if u, parseErr := url.Parse(databaseURL); parseErr == nil && u.User != nil {
		if password, ok := u.User.Password(); ok && password != "" {
			text = strings.ReplaceAll(text, password, redacted)
		}
	}
	return text
}

// checkSecrets holds the root secret against the database, and against the server
// that runs.
func checkSecrets(ctx context.Context, d *doctor) (out []finding, looked bool) {
	state := broker.SecretUnused
	if d.store != nil && d.storeErr == nil && d.condition.Schema > 0 {
		var err error
		if state, err = broker.StateOfSecrets(ctx, d.store, d.secrets); err != nil {
			return nil, false // the database has trouble, which is said there
		}
	}
	v := values{"file": d.secretFile()}
	missing := errors.Is(d.secretErr, fs.ErrNotExist) || errors.Is(d.secretErr, syscall.ENOTDIR)
	switch {
	case d.secretErr != nil && !missing:
		v["reason"] = reasonOf(d.secretErr)
		return []finding{found("secret_file_unusable", d.secretFile(), v)}, true
	case missing && state != broker.SecretUnused:
		return []finding{found("secret_file_gone", d.secretFile(), v)}, true
	case state == broker.SecretOther:
		out = append(out, found("secret_other", "", v))
	case state == broker.SecretEarlier:
		out = append(out, found("secret_earlier", "", v))
	}
	// A refusal by a server with our keys: it is of this database.
	for _, s := range []sighting{d.local(), d.public()} {
		if same, _ := d.sameKeys(ctx, s.keys); same && s.latchkey == string(broker.Forbidden) && !strings.Contains(s.body, "too far apart") {
			return append(out, found("server_other_secret", "", values{"at": s.base})), true
		}
	}
	return out, true
}
