package main

import (
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// Logins that are begun, and codes, are counted over all replicas where that costs no
// row.
func TestOftenCountedWhereItIsCheap(t *testing.T) {
	for url, own := range map[string]bool{"": true, "redis://127.0.0.1:6379": false} {
		c, err := load(t, "redis_url: '"+url+"'\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.limits().Starts; got.Own != own || got.Max != c.RateLimit.StartsMax || got.Max == 0 {
			t.Errorf("redis_url %q: %+v", url, got)
		}
		if got := c.limits().Codes; got.Own != own || got.Max != broker.DefaultCodes.Max || got.Max == 0 {
			t.Errorf("redis_url %q: %+v", url, got)
		}
	}
}
