// Package mail has tests that send mail to a real mail server (npm smtp-server).
package mail
