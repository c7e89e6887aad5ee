package storage

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// redisPrefix is how all keys begin that are ours.
	redisPrefix = "latchkey:limit:"
	// redisTime bounds one command: whoever logs in waits that long, once, when
	// Redis fails.
	redisTime = 500 * time.Millisecond
	// redisConns bounds the connections of a process: a flood of guesses waits here.
	redisConns = 32
)

// The error of the library repeats the URL, password included.
var errRedisURL = errors.New("must be redis://[user:password@]host:port[/number], rediss:// for TLS, or unix://path")

// CheckRedisURL says what is wrong with a URL of Redis, without connecting.
func CheckRedisURL(url string) error {
	_, err := redisDialer(url)
	return err
}

// PingRedis asks a Redis whether it answers, and lets us in.
func PingRedis(ctx context.Context, url string) error {
	rows, err := openRedis(url)
	if err != nil {
		return err
	}
	defer rows.pool.Close()
	_, err = rows.do(ctx, "PING")
	return err
}

// redisDialer reads a URL.
func redisDialer(text string) (func(context.Context) (redis.Conn, error), error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return nil, errRedisURL
	}
	network, address, path := redisAddress(u)
	database, ok := redisDatabase(path, u.Query())
	if address == "" || !ok {
		return nil, errRedisURL
	}
	password, _ := u.User.Password()
	options := []redis.DialOption{
		redis.DialConnectTimeout(redisTime), redis.DialReadTimeout(redisTime), redis.DialWriteTimeout(redisTime), redis.DialTLSHandshakeTimeout(redisTime),
		redis.DialUseTLS(u.Scheme == "rediss"), redis.DialUsername(u.User.Username()), redis.DialPassword(password), redis.DialDatabase(database),
	}
	return func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, network, address, options...)
	}, nil
}

// redisAddress is where to connect to, empty: nowhere; path is what of the URL's is
// no part of that.
func redisAddress(u *url.URL) (network, address, path string) {
	switch {
	case u.Scheme == "unix":
		return "unix", u.Host + u.Path, ""
	case u.Scheme != "redis" && u.Scheme != "rediss", u.Hostname() == "":
		return "", "", ""
	}
	return "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379")), strings.Trim(u.Path, "/")
}

// redisDatabase is the number of a database: the path, or db in the query, which has
// nothing else.
func redisDatabase(path string, query url.Values) (number int, ok bool) {
	text := path
	if text == "" {
		text = query.Get("db")
		query.Del("db")
	}
	if text == "" || len(query) > 0 {
		return 0, len(query) == 0
	}
	number, err := strconv.Atoi(text)
	return number, err == nil && number >= 0
}

func openRedis(url string) (*redisRows, error) {
	dial, err := redisDialer(url)
	if err != nil {
		return nil, err
	}
	return &redisRows{&redis.Pool{
		DialContext: dial, TestOnBorrowContext: stillThere, MaxIdle: redisConns, MaxActive: redisConns, Wait: true, IdleTimeout: time.Minute,
	}}, nil
}

// stillThere tells a connection from those that a Redis left behind which was
// started again.
func stillThere(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	if time.Since(lastUsed) < time.Second {
		return nil
	}
	_, err := redis.DoContext(c, ctx, "PING")
	return err
}

// redisRows implements throttled.GCRAStoreCtx. Throttled's own store makes a first
// write in two commands: a slower one of many at once would shorten the life of what
// the others counted.
type redisRows struct{ pool *redis.Pool }

// lookUp returns the value of a key and Redis' own time, in one round trip.
var lookUp = redis.NewScript(1, `local t = redis.call('time') return {t[1], t[2], redis.call('get', KEYS[1])}`)

// swap answers 1 where the value was the old one.
var swap = redis.NewScript(1, `
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

// GetWithTime implements throttled.GCRAStoreCtx: -1 where there is no such key.
func (r *redisRows) GetWithTime(ctx context.Context, key string) (int64, time.Time, error) {
	var seconds, micros int64
	value := int64(-1)
	reply, err := redis.Values(r.run(ctx, lookUp, redisPrefix+key))
	if err == nil {
		_, err = redis.Scan(reply, &seconds, &micros, &value)
	}
	return value, time.Unix(seconds, micros*int64(time.Microsecond)), err
}

// SetIfNotExistsWithTTL implements throttled.GCRAStoreCtx.
func (r *redisRows) SetIfNotExistsWithTTL(ctx context.Context, key string, value int64, ttl time.Duration) (bool, error) {
	reply, err := r.do(ctx, "SET", redisPrefix+key, value, "NX", "PX", lifetime(ttl))
	return reply != nil, err
}

// CompareAndSwapWithTTL implements throttled.GCRAStoreCtx.
func (r *redisRows) CompareAndSwapWithTTL(ctx context.Context, key string, old, value int64, ttl time.Duration) (bool, error) {
	return redis.Bool(r.run(ctx, swap, redisPrefix+key, old, value, lifetime(ttl)))
}

// lifetime is in milliseconds, and at least a second: zero would be an error.
func lifetime(ttl time.Duration) int64 { return max(ttl, time.Second).Milliseconds() }

func (r *redisRows) do(ctx context.Context, command string, args ...any) (any, error) {
	return r.with(ctx, func(c redis.Conn) (any, error) { return redis.DoContext(c, ctx, command, args...) })
}

func (r *redisRows) run(ctx context.Context, script *redis.Script, args ...any) (any, error) {
	return r.with(ctx, func(c redis.Conn) (any, error) { return script.DoContext(ctx, c, args...) })
}

func (r *redisRows) with(ctx context.Context, use func(redis.Conn) (any, error)) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return use(conn)
}
