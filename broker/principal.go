package broker

// Principal is who a request comes from: a user as the database has it now, and
// what stands for the user. That is a live session, an API key, or a legacy
// token of the system that the user was imported from; the latter two have no
// session.
type Principal struct {
	User    User
	Session Session // without an ID where there is none
	// Cookie: the request came with the cookie of the pages.
	Cookie bool
	// Key is the API key that the request came with; nil: not by a key.
	Key *APIKey
	// OldToken: the request came with a legacy token, which its program should
	// replace by a login.
	OldToken bool
}

// NeedSession refuses whoever came without a session, with InsufficientScope:
// what changes an account, hands out credentials or administers needs a login,
// so that a key for a program is never the key to the account.
func (p Principal) NeedSession() error {
	switch {
	case p.Session.ID != "":
		return nil
	case p.Key != nil:
		return refuse(InsufficientScope, "an API key may not do this: it needs a login")
	}
	return refuse(InsufficientScope, "this needs a login")
}
