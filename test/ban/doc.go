// Package ban tries the filter for fail2ban and the parser for CrowdSec that
// Latchkey ships (deploy/) with the real programs, on the log of a Latchkey that
// phones and attackers come to.
package ban
