// Package broker decides. Everything that Latchkey lets happen or refuses is
// decided here; the other rooms translate: web speaks HTTP, providers ask who
// somebody is, tokens writes and reads JWTs, storage remembers.
//
// # Words
//
// A [User] is a person; an [Identity] is what an IdP calls that person
// (issuer, subject). A [Provider] is an IdP. An [AuthRequest] is a login that
// an app began; an [IdPLogin] is one trip of a browser to an IdP, on behalf of
// an AuthRequest or of the browser itself. A [Grant] is a finished login that
// waits to be redeemed once. A [Session] is what every login ends in: one row,
// named by sid, from which access and refresh tokens are minted until it ends
// with a cause.
//
// # Journeys
//
//   - Password: [Broker.LoginPassword] → hash compared outside any transaction
//     → one insert of a session → tokens.
//   - IdP, from an app: [Broker.BeginApp] → [Broker.OpenAuthRequest] (the
//     browser leaves for the IdP) → [Broker.CompleteIdPLogin] (it comes back: a
//     Grant) → [Broker.RedeemGrant] → tokens.
//   - IdP, from a browser: [Broker.BeginWeb] → the same CompleteIdPLogin → a
//     session at once.
//   - Refresh: [Broker.Refresh] → one conditional UPDATE → tokens. What is rare
//     goes through [Decide], the refresh rule as one pure function.
//   - Every end of a session: [Store.EndSessions] with a filter and a cause.
package broker
