package broker

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// UserChange is what an administrator changes; nil leaves a field alone.
type UserChange struct {
	Username *string
	Name     *string
	// Email, changed, is not verified unless EmailVerified says so.
	Email         *string
	EmailVerified *bool
	Role          *Role
	// Disabled ends every session, with UserDisabled.
	Disabled *bool
	// Password ends every session, with PasswordChanged. Temporary: the user has
	// to choose another at the next login.
	Password    *string
	Temporary   bool
	Permissions PermissionsChange
	// Ticket, if it is not empty, is that of the form of whoever sets the password
	// ([Broker.FormTicket]): sent twice, it sets one.
	Ticket string
}

// PermissionsChange changes the permissions of the JSON contract. What it does
// not name stays as it is.
type PermissionsChange struct {
	Flags     map[string]bool // by their names in the contract
	Libraries []string        // nil: as they are
	Tags      []string
}

// apply fails for a flag that there is not.
func (c PermissionsChange) apply(u *User) error {
	if c.Flags == nil && c.Libraries == nil && c.Tags == nil {
		return nil
	}
	may := u.EffectivePermissions()
	for _, name := range slices.Sorted(maps.Keys(c.Flags)) {
		flag := may.flag(name)
		if flag == nil {
			return fault(InvalidRequest, "permissions", "there is no permission "+strconvQuote(cleanText(name, maxPermissionEntry)))
		}
		*flag = c.Flags[name]
	}
	for field, list := range map[string][]string{"librariesAccessible": c.Libraries, "itemTagsSelected": c.Tags} {
		tooLong := slices.ContainsFunc(list, func(entry string) bool { return entry == "" || cleanText(entry, maxPermissionEntry) != entry })
		if len(list) > maxPermissionList || tooLong {
			return fault(InvalidRequest, field, "at most 200 entries of 1 to 128 visible characters")
		}
	}
	if c.Libraries != nil {
		may.Libraries = c.Libraries
	}
	if c.Tags != nil {
		may.Tags = c.Tags
	}
	u.Permissions = &may
	return nil
}

// flag finds a permission by its name in the contract; nil.
func (p *Permissions) flag(name string) *bool {
	return map[string]*bool{
		"download": &p.Download, "update": &p.Update, "delete": &p.Delete, "upload": &p.Upload, "createEreader": &p.CreateEreader,
		"accessAllLibraries": &p.AccessAllLibraries, "accessAllTags": &p.AccessAllTags, "accessExplicitContent": &p.AccessExplicitContent,
		"selectedTagsNotAccessible": &p.SelectedTagsNotAllowed,
	}[name]
}

// UpdateUser changes a user, all of it or nothing. A rename logs nobody out: the
// ID stays. A new password and a disabling end every session. The last
// administrator stays one: LastAdmin.
func (b *Broker) UpdateUser(ctx context.Context, id string, c UserChange) (User, error) {
	given, hash, err := b.prepareChange(ctx, id, c)
	if err != nil {
		return User{}, err
	}
	var u User
	err = b.cfg.Store.Tx(ctx, func(store Store) (err error) {
		if err := store.LockUser(ctx, id); err != nil {
			return err
		}
		if u, err = store.UserByID(ctx, id); err != nil {
			return err
		}
		before := u
		if err := b.mayChange(ctx, u, c); err != nil {
			return err
		}
		if err := c.apply(&u, b.now()); err != nil {
			return err
		}
		if err := b.addressChanged(ctx, store, before, &u); err != nil {
			return err
		}
		if err := store.UpdateUser(ctx, u); err != nil {
			return err
		}
		if hash != "" {
			if err := b.replacePassword(ctx, store, id, b.byAdministrator(hash, c)); err != nil {
				return err
			}
			u.PasswordHash, u.PasswordTemporary = hash, c.Temporary
		}
		if hash != "" || opensAccount(before, u) {
			if err := given.take(ctx, store); err != nil {
				return err
			}
		}
		return b.noteChange(ctx, store, before, u, c)
	})
	return u, given.counted(ctx, err)
}

// prepareChange checks the proof of whoever asks, where the change needs one, and
// hashes a new password, outside any transaction.
func (b *Broker) prepareChange(ctx context.Context, id string, c UserChange) (given proof, hash PasswordHash, err error) {
	u, err := b.cfg.Store.UserByID(ctx, id)
	if err != nil {
		return given, "", err
	}
	before := u
	if err := b.mayChange(ctx, u, c); err != nil { // it costs nothing to be refused
		return given, "", err
	}
	if err := c.apply(&u, b.now()); err != nil {
		return given, "", err
	}
	if given, err = b.stepUpIf(ctx, c.Password != nil || opensAccount(before, u), b.actor(ctx).Proving); err != nil || c.Password == nil {
		return given, "", err
	}
	if err := b.checkPassword(ctx, *c.Password, u); err != nil {
		return given, "", err
	}
	hash, err = b.cfg.Hasher.Hash(ctx, *c.Password)
	return given, hash, err
}

