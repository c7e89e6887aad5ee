package broker

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// How mail is tried again: 10 s after the first try, then at twice the distance
// each time, up to a quarter of an hour.
const (
	mailBatch     = 5
	mailLease     = 2 * time.Minute // longer than one try may take
	firstMailWait = 10 * time.Second
	mostMailWait  = 15 * time.Minute
	mostMailTries = 100
	longestError  = 300 // code points of what a mail server says
)

// SendMails sends what is due in the outbox, and returns how much that was. A
// mail is sent at least once: who dies between sending and noting that down
// leaves it to be sent again, under the same Message-ID.
func (b *Broker) SendMails(ctx context.Context) (int, error) {
	if !b.MailsSent() || b.Ready() != nil {
		return 0, nil
	}
	now := b.now()
	due, err := b.cfg.Store.DueMails(ctx, now, now.Add(mailLease), mailBatch)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	done := make(chan error, len(due))
	for _, m := range due {
		go func() { done <- b.handleMail(ctx, m) }()
	}
	for range due {
		err = errors.Join(err, <-done)
	}
	return len(due), err
}

func (b *Broker) handleMail(ctx context.Context, m Mail) error {
	now := b.now()
	if !now.Before(m.ExpiresAt) || m.Attempts > mostMailTries {
		return b.giveUpMail(ctx, m, errors.New("it waited for too long"))
	}
	plain, err := b.cfg.Secrets.Open(mailPlace(m.ID), m.Sealed)
	l := Letter{Kind: m.Kind}
	if err == nil {
		err = json.Unmarshal(plain, &l)
	}
	if err != nil { // another root secret: nobody here can read it
		return b.giveUpMail(ctx, m, err)
	}
	if m.Kind == mailRequest {
		return b.answerForgotten(ctx, m, l)
	}
	if void, err := b.mailVoid(ctx, m, l); err != nil || void {
		if err == nil {
			err = b.cfg.Store.FinishMail(ctx, m.ID, "", now)
		}
		return err
	}
	return b.sendMail(ctx, m, l)
}

// mailVoid reports whether a mail says what is no longer so: its link is void, or
// its address no longer the user's.
func (b *Broker) mailVoid(ctx context.Context, m Mail, l Letter) (bool, error) {
	if l.Secret == "" {
		return false, nil
	}
	link, err := b.cfg.Store.PasswordLinkByID(ctx, passwordLinkID(l.Secret), b.now())
	if err == nil {
		var u User
		if u, err = linkedUser(ctx, b.cfg.Store, link); err == nil {
			return u.linkAddress() != l.To, nil
		}
	}
	if errors.Is(err, NotFound) {
		return true, nil
	}
	return false, err
}

func (b *Broker) sendMail(ctx context.Context, m Mail, l Letter) error {
	l.Link = b.linkTo(l)
	text, err := b.cfg.LetterWriter.WriteLetter(l)
	if err != nil {
		return b.giveUpMail(ctx, m, err)
	}
	err = b.cfg.MailSender.SendMail(ctx, Message{ID: m.ID, To: l.To, At: m.CreatedAt, MailText: text})
	// Whether it went out is known: the note of it does not depend on who asked.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	switch {
	case errors.Is(err, ErrMailRefused):
		return b.giveUpMail(ctx, m, err)
	case err != nil:
		return b.postponeMail(ctx, m, err)
	}
	b.meter.tally(TallyMails, MailSent, "")
	b.cfg.Log.InfoContext(ctx, "mail sent", "event", "mail.sent", "mail", m.ID, "kind", string(m.Kind), "user_id", m.UserID, "attempt", m.Attempts)
	return b.cfg.Store.FinishMail(ctx, m.ID, "", b.now())
}

func (b *Broker) postponeMail(ctx context.Context, m Mail, why error) error {
	now := b.now()
	next := now.Add(min(firstMailWait<<min(m.Attempts-1, 10), mostMailWait))
	if !next.Before(m.ExpiresAt) {
		return b.giveUpMail(ctx, m, why)
	}
	b.meter.tally(TallyMails, MailPostponed, "")
	b.cfg.Log.WarnContext(ctx, "a mail could not be sent; it will be tried again", "event", "mail.postponed",
		"mail", m.ID, "kind", string(m.Kind), "user_id", m.UserID, "attempt", m.Attempts, "error", cleanText(why.Error(), longestError))
	return b.cfg.Store.PostponeMail(ctx, m.ID, cleanText(why.Error(), longestError), now, next)
}

func (b *Broker) giveUpMail(ctx context.Context, m Mail, why error) error {
	b.meter.tally(TallyMails, MailUndelivered, "")
	b.cfg.Log.ErrorContext(ctx, "a mail was never sent", "event", "mail.undelivered",
		"mail", m.ID, "kind", string(m.Kind), "user_id", m.UserID, "attempt", m.Attempts, "error", cleanText(why.Error(), longestError))
	return b.cfg.Store.FinishMail(ctx, m.ID, cleanText(why.Error(), longestError), b.now())
}
