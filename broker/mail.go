package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"
)

// MailKind is what a mail is about.
type MailKind string

// The kinds of mail.
const (
	MailForgotten       MailKind = "forgotten"        // a link for whoever forgot a password and asked for it
	MailReset           MailKind = "reset"            // the same, from an administrator
	MailInvitation      MailKind = "invitation"       // a link to a first password
	MailIdentityLinked  MailKind = "identity_linked"  // a login at a provider was linked
	MailTokenReused     MailKind = "token_reused"     // a session ended because two devices used it
	MailPasswordChanged MailKind = "password_changed" // not by the person's own invitation
	MailFactorAdded     MailKind = "factor_added"     // a second factor was set up

	// mailRequest is no mail: somebody says to have forgotten a password, and
	// nobody has looked yet whether there is such an account.
	mailRequest MailKind = "forgotten_request"
)

// MailKinds lists the kinds that are sent, for tables that must be complete.
var MailKinds = []MailKind{
	MailForgotten, MailReset, MailInvitation, MailIdentityLinked, MailTokenReused, MailPasswordChanged, MailFactorAdded,
}

// Letter is what a mail says, to be put into words by a [LetterWriter].
type Letter struct {
	Kind     MailKind  `json:"-"`
	To       string    `json:"to,omitempty"`       // a plain address
	Language string    `json:"language,omitempty"` // BCP 47; empty: not known
	Username string    `json:"username,omitempty"` // of the account; from outside
	What     string    `json:"what,omitempty"`     // the provider or the factor; from outside
	At       time.Time `json:"at"`                 // when it happened
	Until    time.Time `json:"until"`              // how long the link is good, or the undo
	// Secret is that of the password link, from which Link is made. It never
	// leaves this package.
	Secret string `json:"secret,omitempty"`
	// Typed is what a [mailRequest] names.
	Typed string `json:"typed,omitempty"`
	// Link is where the mail leads, below the public URL.
	Link string `json:"-"`
}

// MailText is a letter in words. Subject is one line, and has nothing from outside.
type MailText struct{ Subject, Text, HTML string }

// LetterWriter puts letters into words.
type LetterWriter interface {
	WriteLetter(l Letter) (MailText, error)
}

// Message is one mail for a [MailSender]. ID, without a host, is the same at each try.
type Message struct {
	ID, To string
	At     time.Time
	MailText
}

// ErrMailRefused is what a [MailSender] returns where the other side will never
// take this mail: another try is of no use.
var ErrMailRefused = errors.New("the mail server refused this mail for good")

// MailSender hands a mail to a mail server, within a time of its own. The error
// has no secret and nothing of the text in it.
type MailSender interface {
	SendMail(ctx context.Context, m Message) error
}

// Mail is a row of the outbox.
type Mail struct {
	ID        string
	Fact      string // what it tells of: of one fact only one mail is queued
	Kind      MailKind
	UserID    string // empty for a [mailRequest]
	Sealed    string // the letter
	Attempts  int    // this one included
	CreatedAt time.Time
	NextAt    time.Time
	ExpiresAt time.Time // not sent later
}

// MailQuota is how many mails of its kind a user gets since a moment.
type MailQuota struct {
	Most  int
	Since time.Time
}

// MailStore keeps the outbox.
type MailStore interface {
	// InsertMail queues a mail, unless one of the same fact is there or the user has
	// got as many as the quota says; it reports whether it did.
	InsertMail(ctx context.Context, m Mail, q MailQuota) (bool, error)
	// DueMails leases at most limit mails that are due: it counts the try, and makes
	// them due again at leaseUntil. Two replicas never lease the same.
	DueMails(ctx context.Context, now, leaseUntil time.Time, limit int) ([]Mail, error)
	// TakeMail deletes one that is not done; NotFound. Of two at once one does it.
	TakeMail(ctx context.Context, id string) error
	// PostponeMail makes a mail due again, and says why.
	PostponeMail(ctx context.Context, id, problem string, now, next time.Time) error
	// FinishMail forgets what a mail says; a problem says why it was never sent.
	FinishMail(ctx context.Context, id, problem string, now time.Time) error
	// Outbox counts what is not sent, and says when the oldest of it was queued; the
	// zero time: there is none.
	Outbox(ctx context.Context) (waiting int64, oldest time.Time, err error)
	// MailTrouble sums up what could not be sent.
	MailTrouble(ctx context.Context) (MailTrouble, error)
}

// MailTrouble is what an administrator has to know of the outbox.
type MailTrouble struct {
	Waiting   int       // tried at least once, without success
	Since     time.Time // when the oldest of them was queued
	Failed    int       // given up in the last days
	LastError string
	LastAt    time.Time // zero: all is well
}

// Bounds of mail. Links are not sent once they are void.
const (
	noticeMailLife = 24 * time.Hour
	requestLife    = 30 * time.Minute
	noticesADay    = 20 // of one kind to one user
	forgottenLife  = time.Hour
	forgottenMost  = 3 // links in that time for one user, however many ask for them
	mailedLinks    = 10
	longestInMail  = 64 // code points of what comes from outside
)

// MailsSent reports whether mail can be sent.
func (b *Broker) MailsSent() bool { return b.cfg.MailSender != nil && b.cfg.LetterWriter != nil }

