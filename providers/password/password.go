// Package password makes and compares password hashes. New ones are argon2id;
// those from elsewhere are verified, within bounds of what that may cost, and
// asked to be replaced. How many are computed at once is bounded, and they run
// at a lower priority than the rest, so that a storm of passwords costs
// refreshes little.
package password

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-id/latchkey/broker"
)

// The cost of a hash: OWASP's first choice for argon2id (19 MiB, two passes,
// one lane), about 20 to 40 ms of one core.
const (
	memoryKiB  = 19 * 1024
	iterations = 2
	lanes      = 1
)

var errBusy = errors.New("too many passwords are being checked")

// Config bounds the work. The zero value is the default.
type Config struct {
	// Parallel is how many hashes are computed at once. 0: half of the cores.
	Parallel int
	// Waiting is how many may wait; more are told to come again. 0: 128.
	Waiting int
	// MemoryKiB lowers the cost, for tests. 0: 19 MiB.
	MemoryKiB uint32
}

// Hasher implements broker.PasswordHasher and broker.PasswordJudge.
type Hasher struct {
	argon   *argon2.Hasher
	decoder *crypt.Decoder
	ours    string // how a hash begins that need not be replaced
	dummy   broker.PasswordHash
	waiting chan struct{}
	running chan struct{}
	done    atomic.Uint64
	busy    atomic.Uint64
	took    atomic.Int64 // nanoseconds, of those done
}

// Load is how busy a [Hasher] is, and was since it was made.
type Load struct {
	Running, Parallel int           // how many are computed now, and at most
	Waiting, Room     int           // how many wait for their turn now, and at most
	Done, Busy        uint64        // how many were computed, and were told to come again
	Took              time.Duration // of those done, without waiting
}

// Load says how busy the Hasher is.
func (h *Hasher) Load() Load {
	running := len(h.running)
	return Load{
		Running: running, Parallel: cap(h.running), Waiting: max(0, len(h.waiting)-running), Room: cap(h.waiting),
		Done: h.done.Load(), Busy: h.busy.Load(), Took: time.Duration(h.took.Load()),
	}
}

// New returns a Hasher.
func New(cfg Config) (*Hasher, error) {
	if cfg.Parallel == 0 {
		cfg.Parallel = max(1, lent.own()/2)
	}
	if cfg.Waiting == 0 {
		cfg.Waiting = 128
	}
	if cfg.MemoryKiB == 0 {
		cfg.MemoryKiB = memoryKiB
	}
	argon, err := argon2.New(argon2.WithVariantID(), argon2.WithM(cfg.MemoryKiB), argon2.WithT(iterations), argon2.WithP(lanes))
	if err != nil {
		return nil, err
	}
	decoder, err := newDecoder()
	if err != nil {
		return nil, err
	}
	h := &Hasher{
		argon: argon, decoder: decoder, ours: fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$", cfg.MemoryKiB, iterations, lanes),
		waiting: make(chan struct{}, cfg.Waiting), running: make(chan struct{}, cfg.Parallel),
	}
	return h, h.makeDummy()
}

// makeDummy writes a hash that nobody's password matches, and that costs what ours
// do, without computing one: the key is not the hash of anything that is known.
func (h *Hasher) makeDummy() error {
	digest, err := argon2.Decode(h.ours + "bGF0Y2hrZXkgZHVtbXkgcw$bm9ib2R5cyBwYXNzd29yZCBoYXMgdGhpcyBrZXkgISE")
	if err != nil {
		return err
	}
	h.dummy = broker.PasswordHash(digest.Encode())
	return nil
}

// Hash implements broker.PasswordHasher. The text is normalised (NFC), so that
// one password is one on every keyboard.
func (h *Hasher) Hash(ctx context.Context, password string) (hash broker.PasswordHash, err error) {
	err = h.run(ctx, h.counted(func() error {
		digest, err := h.argon.Hash(norm.NFC.String(password))
		if err == nil {
			hash = broker.PasswordHash(digest.Encode())
		}
		return err
	}))
	return hash, err
}

// Verify implements broker.PasswordHasher.
func (h *Hasher) Verify(ctx context.Context, hash broker.PasswordHash, password string) (ok, rehash bool, err error) {
	known := hash != ""
	if !known {
		hash = h.dummy
	}
	ours := strings.HasPrefix(string(hash), h.ours)
	err = h.run(ctx, h.counted(func() error {
		digest, err := h.decode(string(hash))
		if err != nil {
			return err
		}
		composed := norm.NFC.String(password)
		ok = digest.Match(composed)
		if !ok && !ours && composed != password {
			ok = digest.Match(password) // hashed elsewhere, perhaps without normalising
		}
		return nil
	}))
	return ok && known, ok && known && !ours, err
}

// counted is a hash as [Load] counts it.
func (h *Hasher) counted(hash func() error) func() error {
	return func() error {
		begun := time.Now()
		err := hash()
		h.took.Add(int64(time.Since(begun)))
		h.done.Add(1)
		return err
	}
}

// run waits for its turn and computes on a thread of low priority.
func (h *Hasher) run(ctx context.Context, f func() error) error {
	select {
	case h.waiting <- struct{}{}:
		lent.lend(cap(h.running))
		defer func() { lent.takeBack(); <-h.waiting }()
	default:
		h.busy.Add(1)
		return &broker.Error{Code: broker.TemporarilyUnavailable, Err: errBusy, RetryAfter: 5 * time.Second}
	}
	select {
	case h.running <- struct{}{}:
	case <-ctx.Done():
		return broker.Unavailable(ctx.Err())
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-h.running }()
		// Never unlocked: the thread ends with the goroutine, its priority with it.
		runtime.LockOSThread()
		lowerPriority()
		done <- guarded(f)
	}()
	return <-done
}

// guarded makes a panic the trouble of whoever asked, as it is in a request: here it
// would end the program.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = broker.Unavailable(fmt.Errorf("panic: %v", p))
		}
	}()
	return f()
}
