package web

import (
	"strings"

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

// noticeTexts has a sentence per notice; {detail} and {when} are the notice's.
var noticeTexts = map[string]string{
	broker.EventIdentityLinked: "A login of {detail} was linked to your account on {when}. If that was not you, undo it.",
}

// notice is what a user is to be told now, or nil.
func (s *Server) notice(u broker.User) *noticeJSON {
	n := u.Notice
	if n.Code == "" || !s.broker.Now().Before(n.Until) {
		return nil
	}
	text := noticeTexts[n.Code]
	if text == "" {
		text = "Your account was changed on {when}."
	}
	message := strings.NewReplacer("{detail}", n.Detail, "{when}", n.At.UTC().Format(dateAndTime)).Replace(text)
	return &noticeJSON{Code: n.Code, At: n.At.UnixMilli(), Until: n.Until.UnixMilli(), Detail: n.Detail, Message: message}
}

// told is a notice on a page. Undo is the id of the identity to unlink, if that
// is what undoes it.
type told struct{ Message, Undo string }

func (s *Server) told(c *gin.Context, u broker.User) (*told, error) {
	n := s.notice(u)
	if n == nil {
		return nil, nil
	}
	t := &told{Message: n.Message}
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
