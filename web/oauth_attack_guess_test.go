package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// whereSecretsAreAsked are the endpoints at which a client proves who it is.
var whereSecretsAreAsked = []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par", "/oauth2/device_authorization"}

// guess is one try of a secret, by the endpoints in turn.
func (x *site) guess(client, secret, ip string, n int) *answer {
	x.t.Helper()
	how := []option{form("token", "x"), basic(client, secret), from(ip)}
	if n%2 == 1 {
		how = []option{form("token", "x", "client_id", client, "client_secret", secret), from(ip)}
	}
	return x.do(http.MethodPost, whereSecretsAreAsked[n%len(whereSecretsAreAsked)], how...)
}

// O09, P02: secrets of clients are guessed as often as passwords are, and no more.
// The client itself is kept out neither elsewhere nor, if it was there before, next to
// the guesser; and no other client is.
func TestO09GuessedClientSecrets(t *testing.T) {
	x := newProvider(t, setup{failures: 5, logJSON: true})
	const attacker, home, new = "203.0.113.9", "192.0.2.20", "192.0.2.21"
	works := func(client, ip string) {
		t.Helper()
		x.do(http.MethodPost, "/oauth2/introspect", form("token", "x"), basic(client, webSecret), from(ip)).want(200)
	}
	app, _ := x.clientLogin("nat1", "app.one:/oauth")
	works("web1", home)
	refused := 0
	for n := range 60 {
		a := x.guess("web1", fmt.Sprint("guess ", n), attacker, n)
		switch a.Status {
		case 401:
			a.oauthError(401, "invalid_client")
		case 429:
			a.oauthError(429, "temporarily_unavailable")
			if refused++; a.Header.Get("Retry-After") == "" || a.Header.Get("Latchkey-Code") != string(broker.RateLimited) {
				t.Fatalf("%v", a.Header)
			}
		default:
			t.Fatalf("guess %d: %d %s", n, a.Status, a.Body)
		}
	}
	if refused != 55 {
		t.Errorf("%d of 60 guesses were refused unseen, want 55", refused)
	}
	works("web1", home)     // the owner, who was there before
	works("web1", new)      // and who comes from elsewhere
	works("web1", attacker) // and whose secret was good in this process: a neighbour of the attacker
	works("asking", attacker)
	x.do(http.MethodPost, "/oauth2/token", form("grant_type", "refresh_token", "client_id", "nat1", "refresh_token", app.refresh), from(attacker)).want(200)
	x.login("alice", from(attacker)) // a guess of a client's secret is nobody's failed login
	log := x.log.String()
	if n := strings.Count(log, `"level":"WARN","msg":"Wrong client secret from `+attacker+`","event":"auth.client.failed","remote_ip":"`+attacker+`","client_id":"web1"`); n != 5 {
		t.Errorf("%d lines, want 5", n)
	}
	if strings.Contains(log, "guess 1") {
		t.Error("a secret is in the log")
	}
}

// A secret that was never proven is not tried any more, right or wrong: whoever
// guesses learns nothing once the limit is reached.
func TestO09LastGuessIsNotAnswered(t *testing.T) {
	x := newProvider(t, setup{failures: 5})
	for n := range 5 {
		x.guess("web2", fmt.Sprint("guess ", n), "203.0.113.9", n).want(401)
	}
	x.guess("web2", web2Secret, "203.0.113.9", 1).want(429)
	x.guess("web2", web2Secret, "203.0.113.10", 1).want(200)
}

// A client that was not told of its new secret says the old one again and again:
// that is one failure, so that it works at once when it is told.
func TestOldClientSecretIsOneFailure(t *testing.T) {
	x := newProvider(t, setup{failures: 5})
	for n := range 40 {
		x.guess("web1", "the secret of last year", "192.0.2.20", n).want(401)
		x.guess("web1", "", "192.0.2.20", n).want(401) // nothing was guessed
	}
	x.guess("web1", webSecret, "192.0.2.20", 1).want(200)
	if n := strings.Count(x.log.String(), "Wrong client secret from 192.0.2.20"); n != 1 {
		t.Errorf("%d lines for one secret", n)
	}
}

// O09: the limit tells nobody which clients there are, and clients that are made
// up leave no row.
func TestO09LimitIsNoOracle(t *testing.T) {
	x := newProvider(t, setup{failures: 5})
	statuses := func(client, ip string) (out []int) {
		for n := range 8 {
			out = append(out, x.guess(client, fmt.Sprint("guess ", n), ip, n).Status)
		}
		return out
	}
	want := statuses("web1", "203.0.113.9")
	for _, client := range []string{"nobody", "spa", broker.AppClientID, "' OR 1=1 --"} {
		if got := statuses(client, "203.0.113.9"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", client, got, want)
		}
	}
	before := x.Statements.Load()
	for n := range 50 {
		x.guess(fmt.Sprint("made up ", n), "x", "203.0.113.9", n).want(401)
	}
	if asked := x.Statements.Load() - before; asked > 50 {
		t.Errorf("50 clients that are made up cost %d statements, more than it takes to look for them", asked)
	}
}
