package mail_test

import (
	netmail "net/mail"
	"os"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/smtp"
	"github.com/latchkey-id/latchkey/test/mail"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// server is a mail server, to which mails are sent as latchkey does it.
type server struct{ *mail.Server }

func start(t *testing.T, mode string, login bool) *server {
	t.Helper()
	return &server{mail.Start(t, mode, login)}
}

func (s *server) sender(t *testing.T, mode string, change func(*smtp.Config)) *smtp.Sender {
	t.Helper()
	c := smtp.Config{
		Host: "127.0.0.1", Port: s.Port, TLS: mode, RootCAs: s.Roots, From: &netmail.Address{Name: "Latchkey", Address: "login@example.org"}, Hello: "id.example.org",
		Timeout: 5 * time.Second,
	}
	if change != nil {
		change(&c)
	}
	sender, err := smtp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func login(c *smtp.Config) { c.Username, c.Password = mail.User, mail.Password }
