package broker

import (
	"context"
	"slices"
)

// ActorCommand is the [Actor] of the command line: whoever works on the
// database directly may do anything.
const ActorCommand = "command"

// Actor is who does what an administrator may. Every event that is written for
// it names it, beside the user whom the event is about.
type Actor struct {
	ID   string // of the administrator, or ActorCommand
	Role Role
	IP   string
	// Proving is the administrator, who is asked for a fresh proof where a stolen
	// browser must not do what is done; nil: nobody is asked.
	Proving *Proving
}

type actorKey struct{}

// WithActor says who acts in a context. Where nobody is named nobody is asked
// for rights: what administrators call must come with one.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActAs says who acts where a context names nobody, before the broker is used.
func (b *Broker) ActAs(a Actor) { b.standing = a }

// actor is who acts; without an ID it is the user, a client or Latchkey itself.
func (b *Broker) actor(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return b.standing
}

// unbound reports whether the actor is nobody whose rights end somewhere.
func (a Actor) unbound() bool { return a.ID == "" || a.ID == ActorCommand }

// user is the administrator who acts; nil: nobody whose rights end somewhere.
func (a Actor) user() *User {
	if a.unbound() {
		return nil
	}
	return &User{ID: a.ID, Role: a.Role}
}

// mayGive refuses to make somebody more than oneself.
func (a Actor) mayGive(role Role) error {
	if !a.unbound() && role.rank() < a.Role.rank() {
		return fault(Forbidden, "role", "nobody gives a role above his own")
	}
	return nil
}

// mayTouch refuses to change somebody who is more than oneself.
func (a Actor) mayTouch(u User) error {
	if !a.unbound() && u.Role.rank() < a.Role.rank() {
		return refuse(Forbidden, "only root changes root")
	}
	return nil
}

// mayLose refuses to take from oneself what only somebody else could give back.
func (a Actor) mayLose(u User, what string) error {
	if !a.unbound() && u.ID == a.ID {
		return refuse(Forbidden, "you cannot "+what+"; another administrator can")
	}
	return nil
}

// mayHold refuses whoever is not root a client that may administrate: its tokens
// are those of whoever logs in to it, and root may be made to do that by a link.
func (a Actor) mayHold(clients ...Client) error {
	administrates := func(c Client) bool { return hasScope(c.Scope, ScopeAdmin) }
	if !a.unbound() && a.Role != RoleRoot && slices.ContainsFunc(clients, administrates) {
		return fault(Forbidden, "scope", "only root lets a client administrate ("+ScopeAdmin+"), or changes one that may")
	}
	return nil
}

// Member is a user without an administrator's rights: what everybody is on the
// pages of the own account, where nothing of others is within reach.
func (u User) Member() User {
	if u.Role.IsAdmin() {
		u.Role = RoleUser
	}
	return u
}

// Rights are what an administrator may do to a user, so that nobody is offered
// what would be refused. That the last administrator stays is known only when it
// is tried.
type Rights struct {
	Change       bool   // profile, permissions, enabling
	Lose         bool   // role, disabling, deletion: nobody does these to oneself
	PasswordLink bool   // and temporary passwords
	Unlink       bool   // identities
	Keys         bool   // change API keys; anybody who administrates deletes them
	Roles        []Role // that may be given
}

// RightsOver is what whoever administrates may do to a user; the zero User is one
// that is still to be made.
func RightsOver(by, u User) Rights {
	actor, own := Actor{ID: by.ID, Role: by.Role}, by.ID == u.ID
	r := Rights{
		Change: actor.mayTouch(u) == nil, PasswordLink: mayAdminister(by, u) && !own, Unlink: own || mayAdminister(by, u), Keys: mayKeep(&by, u) == nil,
	}
	r.Lose = r.Change && !own
	for _, role := range Roles {
		if actor.mayGive(role) == nil {
			r.Roles = append(r.Roles, role)
		}
	}
	return r
}
