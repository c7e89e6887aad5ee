package broker

import (
	"context"
	"errors"
)

// Inspector is an [IdP] that shows what it reads out of claims and ID tokens,
// for administrators who try their rules.
type Inspector interface {
	// ReadClaims reads a JSON object as the claims of a login; InvalidRequest.
	ReadClaims(object []byte) (IdPClaims, error)
	// InspectIDToken returns the claims of an ID token as they are, whatever is
	// wrong with it, and what a login would check of it; InvalidRequest where
	// there are no claims to be seen.
	InspectIDToken(ctx context.Context, raw string) (object []byte, checks []TokenCheck, err error)
}

// Results of a [TokenCheck].
const (
	CheckPassed  = "passed"
	CheckFailed  = "failed"
	CheckUnknown = "unknown" // the IdP could not be asked
)

// TokenCheck is one thing that is checked of an ID token.
type TokenCheck struct {
	Check  string `json:"check"` // signature, iss, aud, exp or iat
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

// DryRunInput is what a dry run is made with: one of the two.
type DryRunInput struct {
	IDToken string
	Claims  []byte // a JSON object
}

// Outcomes of a dry run.
const (
	OutcomeLogin   = "login"
	OutcomeRefused = "refused"
)

// DryRun says what a login would come to, and which rule decides that.
type DryRun struct {
	Provider string       `json:"provider"`
	Outcome  string       `json:"outcome"`
	Code     Code         `json:"code,omitempty"` // of a refusal
	Message  string       `json:"message,omitempty"`
	Rule     string       `json:"rule,omitempty"` // that refused
	Token    []TokenCheck `json:"token,omitempty"`
	Claims   ReadClaims   `json:"claims"`
	Before   *DryRunUser  `json:"before,omitempty"` // the user as it is; nil: there is none yet
	User     *DryRunUser  `json:"user,omitempty"`   // and as the login would leave it
	Rulings  []Ruling     `json:"rulings"`
}

// ReadClaims are the claims of a login as they were read, under the names that
// the standard has for them.
type ReadClaims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Username      string   `json:"username"`
	Name          string   `json:"name"`
	Email         string   `json:"email"`
	EmailVerified *bool    `json:"email_verified"` // null: absent, or no boolean
	Groups        []string `json:"groups"`
	Permissions   any      `json:"permissions,omitempty"`
}

// DryRunUser is a user in a [DryRun].
type DryRunUser struct {
	ID            string      `json:"id,omitempty"` // empty: it would be made
	Username      string      `json:"username"`
	Name          string      `json:"name"`
	Email         string      `json:"email"`
	EmailVerified bool        `json:"email_verified"`
	Role          Role        `json:"role"`
	Groups        []string    `json:"groups"`
	Permissions   Permissions `json:"permissions"`
}

// errDryRun rolls the transaction of a dry run back.
var errDryRun = errors.New("broker: a dry run changes nothing")

// DryRun runs a login through a provider by the code of a real one, in a
// transaction that is rolled back: nobody is made, linked or touched. A token
// that would not be accepted is shown all the same, with what is wrong with it.
func (b *Broker) DryRun(ctx context.Context, providerID string, in DryRunInput) (DryRun, error) {
	p, err := b.provider(providerID)
	if err != nil {
		return DryRun{}, err
	}
	out := DryRun{Provider: p.ID, Outcome: OutcomeLogin, Rulings: []Ruling{}}
	claims, err := inspect(ctx, p, in, &out)
	if err != nil {
		return DryRun{}, err
	}
	var r resolution
	refused := p.accepts(claims)
	if refused == nil {
		r, refused, err = b.dryResolve(ctx, p, claims)
	}
	if err != nil {
		return DryRun{}, err
	}
	out.Rulings = append(out.Rulings, r.rulings...)
	out.Before = dryRunUser(r.before, "")
	if refused == nil {
		out.User = dryRunUser(r.user, r.made)
		return out, nil
	}
	e, _ := errors.AsType[*Error](refused)
	out.Outcome, out.Code, out.Message, out.Rule = OutcomeRefused, e.Code, e.Message, p.ruleOf(e.Code, r)
	return out, nil
}

// inspect reads what was given.
func inspect(ctx context.Context, p *Provider, in DryRunInput, out *DryRun) (c IdPClaims, err error) {
	idp, ok := p.IdP.(Inspector)
	switch {
	case !ok:
		return c, refuse(InvalidRequest, "the rules of "+p.ID+" cannot be tried like this")
	case (in.IDToken == "") == (in.Claims == nil):
		return c, refuse(InvalidRequest, "give id_token or claims, one of them")
	case in.IDToken != "":
		if in.Claims, out.Token, err = idp.InspectIDToken(ctx, in.IDToken); err != nil {
			return c, err
		}
	}
	c, err = idp.ReadClaims(in.Claims)
	out.Claims = ReadClaims{
		Issuer: c.Issuer, Subject: c.Subject, Username: c.Username, Name: c.Name, Email: c.Email, EmailVerified: c.EmailVerified,
		Groups: append([]string{}, c.Groups...), Permissions: c.Permissions,
	}
	return c, err
}

func (b *Broker) dryResolve(ctx context.Context, p *Provider, c IdPClaims) (r resolution, refused, err error) {
	err = b.retry(ctx, func() error {
		err := b.cfg.Store.Tx(ctx, func(store Store) error {
			if r, refused = b.findOrMake(ctx, store, p, c, Device{}); CodeOf(refused) == TemporarilyUnavailable && refused != nil {
				return refused
			}
			return errDryRun
		})
		if errors.Is(err, errDryRun) { // no trouble, which would be tried again
			return nil
		}
		return err
	})
	return r, refused, err
}

func dryRunUser(u User, made string) *DryRunUser {
	if u.ID == "" {
		return nil
	}
	out := &DryRunUser{
		ID: u.ID, Username: u.Username, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerified, Role: u.Role,
		Groups: append([]string{}, u.Groups...), Permissions: u.EffectivePermissions(),
	}
	if u.ID == made {
		out.ID = ""
	}
	return out
}

// ruleOf names the setting that a refusal comes from.
func (p *Provider) ruleOf(code Code, r resolution) string {
	switch code {
	case EmailNotVerified:
		return "require_verified_email: " + string(p.RequireVerifiedEmail)
	case DomainNotAllowed:
		return "allowed_domains"
	case GroupNotAllowed:
		if len(r.rulings) > 0 {
			return r.rulings[len(r.rulings)-1].Rule
		}
		return "allowed_groups"
	case NotProvisioned:
		return "provision: " + string(p.Provision)
	case IdentityConflict:
		return "link_by: " + string(p.LinkBy)
	case UserDisabled:
		return "the user is disabled"
	}
	return "the claims themselves"
}
