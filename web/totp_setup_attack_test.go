package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// X06: wrong codes of an app that is being set up are failures of address, account and
// session, as those of one that counts are. Beyond the limit no picture is drawn.
func TestX06WrongSetUpCodesCount(t *testing.T) {
	x := limited(t)
	b := x.byPassword("alice")
	page := b.sends(factorsPath+"/totp", "username", "alice", "proof", harness.PasswordOf("alice")).want(200)
	app := b.NewAuthenticator(t, strings.ReplaceAll(shownTOTP.FindStringSubmatch(page.Body)[1], " ", ""))
	confirms := func(ip, code string) *answer {
		return b.send(http.MethodPost, factorsPath+"/totp/confirm", form("code", code), fromPage, from(ip))
	}
	const picture = "data:image/png"
	for i := range limitOfEach {
		a := confirms("203.0.113.66", "000000").refused(400, broker.WrongCode, "").contains(picture)
		a.standsAt(limitOfEach-1-i, false)
	}
	for what, a := range map[string]*answer{
		"another wrong code": confirms("203.0.113.66", "000000"), "the right code": confirms("203.0.113.66", app.At(t, 0)),
		"from another address": confirms("203.0.113.67", "000000"),
	} {
		a.refused(429, broker.RateLimited, web.VerdictRetry).saysNot(picture)
		if t.Failed() {
			t.Fatal(what)
		}
	}
}
