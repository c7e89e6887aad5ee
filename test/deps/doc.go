// Package deps holds the test of who may import whom. The rules are those of
// docs/architecture.md.
package deps
