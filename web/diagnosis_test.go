package web_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/web"
)

// The server says what it believes of a request, and of whom it took that.
func TestDiagnosis(t *testing.T) {
	x := newSite(t, setup{web: func(c *web.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }})
	root, err := tokens.NewRootSecret([]byte(harness.Secret))
	if err != nil {
		t.Fatal(err)
	}
	held := tokens.Secrets{root}
	question := header("Latchkey-Question", broker.NewQuestion(held, "nonce", x.Clock.Now()))
	ask := func(peer string) (seen broker.Sight) {
		t.Helper()
		a := x.do(http.MethodGet, "/diagnosis", question, header(peerHeader, peer), header("X-Forwarded-For", "192.0.2.1, 198.51.100.7"), header("X-Forwarded-Proto", "https"))
		if a.Status != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "no-store") {
			t.Fatalf("%d %s, %v", a.Status, a.Body, a.Header)
		}
		if seen, err = broker.ReadAnswer(held, "nonce", []byte(a.Body), a.Header.Get("Latchkey-Proof")); err != nil {
			t.Fatal(err)
		}
		return seen
	}
	if s := ask("10.1.2.3:5000"); s.Address != "198.51.100.7" || s.Scheme != "https" || !s.PeerTrusted || s.TLS || s.ForwardedFor != "192.0.2.1, 198.51.100.7" || s.ForwardedProto != "https" {
		t.Errorf("%+v", s)
	}
	if s := ask("203.0.113.9:5000"); s.Address != "203.0.113.9" || s.Scheme != "http" || s.PeerTrusted || !strings.HasPrefix(s.Peer, "203.0.113.9:") {
		t.Errorf("%+v", s)
	}
}

// Nobody else is told anything.
func TestStrangerAsksForADiagnosis(t *testing.T) {
	x := newSite(t, setup{})
	alice := x.login("root")
	for name, o := range map[string]option{
		"nobody": header("Accept", "*/*"), "root": bearer(alice.access), "a guess": header("Latchkey-Question", "1.n.AAAA"),
	} {
		a := x.do(http.MethodGet, "/diagnosis", o)
		var refusal map[string]string
		if a.Status != http.StatusForbidden || json.Unmarshal([]byte(a.Body), &refusal) != nil || refusal["code"] != string(broker.Forbidden) || a.Header.Get("Latchkey-Proof") != "" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}
