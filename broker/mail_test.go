package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

// letterbox is a mail server and those who write the mails: it keeps what it is
// sent, and fails while it has an error.
type letterbox struct {
	mu      sync.Mutex
	fails   error
	letters []broker.Letter
	sent    []broker.Message
}

func (l *letterbox) WriteLetter(of broker.Letter) (broker.MailText, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters = append(l.letters, of)
	return broker.MailText{Subject: string(of.Kind), Text: of.Link}, nil
}

func (l *letterbox) SendMail(_ context.Context, m broker.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails == nil {
		l.sent = append(l.sent, m)
	}
	return l.fails
}

// kinds are the mails that were sent to an address.
func (l *letterbox) kinds(to string) (out []string) {
	for _, m := range l.sent {
		if m.To == to {
			out = append(out, m.Subject)
		}
	}
	slices.Sort(out)
	return out
}

func withMail(l *letterbox) func(*broker.Config) {
	return func(c *broker.Config) { c.MailSender, c.LetterWriter = l, l }
}

// deliver sends until nothing is due.
func deliver(t *testing.T, rig *harness.Rig) {
	t.Helper()
	for range 50 {
		n, err := rig.Broker.SendMails(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
	t.Fatal("mail is due again and again")
}

func mailed(t *testing.T, rig *harness.Rig, name, email string, change ...func(*broker.NewUser)) broker.User {
	t.Helper()
	n := broker.NewUser{Username: name, Email: email, Password: harness.PasswordOf(name)}
	for _, f := range change {
		f(&n)
	}
	u, err := rig.Broker.CreateUser(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func forget(t *testing.T, rig *harness.Rig, typed string) {
	t.Helper()
	if err := rig.Broker.ForgotPassword(context.Background(), typed, "de", here); err != nil {
		t.Fatal(err)
	}
	deliver(t, rig)
}

func TestForgottenPasswordIsReplacedOnceByALinkInAMail(t *testing.T) {
	box := &letterbox{}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	anna := mailed(t, rig, "anna", "Anna@example.org")
	rig.Login(t, "anna")
	for _, typed := range []string{"ANNA", " anna@EXAMPLE.org "} {
		forget(t, rig, typed)
	}
	if len(box.sent) != 2 || box.sent[0].To != "Anna@example.org" || box.letters[0].Language != "de" || box.letters[0].Kind != broker.MailForgotten {
		t.Fatalf("sent %+v, %+v", box.sent, box.letters)
	}
	link, err := url.Parse(box.sent[0].Text)
	if err != nil || !strings.HasPrefix(box.sent[0].Text, "http://localhost:8080/password?token=") {
		t.Fatalf("the link is %s", box.sent[0].Text)
	}
	secret := link.Query().Get("token")
	if _, err := rig.Broker.UsePasswordLink(ctx, secret, "an altogether different one", here); err != nil {
		t.Fatal(err)
	}
	if alive, _, err := rig.Broker.SessionsOf(ctx, anna.ID, 10, 10); err != nil || len(alive) != 0 {
		t.Errorf("%d sessions are alive, %v", len(alive), err)
	}
	for i, l := range box.letters[:2] {
		_, err := rig.Broker.UsePasswordLink(ctx, l.Secret, "another one to be tried now", here)
		wantCode(t, fmt.Sprintf("link %d after a change", i), err, broker.PasswordLinkInvalid)
	}
	deliver(t, rig)
	if got := box.kinds("Anna@example.org"); !slices.Equal(got, []string{"forgotten", "forgotten", "password_changed"}) {
		t.Errorf("anna got %v", got)
	}
	rig.Clock.Advance(2 * time.Hour)
	forget(t, rig, "anna")
	rig.Clock.Advance(time.Hour)
	_, err = rig.Broker.UsePasswordLink(ctx, box.letters[len(box.letters)-1].Secret, "another one to be tried now", here)
	wantCode(t, "a link after an hour", err, broker.PasswordLinkInvalid)
}

// Account takeover by a reset: only whoever has a password, is enabled, and has an
// address that is verified or that an administrator of sufficient rights has set
// gets a link.
func TestAttackResetOfAccountsThatGetNone(t *testing.T) {
	box := &letterbox{}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	root, admin := rig.User(t, "root", broker.RoleRoot), rig.User(t, "admin", broker.RoleAdmin)
	as := func(u broker.User) context.Context {
		return broker.WithActor(ctx, broker.Actor{ID: u.ID, Role: u.Role})
	}
	mailed(t, rig, "off", "off@example.org", func(n *broker.NewUser) { n.Disabled = true })
	mailed(t, rig, "idp", "idp@example.org", func(n *broker.NewUser) { n.Password = "" })
	mailed(t, rig, "guest", "guest@example.org", func(n *broker.NewUser) { n.Role = broker.RoleGuest })
	claimed := mailed(t, rig, "claimed", "")
	claimed.Email = "claimed@example.org" // by an IdP, which has not verified it
	if err := rig.Store.UpdateProfile(ctx, claimed, ""); err != nil {
		t.Fatal(err)
	}
	moved := mailed(t, rig, "moved", "moved@example.org")
	moved.Email = "moved-by-idp@example.org"
	if err := rig.Store.UpdateProfile(ctx, moved, ""); err != nil {
		t.Fatal(err)
	}
	// One administrator writes an address of his own into another's account.
	second := rig.User(t, "second", broker.RoleAdmin)
	verified, mine := true, "mallory@example.org"
	if _, err := rig.Broker.UpdateUser(as(admin), second.ID, broker.UserChange{Email: &mine, EmailVerified: &verified}); err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{
		"off", "off@example.org", "idp", "idp@example.org", "guest", "claimed", "claimed@example.org", "moved", "moved@example.org", "moved-by-idp@example.org",
		"second", "mallory@example.org", "nobody", "nobody@example.org", "root", "ıdp@example.org",
	} {
		forget(t, rig, typed)
	}
	if len(box.sent) != 0 {
		t.Fatalf("sent %+v", box.sent)
	}
	// What root has set counts for everybody.
	own := "second@example.org"
	if _, err := rig.Broker.UpdateUser(as(root), second.ID, broker.UserChange{Email: &own}); err != nil {
		t.Fatal(err)
	}
	forget(t, rig, "second")
	if got := box.kinds(own); !slices.Equal(got, []string{"forgotten"}) {
		t.Errorf("the administrator got %v", got)
	}
}

// A link that was mailed while somebody was a plain user does not open the account
// of the administrator that the user has become.
func TestAttackResetLinkSurvivesPromotion(t *testing.T) {
	box := &letterbox{}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	admin := rig.User(t, "admin", broker.RoleAdmin)
	u := mailed(t, rig, "anna", "")
	mine, role := "mallory@example.org", broker.RoleAdmin
	by := broker.WithActor(ctx, broker.Actor{ID: admin.ID, Role: admin.Role})
	if _, err := rig.Broker.UpdateUser(by, u.ID, broker.UserChange{Email: &mine}); err != nil {
		t.Fatal(err)
	}
	forget(t, rig, "anna")
	if len(box.letters) != 1 {
		t.Fatalf("wrote %+v", box.letters)
	}
	if _, err := rig.Broker.UpdateUser(ctx, u.ID, broker.UserChange{Role: &role}); err != nil {
		t.Fatal(err)
	}
	_, err := rig.Broker.UsePasswordLink(ctx, box.letters[0].Secret, "an altogether different one", here)
	wantCode(t, "the link", err, broker.PasswordLinkInvalid)
}

// A flood of one mailbox, and a flood that voids the link somebody waits for.
func TestAttackFloodOfOneMailbox(t *testing.T) {
	box := &letterbox{}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	mailed(t, rig, "anna", "anna@example.org")
	for range 20 {
		forget(t, rig, "anna")
		forget(t, rig, "anna@example.org")
	}
	if len(box.sent) != 3 {
		t.Errorf("%d mails within an hour", len(box.sent))
	}
	if _, err := rig.Broker.PasswordLinkUser(ctx, box.letters[0].Secret); err != nil {
		t.Errorf("the first link: %v", err)
	}
	var err error
	limited := harness.New(t, "", func(c *broker.Config) {
		withMail(box)(c)
		if c.Limiter, err = storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now}); err != nil {
			t.Fatal(err)
		}
		c.Limits.Failures = broker.Quota{Max: 5, Window: time.Minute}
	})
	for i := range 6 {
		err = limited.Broker.ForgotPassword(ctx, fmt.Sprintf("user%d", i), "", here)
	}
	wantCode(t, "the sixth from one address", err, broker.RateLimited)
	for i := range 6 {
		err = limited.Broker.ForgotPassword(ctx, "Bob", "", broker.Device{IP: fmt.Sprintf("198.51.100.%d", i)})
	}
	wantCode(t, "the sixth for one account", err, broker.RateLimited)
}

// Account enumeration: whatever is typed costs one statement of the same kind.
func TestAttackEnumerationByStatements(t *testing.T) {
	box := &letterbox{fails: errors.New("it is a black hole")}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	mailed(t, rig, "anna", "anna@example.org")
	mailed(t, rig, "off", "off@example.org", func(n *broker.NewUser) { n.Disabled = true })
	seen := map[int64]bool{}
	for _, typed := range []string{"warm up", "anna", "anna@example.org", "off", "nobody", "nobody@example.org"} {
		before := rig.Statements.Load()
		if err := rig.Broker.ForgotPassword(ctx, typed, "en", here); err != nil {
			t.Fatal(err)
		}
		if n := rig.Statements.Load() - before; typed != "warm up" {
			seen[n] = true
		}
	}
	if len(seen) != 1 || !seen[1] {
		t.Errorf("statements: %v", seen)
	}
	if len(box.letters) != 0 {
		t.Errorf("a request has written %d letters itself", len(box.letters))
	}
}

func TestMailIsTriedAgainAndGivenUp(t *testing.T) {
	box := &letterbox{fails: errors.New("451 come later")}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	mailed(t, rig, "anna", "anna@example.org")
	forget(t, rig, "anna")
	trouble, err := rig.Broker.MailTrouble(ctx)
	if err != nil || trouble.Waiting != 1 || trouble.Failed != 0 || trouble.LastError != "451 come later" || !trouble.Since.Equal(rig.Clock.Now()) {
		t.Errorf("%+v, %v", trouble, err)
	}
	rig.Clock.Advance(5 * time.Second)
	if waiting, oldest, err := rig.Broker.Outbox(ctx); err != nil || waiting != 1 || oldest != 5*time.Second {
		t.Errorf("outbox: %d, %v, %v", waiting, oldest, err)
	}
	tries := len(box.letters)
	for range 70 {
		rig.Clock.Advance(time.Minute)
		deliver(t, rig)
	}
	if n := len(box.letters) - tries; n < 5 || n > 12 {
		t.Errorf("%d more tries in an hour", n)
	}
	if trouble, err = rig.Broker.MailTrouble(ctx); err != nil || trouble.Waiting != 0 || trouble.Failed != 1 {
		t.Errorf("%+v, %v", trouble, err)
	}
	if waiting, oldest, err := rig.Broker.Outbox(ctx); err != nil || waiting != 0 || oldest != 0 {
		t.Errorf("outbox: %d, %v, %v", waiting, oldest, err)
	}
	counted := map[string]uint64{}
	for _, tally := range rig.Broker.Tallies() {
		if tally.Name == broker.TallyMails {
			counted[tally.Labels[0]] = tally.N
		}
	}
	if n := counted[broker.MailPostponed]; int(n) != len(box.letters)-1 || counted[broker.MailUndelivered] != 1 || counted[broker.MailSent] != 0 {
		t.Errorf("%v after %d tries", counted, len(box.letters))
	}
	box.fails = fmt.Errorf("%w: 550 no such mailbox", broker.ErrMailRefused)
	tries = len(box.letters)
	forget(t, rig, "anna")
	rig.Clock.Advance(10 * time.Minute)
	deliver(t, rig)
	if n := len(box.letters) - tries; n != 1 {
		t.Errorf("a mail that was refused for good was tried %d times", n)
	}
	box.fails = nil
	forget(t, rig, "anna")
	if len(box.sent) != 1 {
		t.Errorf("sent %+v", box.sent)
	}
}

func TestMailWhoseLinkIsVoidIsNotSent(t *testing.T) {
	box := &letterbox{fails: errors.New("451 come later")}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	u := mailed(t, rig, "anna", "wrong@example.org")
	forget(t, rig, "anna")
	right := "right@example.org"
	if _, err := rig.Broker.UpdateUser(ctx, u.ID, broker.UserChange{Email: &right}); err != nil {
		t.Fatal(err)
	}
	box.fails = nil
	rig.Clock.Advance(time.Minute)
	deliver(t, rig)
	if len(box.sent) != 0 {
		t.Errorf("sent %+v", box.sent)
	}
	_, err := rig.Broker.UsePasswordLink(ctx, box.letters[0].Secret, "an altogether different one", here)
	wantCode(t, "the link to the old address", err, broker.PasswordLinkInvalid)
}

func TestInvitationByMail(t *testing.T) {
	box := &letterbox{}
	rig, ctx := harness.New(t, "", withMail(box)), context.Background()
	by := broker.Handover{ByMail: true, Language: "de"}
	u, made, err := rig.Broker.SendInvitation(ctx, broker.NewUser{Username: "robin", Email: "robin@example.org"}, by)
	if err != nil || made.URL != "" || made.MailedTo != "robin@example.org" {
		t.Fatalf("%+v, %v", made, err)
	}
	deliver(t, rig)
	if got := box.kinds("robin@example.org"); !slices.Equal(got, []string{"invitation"}) || box.letters[0].Language != "de" {
		t.Fatalf("robin got %v, %+v", got, box.letters)
	}
	if _, err := rig.Broker.UsePasswordLink(ctx, box.letters[0].Secret, "an altogether different one", here); err != nil {
		t.Fatal(err)
	}
	deliver(t, rig)
	if got := box.kinds("robin@example.org"); len(got) != 1 {
		t.Errorf("robin got %v", got)
	}
	if _, err = rig.Broker.SendPasswordLink(ctx, nil, u.ID, "", by); err != nil {
		t.Fatal(err)
	}
	deliver(t, rig)
	if got := box.kinds("robin@example.org"); !slices.Equal(got, []string{"invitation", "reset"}) {
		t.Errorf("robin got %v", got)
	}
	_, _, err = rig.Broker.SendInvitation(ctx, broker.NewUser{Username: "nowhere"}, by)
	wantCode(t, "an invitation to no address", err, broker.InvalidRequest)
	if _, err := rig.Store.UserByUsername(ctx, "nowhere"); !errors.Is(err, broker.NotFound) {
		t.Errorf("the user is there all the same: %v", err)
	}
	off := harness.New(t, "", nil)
	_, _, err = off.Broker.SendInvitation(ctx, broker.NewUser{Username: "robin", Email: "robin@example.org"}, by)
	wantCode(t, "without a mail server", err, broker.InvalidRequest)
	wantCode(t, "the same", off.Broker.ForgotPassword(ctx, "robin", "", here), broker.NotFound)
}

// The outbox in a stolen database has no link, and what was sent says nothing more.
func TestStolenOutboxHoldsNoLink(t *testing.T) {
	box := &letterbox{fails: errors.New("451 come later")}
	onEachKept(t, withMail(box), func(t *testing.T, w *world) {
		box.letters = nil
		mailed(t, w.Rig, "bertha", "bertha@example.org")
		forget(t, w.Rig, "bertha@example.org")
		secret := box.letters[0].Secret
		if dump := string(harness.Dump(t, w.url)); strings.Contains(dump, secret) || !strings.Contains(dump, "451 come later") {
			t.Error("the outbox holds the link, or is not in the dump")
		}
		if strings.Contains(w.Log.String(), secret) {
			t.Error("the log holds the link")
		}
		box.fails = nil
		w.wait(1)
		deliver(t, w.Rig)
		box.fails = errors.New("451 come later")
		if _, err := w.Broker.PasswordLinkUser(ctx, secret); err != nil {
			t.Error(err)
		}
	})
}
