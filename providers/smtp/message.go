package smtp

import (
	"errors"
	netmail "net/mail"
	"strings"
	"unicode"

	"github.com/wneessen/go-mail"

	"github.com/latchkey-id/latchkey/broker"
)

var errHeader = errors.New("smtp: a mail has a line break, or another control character, in a header")

// message writes a mail. Its headers are ours but for the address of the
// recipient, which is one plain address and no list of them.
func (s *Sender) message(m broker.Message) (*mail.Msg, error) {
	to, err := netmail.ParseAddress(m.To)
	switch {
	case err != nil || to.Name != "" || to.Address != m.To:
		return nil, errors.Join(broker.ErrMailRefused, errors.New("the address of the recipient is not a plain one"))
	case strings.ContainsFunc(m.Subject+m.ID+m.To, unicode.IsControl):
		return nil, errors.Join(broker.ErrMailRefused, errHeader)
	}
	msg := mail.NewMsg(mail.WithEncoding(mail.EncodingQP), mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(s.cfg.From)
	msg.ToMailAddress(to)
	msg.Subject(m.Subject)
	msg.SetDateWithValue(m.At)
	msg.SetMessageIDWithValue(m.ID + "@" + s.cfg.Hello)
	// RFC 3834: nobody's automatic answer is to come back, and no loop to begin.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader(mail.HeaderXAutoResponseSuppress, "All")
	msg.SetBodyString(mail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(mail.TypeTextHTML, m.HTML)
	return msg, nil
}
