package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// The people of a stage. Whoever logs in at the IdP chooses who to be.
const (
	stageAdmin    = "root"
	stageLocal    = "robin"
	stagePassword = "correct horse battery"
)

// stage is a broker over a folder of its own with an OpenID provider beside it, in
// this process: that of the tour and that of the lab. Nothing of the caller's
// configuration gets there.
type stage struct {
	base string // where apps and browsers reach the broker
	idp  *providertest.IdP
	cfg  *config
	log  *slog.Logger
}

// newStage sets one up. settings are more lines of the configuration; now is the
// clock of the IdP.
func newStage(folder, base, issuer, settings string, now func() time.Time, log *slog.Logger) (*stage, error) {
	s := &stage{base: base, log: log}
	var err error
	s.idp, err = providertest.New(providertest.Config{
		Issuer: issuer, Now: now,
		Users: []providertest.User{
			{Subject: "demo-1", Username: "anna", Name: "Anna Archer", Email: "anna@example.org", EmailVerified: true, Groups: []string{"readers"}},
			{Subject: "demo-2", Username: "ben", Name: "Ben Baker", Email: "ben@example.org", EmailVerified: true},
		},
		Clients: []providertest.Client{{ID: "latchkey", Secret: "demo secret", RedirectURIs: []string{base + "/auth/openid/callback"}}},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "latchkey.yaml")
	text := fmt.Sprintf("public_url: %s\ndata_dir: %s\nproviders:\n  - {id: openid, name: Demo IdP, issuer: %s, client_id: latchkey, client_secret: demo secret, insecure_http: true}\n%s",
		base, folder, issuer, settings)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	nothing := &program{getenv: func(string) string { return "" }, configFile: file}
	if s.cfg, err = nothing.loadConfig(); err != nil {
		return nil, err
	}
	s.cfg.adminUsername, s.cfg.adminPassword = stageAdmin, stagePassword
	return s, nil
}

// serve serves both until ctx ends, and says then how that went.
func (s *stage) serve(ctx context.Context, brokerListener, idpListener net.Listener) <-chan error {
	idp, idpListener := ordinary.server(s.idp, idpListener, s.log)
	served := make(chan error, 1)
	go func() { _ = idp.Serve(idpListener) }()
	go func() {
		err := s.cfg.serve(ctx, brokerListener, s.log)
		_ = idp.Close()
		served <- err
	}()
	return served
}

// ready waits for the broker, which answers at that URL, and makes the user with a
// local password.
func (s *stage) ready(ctx context.Context, at string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		res, err := http.Get(at + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.New("the broker did not become ready")
		}
	}
	_, err := s.broker().CreateUser(ctx, broker.NewUser{Username: stageLocal, Name: "Robin Reader", Password: stagePassword})
	return err
}

// broker is that of the stage, once it is ready.
func (s *stage) broker() *broker.Broker { return s.cfg.running.broker.Load() }

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
