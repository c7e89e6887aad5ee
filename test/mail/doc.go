// Package mail is a real mail server for tests (npm smtp-server), and the tests that send mail to it.
package mail
