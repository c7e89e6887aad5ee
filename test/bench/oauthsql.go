package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/latchkey-id/latchkey/tokens/verify"
)

// oauthSQL counts the statements of the OpenID provider's endpoints.
func (o options) oauthSQL(ctx context.Context, r *report, logs string, p *product) error {
	const times = 100
	for _, x := range []struct {
		name string
		load load
		each int
	}{
		{"refreshes at /oauth2/token", p.tokenRefreshing(&p.grants.withoutID), 1},
		{"refreshes with an ID token", p.tokenRefreshing(&p.grants.withID), 1},
		// The code, the user, the parent session, the new session, its event, how many
		// follow the parent; the name of the transaction, BEGIN and COMMIT.
		{"code exchanges", p.exchanging(p.address, &p.grants.codes), 9},
		{"introspections", p.introspecting, 1},
		{"userinfo", p.userinfo, 1},
		{"JWKS", p.jwks, 1},
		{"discovery", p.discovery, 0},
		{"tokens checked by tokens/verify, with the keys fetched anew", p.checking, 1},
	} {
		n, err := counted(logs, times, x.load)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		r.value(fmt.Sprintf("statements for %d %s", times, x.name), fmt.Sprint(n), fmt.Sprintf("exactly %d", times*x.each), n == times*x.each)
	}
	return nil
}

// checking is a resource server that reads the keys over HTTP, at each step as
// if it had just started.
func (p *product) checking(worker int) (step, end func() error, err error) {
	ctx := context.Background()
	return func() error {
		v, err := verify.New(verify.Config{Issuer: publicURL, Keys: verify.NewRemoteKeySet(verify.RemoteConfig{
			URL: "http://" + p.address + "/.well-known/jwks.json", Client: http.DefaultClient,
		})})
		if err != nil {
			return err
		}
		_, err = v.Verify(ctx, p.grants.access[worker])
		return err
	}, func() error { return nil }, nil
}
