package main

import (
	"crypto/x509"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/providers/smtp"
)

// smtpConfig is where mail goes. Without a host none is sent.
type smtpConfig struct {
	Host     string `yaml:"host"`
	Port     int    `yaml:"port"`
	Username string `yaml:"username"`
	Password string `yaml:"password"`
	From     string `yaml:"from"`
	TLS      string `yaml:"tls"`
	CAFile   string `yaml:"ca_file"`
}

func (c *smtpConfig) settings() []setting {
	return []setting{
		{key: "smtp.host", env: "LATCHKEY_SMTP_HOST", value: &c.Host},
		{key: "smtp.port", env: "LATCHKEY_SMTP_PORT", value: &c.Port},
		{key: "smtp.username", env: "LATCHKEY_SMTP_USERNAME", value: &c.Username},
		{key: "smtp.password", env: "LATCHKEY_SMTP_PASSWORD", value: &c.Password, secret: true},
		{key: "smtp.from", env: "LATCHKEY_SMTP_FROM", value: &c.From},
		{key: "smtp.tls", env: "LATCHKEY_SMTP_TLS", value: &c.TLS, std: smtp.StartTLS},
		{key: "smtp.ca_file", env: "LATCHKEY_SMTP_CA_FILE", value: &c.CAFile},
	}
}

func (c *smtpConfig) check(p *problems) {
	if c.Host == "" {
		for key, set := range map[string]bool{
			"smtp.port": c.Port != 0, "smtp.username": c.Username != "", "smtp.password": c.Password != "", "smtp.from": c.From != "", "smtp.ca_file": c.CAFile != "",
		} {
			if set {
				p.add(key, "is set, and smtp.host (LATCHKEY_SMTP_HOST) is not: set that too, or remove this")
			}
		}
		return
	}
	if strings.ContainsAny(c.Host, " /:@") && !isAddress(c.Host) {
		p.add("smtp.host", "must be the name or the address of the mail server alone, such as mail.example.org; the port is smtp.port")
	}
	if c.Port < 0 || c.Port > 65535 {
		p.add("smtp.port", "must be 1 to 65535, or 0 for the usual one of smtp.tls")
	}
	if !slices.Contains(smtp.Modes, c.TLS) {
		p.add("smtp.tls", "must be one of %s", strings.Join(smtp.Modes, ", "))
	}
	if (c.Username == "") != (c.Password == "") {
		p.add("smtp.username", "and smtp.password (LATCHKEY_SMTP_PASSWORD or LATCHKEY_SMTP_PASSWORD_FILE) belong together")
	}
	if c.TLS == smtp.None && c.Username != "" {
		p.add("smtp.tls", "is none, so that the password would go in the clear: set starttls or implicit, or remove smtp.username and smtp.password")
	}
	if from, err := mail.ParseAddress(c.From); err != nil || strings.ContainsAny(c.From, "\r\n") || !strings.Contains(from.Address, "@") {
		p.add("smtp.from", "must be the address that mail comes from, such as Latchkey <login@example.org>")
	}
	if _, err := c.rootCAs(); err != nil {
		p.add("smtp.ca_file", "%v", err)
	}
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func (c *smtpConfig) warnings() (out []string) {
	addr, err := netip.ParseAddr(c.Host)
	if c.Host != "" && c.TLS == smtp.None && c.Host != "localhost" && !(err == nil && addr.IsLoopback()) {
		out = append(out, "smtp.tls is none: password links go to "+c.Host+" in the clear, for everybody between here and there to read")
	}
	return out
}

// rootCAs are those of the file; nil: those of the system.
func (c *smtpConfig) rootCAs() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s has no certificate in PEM", c.CAFile)
	}
	return pool, nil
}

// mailSender is nil where no mail is sent.
func (c *config) mailSender() (*smtp.Sender, error) {
	m := c.SMTP
	if m.Host == "" {
		return nil, nil
	}
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return nil, fmt.Errorf("smtp.from: %w", err)
	}
	pool, err := m.rootCAs()
	if err != nil {
		return nil, fmt.Errorf("smtp.ca_file: %w", err)
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil {
		return nil, err
	}
	return smtp.New(smtp.Config{
		Host: m.Host, Port: m.Port, Username: m.Username, Password: m.Password, From: from, TLS: m.TLS, RootCAs: pool, Hello: helloName(public.Hostname()),
	})
}

// helloName is a host as it stands in EHLO and behind the @ of a Message-ID: an
// address in brackets (RFC 5321 section 4.1.3).
func helloName(host string) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return host
	case addr.Is4():
		return "[" + host + "]"
	}
	return "[IPv6:" + host + "]"
}
