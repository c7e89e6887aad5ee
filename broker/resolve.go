package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// resolve finds the user that an IdP speaks of, or links or creates one, or
// refuses: find → link → create → refuse. All rules are checked before
// anything is written, and everything is written in one transaction. With a
// refusal the user is the ID alone of the account that was there before, if any.
func (b *Broker) resolve(ctx context.Context, p *Provider, c IdPClaims, device Device) (User, error) {
	if err := p.accepts(c); err != nil {
		return User{}, err
	}
	var r resolution
	err := b.retryTx(ctx, func(store Store) (err error) {
		r, err = b.findOrMake(ctx, store, p, c, device)
		return err
	})
	b.logKeptRole(ctx, p, r, err)
	if err != nil {
		return User{ID: r.known}, err
	}
	return r.user, nil
}

// logKeptRole says once the login stands that its role map was not followed.
func (b *Broker) logKeptRole(ctx context.Context, p *Provider, r resolution, err error) {
	if err == nil && r.kept {
		b.cfg.Log.WarnContext(ctx, "the role map takes the last administrator's role; it stays", "event", "role.kept", "user_id", r.user.ID, "provider", p.ID)
	}
}

// resolution is what a login comes to: the user as it is then, and what decided
// that.
type resolution struct {
	known   string // the ID of the user, where the account was there before
	made    string // the ID of the user, where this login made it
	before  User   // as it was otherwise
	user    User
	rulings []Ruling
	kept    bool // the last administrator's role, against the role map
}

// Ruling is one thing that a login decides about a person, and the rule that
// decided it. Before is nil where there was nothing.
type Ruling struct {
	What   string `json:"what"` // account, username, profile, role or permissions
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	Rule   string `json:"rule"`
}

func (r *resolution) rule(what string, before, after any, rule string) {
	r.rulings = append(r.rulings, Ruling{what, before, after, rule})
}

