package oauth2

import (
	"context"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// What is asked of a provider, for the log and for whoever sees the error.
const (
	theProfile = "the identity provider's userinfo"
	theEmails  = "the identity provider's list of e-mail addresses"
	theGroups  = "the identity provider's list of groups"
)

// person asks who the token is for. What cannot be had may be what somebody's
// role or admission hangs on, so that a failure is one of the login.
func (p *Provider) person(ctx context.Context, c caller) (broker.IdPClaims, error) {
	var claims map[string]any
	if _, err := c.get(ctx, p.cfg.Endpoints.Userinfo, &claims); err != nil {
		return broker.IdPClaims{}, idp.Trouble(theProfile, err)
	}
	out := p.cfg.Claims.Read(p.cfg.Issuer, claims)
	if out.Subject = p.dialect.subject(idp.Lookup(claims, p.cfg.Claims.Subject)); out.Subject == "" {
		return broker.IdPClaims{}, idp.BadResponse(theProfile+" names nobody", nil)
	}
	if p.cfg.Endpoints.Emails != "" {
		var list []any
		if _, err := c.get(ctx, p.cfg.Endpoints.Emails, &list); err != nil {
			return broker.IdPClaims{}, idp.Trouble(theEmails, err)
		}
		out.Email, out.EmailVerified = primaryEmail(list)
	}
	if out.Email == "" {
		out.EmailVerified = nil // it speaks of no address
	}
	if p.cfg.Groups && p.dialect.groups != nil {
		groups, err := p.dialect.groups(ctx, c)
		if err != nil {
			return broker.IdPClaims{}, idp.Trouble(theGroups, err)
		}
		out.Groups = groups
	}
	return out, nil
}

// primaryEmail is the address that the person has chosen, and whether the
// provider has verified that one. Another address never takes its place.
func primaryEmail(list []any) (email string, verified *bool) {
	for _, item := range list {
		entry, _ := item.(map[string]any)
		if entry["primary"] != true {
			continue
		}
		if is, ok := entry["verified"].(bool); ok {
			verified = &is
		}
		return idp.Text(entry["email"]), verified
	}
	return "", nil
}

// maxSubject bounds a subject, in bytes.
const maxSubject = 255

// subject is a text, or a whole number above zero, exact at any size.
func subject(claim any) string {
	if s, ok := claim.(string); ok && len(s) <= maxSubject && !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	return number(claim)
}

// number is a whole number above zero as its digits, or empty. 0, null and the
// like are what programs write where nobody is.
func number(claim any) string {
	n, _ := claim.(json.Number)
	return digits(n.String())
}

// digits is the text itself if it is a whole number above zero, written as one.
func digits(text string) string {
	other := func(r rune) bool { return r < '0' || r > '9' }
	if text == "" || text[0] == '0' || len(text) > maxSubject || strings.ContainsFunc(text, other) {
		return ""
	}
	return text
}
