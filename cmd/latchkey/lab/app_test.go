package lab

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// habits are what an app does wrong.
type habits struct {
	logsOut   bool // whenever a refresh fails, as some apps do
	hasty     bool // tries again at once, whatever Retry-After says
	forgetful bool // goes on with the refresh token of its login
	clings    bool // goes on with a session that is over
	readsExp  bool // goes by the phone's clock and the times in its tokens
	deaf      bool // does not refresh when the API says that its token has expired
	idle      bool // is not used by anybody
}

// shelf is where an app keeps its tokens; several processes may have one.
type shelf struct {
	mu              sync.Mutex
	access, refresh string
	person          sync.Mutex // who logs in once for all processes
}

func (s *shelf) read() (access, refresh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access, s.refresh
}

func (s *shelf) write(access, refresh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access, s.refresh = access, refresh
}

// app is one process of an app, with a person who uses it and logs in when it
// shows the login. Without bad habits it keeps the rules of docs/app-authors.md.
type app struct {
	habits
	base   string
	client *http.Client
	shelf  *shelf
}

func (a *app) live(ctx context.Context) {
	for ; ctx.Err() == nil && !a.idle; rest(ctx, 50*time.Millisecond) {
		access, _ := a.shelf.read()
		if access == "" {
			a.login(ctx)
			continue
		}
		if a.readsExp && passed(access) {
			a.refresh(ctx)
			access, _ = a.shelf.read()
		}
		if status, _, _ := a.send(ctx, http.MethodGet, "/api/me", "Authorization", "Bearer "+access, ""); status == http.StatusUnauthorized && !a.deaf {
			a.refresh(ctx)
		}
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (a *app) login(ctx context.Context) {
	a.shelf.person.Lock()
	defer a.shelf.person.Unlock()
	if access, _ := a.shelf.read(); access != "" {
		return
	}
	_, _, body := a.send(ctx, http.MethodPost, "/login", "X-Return-Tokens", "true", `{"username":"robin","password":"password of robin"}`)
	a.keep(body)
}

// refresh asks until it knows.
func (a *app) refresh(ctx context.Context) {
	for pause := 50 * time.Millisecond; ctx.Err() == nil; pause *= 2 {
		_, token := a.shelf.read()
		status, header, body := a.send(ctx, http.MethodPost, "/auth/refresh", "X-Refresh-Token", token, "")
		switch verdict := header.Get("Latchkey-Verdict"); {
		case status == http.StatusOK && a.keep(body):
			return
		case status == http.StatusUnauthorized && (verdict == "login" || verdict == "wipe"):
			if !a.clings {
				a.shelf.write("", "")
			}
			return
		case a.logsOut:
			a.shelf.write("", "")
			return
		}
		if asked := retryAfter(header); asked > 0 && !a.hasty {
			rest(ctx, asked)
			continue
		}
		rest(ctx, pause)
	}
}

// keep stores what an answer gives.
func (a *app) keep(body []byte) bool {
	var answer struct {
		User struct{ AccessToken, RefreshToken string }
	}
	if json.Unmarshal(body, &answer) != nil || answer.User.RefreshToken == "" {
		return false
	}
	if _, old := a.shelf.read(); a.forgetful && old != "" {
		answer.User.RefreshToken = old
	}
	a.shelf.write(answer.User.AccessToken, answer.User.RefreshToken)
	return true
}

// send returns status 0 if no answer arrived whole.
func (a *app) send(ctx context.Context, method, path, header, value, body string) (int, http.Header, []byte) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the test is wrong
	}
	req.Header.Set(header, value)
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return 0, http.Header{}, nil
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, http.Header{}, nil
	}
	return res.StatusCode, res.Header, content
}

// passed compares the time in a token with the phone's clock.
func passed(token string) bool {
	var claims struct{ Exp int64 }
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(token+"..", ".")[1])
	_ = json.Unmarshal(raw, &claims)
	return time.Now().Unix() > claims.Exp
}
