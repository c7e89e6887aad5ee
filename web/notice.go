package web

import (
	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// noticeJSON is what the owner of an account is to be told; times in Unix ms.
type noticeJSON struct {
	Code    string `json:"code"`
	At      int64  `json:"at"`
	Until   int64  `json:"until"`
	Detail  string `json:"detail,omitempty"`
	Message string `json:"message"`
}

// noticeText is the sentence of a notice.
func noticeText(n broker.Notice) *text {
	switch n.Code {
	case broker.EventIdentityLinked:
		return say("A login of {provider} was linked to your account on {when}. If that was not you, undo it.", n.Detail, n.At)
	case broker.EventFactorAdded:
		if n.Detail == broker.FactorPasskey {
			return say("A passkey was added to your account on {when}. If that was not you, remove it and change your password.", n.At)
		}
		return say("An authenticator app was added to your account on {when}. If that was not you, remove it and change your password.", n.At)
	case broker.EventFactorRemoved:
		return say("A second factor was removed from your account on {when}. If that was not you, change your password and set it up again.", n.At)
	case broker.EventFactorsReset:
		return say("An administrator reset the second factors of your account on {when}. Set them up again.", n.At)
	case broker.EventRecoveryMade:
		return say("New recovery codes were made for your account on {when}. If that was not you, make others and change your password.", n.At)
	case broker.EventRecoveryUsed:
		return say("A recovery code of your account was used on {when}. If that was not you, change your password.", n.At)
	case broker.EventPasskeyCloned:
		return say("One of your passkeys was refused on {when}, because there may be a copy of it. Remove it and make another.", n.At)
	}
	return say("Your account was changed on {when}.", n.At)
}

// notice is what a user is to be told now, or nil.
func (s *Server) notice(u broker.User) *noticeJSON {
	n := u.Notice
	if n.Code == "" || !s.broker.Now().Before(n.Until) {
		return nil
	}
	return &noticeJSON{
		Code: n.Code, At: n.At.UnixMilli(), Until: n.Until.UnixMilli(), Detail: n.Detail, Message: english.plain(noticeText(n)),
	}
}

// told is a notice on a page. Undo is the id of the identity to unlink, if that
// is what undoes it.
type told struct {
	Message *text
	Undo    string
}

func (s *Server) told(c *gin.Context, u broker.User) (*told, error) {
	n := s.notice(u)
	if n == nil {
		return nil, nil
	}
	t := &told{Message: noticeText(u.Notice)}
	if n.Code != broker.EventIdentityLinked {
		return t, nil
	}
	list, err := s.broker.Identities(c.Request.Context(), u.ID)
	for _, i := range list {
		if i.CreatedAt.Equal(u.Notice.At) {
			t.Undo = i.ID()
		}
	}
	return t, err
}
