package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// changeable are the keys that take effect by a reload. Whatever is not here
// needs a restart: it is opened, listened at or derived once.
var changeable = []string{
	"tls.cert_file", "tls.key_file", "cors_origins", "trusted_proxies",
	"tokens.algorithm", "tokens.hs256_secret", "tokens.access_ttl", "tokens.refresh_ttl", "tokens.session_max_age", "tokens.refresh_grace",
	"tokens.session_retention", "tokens.session_limit", "tokens.key_rotation", "audit_retention", "rate_limit.auth_window", "rate_limit.auth_max", "rate_limit.starts_max", "passwords.min_length",
	"local_login", "auto_launch", "registration_token", "mobile_redirect_uris", "mobile_confirm", "import.audiobookshelf_secret",
	"import.accept_legacy_until", "log.level",
}

var errStarting = errors.New("the program is still starting; ask again once it is ready")

// change is what differs between two configurations, by key and without values.
type change struct {
	keys    []string
	restart []string // those of keys that need one
}

// changes compares what is in effect with what was read.
func changes(was, is *config) (out change) {
	before := was.settings()
	for i, s := range is.settings() {
		if s.key == "" || reflect.DeepEqual(reflect.ValueOf(before[i].value).Elem().Interface(), reflect.ValueOf(s.value).Elem().Interface()) {
			continue
		}
		out.keys = append(out.keys, s.key)
		if !slices.Contains(changeable, s.key) {
			out.restart = append(out.restart, s.key)
		}
	}
	if encrypted := was.TLS.CertFile != ""; encrypted != (is.TLS.CertFile != "") {
		out.restart = append(out.restart, "tls.cert_file")
	}
	if !reflect.DeepEqual(was.ForwardAuth, is.ForwardAuth) {
		out.keys = append(out.keys, "forward_auth.rules")
	}
	out.keys = append(out.keys, changedItems("providers", was.Providers, is.Providers, func(x providerConfig) string { return x.ID })...)
	out.keys = append(out.keys, changedItems("clients", was.Clients, is.Clients, func(x clientConfig) string { return x.ID })...)
	return out
}

// changedItems are the items of a list that are new, gone or different; the name
// of the list where only their order is.
func changedItems[T any](name string, was, is []T, id func(T) string) (out []string) {
	if reflect.DeepEqual(was, is) {
		return nil
	}
	before, after := map[string]T{}, map[string]T{}
	for _, x := range was {
		before[id(x)] = x
	}
	for _, x := range is {
		after[id(x)] = x
		if old, ok := before[id(x)]; !ok || !reflect.DeepEqual(old, x) {
			out = append(out, name+"."+id(x))
		}
	}
	for _, x := range was {
		if _, ok := after[id(x)]; !ok {
			out = append(out, name+"."+id(x))
		}
	}
	if out == nil {
		out = []string{name}
	}
	return out
}

// reloadOnHangup reads the configuration again with each SIGHUP, one at a time,
// until ctx ends.
func (r *running) reloadOnHangup(ctx context.Context) {
	if r.read == nil {
		return
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	r.background.Go(func() {
		defer signal.Stop(asked)
		for {
			select {
			case <-ctx.Done():
				return
			case <-asked:
				r.reloadConfig(ctx)
			}
		}
	})
}

// reloadConfig puts the configuration of the moment into effect as a whole, or
// leaves everything as it is.
func (r *running) reloadConfig(ctx context.Context) {
	over := r.manager.reloads()
	if r.certificates != nil {
		r.certificates.look()
	}
	next, changed, err := r.reread(ctx)
	defer over(err)
	if r.metrics != nil && ctx.Err() == nil {
		r.metrics.Configured(time.Now(), true, err == nil)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.log.Error("the configuration stays as it was", "event", "config.refused", "error", err, "changed", changed.keys)
	default:
		r.log.Info("the configuration was read again", "event", "config.reloaded", "changed", changed.keys)
		for _, w := range next.warnings() {
			r.log.Warn(w, "event", "config.warning")
		}
	}
}

func (r *running) reread(ctx context.Context) (*config, change, error) {
	was := r.config.Load()
	if was == nil {
		return nil, change{}, errStarting
	}
	next, err := r.read()
	if err != nil {
		return nil, change{}, err
	}
	next.running = r
	changed := changes(was, next)
	if len(changed.restart) > 0 {
		return nil, changed, fmt.Errorf("%s: needs a restart", strings.Join(changed.restart, ", "))
	}
	if len(changed.keys) == 0 {
		return next, changed, nil
	}
	return next, changed, r.replace(ctx, next)
}

// replace lets the next requests in by another configuration; those that are
// under way end by the one that they began with.
func (r *running) replace(ctx context.Context, next *config) error {
	certificates, err := next.loadCertificates()
	if err != nil {
		return err
	}
	b, err := next.newBroker(ctx, r.store.Load(), r.log)
	if err != nil {
		return err
	}
	if err := b.Load(ctx); err != nil {
		return err
	}
	handler, err := next.handler(b, r.log)
	if err != nil {
		return err
	}
	// Nothing can fail from here on.
	if r.certificates != nil {
		r.certificates.replace(certificates)
	}
	if r.level != nil {
		_ = r.level.UnmarshalText([]byte(next.Log.Level)) // checked with the configuration
	}
	r.broker.Store(b)
	r.config.Store(next)
	r.front.next.Store(&handler)
	return nil
}

// now is a work of the broker of the moment, for loops that outlive a reload.
func (r *running) now(work func(*broker.Broker, context.Context) (int, error)) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) { return work(r.broker.Load(), ctx) }
}
