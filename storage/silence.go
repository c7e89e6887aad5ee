package storage

import (
	"context"
	"database/sql"
	"net"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// A server that is gone is noticed at once, one that is silent never: lib/pq
// waits for an answer whatever the context says, and the server's own time
// limit is no help while the server stands still. So every read has an end.
const silenceLimit = statementLimit + 2*time.Second

func dialPostgres(dsn string) (*sqlx.DB, error) {
	connector, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	connector.Dialer(impatient{})
	return sqlx.NewDb(sql.OpenDB(connector), "postgres"), nil
}

// impatient implements pq.DialerContext.
type impatient struct{}

func (impatient) Dial(network, address string) (net.Conn, error) {
	return impatient{}.DialContext(context.Background(), network, address)
}

func (impatient) DialTimeout(network, address string, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return impatient{}.DialContext(ctx, network, address)
}

func (impatient) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: connectLimit}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return impatientConn{conn}, nil
}

type impatientConn struct{ net.Conn }

func (c impatientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(silenceLimit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}
