// Package storm tests the real program as a process: honest clients refresh
// while latchkey is killed, the database crashes and answers get lost, and
// nobody may be logged out. It has nothing but tests.
package storm