// MailTrouble is what could not be sent.
func (b *Broker) MailTrouble(ctx context.Context) (MailTrouble, error) {
	if !b.MailsSent() {
		return MailTrouble{}, nil
	}
	return b.cfg.Store.MailTrouble(ctx)
}

func mailPlace(id string) string { return "mails.body." + id }

// queueMail queues a letter in the transaction of what it tells of, and reports
// whether it did. No mail server is asked here.
func (b *Broker) queueMail(ctx context.Context, store Store, userID, fact string, l Letter, life time.Duration, q MailQuota) (bool, error) {
	l.Username, l.What = cleanText(l.Username, longestInMail), cleanText(l.What, longestInMail)
	// #nosec G117 -- it is sealed before it is stored
	text, err := json.Marshal(l)
	if err != nil {
		return false, err
	}
	now := b.now()
	id := b.newID(now)
	m := Mail{
		ID: id, Fact: hash("mail", string(l.Kind), fact), Kind: l.Kind, UserID: userID, Sealed: b.sealer().Seal(mailPlace(id), text),
		CreatedAt: now, NextAt: now, ExpiresAt: now.Add(life),
	}
	queued, err := store.InsertMail(ctx, m, q)
	if err == nil && !queued {
		b.cfg.Log.InfoContext(ctx, "a mail was not queued: it is there, or there were too many", "event", "mail.limited", "kind", string(l.Kind), "user_id", userID)
	}
	return queued, err
}

// tell queues a notice to a user, once for a fact, in the transaction of that
// fact. Whoever has no address that is known to be theirs is told nothing.
func (b *Broker) tell(ctx context.Context, store Store, userID, fact string, l Letter) error {
	if !b.MailsSent() {
		return nil
	}
	u, err := store.UserByID(ctx, userID)
	if errors.Is(err, NotFound) || err == nil && (!u.DisabledAt.IsZero() || u.noticeAddress() == "") {
		return nil
	}
	if err != nil {
		return err
	}
	now := b.now()
	l.To, l.Language, l.Username, l.At = u.noticeAddress(), u.Language, u.Username, now
	_, err = b.queueMail(ctx, store, u.ID, userID+" "+fact, l, noticeMailLife, MailQuota{Most: noticesADay, Since: now.Add(-24 * time.Hour)})
	return err
}

// tellNewFactor tells a user of a second factor that was set up, in the
// transaction that sets it up. id names the factor for good, name is what the
// person calls it, or empty.
func (b *Broker) tellNewFactor(ctx context.Context, store Store, userID, id, name string) error {
	return b.tell(ctx, store, userID, id, Letter{Kind: MailFactorAdded, What: name})
}

// mailLink sends a password link to its user instead of handing it out, in the
// transaction that makes the link.
func (b *Broker) mailLink(ctx context.Context, store Store, u User, l PasswordLink, secret string, to Letter, q MailQuota) (bool, error) {
	to.To, to.Username, to.At, to.Until, to.Secret = u.linkAddress(), u.Username, l.CreatedAt, l.ExpiresAt, secret
	if u.Language != "" {
		to.Language = u.Language
	}
	return b.queueMail(ctx, store, u.ID, l.ID, to, l.ExpiresAt.Sub(l.CreatedAt), q)
}

// linkTo is the address of a letter's link: of nobody's making but ours.
func (b *Broker) linkTo(l Letter) string {
	at := map[MailKind]string{MailIdentityLinked: "/account/identities", MailTokenReused: "/account/ended"}[l.Kind]
	switch {
	case l.Secret != "":
		at = "/password?token=" + url.QueryEscape(l.Secret)
	case at == "":
		at = "/account"
	}
	return b.cfg.PublicURL + at
}

// Who vouched for an address: see [User.EmailVouched].
const (
	vouchedByRoot  = "root"
	vouchedByAdmin = "admin"
)

// vouch notes that an administrator has set the user's address.
func (b *Broker) vouch(ctx context.Context, u *User) {
	a := b.actor(ctx)
	by := vouchedByAdmin
	if a.unbound() || a.Role == RoleRoot {
		by = vouchedByRoot
	}
	if u.EmailVouched = ""; u.Email != "" {
		u.EmailVouched = by + " " + FoldEmail(u.Email)
	}
}

// noticeAddress is where a user is told what happened to the account: an address
// that somebody has verified or an administrator has set, or none.
func (u User) noticeAddress() string {
	if _, vouched := u.vouched(); !vouched && !u.EmailVerified {
		return ""
	}
	return u.Email
}

// linkAddress is where a link that opens the account may go, or empty. An address
// that only an identity provider claims may be anybody's. For administrators only
// root's word counts, because another administrator could write an own address
// there, and because a provider could.
func (u User) linkAddress() string {
	if by, vouched := u.vouched(); u.Role.IsAdmin() && !(vouched && by == vouchedByRoot) {
		return ""
	}
	return u.noticeAddress()
}

func (u User) vouched() (by string, ok bool) {
	by, address, _ := strings.Cut(u.EmailVouched, " ")
	return by, address != "" && address == FoldEmail(u.Email)
}

// MailsLinks reports whether links can be mailed to a user.
func (b *Broker) MailsLinks(u User) bool {
	return b.MailsSent() && b.cfg.LocalLogin && u.linkAddress() != ""
}
