package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// resolve finds the user that an IdP speaks of, or links or creates one, or
// refuses: find → link → create → refuse. All rules are checked before
// anything is written, and everything is written in one transaction.
func (b *Broker) resolve(ctx context.Context, p *Provider, c IdPClaims, device Device) (User, error) {
	if err := p.checkSubject(c); err != nil {
		return User{}, err
	}
	if err := p.admits(c); err != nil {
		return User{}, err
	}
	var u User
	err := b.retry(ctx, func() error {
		return b.cfg.Store.Tx(ctx, func(store Store) (err error) {
			u, err = b.findOrMake(ctx, store, p, c, device)
			return err
		})
	})
	return u, err
}

func (p *Provider) checkSubject(c IdPClaims) error {
	if c.Issuer == "" || c.Subject == "" || len(c.Subject) > 255 {
		return &Error{Code: IdPBadResponse, Message: p.Name + " sent no usable subject"}
	}
	return nil
}

// identity is what the IdP calls somebody, for no user yet.
func (p *Provider) identity(c IdPClaims, now time.Time) Identity {
	return Identity{
		Issuer: c.Issuer, Subject: c.Subject, ProviderID: p.ID, Email: cleanText(c.Email, MaxEmail),
		Username: cleanText(c.Username, MaxUsername), CreatedAt: now, LastUsedAt: now,
	}
}

// admits applies the provider's rules, at every login.
func (p *Provider) admits(c IdPClaims) error {
	verified := c.EmailVerified != nil && *c.EmailVerified
	switch {
	case p.RequireVerifiedEmail == EmailAlways && !verified,
		p.RequireVerifiedEmail == EmailIfPresent && c.EmailVerified != nil && !verified:
		return refuse(EmailNotVerified, p.Name+" has not verified your e-mail address")
	case len(p.AllowedGroups) > 0 && !slices.ContainsFunc(c.Groups, func(g string) bool { return slices.Contains(p.AllowedGroups, g) }):
		return refuse(GroupNotAllowed, "your groups at "+p.Name+" may not log in here")
	}
	if len(p.AllowedDomains) == 0 {
		return nil
	}
	email, err := checkEmail(c.Email)
	_, domain, _ := strings.Cut(FoldEmail(email), "@")
	if err != nil || !isASCII(email) || !verified || !slices.Contains(p.AllowedDomains, domain) {
		return refuse(DomainNotAllowed, "your e-mail address at "+p.Name+" may not log in here")
	}
	return nil
}

// isASCII keeps addresses apart that only folding makes equal: the Kelvin sign
// folds to k.
func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// findOrMake is the body of resolve's transaction. Of two first logins at once
// the slower one starts again.
func (b *Broker) findOrMake(ctx context.Context, store Store, p *Provider, c IdPClaims, device Device) (User, error) {
	identity := p.identity(c, b.now())
	known, err := store.IdentityBySubject(ctx, c.Issuer, c.Subject)
	if err == nil {
		identity.UserID = known.UserID
		if err := store.TouchIdentity(ctx, identity); err != nil {
			return User{}, err
		}
		return b.updateFromIdP(ctx, store, p, known, c)
	}
	if !errors.Is(err, NotFound) {
		return User{}, err
	}
	u, err := b.match(ctx, store, p, c)
	switch {
	case err == nil:
		identity, err = b.link(ctx, store, p, u, identity, LinkedByEmail, device)
	case errors.Is(err, NotFound) && p.Provision == ProvisionCreate:
		identity, err = b.createFromIdP(ctx, store, p, identity, c, device)
	case errors.Is(err, NotFound):
		err = refuse(NotProvisioned, "there is no account here for your "+p.Name+" login; ask an administrator")
	}
	if err != nil {
		return User{}, err
	}
	return b.updateFromIdP(ctx, store, p, identity, c)
}

// match finds the user to link a newcomer to. Only an address that the IdP has
// verified, as a boolean, counts; only one user may have it, without an
// identity of that issuer; and the rule is off by default. What somebody undid
// is not done again.
func (b *Broker) match(ctx context.Context, store Store, p *Provider, c IdPClaims) (User, error) {
	verified := c.EmailVerified != nil && *c.EmailVerified
	email, err := checkEmail(c.Email)
	if p.Provision == ProvisionDeny || p.LinkBy != LinkVerifiedEmail || !verified || err != nil || email == "" || !isASCII(email) {
		return User{}, &Error{Code: NotFound}
	}
	users, err := store.UsersByEmail(ctx, email)
	// An address that nobody has verified proves nothing about an account that
	// somebody can log in to already: it may be a trap, made with a victim's
	// address to share the victim's account later.
	users = slices.DeleteFunc(users, func(u User) bool { return (u.HasIdentity || u.PasswordHash != "") && !u.EmailVerified })
	if err != nil || len(users) == 0 {
		return User{}, orNotFound(err)
	}
	conflict := refuse(IdentityConflict, "your e-mail address belongs to an account that cannot be linked; ask an administrator")
	if len(users) > 1 || users[0].Role.IsAdmin() {
		return User{}, conflict // an administrator links by hand, not by an address
	}
	identities, err := store.IdentitiesOfUser(ctx, users[0].ID)
	if err != nil {
		return User{}, err
	}
	if slices.ContainsFunc(identities, func(i Identity) bool { return i.Issuer == c.Issuer }) {
		return User{}, conflict
	}
	undone, err := store.LinkUndone(ctx, c.Issuer, c.Subject, users[0].ID)
	if undone {
		err = &Error{Code: NotFound}
	}
	return users[0], err
}

