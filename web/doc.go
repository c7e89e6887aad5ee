// Package web speaks HTTP: it reads requests, asks the broker, and writes
// answers. It decides nothing. Every route stands in server.go on one screen;
// handlers return errors, and errors.go is the only place that knows statuses.
// The odd shapes of the JSON contract live in audiobookshelf.go.
package web
