package providertest

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Authorize is the browser of a user who was sent to authURL: it opens the
// login page and presses the user's button, or Cancel if username is "". It
// returns where the provider sends the browser then, without going there. An
// authorization request that is refused returns at once.
func (p *IdP) Authorize(ctx context.Context, authURL, username string) (callback string, err error) {
	transport := &http.Transport{} // no proxy: the provider is on this machine
	defer transport.CloseIdleConnections()
	browser := &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	status, body, location, err := visit(ctx, browser, http.MethodGet, authURL, nil)
	if err != nil || location != "" {
		return location, err
	}
	if status != http.StatusOK {
		return "", fmt.Errorf("instead of the login page came %d: %s", status, body)
	}
	button := `name="user" value="` + username + `"`
	if !strings.Contains(html.UnescapeString(body), button) {
		return "", fmt.Errorf("the page has no button for %q: %s", username, body)
	}
	status, body, location, err = visit(ctx, browser, http.MethodPost, authURL, url.Values{"user": {username}})
	if err == nil && location == "" {
		err = fmt.Errorf("the login page answered %d: %s", status, body)
	}
	return location, err
}

func visit(ctx context.Context, browser *http.Client, method, target string, form url.Values) (status int, body, location string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", "", err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := browser.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = res.Body.Close() }()
	next, err := res.Location()
	if err == nil {
		return res.StatusCode, "", next.String(), nil
	}
	if !errors.Is(err, http.ErrNoLocation) {
		return res.StatusCode, "", "", err
	}
	content, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(content), "", err
}
