// Package totp is the mathematics of authenticator apps (RFC 6238), and the
// picture that they are set up with. What a code is worth, the broker decides.
package totp

import (
	"bytes"
	"encoding/base32"
	"image/png"
	"net/url"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/latchkey-id/latchkey/broker"
)

// pictureSide is the side of the picture in pixels: phones read it from a screen
// at arm's length.
const pictureSide = 232

// Codes implements broker.OneTimeCodes.
type Codes struct{}

func typed(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// Code implements broker.OneTimeCodes.
func (Codes) Code(secret []byte, step int64) (string, error) {
	// #nosec G115 -- steps since 1970
	return hotp.GenerateCodeCustom(typed(secret), uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
}

// Enrol implements broker.OneTimeCodes. The form of the URI is that of Google
// Authenticator's key URIs, which every app reads.
func (Codes) Enrol(secret []byte, issuer, account string) (broker.Enrolment, error) {
	e := broker.Enrolment{Secret: typed(secret)}
	e.URI = "otpauth://totp/" + url.PathEscape(issuer+":"+account) + "?secret=" + e.Secret + "&issuer=" + url.QueryEscape(issuer)
	key, err := otp.NewKeyFromURL(e.URI)
	if err != nil {
		return e, err
	}
	picture, err := key.Image(pictureSide, pictureSide)
	if err != nil {
		return e, err
	}
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		return e, err
	}
	e.Picture = out.Bytes()
	return e, nil
}
