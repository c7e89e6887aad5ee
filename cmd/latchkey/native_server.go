package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	serverTimeout    = 15 * time.Second // of one request
	maxMetadataBytes = 1 << 20
)

// nativeServer is the server as its metadata describes it (OIDC Discovery).
type nativeServer struct {
	client     *http.Client
	provider   *oidc.Provider
	oauth      oauth2.Config
	revocation string
	namesIss   bool // its answers have an iss (RFC 9207)
}

// serverMetadata is what we read of it.
type serverMetadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Device        string   `json:"device_authorization_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Userinfo      string   `json:"userinfo_endpoint"`
	Keys          string   `json:"jwks_uri"`
	NamesIss      bool     `json:"authorization_response_iss_parameter_supported"`
	IDTokenAlgs   []string `json:"id_token_signing_alg_values_supported"`
}

// asymmetric are the algorithms of ID tokens that a public client can check.
var asymmetric = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// newServerClient follows no redirect: what is sent is meant for one place.
func newServerClient() *http.Client {
	return &http.Client{
		Timeout:       serverTimeout,
		Transport:     named{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// named says with every request which program sends it, and from which machine,
// so that people know the login again in the list of their devices.
type named struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "latchkey/"+version+" ("+runtime.GOOS+")")
	if host, err := os.Hostname(); err == nil {
		r.Header.Set("Latchkey-Device-Name", url.PathEscape(host))
	}
	return n.next.RoundTrip(r)
}

// discover asks the issuer for its metadata.
func (n *native) discover(ctx context.Context, k nativeKey, insecure bool) (*nativeServer, error) {
	if err := checkServerURL("the issuer", k.Issuer, insecure); err != nil {
		return nil, err
	}
	s := &nativeServer{client: newServerClient()}
	m, err := n.metadata(ctx, s.client, k.Issuer)
	if err != nil {
		return nil, err
	}
	for _, e := range []struct {
		name, url string
		optional  bool
	}{
		{"authorization_endpoint", m.Authorization, false}, {"token_endpoint", m.Token, false}, {"jwks_uri", m.Keys, false},
		{"device_authorization_endpoint", m.Device, true}, {"revocation_endpoint", m.Revocation, true},
		{"userinfo_endpoint", m.Userinfo, true},
	} {
		if e.url == "" && e.optional {
			continue
		}
		if err := checkServerURL("the "+e.name+" of the server", e.url, insecure); err != nil {
			return nil, err
		}
	}
	algorithms := slices.DeleteFunc(m.IDTokenAlgs, func(alg string) bool { return !slices.Contains(asymmetric, alg) })
	if len(algorithms) == 0 {
		algorithms = []string{oidc.RS256}
	}
	s.provider = (&oidc.ProviderConfig{IssuerURL: k.Issuer, AuthURL: m.Authorization, TokenURL: m.Token, JWKSURL: m.Keys, UserInfoURL: m.Userinfo, Algorithms: algorithms}).
		NewProvider(oidc.ClientContext(ctx, s.client))
	s.oauth = oauth2.Config{ClientID: k.ClientID, Endpoint: oauth2.Endpoint{
		AuthURL: m.Authorization, TokenURL: m.Token, DeviceAuthURL: m.Device, AuthStyle: oauth2.AuthStyleInParams,
	}}
	s.revocation, s.namesIss = m.Revocation, m.NamesIss
	return s, nil
}

func (n *native) metadata(ctx context.Context, client *http.Client, issuer string) (m serverMetadata, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return m, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return m, n.network(ctx, err)
	}
	defer res.Body.Close()
	if busy(res.StatusCode) {
		return m, n.later(res)
	}
	if res.StatusCode != http.StatusOK {
		return m, fmt.Errorf("%s is no OpenID provider: its metadata answers %s", issuer, res.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxMetadataBytes))
	if err != nil {
		return m, n.network(ctx, err)
	}
	if json.Unmarshal(raw, &m) != nil {
		return m, fmt.Errorf("%s answers something else than metadata; is a login page of the network in between?", issuer)
	}
	if m.Issuer != issuer {
		return m, fmt.Errorf("the server calls itself %q, not %q; use its own name to the letter: --issuer %s", plain(m.Issuer), issuer, plain(m.Issuer))
	}
	return m, nil
}

// context hands our HTTP client to the OAuth and OpenID libraries.
func (s *nativeServer) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, s.client) // the same key as oauth2.HTTPClient
}
