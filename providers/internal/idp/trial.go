package idp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// This file is what trying an IdP has in common, whatever the protocol: it says
// what is wrong with the way there, with our client, and with its secret.

// Looked is an answer that was read for a trial.
type Looked struct {
	Status int
	Header http.Header
	Body   []byte
}

// Look sends a GET and reads the answer, whatever its status. A step is there
// if that failed.
func Look(ctx context.Context, client *http.Client, step, target, accept string) (Looked, *broker.TrialStep) {
	failed := func(finding broker.Finding, values ...string) (Looked, *broker.TrialStep) {
		return Looked{}, new(broker.Found(step, broker.CheckFailed, finding, values...))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return failed(broker.FindingUnreachable, place(target))
	}
	req.Header.Set("Accept", accept)
	here := *client // where an answer leads is what is looked at
	here.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := here.Do(req)
	if err != nil {
		finding, values := whyNot(target, err)
		return failed(finding, values...)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxDocument+1))
	switch {
	case len(body) > MaxDocument, errors.Is(err, outbound.ErrTooLarge):
		return failed(broker.FindingTooLarge, place(target))
	case err != nil:
		finding, values := whyNot(target, err)
		return failed(finding, values...)
	}
	return Looked{res.StatusCode, res.Header, body}, nil
}

// LookDocument is [Look] for a document, which comes with the status 200.
func LookDocument(ctx context.Context, client *http.Client, step, target string) (Looked, *broker.TrialStep) {
	got, failed := Look(ctx, client, step, target, "application/json")
	switch location := got.Header.Get("Location"); {
	case failed != nil, got.Status == http.StatusOK:
		return got, failed
	case location != "":
		return got, new(broker.Found(step, broker.CheckFailed, broker.FindingLeadsOn, place(target), location))
	}
	return got, new(broker.Found(step, broker.CheckFailed, broker.FindingStatus, place(target), strconv.Itoa(got.Status)))
}

// place is an address without what was asked there.
func place(target string) string {
	address, _, _ := strings.Cut(target, "?")
	return address
}

// whyNot tells an operator's mistakes on the way to a host apart.
func whyNot(target string, err error) (broker.Finding, []string) {
	at := []string{place(target)}
	noHost, isDNS := errors.AsType[*net.DNSError](err)
	untrusted, isTLS := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork):
		return broker.FindingPrivate, at
	case isDNS && noHost.IsNotFound:
		return broker.FindingNoHost, []string{noHost.Name}
	case isTLS:
		return broker.FindingCertificate, append(at, strings.TrimPrefix(untrusted.Err.Error(), "x509: "))
	case os.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return broker.FindingTimedOut, at
	case errors.Is(err, syscall.ECONNREFUSED):
		return broker.FindingRefusedConnection, at
	}
	return broker.FindingUnreachable, at
}

// Authorize makes an authorization request, with a prompt and to a redirect URI.
type Authorize func(prompt, redirectURI string) string

// TryRedirect finds out whether the IdP knows the client and its redirect URI.
// One that leads back knows them. One that shows a page may always do so: how it
// takes another redirect URI tells more.
func TryRedirect(ctx context.Context, client *http.Client, authorize Authorize, redirectURI string) broker.TrialStep {
	found := func(result string, finding broker.Finding, values ...string) broker.TrialStep {
		return broker.Found(broker.TrialRedirect, result, finding, values...)
	}
	first, failed := Look(ctx, client, broker.TrialRedirect, authorize("none", redirectURI), pages)
	if failed != nil {
		return *failed
	}
	if refusal, back := cameBack(first, redirectURI); back {
		return ledBack(refusal)
	}
	plain, failed := Look(ctx, client, broker.TrialRedirect, authorize("", redirectURI), pages)
	if failed != nil {
		return *failed
	}
	if refusal, back := cameBack(plain, redirectURI); back {
		return ledBack(refusal)
	}
	if plain.Status >= http.StatusInternalServerError || plain.Status == http.StatusTooManyRequests {
		return found(broker.CheckUnknown, broker.FindingRequestTrouble, strconv.Itoa(plain.Status))
	}
	if refuses(plain) {
		return found(broker.CheckFailed, broker.FindingNotRegistered, strconv.Itoa(plain.Status), redirectURI)
	}
	other, failed := Look(ctx, client, broker.TrialRedirect, authorize("", redirectURI+"-of-nobody"), pages)
	if failed == nil && refuses(other) {
		return found(broker.CheckPassed, broker.FindingSeemsRegistered)
	}
	return found(broker.CheckUnknown, broker.FindingRegistrationOpen)
}

