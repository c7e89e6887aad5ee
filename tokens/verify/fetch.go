package verify

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// fetchTimeout is for one fetch, whatever the client of it allows.
const fetchTimeout = 5 * time.Second

func defaultClient() *http.Client {
	return &http.Client{
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type fetched struct {
	body        []byte
	etag        string
	notModified bool // what has the etag that was sent is still current
}

// fetch reads what is behind a URL, at most limit bytes of it.
func fetch(ctx context.Context, client *http.Client, url, etag string, limit int64) (fetched, error) {
	// #nosec G704 -- the URL is of the configuration
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fetched{}, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	// #nosec G704 -- as above
	res, err := client.Do(req)
	if err != nil {
		return fetched{}, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified && etag != "" {
		return fetched{notModified: true}, nil
	}
	if res.StatusCode != http.StatusOK {
		return fetched{}, fmt.Errorf("status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return fetched{body: body, etag: res.Header.Get("ETag")}, err
}
