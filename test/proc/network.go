package proc

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// FreePort is a port of loopback that is free now; nothing else asks for it before
// its process does.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Port is [FreePort] for a test.
func Port(tb testing.TB) int {
	tb.Helper()
	port, err := FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

// Answers reports whether a URL answers 200.
func Answers(target string) bool {
	client := http.Client{Timeout: 2 * time.Second}
	res, err := client.Get(target)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}
