// Package smtp hands mail to a mail server (RFC 5321): the submission server of
// the installation, which sends it on. Each mail has a connection of its own, and
// each connection an end.
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail"
	gosmtp "github.com/wneessen/go-mail/smtp"

	"github.com/latchkey-id/latchkey/broker"
)

// How a connection is encrypted.
const (
	StartTLS = "starttls" // in the clear until STARTTLS, which has to succeed (RFC 3207)
	Implicit = "implicit" // from the first byte (RFC 8314)
	None     = "none"     // not at all
)

// Modes lists them.
var Modes = []string{StartTLS, Implicit, None}

// Ports are the usual ones.
var Ports = map[string]int{StartTLS: 587, Implicit: 465, None: 25}

// Bounds of one delivery.
const (
	stepTimeout = 15 * time.Second // of connecting, and of each answer
	wholeTime   = 60 * time.Second // less than the lease of a mail in the outbox
)

// Config says where mail goes. Host and From are required.
type Config struct {
	Host     string
	Port     int    // 0: the usual one of the mode
	Username string // empty: without AUTH
	Password string
	From     *netmail.Address
	TLS      string         // one of [Modes]; empty: [StartTLS]
	RootCAs  *x509.CertPool // nil: those of the system
	Hello    string         // the name that we say hello with, and of Message-IDs
	// Timeout is how long each answer may take; 0: 15 s.
	Timeout time.Duration
}

// Sender implements broker.MailSender.
type Sender struct{ cfg Config }

// New returns a sender. It connects to nothing.
func New(cfg Config) (*Sender, error) {
	if cfg.Host == "" || cfg.From == nil {
		return nil, errors.New("smtp: Host and From are required")
	}
	if cfg.TLS == "" {
		cfg.TLS = StartTLS
	}
	if !slices.Contains(Modes, cfg.TLS) {
		return nil, fmt.Errorf("smtp: TLS is one of %s", strings.Join(Modes, ", "))
	}
	if cfg.Port == 0 {
		cfg.Port = Ports[cfg.TLS]
	}
	if cfg.Hello == "" {
		cfg.Hello = "localhost"
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = stepTimeout
	}
	s := &Sender{cfg}
	_, err := s.client(&link{})
	return s, err
}

// Address is where the mail server is, for logs.
func (s *Sender) Address() string { return net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)) }

// SendMail implements broker.MailSender.
func (s *Sender) SendMail(ctx context.Context, m broker.Message) error {
	msg, err := s.message(m)
	if err != nil {
		return err
	}
	return s.with(ctx, func(c *mail.Client, conn *gosmtp.Client) error {
		err := c.SendWithSMTPClient(conn, msg)
		if msg.IsDelivered() { // what goes wrong after the mail was taken is no matter of the mail
			return nil
		}
		return classify(err)
	})
}

// Check connects, encrypts and logs in as for a mail, and sends none.
func (s *Sender) Check(ctx context.Context) error {
	return s.with(ctx, func(_ *mail.Client, conn *gosmtp.Client) error { return conn.Noop() })
}

// with runs f on a connection that ends with the context or after [wholeTime],
// whatever the other side does.
func (s *Sender) with(ctx context.Context, f func(*mail.Client, *gosmtp.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, min(wholeTime, 4*s.cfg.Timeout))
	defer cancel()
	l := &link{}
	client, err := s.client(l)
	if err != nil {
		return err
	}
	defer l.close()
	defer context.AfterFunc(ctx, l.close)()
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err == nil {
		if err = f(client, conn); err == nil {
			_ = client.CloseWithSMTPClient(conn) // QUIT is a courtesy
		}
	}
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("%s took too long: %w", s.Address(), err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.Address(), err)
	}
	return nil
}

// client is one of go-mail that makes its connection through l. The password goes
// over an encrypted connection alone.
func (s *Sender) client(l *link) (*mail.Client, error) {
	conf := &tls.Config{ServerName: s.cfg.Host, MinVersion: tls.VersionTLS12, RootCAs: s.cfg.RootCAs}
	policy := mail.NoTLS
	if s.cfg.TLS == StartTLS {
		policy = mail.TLSMandatory
	}
	options := []mail.Option{
		mail.WithPort(s.cfg.Port), mail.WithTimeout(s.cfg.Timeout), mail.WithHELO(s.cfg.Hello), mail.WithTLSConfig(conf),
		mail.WithTLSPolicy(policy), mail.WithDialContextFunc(l.dial(s.cfg.TLS == Implicit, conf)),
	}
	if s.cfg.Username != "" {
		options = append(options, mail.WithUsername(s.cfg.Username), mail.WithPassword(s.cfg.Password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthSCRAMSHA1, mail.SMTPAuthPlain, mail.SMTPAuthLogin))
	}
	return mail.NewClient(s.cfg.Host, options...)
}

// link holds the connection, so that it can be cut from outside.
type link struct {
	mu   sync.Mutex
	conn net.Conn
	cut  bool
}

func (l *link) dial(encrypt bool, conf *tls.Config) mail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		l.conn = conn
		cut := l.cut
		l.mu.Unlock()
		if cut {
			_ = conn.Close()
			return nil, context.Canceled
		}
		if !encrypt {
			return conn, nil
		}
		over := tls.Client(conn, conf)
		return over, over.HandshakeContext(ctx)
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

// notOfTheMail are codes of refusals that are about us, and not about one mail:
// we have to log in, or to encrypt (RFC 4954, RFC 3207).
var notOfTheMail = []int{503, 530, 534, 535, 538}

// classify finds what another try would not change.
func classify(err error) error {
	e, ok := errors.AsType[*mail.SendError](err)
	if !ok {
		return err
	}
	aboutMail := slices.Contains([]mail.SendErrReason{mail.ErrSMTPRcptTo, mail.ErrSMTPData, mail.ErrSMTPDataClose}, e.Reason)
	if code := e.ErrorCode(); aboutMail && code >= 500 && code <= 599 && !slices.Contains(notOfTheMail, code) {
		return fmt.Errorf("%w: %w", broker.ErrMailRefused, err)
	}
	return err
}
