package main

import (
	"context"
	"time"
)

// mailTime is shorter than [checkTime], so that a mail server that says nothing is
// a finding of its own.
const mailTime = 4 * time.Second

var ailmentsOfMail = []ailment{
	{"mail_server", levelFault, "No mail can be sent: {reason}", "Correct smtp.host, smtp.port, smtp.tls, or the login of the mail server; `latchkey mail test ADDRESS` sends a mail to try."},
}

// checkMailServer connects to the mail server and logs in, as for a mail.
func checkMailServer(ctx context.Context, d *doctor) (out []finding, looked bool) {
	if d.config.SMTP.Host == "" {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	if err := d.config.checkMail(ctx); err != nil {
		out = append(out, found("mail_server", d.config.SMTP.Host, values{"reason": err.Error()}))
	}
	return out, true
}
