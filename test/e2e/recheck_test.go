package e2e

import (
	"database/sql"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver" // the database of a latchkey, from outside

	"github.com/latchkey-id/latchkey/test/proc"
)

// upstream is what a person's list of sessions says of the login behind this one.
type upstream struct {
	State                string
	AliveAt, NextCheckAt int64
}

func (b *browser) upstream() *upstream {
	b.t.Helper()
	var list struct {
		Sessions []struct {
			Current  bool
			Upstream *upstream
		}
	}
	b.api("/api/me/sessions", &list)
	for _, s := range list.Sessions {
		if s.Current {
			return s.Upstream
		}
	}
	b.t.Fatalf("the session is not in its own list: %+v", list)
	return nil
}

// checkNow makes all checks due, as if the interval had passed; not while one is
// under way, whose answer would be dropped with its lease.
func (x *latchkey) checkNow(t *testing.T) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(x.dir, "data", "latchkey.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	x.Until(t, "no check is under way", func() bool {
		res, err := db.ExecContext(t.Context(), `UPDATE upstreams SET next_check_at = 1 WHERE NOT EXISTS (
			SELECT 1 FROM upstreams WHERE doubtful > 0 AND state = 'alive' AND token <> '')`)
		if err != nil {
			t.Fatal(err)
		}
		n, err := res.RowsAffected()
		return err == nil && n > 0
	})
}

// Logins at a certified provider, which gives refresh tokens only with consent
// and replaces them at each use, are checked again: what it revoked ends, what it
// does not answer goes on.
func TestRecheckAtTheOP(t *testing.T) {
	t.Parallel()
	port := proc.Port(t)
	accounts := maps.Clone(readers)
	accounts["gone"] = claims{"preferred_username": "gone"}
	o := newOP(t, fmt.Sprintf("http://localhost:%d", port), accounts, "refreshed", "asked")
	down := newOP(t, o.latchkey, readers, "down")
	x := serve(t, port, "providers:\n"+
		o.providers(map[string]string{"refreshed": "recheck: 1m", "asked": "recheck: 1m, recheck_by: introspection"})+
		down.providers(map[string]string{"down": "recheck: 1m"}))

	// Nobody knows yet that consent is needed, and two people come at once.
	first, second := newBrowser(t, x, o), newBrowser(t, x, o)
	begun := second.send(http.MethodGet, x.base+"/auth/refreshed?callback=/", nil)
	first.logIn("refreshed", "anna")
	second.follow(begun, "bo", "")
	if first.upstream() != nil || second.upstream() != nil {
		t.Error("a refresh token came without consent: this test shows nothing")
	}
	// Who logs in at the other providers first finds it out for them.
	newBrowser(t, x, o).logIn("asked", "bo")
	newBrowser(t, x, down).logIn("down", "bo")

	revoked, stays, gone, asked, dark := newBrowser(t, x, o), newBrowser(t, x, o), newBrowser(t, x, o), newBrowser(t, x, o), newBrowser(t, x, down)
	for b, who := range map[*browser][2]string{
		revoked: {"refreshed", "anna"}, stays: {"refreshed", "bo"}, gone: {"refreshed", "gone"}, asked: {"asked", "anna"}, dark: {"down", "anna"},
	} {
		b.logIn(who[0], who[1])
		u := b.upstream()
		if u == nil || u.State != "alive" || u.NextCheckAt-u.AliveAt < 45_000 || u.NextCheckAt-u.AliveAt > 60_000 {
			t.Fatalf("%v: %+v", who, u)
		}
	}

	// It is asked twice: the second time with the token that replaced the first.
	for range 2 {
		before := stays.upstream().AliveAt
		x.checkNow(t)
		x.Until(t, "the login stands at the OP, again", func() bool {
			u := stays.upstream()
			return u.State == "alive" && u.AliveAt > before
		})
	}
	for name, b := range map[string]*browser{"revoked": revoked, "gone": gone, "asked": asked, "dark": dark} {
		if u := b.upstream(); u == nil || u.State != "alive" {
			t.Errorf("%s, before anything happens: %+v", name, u)
		}
	}

	revoked.revoke("refreshed", "anna")
	asked.revoke("asked", "anna")
	delete(accounts, "gone")
	o.say(t, accounts)
	down.Kill()
	before := stays.upstream().AliveAt
	x.checkNow(t)
	for _, b := range []*browser{revoked, gone, asked} {
		x.Until(t, "what was taken back ends", func() bool {
			_, code := b.refresh()
			return code == "idp_revoked"
		})
	}
	x.Until(t, "the other stands", func() bool { return stays.upstream().AliveAt > before })
	x.Until(t, "nothing is known of the logins at the dark OP", func() bool { return dark.upstream().State == "unknown" })
	for range 3 {
		x.checkNow(t)
		time.Sleep(1100 * time.Millisecond) // as long as serve waits between its looks
		if _, code := dark.refresh(); code != "" {
			t.Fatalf("the OP is down, and the session ends with %s", code)
		}
	}
}

// revoke takes back what this browser's person gave Latchkey at the OP: a
// refresh token of the same grant is revoked (RFC 7009), and the grant with it.
func (b *browser) revoke(provider, account string) {
	b.t.Helper()
	_, token := b.tokens(provider, account, true)
	at := b.send(http.MethodPost, b.o.issuer+"/token/revocation", url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}, "Authorization", basic)
	if token == "" || at.StatusCode != http.StatusOK {
		b.t.Fatalf("the revocation of %q answers %d %s", token, at.StatusCode, at.body)
	}
}
