package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// X06: a passkey whose RSA key is huge, or has an exponent that no key has, is not
// made, whatever else is right about it; ordinary ones are made and log in.
func TestX06GiantKeyOfAPasskey(t *testing.T) {
	x := newSite(t, setup{})
	b := x.byPassword("alice")
	bits := func(n uint) *rsa.PrivateKey { // no key, but a number that long
		return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), n), big.NewInt(1)), E: 65537}, D: big.NewInt(3)}
	}
	exponent := bits(2048)
	exponent.E = 1<<31 + 1
	for what, key := range map[string]*rsa.PrivateKey{
		"92,000 bits": bits(92_000), "a bit too many": bits(broker.MaxPasskeyRSABits + 1), "an exponent of 32 bits": exponent,
	} {
		k := harness.NewSoftKey(t, publicURL)
		k.RSA = key
		a := b.makes(k, harness.PasswordOf("alice"))
		if a.Status != 400 || !strings.Contains(a.Body, "RSA keys may have at most 4096 bits") {
			t.Errorf("%s: %d %s", what, a.Status, plain(a.Body))
		}
	}
	if list, err := x.Store.PasskeysOf(t.Context(), x.idOf("alice")); err != nil || len(list) > 0 {
		t.Fatalf("%d passkeys, %v", len(list), err)
	}
	k := harness.NewSoftKey(t, publicURL)
	k.RSA = harness.MersenneRSA(2203, 1279)
	b.makes(k, harness.PasswordOf("alice")).want(200)
	if b := x.newBrowser(); b.uses(k).Status != 303 || b.whose() != "alice" {
		t.Error("an ordinary RSA key does not log in")
	}
}

// X06: a giant key that is in the database already proves nothing, with its right
// signature too: it is not computed with.
func TestX06GiantKeyFromBefore(t *testing.T) {
	x := newSite(t, setup{})
	k := x.passkeyOf("alice")
	k.RSA = harness.MersenneRSA(2281, 2203)
	x.keepsKeyOf(k, "alice")
	x.newBrowser().uses(k).refused(400, broker.PasskeyInvalid, "")
	step := x.newBrowser()
	step.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	second := step.options("/login/second/passkey").want(200)
	step.sends("/login/second/passkey", "credential", k.Get(t, second.Body)).refused(400, broker.PasskeyInvalid, "")

	k.RSA = harness.MersenneRSA(2203, 1279)
	x.keepsKeyOf(k, "alice")
	x.newBrowser().uses(k).want(303)
}

// keepsKeyOf puts a public key into the database in place of what the user's passkeys
// have.
func (x *site) keepsKeyOf(k *harness.SoftKey, name string) {
	x.t.Helper()
	id := x.idOf(name)
	if _, err := x.Store.DeletePasskeys(x.t.Context(), id); err != nil {
		x.t.Fatal(err)
	}
	stored := broker.Passkey{
		ID: "stored", UserID: id, Name: "x", CreatedAt: x.Clock.Now(),
		CredentialID: base64.RawURLEncoding.EncodeToString(k.ID), PublicKey: base64.RawURLEncoding.EncodeToString(k.COSE(x.t)),
	}
	if done, err := x.Store.InsertPasskey(x.t.Context(), stored, broker.MaxPasskeys); err != nil || !done {
		x.t.Fatal(done, err)
	}
}

// X06: what an authenticator says of its make is not computed with: a statement by a
// giant key is as good as none, and one that is right is no harm.
func TestX06GiantKeyOfAnAttestation(t *testing.T) {
	x := newSite(t, setup{})
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: x.Clock.Now().AddDate(-1, 0, 0), NotAfter: x.Clock.Now().AddDate(1, 0, 0)}
	chain, err := x509.CreateCertificate(rand.Reader, of, of, &harness.MersenneRSA(9941, 9689).PublicKey, ca)
	if err != nil {
		t.Fatal(err)
	}
	for what, bend := range map[string]func(k *harness.SoftKey){
		"a certificate's giant key": func(k *harness.SoftKey) { k.Chain = chain },
		"itself":                    func(k *harness.SoftKey) { k.Packed = true },
	} {
		t.Run(what, func(t *testing.T) {
			user := x.User(t, "by-"+strings.Fields(what)[0], broker.RoleUser)
			k := harness.NewSoftKey(t, publicURL)
			bend(k)
			x.byPassword(user.Username).makes(k, harness.PasswordOf(user.Username)).want(200)
			if b := x.newBrowser(); b.uses(k).Status != 303 || b.whose() != user.Username {
				t.Error("it does not log in")
			}
		})
	}
}

// X06: answers of passkeys that prove nothing are failed logins of their address, and
// not of the account.
func TestX06RefusedPasskeysCount(t *testing.T) {
	x := limited(t)
	k := x.passkeyOf("alice")
	wrong := *harness.NewSoftKey(t, publicURL)
	wrong.ID, wrong.UserHandle = k.ID, k.UserHandle
	const eve = "203.0.113.66"
	for range limitOfEach {
		x.passkeyFrom(eve, &wrong).want(400)
	}
	x.passkeyFrom(eve, &wrong).refused(429, broker.RateLimited, web.VerdictRetry).says("Too many failed attempts")
	x.passkeyFrom(eve, k).want(429)
	x.do(http.MethodPost, "/login/password", form("username", "root", "password", harness.PasswordOf("root")), from(eve)).want(429)
	x.passkeyFrom("203.0.113.67", k).want(303)
	x.passkeyFrom("203.0.113.67", &wrong).want(400)
	x.sendLogin("alice", "wrong", from("203.0.113.68")).refused(401, broker.InvalidCredentials, "")
}

// passkeyFrom logs in with a passkey from an address. The question comes from another
// one for each use of the key: questions are counted as well.
func (x *site) passkeyFrom(ip string, k *harness.SoftKey) *answer {
	x.t.Helper()
	b := x.newBrowser()
	options := b.send(http.MethodPost, "/login/passkey/options", form(), fromPage, header("Accept", "application/json"), from("198.51.100."+strconv.Itoa(int(k.Count)))).want(200)
	return b.send(http.MethodPost, "/login/passkey", form("credential", k.Get(x.t, options.Body)), fromPage, from(ip))
}
