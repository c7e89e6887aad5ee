package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// duration is a time.Duration that people write as 1h, 30d or 10m.
type duration time.Duration

// Duration is the value for everybody else.
func (d duration) Duration() time.Duration { return time.Duration(d) }

// String writes whole days as days.
func (d duration) String() string {
	const day = 24 * time.Hour
	t := time.Duration(d)
	if t >= day && t%day == 0 {
		return fmt.Sprintf("%dd", t/day)
	}
	text := t.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}

// UnmarshalYAML reads 1h, 30d, or a bare number of seconds (milliseconds for
// rate_limit.auth_window, as in the environment).
func (d *duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := parseDuration(n.Value, time.Second)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*d = v
	return nil
}

// MarshalYAML prints a duration as people write it.
func (d duration) MarshalYAML() (any, error) { return d.String(), nil }

// parseDuration takes Go's units and d for days; a bare number has the unit.
func parseDuration(text string, unit time.Duration) (duration, error) {
	wrong := fmt.Errorf("is %q, must be a duration such as 90s, 10m, 1h or 30d", text)
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > int64(1<<62)/int64(unit) {
			return 0, wrong
		}
		return duration(time.Duration(n) * unit), nil
	}
	var days time.Duration
	if head, tail, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseInt(head, 10, 32)
		if err != nil || n < 0 || n > 100_000 {
			return 0, wrong
		}
		if days, text = time.Duration(n)*24*time.Hour, tail; text == "" {
			return duration(days), nil
		}
	}
	rest, err := time.ParseDuration(text)
	if err != nil || rest < 0 {
		return 0, wrong
	}
	return duration(days + rest), nil
}

// UnmarshalYAML reads a bare number as milliseconds, which is what the
// environment variable of the same setting has always meant.
func (r *rateLimitConfig) UnmarshalYAML(n *yaml.Node) error {
	type plain rateLimitConfig
	if err := n.Decode((*plain)(r)); err != nil {
		return err
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "auth_window" {
			window, err := parseDuration(n.Content[i+1].Value, time.Millisecond)
			if err != nil {
				return fmt.Errorf("line %d: %w", n.Content[i+1].Line, err)
			}
			r.AuthWindow = window
		}
	}
	return nil
}

// seconds is the value where seconds are what is stored.
func (d duration) seconds() int64 { return int64(time.Duration(d) / time.Second) }

// durationFlag is a duration of whole seconds as a flag.
type durationFlag struct{ duration }

// Set implements pflag.Value.
func (f *durationFlag) Set(text string) (err error) {
	f.duration, err = parseDuration(text, time.Second)
	if err == nil && time.Duration(f.duration)%time.Second != 0 {
		err = errWholeSeconds
	}
	return err
}

// String implements pflag.Value; nothing is set by default.
func (f *durationFlag) String() string {
	if f.duration == 0 {
		return ""
	}
	return f.duration.String()
}

// Type implements pflag.Value.
func (*durationFlag) Type() string { return "duration" }

var errWholeSeconds = errors.New("must be whole seconds")
