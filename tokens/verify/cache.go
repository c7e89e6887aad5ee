package verify

import (
	"crypto/sha256"
	"sync"
)

// cache remembers verified tokens by their hash. It keeps two generations and
// drops the older when the younger is full: bounded, without a list to keep.
type cache struct {
	mu         sync.RWMutex
	size       int
	young, old map[[sha256.Size]byte]verified
}

// verified is a token whose signature was good, by the key of that kid.
type verified struct {
	claims Claims
	kid    string
}

func newCache(size int) *cache {
	return &cache{size: size / 2, young: map[[sha256.Size]byte]verified{}}
}

func (c *cache) get(raw string) (verified, bool) {
	if c.size <= 0 {
		return verified{}, false
	}
	key := sha256.Sum256([]byte(raw))
	c.mu.RLock()
	defer c.mu.RUnlock()
	if found, ok := c.young[key]; ok {
		return found, true
	}
	found, ok := c.old[key]
	return found, ok
}

func (c *cache) put(raw string, v verified) {
	if c.size <= 0 {
		return
	}
	key := sha256.Sum256([]byte(raw))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]verified, c.size)
	}
	c.young[key] = v
}
