// Package conformance re-creates modules of the OpenID Foundation's conformance
// suite, by name, as tests of the real latchkey binary from outside: plain HTTP,
// a browser of cookies and forms, and ID tokens checked by other people's
// libraries. What came of each stands in docs/conformance.md, which the tests
// compare with what happened.
package conformance
