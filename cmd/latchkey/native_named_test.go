package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

// The server learns which machine logs in, for the list of devices.
func TestRequestsNameTheMachine(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer server.Close()
	res, err := newServerClient().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	name, err := url.PathUnescape(got.Get("Latchkey-Device-Name"))
	if err != nil || name != host || !strings.HasPrefix(got.Get("User-Agent"), "latchkey/"+version+" (") {
		t.Errorf("%q by %q", name, got.Get("User-Agent"))
	}
}
