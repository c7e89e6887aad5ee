package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// TestStolenKeyByAPI (R27): whoever has a token of a revoked key is sent to
// refresh, not to log in, and a forged token of that key opens nothing.
func TestStolenKeyByAPI(t *testing.T) {
	x := newSite(t, setup{broker: func(c *broker.Config) { c.GenerateKey = nil }})
	p, admin := x.login("alice"), x.as("root")
	kid := headerOf(t, p.access)["kid"].(string)
	x.me(p.access).want(200)
	x.as("alice").send("DELETE", "/api/keys/"+kid, "").want(403)
	x.as("alice").send("POST", "/api/keys/rotate", "").want(403)
	waiting := admin.send("POST", "/api/keys/rotate", "").want(200).json()["keys"].([]any)
	if len(waiting) < 2 || waiting[0].(map[string]any)["activeAt"] != nil || waiting[0].(map[string]any)["notBefore"] == nil {
		t.Errorf("waiting: %v", waiting)
	}
	admin.send("DELETE", "/api/keys/none", "").want(404)
	admin.send("DELETE", "/api/keys/"+kid, "").want(204)
	x.me(p.access).refused(401, broker.TokenExpired, web.VerdictRefresh)
	again := x.refresh(p.refresh).pair()
	if got := headerOf(t, again.access)["kid"]; got == kid {
		t.Error("the revoked key signs")
	}
	x.me(again.access).want(200)
}

// The page takes a key back once, after a question, and says what is done.
func TestKeysPageTakesBackAndReplaces(t *testing.T) {
	b := rootsOffice(t, "root", setup{broker: func(c *broker.Config) { c.GenerateKey = nil }})
	kid := b.Broker.Signer().ID
	page := b.open("/admin/keys").want(200)
	if !strings.Contains(page.Body, `value="`+kid+`"`) || strings.Count(page.Body, "<details") < 3 {
		t.Errorf("the page asks nothing: %s", page.Body)
	}
	b.submit("/admin/keys/rotate").want(303)
	if page = b.open("/admin/keys?done=rotated").want(200); !strings.Contains(page.Body, "New keys wait for their turn") || !strings.Contains(page.Body, "New keys are in the key set") {
		t.Errorf("it does not say that keys wait: %s", page.Body)
	}
	b.submit("/admin/keys/revoke", "kid", kid).want(303)
	b.submit("/admin/keys/revoke", "kid", kid).want(404)
	if page = b.open("/admin/keys").want(200); strings.Contains(page.Body, kid) {
		t.Error("the key is still there")
	}
	foreign := b.site.newBrowser().send(http.MethodPost, "/admin/keys/revoke", form("kid", url.QueryEscape(b.Broker.Signer().ID)), header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test"))
	foreign.want(403)
}
