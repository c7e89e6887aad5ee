package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	address = "127.0.0.1:18718"
	// A passkey is made for a name.
	publicURL = "http://localhost:18718"
	// testSecret is the root secret of the stored databases, and of nothing else.
	testSecret = "a test root secret of the stored databases"
	// grace is the shortest that the configuration allows, so that a rotated chain
	// takes seconds.
	grace = time.Second
)

// server is a program of some commit on one database.
type server struct {
	binary, dir string
	env         []string
	cmd         *exec.Cmd
}

func newServer(binary, dir, databaseURL, issuer string) *server {
	return &server{binary: binary, dir: dir, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC", "LATCHKEY_LISTEN=" + address, "LATCHKEY_PUBLIC_URL=" + publicURL, "LATCHKEY_DATA_DIR=" + dir,
		"LATCHKEY_DATABASE_URL=" + databaseURL, "JWT_SECRET_KEY=" + testSecret, "REFRESH_TOKEN_GRACE_PERIOD=1", "RATE_LIMIT_AUTH_MAX=0",
		"LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD=" + passwordOf("root"),
		"OIDC_ISSUER=" + issuer, "OIDC_CLIENT_ID=" + idpClient, "OIDC_CLIENT_SECRET=" + idpSecret, "OIDC_NAME=Work",
	}}
}

func passwordOf(user string) string { return "test password of " + user }

// start waits until the program is ready.
func (s *server) start(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.CommandContext(ctx, s.binary, "serve")
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.env, log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		if res, err := http.Get(publicURL + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	said, _ := os.ReadFile(log.Name())
	return fmt.Errorf("%s is not ready: %s", s.binary, said)
}

func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// run runs a command of the program beside the server.
func (s *server) run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	var errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr = s.dir, s.env, strings.NewReader(stdin), &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("latchkey %s: %w: %s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out, nil
}

// ask asks the server and wants a status.
func ask(client *http.Client, method, path string, want int, body io.Reader, headers ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, publicURL+path, body)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s %s answers %d, want %d: %s", method, path, res.StatusCode, want, raw)
	}
	return res, raw, err
}

func asJSON(v any) io.Reader {
	raw, _ := json.Marshal(v) // of strings alone
	return bytes.NewReader(raw)
}

// drained is an answer with all of its body.
func drained(res *http.Response) (*http.Response, []byte, error) {
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return res, raw, err
}

// sessionOf reads which session a refresh token is of.
func sessionOf(token string) string {
	var claims struct {
		SessionID string `json:"sid"`
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(raw, &claims)
	}
	return claims.SessionID
}