// accepts is what can be said of claims without asking who it is here.
func (p *Provider) accepts(c IdPClaims) error {
	if err := p.checkSubject(c); err != nil {
		return err
	}
	return p.admits(c)
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
	email, err := checkEmail(c.Email)
	verified := c.EmailVerified != nil && *c.EmailVerified
	switch {
	case p.RequireVerifiedEmail == EmailAlways && (!verified || err != nil || email == ""),
		p.RequireVerifiedEmail == EmailIfPresent && c.EmailVerified != nil && !verified:
		return refuse(EmailNotVerified, p.Name+" has not verified your e-mail address")
	case len(p.AllowedGroups) > 0 && !slices.ContainsFunc(c.Groups, func(g string) bool { return slices.Contains(p.AllowedGroups, g) }):
		return refuse(GroupNotAllowed, "your groups at "+p.Name+" may not log in here")
	}
	if len(p.AllowedDomains) == 0 {
		return nil
	}
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
func (b *Broker) findOrMake(ctx context.Context, store Store, p *Provider, c IdPClaims, device Device) (r resolution, err error) {
	identity := p.identity(c, b.now())
	known, err := store.IdentityBySubject(ctx, c.Issuer, c.Subject)
	if err == nil && known.undoable(identity.CreatedAt) {
		known, err = lockIdentity(ctx, store, known)
	}
	if err == nil {
		identity.UserID, r.known = known.UserID, known.UserID
		r.rule("account", nil, "known", "iss and sub are linked to it")
		if err := store.TouchIdentity(ctx, identity); err != nil {
			return r, err
		}
		return r, b.updateFromIdP(ctx, store, p, known, c, &r)
	}
	if !errors.Is(err, NotFound) {
		return r, err
	}
	u, err := b.match(ctx, store, p, c)
	switch {
	case err == nil:
		r.known = u.ID
		r.rule("account", nil, "linked", "link_by: verified_email")
		identity, err = b.link(ctx, store, p, u, identity, LinkedByEmail, device)
	case errors.Is(err, NotFound) && p.Provision == ProvisionCreate:
		r.rule("account", nil, "created", "provision: create")
		identity, err = b.createFromIdP(ctx, store, p, identity, c, device, &r)
	case errors.Is(err, NotFound):
		err = refuse(NotProvisioned, "there is no account here for your "+p.Name+" login; ask an administrator")
	}
	if err != nil {
		return r, err
	}
	return r, b.updateFromIdP(ctx, store, p, identity, c, &r)
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
func (b *Broker) createFromIdP(
	ctx context.Context, store Store, p *Provider, i Identity, c IdPClaims, device Device, r *resolution,
) (Identity, error) {
	now := b.now()
	offer, rule := usernameFrom(c)
	u := User{ID: b.newID(now), Role: RoleUser, CreatedAt: now, UpdatedAt: now}
	if err := insertNamed(ctx, store, &u, offer); err != nil {
		return i, err
	}
	if u.Username != offer {
		rule += "; " + offer + " is taken"
	}
	r.rule("username", nil, u.Username, rule)
	i.UserID, r.made = u.ID, u.ID
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

// insertNamed makes u under the first free name of base, base-2 and so on. A
// name that somebody quicker takes meanwhile costs one step, and not the
// transaction: twenty people of one name who come at once all get in.
func insertNamed(ctx context.Context, store Store, u *User, base string) error {
	u.Username = base
	for n := 2; n <= 1000; n++ {
		_, err := store.UserByUsername(ctx, FoldUsername(u.Username))
		if errors.Is(err, NotFound) {
			err = store.InsertUser(ctx, *u)
			if !errors.Is(err, UsernameTaken) {
				return err
			}
		} else if err != nil {
			return err
		}
		u.Username = fmt.Sprintf("%s-%d", base, n)
	}
	return refuse(UsernameTaken, "no free username was found")
}

// usernameFrom takes the best name that the IdP offers, and says which that is.
func usernameFrom(c IdPClaims) (name, rule string) {
	local, _, _ := strings.Cut(c.Email, "@")
	for _, offer := range []struct{ name, rule string }{
		{c.Username, "claims.username"}, {local, "no usable username: claims.email before the @"}, {c.Name, "no usable username or e-mail address: claims.name"},
		{c.Subject, "nothing else is usable: sub"},
	} {
		// Room for a suffix.
		if name, err := checkUsername(cleanText(offer.name, MaxUsername-6)); err == nil {
			return name, offer.rule
		}
	}
	return "user", "nothing that the IdP says is usable"
}

// updateFromIdP brings name, address, groups, role and permissions up to date.
// A disabled user is refused here, after the IdP's word and before any session.
func (b *Broker) updateFromIdP(ctx context.Context, store Store, p *Provider, i Identity, c IdPClaims, r *resolution) error {
	if p.Claims.Permissions != "" { // which add to what an administrator may be writing
		if err := store.LockUser(ctx, i.UserID); err != nil {
			return err
		}
	}
	u, err := store.UserByID(ctx, i.UserID)
	if err != nil {
		return err
	}
	if !u.DisabledAt.IsZero() {
		return refuse(UserDisabled, "your account was disabled by an administrator")
	}
	before := u.profile()
	if i.UserID != r.made {
		r.before = u
	}
	u.describe(c)
	role, err := p.assignRole(&u, c.Groups, r)
	if err == nil {
		err = p.assignPermissions(&u, c.Permissions, r)
	}
	if err == nil && !u.profile().equal(before) {
		u.UpdatedAt = b.now()
		err = b.saveProfile(ctx, store, i, before, &u, role, r)
	}
	r.user = u
	return err
}

// describe takes over what is no rule's business.
func (u *User) describe(c IdPClaims) {
	u.HasIdentity = true
	if name := cleanText(c.Name, MaxName); name != "" {
		u.Name = name
	}
	if email, err := checkEmail(c.Email); err == nil && email != "" && (u.Email == "" || u.PasswordHash == "") {
		u.Email, u.EmailVerified = email, c.EmailVerified != nil && *c.EmailVerified
	}
	u.Groups = boundGroups(c.Groups)
}

// saveProfile writes what has changed. role is empty where the IdP has no say;
// the last administrator keeps his, whatever the IdP says.
func (b *Broker) saveProfile(ctx context.Context, store Store, i Identity, before Profile, u *User, role Role, r *resolution) error {
	err := store.UpdateProfile(ctx, *u, role)
	if errors.Is(err, LastAdmin) { // a group that was forgotten at the IdP locks nobody out here
		r.rule("role", role, before.Role, "the last administrator stays one")
		u.Role, r.kept = before.Role, true
		err = store.UpdateProfile(ctx, *u, "")
	}
	if err == nil && i.undoable(u.UpdatedAt) {
		i.Link.note(before, u.profile())
		err = store.SetLink(ctx, i)
	}
	if err == nil && !reflect.DeepEqual(u.Permissions, before.Permissions) {
		err = store.SetPermissions(ctx, u.ID, u.Permissions)
	}
	return err
}

// assignRole gives the user the best role of the groups, at every login: whoever
// lost the group loses the role. Root is never changed, and always let in, so
// that no map locks everybody out. The role comes back where the IdP has a say.
func (p *Provider) assignRole(u *User, groups []string, r *resolution) (Role, error) {
	role, rule := p.role(groups)
	switch {
	case rule == "":
		r.rule("role", u.Role, u.Role, "no role_map")
		return "", nil
	case u.Role == RoleRoot:
		r.rule("role", u.Role, u.Role, "root is never changed")
		return "", nil
	}
	r.rule("role", u.Role, role, rule)
	if role == RoleNone {
		return "", refuse(GroupNotAllowed, "none of your groups at "+p.Name+" has a role here")
	}
	u.Role = role
	return role, nil
}

// role is the best role of the groups, and the rule that gives it; without a
// role map neither.
func (p *Provider) role(groups []string) (role Role, rule string) {
	if len(p.RoleMap) == 0 {
		return "", ""
	}
	for _, g := range groups {
		if mapped, ok := p.RoleMap[g]; ok && (rule == "" || mapped.rank() < role.rank()) {
			role, rule = mapped, "role_map."+g
		}
	}
	if rule == "" {
		role, rule = cmp.Or(p.DefaultRole, RoleUser), "default_role"
	}
	return role, rule
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
