package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// postbox keeps the mails that a site sends, in their real words.
type postbox struct {
	mu   sync.Mutex
	sent []broker.Message
	err  error
}

func (p *postbox) SendMail(_ context.Context, m broker.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, m)
	return p.err
}

func withPostbox(t *testing.T, p *postbox) setup {
	return setup{broker: func(c *broker.Config) { c.MailSender, c.LetterWriter = p, letters(t) }}
}

func (x *site) deliver() {
	x.t.Helper()
	for n := 1; n > 0; {
		var err error
		if n, err = x.Broker.SendMails(context.Background()); err != nil {
			x.t.Fatal(err)
		}
	}
}

func (x *site) mailed(name, email string, change ...func(*broker.NewUser)) broker.User {
	x.t.Helper()
	n := broker.NewUser{Username: name, Email: email, Password: harness.PasswordOf(name)}
	for _, f := range change {
		f(&n)
	}
	u, err := x.Broker.CreateUser(context.Background(), n)
	if err != nil {
		x.t.Fatal(err)
	}
	return u
}

// forgets posts the form.
func (x *site) forgets(account string, options ...option) *answer {
	return x.do(http.MethodPost, forgottenAt, append([]option{form("account", account), header("Origin", publicURL)}, options...)...)
}

const forgottenAt = "/login/forgotten"

// Account enumeration: the answer is the same to the byte, costs the same statement, and
// waits for no mail server.
func TestAttackEnumerationByForgottenPassword(t *testing.T) {
	box := &postbox{err: errors.New("black hole")}
	x := newSite(t, withPostbox(t, box))
	x.mailed("anna", "anna@example.org")
	x.mailed("off", "off@example.org", func(n *broker.NewUser) { n.Disabled = true })
	x.mailed("idp", "idp@example.org", func(n *broker.NewUser) { n.Password = "" })
	x.forgets("warm up")
	var first string
	for _, account := range []string{"anna", "anna@example.org", "off", "idp", "idp@example.org", "nobody", "nobody@example.org"} {
		before := x.Statements.Load()
		a := x.forgets(account)
		if n := x.Statements.Load() - before; n != 1 {
			t.Errorf("%s: %d statements", account, n)
		}
		a.Header.Del("Date")
		said := fmt.Sprint(a.Status, a.Header, a.Body)
		if said != first && first != "" {
			t.Errorf("%s: answered\n%s\nand first\n%s", account, said, first)
		}
		first = said
		if a.Status != http.StatusSeeOther || len(box.sent) != 0 {
			t.Errorf("%s: %d, and %d mails within the request", account, a.Status, len(box.sent))
		}
	}
	if a := x.do(http.MethodGet, forgottenAt+"?done=asked"); a.Status != http.StatusOK || !strings.Contains(a.Body, "If there is such an account") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if plain := newSite(t, setup{}); plain.do(http.MethodGet, forgottenAt).Status != http.StatusNotFound || plain.forgets("anna").Status != http.StatusNotFound ||
		strings.Contains(plain.do(http.MethodGet, "/login").Body, forgottenAt) {
		t.Error("the page is there without a mail server")
	}
}

// Host header poisoning: the link of a mail leads to the public URL whatever the
// request says; and the link is good once.
func TestAttackHostHeaderInResetMail(t *testing.T) {
	box := &postbox{}
	x := newSite(t, withPostbox(t, box))
	x.mailed("anna", "anna@example.org")
	x.forgets("anna", func(r *http.Request) { r.Host = "evil.test" }, header("X-Forwarded-Host", "evil.test"), header("Forwarded", "host=evil.test"),
		header("Accept-Language", "de"))
	x.deliver()
	if len(box.sent) != 1 {
		t.Fatalf("sent %+v", box.sent)
	}
	m := box.sent[0]
	if strings.Contains(m.Text+m.HTML+m.Subject, "evil.test") || m.Subject != "Neues Passwort wählen" {
		t.Errorf("the mail says %s\n%s", m.Subject, m.Text)
	}
	_, rest, _ := strings.Cut(m.Text, publicURL+"/password?token=")
	token, _, _ := strings.Cut(rest, "\n")
	if len(token) != 43 || !strings.Contains(m.HTML, `href="`+publicURL+"/password?token="+token+`"`) {
		t.Fatalf("no link in\n%s\n%s", m.Text, m.HTML)
	}
	set := func() *answer {
		return x.do(http.MethodPost, "/password", form("token", token, "password", "an altogether different one"), header("Origin", publicURL))
	}
	if a := set(); a.Status != http.StatusSeeOther {
		t.Fatalf("the password: %d %s", a.Status, a.Body)
	}
	if a := set(); a.Status == http.StatusSeeOther {
		t.Error("the link was good twice")
	}
}

// A name as the text of a phishing mail, and as a header or as HTML: it is in no
// subject, bounded, escaped, and leads nowhere.
func TestAttackNamesInMails(t *testing.T) {
	const name = "https://evil.test/<b>you</b>"
	w := letters(t)
	for _, kind := range broker.MailKinds {
		for _, language := range []string{"en", "de", "tlh", "", "\r\nBcc: x@y"} {
			got, err := w.WriteLetter(broker.Letter{Kind: kind, To: "a@example.org", Language: language, Username: name, What: name, Link: publicURL + "/account"})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case got.Subject == "" || strings.ContainsAny(got.Subject, "\r\n") || strings.Contains(got.Subject, "evil"):
				t.Errorf("%s: the subject is %q", kind, got.Subject)
			case strings.Contains(got.Text+got.HTML, "evil.test") || strings.Contains(got.Text+got.HTML, "https://evil"):
				t.Errorf("%s: a mail program finds an address in\n%s", kind, got.Text)
			case !strings.Contains(got.Text, "evil.\u2060test") || strings.Contains(got.HTML, "<b>"):
				t.Errorf("%s: the name is not there, or is HTML\n%s", kind, got.HTML)
			case strings.Contains(got.HTML, "src=") || strings.Contains(got.HTML, "url("):
				t.Errorf("%s: something is loaded\n%s", kind, got.HTML)
			}
		}
	}
}
