package main

import (
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// Logins that are begun, codes and exports are counted over all replicas where that
// costs no row.
func TestOftenCountedWhereItIsCheap(t *testing.T) {
	for url, own := range map[string]bool{"": true, "redis://127.0.0.1:6379": false} {
		c, err := load(t, "redis_url: '"+url+"'\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		limits := c.limits()
		for most, got := range map[int]broker.Quota{
			c.RateLimit.StartsMax: limits.Starts, broker.DefaultCodes.Max: limits.Codes, broker.DefaultExports.Max: limits.Exports,
		} {
			if got.Own != own || got.Max != most || most == 0 {
				t.Errorf("redis_url %q: %+v", url, got)
			}
		}
	}
}
