package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStrangersDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newQuiet(slog.NewTextHandler(&out, nil)))
		for range 1000 {
			log.Warn("IdP cannot be used", "event", "idp.failed", "provider", "a")
			log.Warn("IdP cannot be used", "event", "idp.failed", "provider", "b")
			log.Warn("Failed login attempt from 192.0.2.1", "event", "auth.login.failed")
		}
		if n := strings.Count(out.String(), "idp.failed"); n != 2 {
			t.Errorf("%d lines of two kinds", n)
		}
		if n := strings.Count(out.String(), "auth.login.failed"); n != 1000 {
			t.Errorf("%d of 1000 failed logins are in the log", n)
		}
		time.Sleep(quietFor)
		log.Warn("IdP cannot be used", "event", "idp.failed", "provider", "a")
		if !strings.Contains(out.String(), "provider=a left_out=999") {
			t.Error("what was left out is not counted")
		}
	})
}
