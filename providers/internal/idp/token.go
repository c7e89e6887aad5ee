package idp

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
)

// AuthStyle is how a client proves itself at the token endpoint by a method of
// the configuration (empty and auto: what the IdP supports, else the standard's
// client_secret_basic), and the secret that it sends, if any: an
// assertion in place of one is not its matter.
func AuthStyle(method, secret string, supported []string) (style oauth2.AuthStyle, sent string) {
	if method == "" || method == "auto" {
		method = "client_secret_basic"
		if len(supported) > 0 && !slices.Contains(supported, method) {
			method = "client_secret_post"
		}
	}
	if method == "none" || method == broker.AuthPrivateKeyJWT {
		secret = ""
	}
	if method != "client_secret_basic" || secret == "" {
		return oauth2.AuthStyleInParams, secret
	}
	return oauth2.AuthStyleInHeader, secret
}

// ExchangeError tells a refusal from an outage: a 4xx of the token endpoint, or
// an OAuth error, is about this code. sent are the secrets of the request.
func ExchangeError(err error, sent ...string) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := refused.Response.StatusCode
		cause := fmt.Errorf("token endpoint: status %d, error %s", status, quote(refused.ErrorCode, sent))
		switch {
		case passing(refused.Response):
			return Unavailable(cause)
		case status >= 400 || refused.ErrorCode != "":
			return &broker.Error{Code: broker.IdPRefused, Message: "the identity provider refused the login", Err: cause}
		}
		return BadResponse("the identity provider's answer is not usable", cause)
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return Unavailable(errors.New("token endpoint: cannot be reached"))
	}
	return BadResponse("the identity provider's answer is not usable", errors.New("token endpoint: unusable answer"))
}

// quote is for a text of the IdP in the log: not if it is long, or repeats what
// was sent, or has a word that may be a secret in another form.
func quote(text string, sent []string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(text) > 200 || slices.ContainsFunc(words, func(w string) bool { return len(w) > 24 }) ||
		slices.ContainsFunc(sent, func(s string) bool { return s != "" && strings.Contains(text, s) }) {
		return "(withheld)"
	}
	return strconv.Quote(text)
}

// maxAccessToken is in bytes.
const maxAccessToken = 16 << 10

// CheckBearer refuses an access token that cannot be used as a bearer token: one of a
// type that is not understood (RFC 6749 section 7.1), or with what none has (RFC 6750
// section 2.1).
func CheckBearer(token *oauth2.Token) error {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	var cause error
	switch { // the token itself is for no log
	case token.Type() != "Bearer":
		cause = errors.New("its type is not understood")
	case len(token.AccessToken) > maxAccessToken:
		cause = errors.New("it is too long")
	case strings.ContainsFunc(token.AccessToken, odd):
		cause = errors.New("it has characters that none has")
	default:
		return nil
	}
	return BadResponse("the identity provider sent no usable access token", cause)
}
