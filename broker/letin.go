package broker

import "context"

// This file is what Latchkey asks of somebody who lets a device or an app in: what it
// gets is a session of its own.

// Reply is what a person who is logged in says of a device or a client that asks
// to be let in, with the proof that goes with a yes (see [Broker.LetInAsked]) and
// where it comes from.
type Reply struct {
	Allow  bool
	Given  string
	Device Device
}

// LetInAsked is what a yes to this client, or to a device (nil), asks for as proof to
// be there. Whoever has the cookies of a browser could let himself in, and would keep
// the session that comes of it. Clients with credentials of their own are let in by
// browsers without: what they are given is of no use to anybody else.
func (b *Broker) LetInAsked(ctx context.Context, p Principal, c *Client) (Asked, error) {
	if c != nil && !c.Public() || b.justLoggedIn(p.Session) {
		return AskedNothing, nil
	}
	return b.ProofAsked(ctx, p)
}

// letIn asks for the proof of [Broker.LetInAsked].
func (b *Broker) letIn(ctx context.Context, p Principal, c *Client, said Reply) (proof, error) {
	if asked, err := b.LetInAsked(ctx, p, c); err != nil || asked == AskedNothing {
		return proven(), err
	}
	return b.prove(ctx, Proving{Principal: p, Given: said.Given, Device: said.Device})
}

// justLoggedIn reports whether a session was made a moment ago, by whatever login:
// what is let in by it ends with an undone link as the session itself does, and
// whoever the IdP let in without asking could have gone through it for this app, too.
func (b *Broker) justLoggedIn(s Session) bool {
	return b.now().Sub(later(s.AuthTime, s.CreatedAt)) <= recentLogin
}

// keepsSession reports whether what a client is given for this person without a page
// makes a session that stands on its own, and that anybody can use: it outlives the
// browser's, and the logout there. That of a public client which follows the browser's
// session ends with it.
func keepsSession(c *Client) bool { return c.Public() && c.Native() }
