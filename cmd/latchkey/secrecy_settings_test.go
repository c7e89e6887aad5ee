package main

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/absfile"
)

// secretElsewhere are settings that the tour has no place for, and the test that looks
// for them instead.
var secretElsewhere = map[string]func(*testing.T){"database_url": TestNothingSaysThePasswordOfPostgreSQL}

// setting notes the secret of a setting that the program runs with.
func (l *ledger) setting(key, secret string) {
	l.t.Helper()
	if len(secret) < 8 {
		l.t.Fatalf("%s is too short to be looked for", key)
	}
	l.note(key, secret)
	l.settings = append(l.settings, key)
}

// hasEverySetting reports the secret settings that nothing looks for.
func (l *ledger) hasEverySetting() {
	l.t.Helper()
	for _, s := range (&config{}).settings() {
		if name := cmp.Or(s.key, s.env); s.secret && !slices.Contains(l.settings, name) && secretElsewhere[name] == nil {
			l.t.Errorf("nothing looks whether the program says %s: set it in the tour", name)
		}
	}
}

// anotherInstallation starts the program over a new folder, with an administrator of the
// environment, tokens that API servers can check, and the people of an imported file, who
// bring what they have from there. It gives what commands and metrics say.
func (x *secretTour) anotherInstallation() (said string) {
	x.t.Helper()
	const first, shared = "the password of the first administrator", "the secret that API servers have as well"
	l, c, f := x.l, x.l.client(false), absFile(x.t, 5)
	for _, s := range []struct{ key, env, secret string }{
		{"tokens.hs256_secret", "LATCHKEY_HS256_SECRET", shared},
		{"import.audiobookshelf_secret", "LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET", absfile.Secret},
		{"LATCHKEY_ADMIN_PASSWORD", "LATCHKEY_ADMIN_PASSWORD", first},
	} {
		l.setting(s.key, s.secret)
		x.env[s.env] = s.secret
	}
	x.env["LATCHKEY_DATA_DIR"], x.env["LATCHKEY_TOKEN_ALGORITHM"], x.env["LATCHKEY_ADMIN_USERNAME"] = x.t.TempDir(), sharedAlgorithm, "first"
	x.env["LATCHKEY_IMPORT_ACCEPT_LEGACY_UNTIL"] = time.Now().AddDate(0, 0, 2).UTC().Format(time.DateOnly)
	x.start()
	admin := x.app()
	x.must2(admin.password(x.t.Context(), "first", first))
	x.must2(admin.refreshTokens(x.t.Context()))
	said = x.must("", "import", "audiobookshelf", "--from", f.Path, "--provider", "openid")

	bearer := func(token string) answered {
		return l.send(c, "GET", x.base+"/api/me", nil, "Authorization", "Bearer "+token)
	}
	refresh := func(token string) answered {
		return l.send(c, "POST", x.base+"/auth/refresh", nil, "X-Refresh-Token", token)
	}
	for _, token := range []string{f.Users[3].Legacy, f.Keys[0].Token, f.Users[2].Access} {
		l.send(c, "GET", x.base+"/api/me?token="+token, nil)
		bearer(token)
		l.want(401, bearer(token+"x"))
	}
	l.want(200, bearer(f.Users[3].Legacy))
	l.want(200, bearer(f.Keys[0].Token))
	l.want(401, refresh(f.Sessions[2].Refresh+"x"))
	l.want(200, refresh(f.Sessions[2].Refresh))
	x.must2(x.app().password(x.t.Context(), f.Users[1].Name, f.Users[1].Password))
	said += x.must("", "user", "end-legacy", f.Users[3].Name)
	l.want(401, bearer(f.Users[3].Legacy))
	said += x.metrics()
	x.stop()
	return said
}
