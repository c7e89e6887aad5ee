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
	young, old map[[sha256.Size]byte]Claims
}

func newCache(size int) *cache {
	return &cache{size: size / 2, young: map[[sha256.Size]byte]Claims{}}
}

func (c *cache) get(raw string) (Claims, bool) {
	if c.size <= 0 {
		return Claims{}, false
	}
	key := sha256.Sum256([]byte(raw))
	c.mu.RLock()
	defer c.mu.RUnlock()
	if claims, ok := c.young[key]; ok {
		return claims, true
	}
	claims, ok := c.old[key]
	return claims, ok
}

func (c *cache) put(raw string, claims Claims) {
	if c.size <= 0 {
		return
	}
	key := sha256.Sum256([]byte(raw))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]Claims, c.size)
	}
	c.young[key] = claims
}
