package main

import (
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-id/latchkey/broker"
)

// duration is a time.Duration that people write as 1h, 30d or 10m.
type duration time.Duration

// Duration is the value for everybody else.
func (d duration) Duration() time.Duration { return time.Duration(d) }

// String writes whole days as days.
func (d duration) String() string { return broker.FormatDuration(time.Duration(d)) }

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
	d, err := broker.ParseDuration(text, unit)
	if err != nil {
		return 0, fmt.Errorf("is %q, %w", text, err)
	}
	return duration(d), nil
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
