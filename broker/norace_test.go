//go:build !race

package broker_test

// raceDetector says that this is a -race build, in which the largest searches
// are left out.
const raceDetector = false
