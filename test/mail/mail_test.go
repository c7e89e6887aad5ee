package mail_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/smtp"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/mail"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/web"
)

func message(to string) broker.Message {
	return broker.Message{
		ID: "0199-of-a-test", To: to, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		MailText: broker.MailText{Subject: "Neues Passwort wählen", Text: "Grüße\n", HTML: "<p>Grüße</p>"},
	}
}

// A mail arrives by each kind of connection, with the headers that it has to have
// and none that lead anywhere else.
func TestMailArrives(t *testing.T) {
	for _, mode := range smtp.Modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			withLogin := mode != smtp.None
			s := start(t, mode, withLogin)
			sender := s.sender(t, mode, map[bool]func(*smtp.Config){true: login}[withLogin])
			if err := sender.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := sender.SendMail(t.Context(), message("anna@example.org")); err != nil {
				t.Fatal(err)
			}
			m := s.To(t, "anna@example.org", 1)[0]
			if m.From != "login@example.org" || len(m.To) != 1 || m.Secure != withLogin || (m.User == mail.User) != withLogin {
				t.Errorf("%+v", m)
			}
			read, err := netmail.ReadMessage(strings.NewReader(m.Raw))
			if err != nil {
				t.Fatal(err)
			}
			h := read.Header
			if h.Get("Message-ID") != "<0199-of-a-test@id.example.org>" || h.Get("Auto-Submitted") != "auto-generated" || h.Get("Reply-To") != "" ||
				h.Get("From") != `"Latchkey" <login@example.org>` || h.Get("To") != "<anna@example.org>" || len(h["From"]) != 1 || h.Get("Bcc")+h.Get("Cc") != "" ||
				!strings.HasPrefix(h.Get("Content-Type"), "multipart/alternative") {
				t.Errorf("%v", h)
			}
			if withLogin {
				err := s.sender(t, mode, func(c *smtp.Config) { c.Username, c.Password = mail.User, "another secret" }).SendMail(t.Context(), message("anna@example.org"))
				if err == nil || errors.Is(err, broker.ErrMailRefused) || strings.Contains(err.Error(), "another secret") {
					t.Errorf("a wrong password: %v", err)
				}
				if err := s.sender(t, mode, func(c *smtp.Config) { login(c); c.RootCAs = nil }).SendMail(t.Context(), message("anna@example.org")); err == nil {
					t.Error("a certificate that nobody knows was taken")
				}
			}
		})
	}
}

// Somebody on the way strips STARTTLS: nothing is sent, and no password.
func TestAttackStrippedSTARTTLS(t *testing.T) {
	s := start(t, smtp.None, true)
	if err := s.sender(t, smtp.StartTLS, login).SendMail(t.Context(), message("anna@example.org")); err == nil {
		t.Error("the mail went in the clear")
	}
	if len(s.Mails()) != 0 {
		t.Errorf("%+v", s.Mails())
	}
}

