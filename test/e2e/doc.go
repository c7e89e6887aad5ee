// Package e2e tests the real latchkey binary from outside, with parts that
// nobody here wrote: a certified OpenID provider (npm oidc-provider) as the
// external IdP, and Chromium. test/install.sh installs both.
package e2e
