package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxTyped bounds what is typed as a username or an address, in bytes.
const maxTyped = 256

// sharedAddress is how many accounts with one address get a link at once.
const sharedAddress = 5

// ForgottenOffered reports whether people can ask for a new password by themselves.
func (b *Broker) ForgottenOffered() bool { return b.MailsSent() && b.cfg.LocalLogin }

// ForgotPassword takes the word of somebody who says to have forgotten the
// password of an account, named by username or address. It asks nothing about
// that account: one statement, the same for any, notes what was typed, and who
// that is is looked up in the background. So neither the answer nor its time
// tells whether there is an account. The refusals: NotFound where it is not
// offered, InvalidRequest, RateLimited.
func (b *Broker) ForgotPassword(ctx context.Context, typed, language string, device Device) error {
	if !b.ForgottenOffered() {
		return refuse(NotFound, "there is no such page")
	}
	typed = strings.TrimSpace(typed)
	if typed == "" || len(typed) > maxTyped || !utf8.ValidString(typed) || strings.ContainsFunc(typed, invisible) {
		return fault(InvalidRequest, "account", "give your username or your e-mail address")
	}
	if err := b.countForgotten(ctx, typed, device); err != nil {
		return err
	}
	fact := b.newSecret(16)
	return b.retry(ctx, func() error {
		l := Letter{Kind: mailRequest, Typed: typed, Language: language, At: b.now()}
		_, err := b.queueMail(ctx, b.cfg.Store, "", fact, l, requestLife, MailQuota{})
		return err
	})
}

// countForgotten counts every request, by the address that it comes from and by
// what was typed, known or not.
func (b *Broker) countForgotten(ctx context.Context, typed string, device Device) error {
	const message = "too many links were asked for"
	account, _ := loginKeys(FoldUsername(typed), device)
	if err := b.within(ctx, b.cfg.Limits.Failures, "forgotten "+addressKey(device), message); err != nil {
		return err
	}
	return b.within(untold(ctx), b.cfg.Limits.Failures, "forgotten "+account, message)
}

// answerForgotten looks up who asked, and mails the links. Of two replicas that
// come to it one does.
func (b *Broker) answerForgotten(ctx context.Context, m Mail, l Letter) error {
	users, err := b.whoForgot(ctx, l.Typed)
	if err != nil {
		return err // it is due again when the lease ends
	}
	secrets := make([]string, len(users))
	for i := range users {
		secrets[i] = b.newSecret(32)
	}
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		if err := store.TakeMail(ctx, m.ID); err != nil {
			return err
		}
		for i, u := range users {
			if err := b.mailForgotten(ctx, store, u.ID, secrets[i], l.Language); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, NotFound) {
		return nil
	}
	return err
}

// whoForgot finds the accounts that somebody may mean: that of the username, and
// those with the address. Somebody else may have chosen an address as a username.
func (b *Broker) whoForgot(ctx context.Context, typed string) ([]User, error) {
	users, err := b.cfg.Store.UsersByEmail(ctx, typed)
	if err != nil {
		return nil, err
	}
	users = slices.DeleteFunc(users, func(u User) bool { return !u.mayForget() })
	if len(users) > sharedAddress {
		users = users[:sharedAddress]
	}
	named, err := b.cfg.Store.UserByUsername(ctx, FoldUsername(typed))
	if errors.Is(err, NotFound) {
		return users, nil
	}
	if err == nil && named.mayForget() && !slices.ContainsFunc(users, func(u User) bool { return u.ID == named.ID }) {
		users = append(users, named)
	}
	return users, err
}

// mayForget reports whether a user gets a link by asking for one. Whoever has no
// password has none to forget: an account that logs in at a provider is opened
// there alone.
func (u User) mayForget() bool {
	return u.DisabledAt.IsZero() && u.PasswordHash != "" && u.Role != RoleGuest && u.linkAddress() != ""
}

// mailForgotten makes a link and queues its mail. It leaves other links alone, so
// that nobody voids what somebody else is waiting for by asking again and again.
func (b *Broker) mailForgotten(ctx context.Context, store Store, userID, secret, language string) error {
	err := store.LockUser(ctx, userID)
	if errors.Is(err, NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	u, err := store.UserByID(ctx, userID)
	if err != nil || !u.mayForget() {
		return err
	}
	now := b.now()
	link := PasswordLink{
		ID: passwordLinkID(secret), UserID: u.ID, Purpose: PurposeForgotten, Password: u.PasswordHash, CreatedAt: now, ExpiresAt: now.Add(forgottenLife),
	}
	// The page that was asked is in the language that counts now.
	u.Language = cmp.Or(language, u.Language)
	quota := MailQuota{Most: forgottenMost, Since: now.Add(-forgottenLife)}
	queued, err := b.mailLink(ctx, store, u, link, secret, Letter{Kind: MailForgotten}, quota)
	if err != nil || !queued {
		return err
	}
	if err := store.InsertPasswordLink(ctx, link); err != nil {
		return err
	}
	return b.audit(ctx, store, Event{Name: EventPasswordLinkMade, UserID: u.ID, Detail: map[string]string{"purpose": string(link.Purpose), "by": ""}})
}
