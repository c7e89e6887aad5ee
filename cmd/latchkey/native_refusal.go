package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
)

// tryLater is everything that says nothing about a token: no network, a server
// that is starting or busy, an answer that was lost. Tokens are kept.
type tryLater struct {
	reason string
	after  time.Duration // as the server asked; negative: it did not
}

func (e *tryLater) Error() string { return e.reason + "; try again later" }

// sessionOver is the server's word that a login has ended.
type sessionOver struct{ code string }

func (e *sessionOver) Error() string {
	sentence, ok := overSentences[broker.Code(e.code)]
	if !ok {
		sentence = "the server does not know it any more"
	}
	if e.code == "" {
		return sentence
	}
	return sentence + " (" + plain(e.code) + ")"
}

var overSentences = map[broker.Code]string{
	broker.SessionUnknown:  "the server has no such session",
	broker.SessionExpired:  "it was not used for too long",
	broker.SessionMaxAge:   "it reached its greatest age",
	broker.SessionLimit:    "there were too many sessions of this user",
	broker.LoggedOut:       "it was logged out",
	broker.RevokedByUser:   "it was ended from the list of sessions",
	broker.RevokedByAdmin:  "an administrator ended it",
	broker.PasswordChanged: "the password was changed",
	broker.UserDisabled:    "the user is disabled",
	broker.UserDeleted:     "the user was deleted",
	broker.ClientRemoved:   "this client is not allowed any more",
	broker.IdPLogout:       "it was logged out at the identity provider",
	broker.IdPRevoked:      "the identity provider withdrew it",
	broker.LinkUndone:      "the account at the identity provider was unlinked",
	broker.TokenReused:     "two holders used it, such as two copies of one folder",
	broker.CodeReused:      "its one-time code was used twice",
	broker.InvalidToken:    "the refresh token is not one of this server",
	broker.WrongTokenType:  "the refresh token is of the wrong kind",
	broker.KeyMismatch:     "it is bound to another key",
}

// refusal is any other answer that says no. Tokens are kept.
type refusal struct{ code, text string }

func (e *refusal) Error() string { return "the server refused: " + plain(e.text) }

// busy are answers of a server, or of a proxy, that mean: not now.
func busy(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

func (n *native) later(res *http.Response) error {
	return &tryLater{reason: res.Request.URL.Host + " answers " + res.Status, after: n.retryAfter(res.Header)}
}

// network is an error of the way to the server. The end of our own context is
// reported as such.
func (n *native) network(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	return &tryLater{reason: "the server cannot be reached: " + plain(err.Error()), after: -1}
}

// retryAfter reads Retry-After, seconds or a date (RFC 9110 section 10.2.3).
func (n *native) retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(n.now()))
	}
	return -1
}

// judge tells a refusal from trouble. Only invalid_grant, and only with the
// verdict login or wipe or none at all, ends a session.
func (n *native) judge(ctx context.Context, err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return n.network(ctx, err) // also an answer that was cut off, or is a page of the network's own
	}
	res := answer.Response
	if busy(res.StatusCode) || answer.ErrorCode == string(broker.TemporarilyUnavailable) {
		return n.later(res)
	}
	if answer.ErrorCode == "" {
		return &tryLater{reason: res.Request.URL.Host + " answers " + res.Status + " without a reason", after: -1}
	}
	var body struct{ Verdict, Code string }
	_ = json.Unmarshal(answer.Body, &body) // the verdict is Latchkey's own; other servers have none
	if answer.ErrorCode == "invalid_grant" && (body.Verdict == "" || body.Verdict == "login" || body.Verdict == "wipe") {
		return &sessionOver{body.Code}
	}
	text := answer.ErrorCode
	for _, more := range []string{body.Code, answer.ErrorDescription} {
		if more != "" && more != answer.ErrorCode {
			text += ", " + more
		}
	}
	return &refusal{answer.ErrorCode, text}
}

// Repeating what met trouble.
const (
	repeatFor   = 30 * time.Second
	repeatTimes = 4
)

// repeat does something again while the server asks for it, or, if it cannot be
// asked, a few times.
func (n *native) repeat(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, repeatFor)
	defer cancel()
	deadline, _ := ctx.Deadline()
	wait := 500 * time.Millisecond
	for times := 1; ; times++ {
		err := do(ctx)
		trouble, ok := errors.AsType[*tryLater](err)
		if !ok || times == repeatTimes {
			return err
		}
		next := wait
		if trouble.after >= 0 {
			next = max(trouble.after, 100*time.Millisecond)
		}
		if time.Until(deadline) < next {
			return err
		}
		if pause(ctx, next) != nil {
			return err
		}
		wait *= 2
	}
}
