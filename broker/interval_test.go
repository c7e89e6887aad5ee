package broker_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

func TestInterval(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h": time.Hour, "1h30m": 90 * time.Minute, "30d": 30 * day, "1d12h": 36 * time.Hour, "3600": time.Hour, "0": 0, " 5m ": 5 * time.Minute,
	} {
		var i broker.Interval
		if err := i.UnmarshalText([]byte(text)); err != nil || time.Duration(i) != want {
			t.Errorf("%q: %v, %v", text, time.Duration(i), err)
		}
		raw, err := json.Marshal(i)
		var again broker.Interval
		if err != nil || json.Unmarshal(raw, &again) != nil || again != i {
			t.Errorf("%q: %s is read as %v, %v", text, raw, again, err)
		}
	}
	for _, text := range []string{"", "soon", "-1", "-5m", "1d-1h", "d", "1w", "99999999999999999999", "1000000d", "-1d"} {
		if err := new(broker.Interval).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
