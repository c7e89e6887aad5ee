package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// Who tried to log in, from where, and why it was refused, stands on the page and
// in the API, whatever door it was.
func TestRefusedLoginsAreToldToAdministrators(t *testing.T) {
	idp := startIdP(t)
	x := exchangeSite(t, "", idp, nil)
	x.User(t, "root", broker.RoleRoot)
	x.User(t, "alice", broker.RoleUser)
	gone := x.User(t, "bert", broker.RoleUser)
	if err := x.Broker.SetDisabled(t.Context(), gone.ID, true); err != nil {
		t.Fatal(err)
	}
	const typed = "a password in the wrong field"
	x.sendLogin("alice", "wrong", from("203.0.113.7")).want(401)
	x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "wrong"), from("203.0.113.7")).noSession()
	x.do(http.MethodPost, "/login/password", form("username", typed, "password", "wrong"), from("203.0.113.8")).noSession()
	x.sendLogin("bert", harness.PasswordOf("bert"), from("203.0.113.7")).want(401)
	x.do(http.MethodGet, "/auth/openid/callback?code=x&state=guess").refused(400, broker.InvalidState, "")
	x.do(http.MethodGet, "/auth/openid/callback?code=x&state=guess&code_verifier="+strings.Repeat("v", 43)).refused(401, broker.CodeInvalid, "login")
	x.exchange("nat1", sdk(t, idp, "of the app", nil), broker.TokenTypeID).oauthError(400, "invalid_grant")
	x.WantRefused(t,
		"invalid_credentials 2 password - latchkey-app alice 203.0.113.7", "invalid_credentials 1 password - latchkey-app - 203.0.113.8",
		"user_disabled 1 password - latchkey-app bert 203.0.113.7", "invalid_state 1 openid openid latchkey-app - 127.0.0.1",
		"code_invalid 1 openid openid latchkey-app - 127.0.0.1", "code_invalid 1 token_exchange openid nat1 - 127.0.0.1",
	)
	root := x.as("root")
	for filter, want := range map[string]string{
		"user=alice&name=login.refused": "203.0.113.7", "user=bert&name_prefix=login.": "203.0.113.7", "ip=203.0.113.8": "203.0.113.8", "client=nat1&name=login.refused": "127.0.0.1",
	} {
		if got := root.get("/api/audit?"+filter).column("events", "ip"); got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
	page := func(query string, options ...option) *answer {
		return x.do(http.MethodGet, "/admin/audit?event=login.refused&"+query, append(options, cookies(x.pageLogin("root")))...).want(200)
	}
	page("user=alice").says("2 times: A login as alice was refused: Wrong name or password.", "203.0.113.7").saysNot("bert was refused")
	page("").says("A login was refused: Wrong name or password.", "A login as bert was refused: Account disabled.").saysNot(typed)
	page("user=alice", inGerman).says("2-mal: Eine Anmeldung als alice wurde abgelehnt: ")
	x.event("rest", 0, broker.Event{Name: broker.EventLoginRefused, Detail: map[string]string{"count": "70"}})
	page("").says("Beyond what is told one by one, logins were refused 70 times.")
}
