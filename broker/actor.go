package broker

import "context"

// ActorCommand is the [Actor] of the command line: whoever works on the
// database directly may do anything.
const ActorCommand = "command"

// Actor is who does what an administrator may. Every event that is written for
// it names it, beside the user whom the event is about.
type Actor struct {
	ID   string // of the administrator, or ActorCommand
	Role Role
	IP   string
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
