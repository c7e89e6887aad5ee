package e2e

import "testing"

// TestKeyboard walks through every page behind the door by Tab alone: everything
// is reached in its order and is seen to be, and the page is whole without
// JavaScript.
func TestKeyboard(t *testing.T) {
	node(t, "keyboard.mjs", stage(t, names{user: "anna", person: "Anna Example", client: "Shelf", scope: "shelf:read", first: "Example", second: "GitHub"}))
}