// Header injection: no address, subject or id brings a header, a second recipient
// or a command of its own.
func TestAttackHeaderInjection(t *testing.T) {
	s := start(t, smtp.None, false)
	sender := s.sender(t, smtp.None, nil)
	for _, to := range []string{
		"a@example.org\r\nBcc: b@example.org", "a@example.org\nX: y", "a@example.org, b@example.org", "A <a@example.org>", "<a@example.org>\r\nDATA",
		"a@example.org> SIZE=1", "", "@example.org",
	} {
		if err := sender.SendMail(t.Context(), message(to)); !errors.Is(err, broker.ErrMailRefused) {
			t.Errorf("to %q: %v", to, err)
		}
	}
	for _, change := range []func(*broker.Message){
		func(m *broker.Message) { m.Subject = "Hello\r\nBcc: b@example.org" }, func(m *broker.Message) { m.ID = "x>\r\nBcc: b@example.org" },
	} {
		m := message("a@example.org")
		change(&m)
		if err := sender.SendMail(t.Context(), m); !errors.Is(err, broker.ErrMailRefused) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	m := message("a@example.org")
	m.Text = "a\r\n.\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n" // SMTP smuggling
	if err := sender.SendMail(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if s.To(t, "a@example.org", 1); len(s.Mails()) != 1 {
		t.Errorf("%+v", s.Mails())
	}
}

// Trouble of a mail server: what is worth another try, what is not, and that
// nothing hangs or stays behind.
func TestMailServerInTrouble(t *testing.T) {
	s := start(t, smtp.None, false)
	sender := s.sender(t, smtp.None, nil)
	if err := sender.SendMail(t.Context(), message("refused@example.org")); !errors.Is(err, broker.ErrMailRefused) {
		t.Errorf("refused: %v", err)
	}
	for _, name := range []string{"busy@example.org", "dies@example.org", "lost@example.org"} {
		if err := sender.SendMail(t.Context(), message(name)); err == nil || errors.Is(err, broker.ErrMailRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if err := sender.SendMail(t.Context(), message(name)); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
	hole, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	before, begun := runtime.NumGoroutine(), time.Now()
	deaf := &server{&mail.Server{Port: hole.Addr().(*net.TCPAddr).Port}}
	for _, mode := range smtp.Modes {
		if err := deaf.sender(t, mode, func(c *smtp.Config) { c.Timeout = 100 * time.Millisecond }).SendMail(t.Context(), message("anna@example.org")); err == nil {
			t.Errorf("%s: a black hole took a mail", mode)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := deaf.sender(t, smtp.None, nil).SendMail(ctx, message("anna@example.org")); err == nil {
		t.Error("a black hole took a mail")
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, and %d before", runtime.NumGoroutine(), before)
		}
	}
}

// replica is a broker of an installation, at a database.
func replica(t *testing.T, url string, sender broker.MailSender) *harness.Rig {
	t.Helper()
	letters, err := web.NewLetters("http://localhost:8080")
	if err != nil {
		t.Fatal(err)
	}
	return harness.New(t, url, func(c *broker.Config) { c.MailSender, c.LetterWriter = sender, letters })
}

func invite(t *testing.T, rig *harness.Rig, name string) {
	t.Helper()
	n := broker.NewUser{Username: name, Email: name + "@example.org"}
	if _, _, err := rig.Broker.SendInvitation(t.Context(), n, broker.Handover{ByMail: true}); err != nil {
		t.Fatal(err)
	}
}

// Two replicas send from one outbox at once: each mail once. One whose answer is
// lost goes out again, later, as the same mail.
func TestReplicasSendEachMailOnce(t *testing.T) {
	for kind, url := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "mail.db") },
		"postgres": func(t *testing.T) string { return pgtest.Shared(t).NewDatabase(t) },
	} {
		t.Run(kind, func(t *testing.T) {
			s, at := start(t, smtp.None, false), url(t)
			replicas := []*harness.Rig{replica(t, at, s.sender(t, smtp.None, nil)), replica(t, at, s.sender(t, smtp.None, nil))}
			for i := range 12 {
				invite(t, replicas[0], fmt.Sprintf("user%d", i))
			}
			invite(t, replicas[0], "lost")
			send := func() {
				var both sync.WaitGroup
				for _, r := range replicas {
					both.Go(func() {
						for n, err := 1, error(nil); n > 0; {
							if n, err = r.Broker.SendMails(context.Background()); err != nil {
								t.Error(err)
							}
						}
					})
				}
				both.Wait()
			}
			send()
			for i := range 12 {
				if mails := s.To(t, fmt.Sprintf("user%d@example.org", i), 1); len(mails) != 1 {
					t.Errorf("user%d got %d mails", i, len(mails))
				}
			}
			send() // not due yet
			if mails := s.To(t, "lost@example.org", 1); len(mails) != 1 {
				t.Fatalf("%d mails whose answer was lost", len(mails))
			}
			for _, r := range replicas {
				r.Clock.Advance(time.Minute)
			}
			send()
			mails := s.To(t, "lost@example.org", 2)
			id := func(m mail.Got) string {
				read, err := netmail.ReadMessage(strings.NewReader(m.Raw))
				if err != nil {
					t.Fatal(err)
				}
				return read.Header.Get("Message-ID")
			}
			if len(mails) != 2 || id(mails[0]) != id(mails[1]) || id(mails[0]) == "" {
				t.Errorf("%d mails, %s and %s", len(mails), id(mails[0]), id(mails[1]))
			}
			if trouble, err := replicas[0].Broker.MailTrouble(t.Context()); err != nil || trouble != (broker.MailTrouble{}) {
				t.Errorf("%+v, %v", trouble, err)
			}
		})
	}
}

// stopped ends the process, as far as the outbox knows, when the mail is out.
type stopped struct {
	broker.MailSender
	sent chan struct{}
}

func (s stopped) SendMail(ctx context.Context, m broker.Message) error {
	if err := s.MailSender.SendMail(ctx, m); err != nil {
		return err
	}
	close(s.sent)
	select {} // never comes back
}

// A process that is killed between sending and noting it down: another one sends
// the mail again when the lease is over, and it is the same mail.
func TestKilledBetweenSendingAndNoting(t *testing.T) {
	s, at := start(t, smtp.None, false), "sqlite:"+filepath.Join(t.TempDir(), "mail.db")
	sender := s.sender(t, smtp.None, nil)
	killed := stopped{sender, make(chan struct{})}
	first, second := replica(t, at, killed), replica(t, at, sender)
	invite(t, first, "anna")
	go func() { _, _ = first.Broker.SendMails(context.Background()) }()
	<-killed.sent
	if n, err := second.Broker.SendMails(t.Context()); n != 0 || err != nil {
		t.Fatalf("%d mails are due within the lease, %v", n, err)
	}
	second.Clock.Advance(3 * time.Minute)
	if n, err := second.Broker.SendMails(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d mails are due after the lease, %v", n, err)
	}
	mails := s.To(t, "anna@example.org", 2)
	if len(mails) != 2 || mails[0].Raw[strings.Index(mails[0].Raw, "Message-ID"):][:60] != mails[1].Raw[strings.Index(mails[1].Raw, "Message-ID"):][:60] {
		t.Errorf("%+v", mails)
	}
}
