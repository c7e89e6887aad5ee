package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// brokerOf is the broker of a configuration, ready, over its database.
func brokerOf(t *testing.T, c *config) (*broker.Broker, *storage.Store) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := c.openStore(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	b, err := c.newBroker(t.Context(), store, log)
	if err == nil {
		err = b.Load(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return b, store
}

// audit_retention is the age from which on a sweep deletes events.
func TestAuditRetentionIsWhatASweepGoesBy(t *testing.T) {
	c, err := load(t, "audit_retention: 2d\ndata_dir: "+t.TempDir()+"\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, store := brokerOf(t, c)
	for id, age := range map[string]time.Duration{"old": 49 * time.Hour, "young": 47 * time.Hour} {
		if err := store.InsertEvent(t.Context(), broker.Event{ID: id, At: time.Now().Add(-age), Name: broker.EventUserUpdated}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := b.Events(t.Context(), broker.EventFilter{Name: broker.EventUserUpdated, Limit: 10})
	if err != nil || len(left) != 1 || left[0].ID != "young" {
		t.Errorf("%+v is left, %v", left, err)
	}
}

// Each type of provider is asked where it is, for what its rules need.
func TestProvidersWithoutOpenID(t *testing.T) {
	c, err := load(t, `
providers:
  - {id: hub, type: github, client_id: lk, client_secret: s, allowed_groups: [acme/readers]}
  - {id: own, type: github, issuer: "https://git.acme.test/", client_id: lk, client_secret: s}
  - {id: chat, type: discord, client_id: lk, client_secret: s, provision: match, role_map: {"197038439483310086": admin}}
  - {id: cloud, type: oauth2, client_id: lk, authorization_endpoint: "https://cloud.test/a?x=y", token_endpoint: "https://cloud.test/t",
     userinfo_endpoint: "https://cloud.test/u", scopes: [profile], claims: {subject: id, email_verified: confirmed}}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	request := broker.IdPRequest{State: "s", Verifier: strings.Repeat("v", 43), RedirectURI: "https://id.example.org/auth/x/callback"}
	for i, want := range []struct{ issuer, at, scope string }{
		{"https://github.com", "https://github.com/login/oauth/authorize", "user:email read:org"},
		{"https://git.acme.test", "https://git.acme.test/login/oauth/authorize", "user:email"},
		{"https://discord.com", "https://discord.com/oauth2/authorize", "identify email guilds"},
		{"https://cloud.test/u#id", "https://cloud.test/a", "profile"},
	} {
		p := c.brokerProviders(nil, nil)[i]
		to, err := p.IdP.AuthURL(t.Context(), request)
		u, _ := url.Parse(to)
		if err != nil || p.IdP.Issuer() != want.issuer || u.Scheme+"://"+u.Host+u.Path != want.at || u.Query().Get("scope") != want.scope {
			t.Errorf("%s: %s, %v", p.ID, to, err)
		}
	}
}

// A provider that somebody added over the API is no way into our own network.
func TestU13AddedProviderWithoutOpenID(t *testing.T) {
	var calls atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(inside.Close)
	s := broker.ProviderSettings{Type: broker.TypeGitHub, Issuer: inside.URL, ClientID: "lk"}
	for trusted, want := range map[bool]int32{true: 1, false: 0} {
		calls.Store(0)
		if _, err := (&config{}).newIdP(s, "secret", trusted, nil, nil).Exchange(t.Context(), broker.IdPRequest{}, broker.IdPResponse{Code: "c"}); err == nil || calls.Load() != want {
			t.Errorf("trusted %v: %d requests, %v", trusted, calls.Load(), err)
		}
	}
}
