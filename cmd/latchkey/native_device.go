package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
)

// deviceLimit bounds a device login where the server sets no end.
const deviceLimit = 30 * time.Minute

var errCodeExpired = errors.New("the code has expired; begin again")

// byDevice is the device authorization grant (RFC 8628).
func (l *nativeLogin) byDevice(ctx context.Context) (nativeSession, error) {
	if l.server.oauth.Endpoint.DeviceAuthURL == "" {
		return nativeSession{}, errors.New("the server offers no login on another device")
	}
	var d *oauth2.DeviceAuthResponse
	err := l.repeat(ctx, func(ctx context.Context) (err error) {
		if d, err = l.server.oauth.DeviceAuth(l.server.context(ctx)); err != nil {
			return l.judge(ctx, err)
		}
		return nil
	})
	if err != nil {
		return nativeSession{}, err
	}
	if err := checkServerURL("the verification_uri of the server", d.VerificationURI, l.insecure); err != nil {
		return nativeSession{}, err
	}
	fmt.Fprintf(l.p.stderr, "On any device, open\n\n  %s\n\nand enter the code\n\n  %s\n\n", plain(d.VerificationURI), plain(d.UserCode))
	if d.VerificationURIComplete != "" {
		fmt.Fprintf(l.p.stderr, "or open %s and compare the code.\n", plain(d.VerificationURIComplete))
	}
	if d.Expiry.IsZero() {
		d.Expiry = time.Now().Add(deviceLimit)
	}
	token, err := l.poll(ctx, d)
	if err != nil {
		return nativeSession{}, err
	}
	return l.accept(ctx, token)
}

// poll asks until the person has decided. Trouble on the way ends nothing; it
// makes the pauses longer (RFC 8628 section 3.5).
func (l *nativeLogin) poll(ctx context.Context, d *oauth2.DeviceAuthResponse) (*oauth2.Token, error) {
	asking := l.server.oauth
	asking.Scopes = nil // said already
	if d.Interval <= 0 {
		d.Interval = 5
	}
	for {
		token, err := asking.DeviceAccessToken(l.server.context(ctx), d)
		if err == nil {
			return token, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !time.Now().Before(d.Expiry) {
			return nil, errCodeExpired
		}
		err = l.judge(ctx, err)
		trouble, ok := errors.AsType[*tryLater](err)
		if !ok {
			return nil, deviceRefusal(err)
		}
		if d.Interval = min(d.Interval*2, 60); trouble.after > 0 {
			d.Interval = max(d.Interval, int64(trouble.after/time.Second))
		}
	}
}

func deviceRefusal(err error) error {
	if over, ok := errors.AsType[*sessionOver](err); ok {
		return fmt.Errorf("the server did not take the code: %w; begin again", over)
	}
	if no, ok := errors.AsType[*refusal](err); ok && no.code == string(broker.DeviceCodeExpired) {
		return errCodeExpired
	}
	if no, ok := errors.AsType[*refusal](err); ok && no.code == string(broker.AccessDenied) {
		return errors.New("the login was refused on the other device")
	}
	return err
}