func orNotFound(err error) error {
	if err == nil {
		return &Error{Code: NotFound}
	}
	return err
}

// orAgain turns a conflict that only somebody quicker can have caused into
// trouble that passes: the whole transaction starts again, and sees more.
func orAgain(err error, conflict Code) error {
	if errors.Is(err, conflict) {
		return Unavailable(err)
	}
	return err
}

// createFromIdP makes a user; a taken name gets a suffix, and never the
// account that has it.
func (b *Broker) createFromIdP(ctx context.Context, store Store, p *Provider, i Identity, c IdPClaims, device Device) (Identity, error) {
	now := b.now()
	name, err := b.freeUsername(ctx, store, usernameFrom(c))
	if err != nil {
		return i, err
	}
	u := User{ID: b.newID(now), Username: name, Role: RoleUser, CreatedAt: now, UpdatedAt: now}
	if err := store.InsertUser(ctx, u); err != nil {
		return i, orAgain(err, UsernameTaken)
	}
	i.UserID = u.ID
	if err := store.InsertIdentity(ctx, i); err != nil {
		return i, orAgain(err, IdentityConflict)
	}
	for _, e := range []Event{
		{Name: EventUserCreated, UserID: u.ID, Detail: map[string]string{"username": u.Username, "provider": p.ID}},
		{Name: EventIdentityLinked, UserID: u.ID, IP: device.IP, Detail: map[string]string{"provider": p.ID, "subject": c.Subject}},
	} {
		if err := b.audit(ctx, store, e); err != nil {
			return i, err
		}
	}
	return i, nil
}

// freeUsername is base, or base-2 and so on.
func (b *Broker) freeUsername(ctx context.Context, store Store, base string) (string, error) {
	name := base
	for n := 2; n <= 1000; n++ {
		_, err := store.UserByUsername(ctx, FoldUsername(name))
		if errors.Is(err, NotFound) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return "", refuse(UsernameTaken, "no free username was found")
}

// usernameFrom takes the best name that the IdP offers.
func usernameFrom(c IdPClaims) string {
	local, _, _ := strings.Cut(c.Email, "@")
	for _, offer := range []string{c.Username, local, c.Name, c.Subject} {
		// Room for a suffix.
		if name, err := checkUsername(cleanText(offer, MaxUsername-6)); err == nil {
			return name
		}
	}
	return "user"
}

// updateFromIdP brings name, address, groups and role up to date. A disabled
// user is refused here, after the IdP's word and before any session.
func (b *Broker) updateFromIdP(ctx context.Context, store Store, p *Provider, i Identity, c IdPClaims) (User, error) {
	u, err := store.UserByID(ctx, i.UserID)
	if err != nil {
		return User{}, err
	}
	if !u.DisabledAt.IsZero() {
		return User{}, refuse(UserDisabled, "your account was disabled by an administrator")
	}
	before := u.profile()
	u.HasIdentity = true
	if name := cleanText(c.Name, MaxName); name != "" {
		u.Name = name
	}
	if email, err := checkEmail(c.Email); err == nil && email != "" && (u.Email == "" || u.PasswordHash == "") {
		u.Email, u.EmailVerified = email, c.EmailVerified != nil && *c.EmailVerified
	}
	u.Groups = boundGroups(c.Groups)
	role, mapped := p.role(c.Groups)
	if mapped && u.Role != RoleRoot {
		u.Role = role
	}
	if u.profile().equal(before) {
		return u, nil
	}
	u.UpdatedAt = b.now()
	if i.undoable(u.UpdatedAt) {
		i.Link.note(before, u.profile())
		if err := store.SetLink(ctx, i); err != nil {
			return User{}, err
		}
	}
	return u, store.UpdateProfile(ctx, u, role)
}

// role is the best role of the groups. Without a role map the IdP has no say;
// with one, whoever lost the group loses the role.
func (p *Provider) role(groups []string) (Role, bool) {
	if len(p.RoleMap) == 0 {
		return "", false
	}
	best := RoleUser
	found := false
	for _, g := range groups {
		if role, ok := p.RoleMap[g]; ok && (!found || role.rank() < best.rank()) {
			best, found = role, true
		}
	}
	return best, true
}

// boundGroups keeps an IdP from filling our rows and tokens.
func boundGroups(groups []string) []string {
	const most, longest = 100, 128
	out := []string{}
	for _, g := range groups {
		if g = cleanText(g, longest); g != "" && !slices.Contains(out, g) && len(out) < most {
			out = append(out, g)
		}
	}
	return out
}
