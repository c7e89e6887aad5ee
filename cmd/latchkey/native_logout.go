package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) logoutCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "logout", Short: "End the session at the server and forget its tokens", Args: cobra.NoArgs,
	}
	n := p.newNative(c)
	c.Flags().BoolVar(&force, "force", false, "forget the tokens also if the server cannot be told; the session goes on there")
	p.jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		kept, told, err := n.logout(cmd.Context(), force)
		if err != nil {
			return err
		}
		if p.json {
			return p.printJSON(map[string]any{"issuer": kept.Issuer, "client_id": kept.ClientID, "revoked": told == nil})
		}
		if told != nil {
			fmt.Fprintf(p.stderr, "latchkey: the session at %s was not ended: %v\n", kept.Issuer, told)
		}
		fmt.Fprintf(p.stdout, "Logged out of %s.\n", kept.Issuer)
		return nil
	}
	return c
}

// logout tells the server first. told is why it could not be.
func (n *native) logout(ctx context.Context, force bool) (kept nativeSession, told, err error) {
	store, key, _, err := n.opened()
	if err != nil {
		return kept, nil, err
	}
	unlock, err := store.lock(ctx, key)
	if err != nil {
		return kept, nil, err
	}
	defer unlock()
	if _, _, kept, err = n.opened(); err != nil { // as it is now
		return kept, nil, err
	}
	once := func(ctx context.Context) error { return n.revoke(ctx, kept) }
	if force {
		told = once(ctx)
	} else {
		told = n.repeat(ctx, once)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return kept, told, ctx.Err()
	}
	if told != nil && !force {
		return kept, told, fmt.Errorf("still logged in at %s: %w (latchkey logout --force forgets the tokens all the same)", kept.Issuer, told)
	}
	return kept, told, store.remove(key)
}

// revoke ends the session of a refresh token (RFC 7009). That the server does
// not know the token is as good.
func (n *native) revoke(ctx context.Context, kept nativeSession) error {
	server, err := n.discover(ctx, kept.nativeKey, kept.InsecureHTTP)
	if err != nil {
		return err
	}
	if server.revocation == "" {
		return errors.New("the server has no revocation_endpoint")
	}
	form := url.Values{"token": {kept.RefreshToken}, "token_type_hint": {"refresh_token"}, "client_id": {kept.ClientID}}
	if kept.RefreshToken == "" {
		form.Set("token", kept.AccessToken)
		form.Set("token_type_hint", "access_token")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	res, err := server.client.Do(req)
	if err != nil {
		return n.network(ctx, err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxMetadataBytes))
	if busy(res.StatusCode) {
		return n.later(res)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s to the revocation", res.Status)
	}
	return nil
}
