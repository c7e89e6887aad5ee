package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	goredisstore "github.com/throttled/throttled/v2/store/goredisstore.v9"
)

// redisPrefix is how all keys begin that are ours.
const redisPrefix = "latchkey:limit:"

// redisTime bounds one command: whoever logs in waits that long, once, when
// Redis fails.
const redisTime = 500 * time.Millisecond

// silenceRedis: what fails is said by the limiter, once.
var silenceRedis = sync.OnceFunc(logging.Disable)

// The error of the library repeats the URL, password included.
var errRedisURL = errors.New("must be redis://[user:password@]host:port[/number], rediss:// for TLS, or unix://path")

// CheckRedisURL says what is wrong with a URL of Redis, without connecting.
func CheckRedisURL(url string) error {
	if _, err := redis.ParseURL(url); err != nil {
		return errRedisURL
	}
	return nil
}

// PingRedis asks a Redis whether it answers, and lets us in.
func PingRedis(ctx context.Context, url string) error {
	rows, err := openRedis(url)
	if err != nil {
		return err
	}
	defer rows.client.Close()
	return rows.client.Ping(ctx).Err()
}

func openRedis(url string) (*redisRows, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errRedisURL
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = redisTime, redisTime, redisTime, redisTime
	o.MaxRetries, o.DialerRetries, o.ContextTimeoutEnabled = -1, 1, true // the limiter has its own way on
	silenceRedis()
	client := redis.NewClient(o)
	store, err := goredisstore.NewCtx(client, redisPrefix)
	return &redisRows{store, client}, err
}

// redisRows is throttled's store with a first write in one command: in two, a
// slower one of many at once would shorten the life of what the others counted.
type redisRows struct {
	*goredisstore.GoRedisStore
	client *redis.Client
}

// SetIfNotExistsWithTTL implements throttled.GCRAStoreCtx.
func (r *redisRows) SetIfNotExistsWithTTL(ctx context.Context, key string, value int64, ttl time.Duration) (bool, error) {
	return r.client.SetNX(ctx, redisPrefix+key, value, max(ttl, time.Second)).Result()
}
