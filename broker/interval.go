package broker

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Interval is a duration in settings: 90s, 10m, 1h, 30d, or a bare number of
// seconds.
type Interval time.Duration

// UnmarshalText implements encoding.TextUnmarshaler, for JSON and YAML.
func (i *Interval) UnmarshalText(text []byte) error {
	d, err := ParseDuration(string(text), time.Second)
	*i = Interval(d)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (i Interval) MarshalText() ([]byte, error) { return []byte(FormatDuration(time.Duration(i))), nil }

// ErrDuration is the error of a text that is no duration.
var ErrDuration = errors.New("must be a duration such as 90s, 10m, 1h or 30d")

// ParseDuration takes Go's units and d for days; a bare number has the unit.
// Nothing is negative.
func ParseDuration(text string, unit time.Duration) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > int64(1<<62)/int64(unit) {
			return 0, ErrDuration
		}
		return time.Duration(n) * unit, nil
	}
	var days time.Duration
	if head, tail, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseInt(head, 10, 32)
		if err != nil || n < 0 || n > 100_000 {
			return 0, ErrDuration
		}
		if days, text = time.Duration(n)*24*time.Hour, tail; text == "" {
			return days, nil
		}
	}
	rest, err := time.ParseDuration(text)
	if err != nil || rest < 0 {
		return 0, ErrDuration
	}
	return days + rest, nil
}

// FormatDuration writes whole days as days, and nothing that is zero.
func FormatDuration(t time.Duration) string {
	const day = 24 * time.Hour
	if t >= day && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	text := t.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