const pages = "text/html,application/xhtml+xml"

// cameBack reports whether an answer leads to our redirect URI, and with which
// error (RFC 6749 section 4.1.2.1).
func cameBack(got Looked, redirectURI string) (refusal string, back bool) {
	to, err := url.Parse(got.Header.Get("Location"))
	if err != nil || got.Status < 300 || got.Status > 399 {
		return "", false
	}
	q := to.Query()
	to.RawQuery, to.Fragment = "", ""
	return q.Get("error"), to.String() == redirectURI
}

// refuses reports whether an answer says no: by its status, or by leading to a
// page of errors.
func refuses(got Looked) bool {
	if got.Status < 300 || got.Status > 399 {
		return got.Status >= http.StatusBadRequest && got.Status < http.StatusInternalServerError
	}
	to, err := url.Parse(got.Header.Get("Location"))
	return err == nil && (strings.Contains(strings.ToLower(to.Path), "error") || slices.ContainsFunc(strings.Split(to.RawQuery, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.Contains(strings.ToLower(name), "error")
	}))
}

// ledBack is about a request that came back: what nobody could have answered
// without a login is no fault (OIDC Core section 3.1.2.6).
func ledBack(refusal string) broker.TrialStep {
	switch refusal {
	case "", "login_required", "interaction_required", "account_selection_required", "consent_required", "access_denied":
		return broker.Found(broker.TrialRedirect, broker.CheckPassed, broker.FindingRegistered)
	}
	return broker.Found(broker.TrialRedirect, broker.CheckFailed, broker.FindingRequestRefused, cmp.Or(word(refusal), "unnamed_error"))
}

// Exchange redeems a code that was made up, by a secret.
type Exchange func(ctx context.Context, secret string) error

// TrySecret finds out whether the token endpoint takes our client. Some look at
// the code first: whoever says the same of a wrong secret has said nothing.
// sent is empty where the client has none; taken is what an accepted client is
// then.
func TrySecret(ctx context.Context, exchange Exchange, sent, wrong string, taken broker.Finding) broker.TrialStep {
	found := func(result string, finding broker.Finding, values ...string) broker.TrialStep {
		return broker.Found(broker.TrialSecret, result, finding, values...)
	}
	code, answer, failed := refusalOf(exchange(ctx, sent))
	switch {
	case failed != nil:
		return *failed
	case badClient(code):
		return found(broker.CheckFailed, broker.FindingSecretRefused, code)
	case code == "unauthorized_client" || code == "unsupported_grant_type":
		return found(broker.CheckFailed, broker.FindingNoGrant, code)
	case code != "invalid_grant" && code != "bad_verification_code": // the latter is GitHub's word for it
		return found(broker.CheckUnknown, broker.FindingTokenTrouble, answer)
	case sent == "":
		return found(broker.CheckPassed, taken)
	}
	if code, _, failed = refusalOf(exchange(ctx, wrong)); failed == nil && badClient(code) {
		return found(broker.CheckPassed, broker.FindingSecret)
	}
	return found(broker.CheckUnknown, broker.FindingSecretOpen)
}

// badClient reports whether a token endpoint says that it does not know us; the
// second is GitHub's word for it.
func badClient(code string) bool {
	return code == "invalid_client" || code == "incorrect_client_credentials"
}

// refusalOf is the OAuth error of a token endpoint (RFC 6749 section 5.2), and
// what else it answered.
func refusalOf(err error) (code, answer string, failed *broker.TrialStep) {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		code, answer = word(refused.ErrorCode), strconv.Itoa(refused.Response.StatusCode)
		if refused.Response.StatusCode == http.StatusUnauthorized && code == "" {
			code = "invalid_client" // which is what the status is for
		}
		if code != "" {
			answer += " " + code
		}
		return code, answer, nil
	}
	if lost, ok := errors.AsType[*url.Error](err); ok {
		finding, values := whyNot(lost.URL, err)
		return "", "", new(broker.Found(broker.TrialSecret, broker.CheckFailed, finding, values...))
	}
	if code := broker.CodeOf(err); err != nil && code == broker.IdPBadResponse { // no algorithm of ours is taken
		return "", string(code), nil
	}
	return "", "no_error", nil
}

// word is an error code of an IdP, which is a word; anything else is not repeated.
func word(code string) string {
	other := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }
	if len(code) > 40 || strings.ContainsFunc(code, other) {
		return ""
	}
	return code
}