// opensAccount reports whether a change lets somebody in, or be more, or be taken for
// somebody else: links for passwords go to an address, identities are linked by it, and
// apps know people by their names. To disable somebody is no such change.
func opensAccount(before, u User) bool {
	switch {
	case u.Role != before.Role, u.Username != before.Username, !before.DisabledAt.IsZero() && u.DisabledAt.IsZero():
		return true
	case u.Email != before.Email && u.Email != "", u.EmailVerified && !before.EmailVerified:
		return true
	}
	return !reflect.DeepEqual(before.EffectivePermissions(), u.EffectivePermissions())
}

// addressChanged notes who vouches for an address. Links that were made before
// are void: they may have been mailed to an address that was wrong.
func (b *Broker) addressChanged(ctx context.Context, store Store, before User, u *User) error {
	switch {
	case u.Email != before.Email:
		b.vouch(ctx, u)
		return store.DeletePasswordLinks(ctx, u.ID)
	case u.EmailVerified && !before.EmailVerified:
		b.vouch(ctx, u)
	case !u.EmailVerified && before.EmailVerified:
		u.EmailVouched = ""
	}
	return nil
}

// mayChange is what an administrator may do to whom.
func (b *Broker) mayChange(ctx context.Context, u User, c UserChange) error {
	actor := b.actor(ctx)
	if err := actor.mayTouch(u); err != nil {
		return err
	}
	if c.Role != nil && *c.Role != u.Role {
		if err := actor.mayGive(*c.Role); err != nil {
			return err
		}
		if err := actor.mayLose(u, "change your own role"); err != nil {
			return err
		}
	}
	if c.Disabled != nil && *c.Disabled {
		if err := actor.mayLose(u, "disable yourself"); err != nil {
			return err
		}
	}
	switch {
	case c.Password == nil || actor.unbound():
	case actor.ID == u.ID:
		// Here nobody asks for the current one, which a stolen access token does not know.
		return fault(Forbidden, "password", "change your own password where you are asked for the current one")
	case !mayAdminister(User{Role: actor.Role}, u):
		return fault(Forbidden, "password", "only root sets the passwords of administrators")
	}
	return nil
}

func (c UserChange) apply(u *User, now time.Time) (err error) {
	if c.Username != nil {
		if u.Username, err = checkUsername(*c.Username); err != nil {
			return err
		}
	}
	if c.Name != nil {
		u.Name = cleanText(*c.Name, MaxName)
	}
	if c.Email != nil {
		email, err := checkEmail(*c.Email)
		if err != nil {
			return err
		}
		if email != u.Email {
			u.Email, u.EmailVerified = email, false
		}
	}
	if c.EmailVerified != nil {
		u.EmailVerified = *c.EmailVerified && u.Email != ""
	}
	if c.Role != nil {
		if u.Role = *c.Role; !u.Role.Valid() {
			return errRole()
		}
	}
	switch {
	case c.Disabled == nil:
	case !*c.Disabled:
		u.DisabledAt = time.Time{}
	case u.DisabledAt.IsZero():
		u.DisabledAt = now
	}
	u.UpdatedAt = now
	return c.Permissions.apply(u)
}

// noteChange is what follows from a change, in the same transaction.
func (b *Broker) noteChange(ctx context.Context, store Store, before, u User, c UserChange) error {
	event := Event{UserID: u.ID, Detail: map[string]string{"username": u.Username}}
	switch {
	case before.DisabledAt.IsZero() && !u.DisabledAt.IsZero():
		event.Name = EventUserDisabled
		if _, err := b.endSessions(ctx, store, SessionFilter{UserID: u.ID}, UserDisabled, false, ""); err != nil {
			return err
		}
	case !before.DisabledAt.IsZero() && u.DisabledAt.IsZero():
		event.Name = EventUserEnabled
	}
	if event.Name != "" {
		if err := b.audit(ctx, store, event); err != nil {
			return err
		}
	}
	changed := c.named(before, u)
	if len(changed) == 0 {
		return nil
	}
	event.Name = EventUserUpdated
	event.Detail["changed"] = strings.Join(changed, " ")
	if u.Role != before.Role {
		event.Detail["role"] = string(u.Role)
	}
	if u.Username != before.Username {
		event.Detail["before"] = before.Username
	}
	return b.audit(ctx, store, event)
}

// named are the fields that the change has changed, for the audit log.
func (c UserChange) named(before, u User) (out []string) {
	for _, field := range []struct {
		name    string
		changed bool
	}{
		{"username", u.Username != before.Username}, {"name", u.Name != before.Name}, {"email", u.Email != before.Email},
		{"email_verified", u.EmailVerified != before.EmailVerified}, {"role", u.Role != before.Role},
		{"permissions", c.Permissions.Flags != nil || c.Permissions.Libraries != nil || c.Permissions.Tags != nil},
	} {
		if field.changed {
			out = append(out, field.name)
		}
	}
	return out
}

// byAdministrator is a password that somebody else sets.
func (b *Broker) byAdministrator(hash PasswordHash, c UserChange) newPassword {
	n := newPassword{hash: hash, temporary: c.Temporary, how: "administrator"}
	if c.Ticket != "" {
		n.first = func(ctx context.Context, store Store) error {
			return b.takeTicket(ctx, store, b.actor(ctx).ID, c.Ticket)
		}
	}
	return n
}
