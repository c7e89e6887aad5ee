package e2e

import "testing"

// A person goes through the rooms of the account, with a certified OP and without
// JavaScript.
func TestAccountRooms(t *testing.T) {
	x, o := withOP(t)
	node(t, "account_rooms.mjs", map[string]any{"base": x.base, "op": o.issuer, "password": "a password of a test"})
}
