package proc

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
)

// RedisPassword is what a Redis wants of whoever asks it.
const RedisPassword = "the-password-of-redis"

// Redis is a Redis of the machine at one port, to be started, stopped and started again.
type Redis struct {
	Address string
	tb      testing.TB
	server  *Process
}

// NewRedis prepares one, which ends with the test.
func NewRedis(tb testing.TB) *Redis {
	tb.Helper()
	return &Redis{Address: fmt.Sprintf("127.0.0.1:%d", Port(tb)), tb: tb}
}

// URL is where it is, with the password that it wants.
func (r *Redis) URL() string { return "redis://:" + RedisPassword + "@" + r.Address }

// Start starts it, empty, and waits until it answers.
func (r *Redis) Start() {
	r.tb.Helper()
	_, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		r.tb.Fatal(err)
	}
	program := "redis-server"
	if _, err := exec.LookPath(program); err != nil {
		program = "redis-check-rdb" // the same program by its other name, from Debian's package without a service
	}
	cmd := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", r.tb.TempDir(), "--requirepass", RedisPassword)
	cmd.Args[0] = "redis-server"
	r.server = Run(r.tb, cmd)
	r.server.Until(r.tb, "Redis answers", func() bool {
		c, err := net.Dial("tcp", r.Address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// Stop ends it at once; what it knew is gone.
func (r *Redis) Stop() { r.server.Kill() }
