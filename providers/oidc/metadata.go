package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/latchkey-id/latchkey/broker"
)

// Bounds of what is read from an IdP and of how long it may take.
const (
	maxDocument = 256 << 10
	maxAnswer   = 1 << 20
	callTimeout = 4 * time.Second
)

// Cache keeps what an IdP last said of itself, across restarts.
type Cache interface {
	IdPMetadata(ctx context.Context, issuer, kind string) (document []byte, fetchedAt time.Time, err error)
	SaveIdPMetadata(ctx context.Context, issuer, kind string, document []byte, now time.Time) error
}

// Metadata is the part of a discovery document (OIDC Discovery section 3) that
// Latchkey reads.
type Metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint,omitempty"`
	JWKSURI               string   `json:"jwks_uri"`
	EndSessionEndpoint    string   `json:"end_session_endpoint,omitempty"`
	SigningAlgs           []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	IssParameter          bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
}

// discovery reads and keeps the metadata of one issuer: lazily, one request at
// a time, the last good document when the IdP gives none.
type discovery struct {
	issuer string
	client *http.Client
	cache  Cache // may be nil
	now    func() time.Time
	flight singleflight.Group

	mu     sync.Mutex
	last   *Metadata
	saved  []byte // the document that the cache has
	loaded bool   // the cache was read
}

// current returns usable metadata and asks each time: a person is about to be
// sent there, and an outage is to be told before that. An IdP that cannot be reached is
// TemporarilyUnavailable even where a document is known, because the login
// would only fail later and elsewhere; one that answers nonsense is used by
// its last good document.
func (d *discovery) current(ctx context.Context) (*Metadata, error) {
	result, err, _ := d.flight.Do("", func() (any, error) { return d.refresh(context.WithoutCancel(ctx)) })
	if err != nil {
		return nil, err
	}
	return result.(*Metadata), nil
}

// known is the last good document, however old, or nil.
func (d *discovery) known(ctx context.Context) *Metadata {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.load(ctx)
	return d.last
}

// load reads the cache once. The caller holds mu.
func (d *discovery) load(ctx context.Context) {
	if d.loaded || d.cache == nil {
		return
	}
	document, _, err := d.cache.IdPMetadata(ctx, d.issuer, "discovery")
	if err != nil && !errors.Is(err, broker.NotFound) {
		return // the database has trouble; look again next time
	}
	d.loaded = true
	if m, err := parseMetadata(d.issuer, document); err == nil && d.last == nil {
		d.last = m
	}
}

func (d *discovery) refresh(ctx context.Context) (*Metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	document, err := fetch(ctx, d.client, strings.TrimSuffix(d.issuer, "/")+"/.well-known/openid-configuration")
	var m *Metadata
	if err == nil {
		m, err = parseMetadata(d.issuer, document)
	}
	if err != nil {
		if last := d.known(ctx); last != nil && !errors.Is(err, errUnreachable) {
			return last, nil
		}
		return nil, unavailable(err)
	}
	d.mu.Lock()
	known := bytes.Equal(d.saved, document)
	d.last, d.saved, d.loaded = m, document, true
	d.mu.Unlock()
	if d.cache != nil && !known {
		// Losing this costs a fetch after the next restart, nothing else.
		_ = d.cache.SaveIdPMetadata(ctx, d.issuer, "discovery", document, d.now())
	}
	return m, nil
}

// parseMetadata checks what a login depends on. The issuer is compared byte
// for byte (OIDC Discovery section 4.3), so that nobody speaks for another.
func parseMetadata(issuer string, document []byte) (*Metadata, error) {
	var m Metadata
	if err := json.Unmarshal(document, &m); err != nil {
		return nil, errors.New("the discovery document is not JSON")
	}
	if m.Issuer != issuer {
		return nil, fmt.Errorf("the discovery document is of another issuer than the configured %s", issuer)
	}
	for name, endpoint := range map[string]string{
		"authorization_endpoint": m.AuthorizationEndpoint, "token_endpoint": m.TokenEndpoint, "jwks_uri": m.JWKSURI,
	} {
		if !webURL(endpoint) {
			return nil, fmt.Errorf("the discovery document has no usable %s", name)
		}
	}
	for name, endpoint := range map[string]string{"userinfo_endpoint": m.UserinfoEndpoint, "end_session_endpoint": m.EndSessionEndpoint} {
		if endpoint != "" && !webURL(endpoint) {
			return nil, fmt.Errorf("the discovery document has no usable %s", name)
		}
	}
	return &m, nil
}

func webURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

var errUnreachable = errors.New("the IdP cannot be reached")

// fetch reads one document, bounded in size and time. Errors hold no body: it
// may be anything.
func fetch(ctx context.Context, client *http.Client, target string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	return send(client, req)
}

func unavailable(err error) error {
	return &broker.Error{Code: broker.TemporarilyUnavailable, Message: "the identity provider cannot be used at the moment", Err: err, RetryAfter: 5 * time.Second}
}

func badResponse(message string, err error) error {
	return &broker.Error{Code: broker.IdPBadResponse, Message: message, Err: err}
}
