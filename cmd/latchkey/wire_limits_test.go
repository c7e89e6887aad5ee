package main

import "testing"

// Logins that are begun are counted over all replicas where that costs no row.
func TestStartsCountWhereItIsCheap(t *testing.T) {
	for url, own := range map[string]bool{"": true, "redis://127.0.0.1:6379": false} {
		c, err := load(t, "redis_url: '"+url+"'\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.limits().Starts; got.Own != own || got.Max != c.RateLimit.StartsMax || got.Max == 0 {
			t.Errorf("redis_url %q: %+v", url, got)
		}
	}
}
