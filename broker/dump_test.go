package broker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// scriptedIdP lets everybody in and remembers what it was asked.
type scriptedIdP struct {
	broker.IdP // what is not written below is not asked for
	mu         sync.Mutex
	asks       []broker.IdPRequest
}

const idpCode = "code-of-the-idp-itself"

func (s *scriptedIdP) AuthURL(_ context.Context, r broker.IdPRequest) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks = append(s.asks, r)
	return "https://idp.test/authorize?" + url.Values{"state": {r.State}}.Encode(), nil
}

func (s *scriptedIdP) Exchange(context.Context, broker.IdPRequest, broker.IdPResponse) (broker.IdPClaims, error) {
	return broker.IdPClaims{Issuer: "https://idp.test", Subject: "ida-at-the-idp", Username: "ida", SessionID: "session-at-the-idp"}, nil
}

func (s *scriptedIdP) Issuer() string { return "https://idp.test" }

func (s *scriptedIdP) EndSessionURL(context.Context, string) string { return "" }

// A stolen dump logs nobody in: it holds no token, no password, no secret, no
// one-time code and no state of a login under way, in no table.
func TestStolenDumpHoldsNoCredential(t *testing.T) {
	idp := &scriptedIdP{}
	withIdP := func(c *broker.Config) {
		c.Providers = []broker.Provider{{ProviderSettings: broker.ProviderSettings{
			ID: "openid", Name: "IdP", Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailNever,
		}, IdP: idp}}
	}
	onEachKept(t, withIdP, func(t *testing.T, w *world) {
		secrets := map[string]string{
			"root secret": harness.Secret, "root secret, base64": base64.RawURLEncoding.EncodeToString([]byte(harness.Secret)),
			"root secret, hex": hex.EncodeToString([]byte(harness.Secret)), "password": harness.PasswordOf("anna"), "code of the IdP": idpCode,
		}
		remember := func(name string, login *broker.Login) {
			secrets[name+": access token"], secrets[name+": refresh token"] = login.AccessToken.Reveal(), login.RefreshToken.Reveal()
			for kind, token := range map[string]string{"access": login.AccessToken.Reveal(), "refresh": login.RefreshToken.Reveal()} {
				parts := strings.Split(token, ".")
				secrets[name+": payload of the "+kind+" token"], secrets[name+": signature of the "+kind+" token"] = parts[1], parts[2]
			}
			secrets[name+": jti"] = w.claims(t, login.RefreshToken).ID
			secrets[name+": page cookie"] = w.Broker.PageCookie(login.Session.ID)[37:]
		}
		rememberIdP(t, w, idp, secrets, remember)
		login := w.login(t)
		remember("login", login)
		w.wait(1)
		for _, name := range []string{"advance", "converge"} {
			next, err := w.refresh(phone, login.RefreshToken)
			if err != nil {
				t.Fatal(err)
			}
			remember(name, next)
		}
		if _, err := w.Broker.LoginPassword(ctx, "anna", "a password mistyped", phone); err == nil {
			t.Fatal("a wrong password was taken")
		}
		secrets["mistyped password"] = "a password mistyped"
		token, err := w.Broker.SetupToken(ctx)
		if err != nil {
			t.Fatal(err)
		}
		secrets["setup token"] = token
		private, err := w.Broker.KeyRing().Keys()[0].Private()
		if err != nil {
			t.Fatal(err)
		}
		secrets["signing key"], secrets["signing key, base64"] = string(private), base64.RawURLEncoding.EncodeToString(private)

		dump := harness.Dump(t, w.url)
		for _, there := range []string{"anna", "ida-at-the-idp", login.Session.ID, "$argon2id$"} {
			if !bytes.Contains(dump, []byte(there)) {
				t.Errorf("the dump does not hold %q: it is not the whole database", there)
			}
		}
		for name, secret := range secrets {
			if len(secret) < 8 || bytes.Contains(dump, []byte(secret)) {
				t.Errorf("the dump holds the %s", name)
			}
		}
		for name, secret := range secrets {
			if strings.Contains(w.Log.String(), secret) {
				t.Errorf("the log holds the %s", name)
			}
		}
		t.Logf("%d secrets sought in %d bytes", len(secrets), len(dump))
	})
}

// rememberIdP walks three logins through an IdP: one to its end, one up to the
// code that waits for its app, one only begun.
func rememberIdP(t *testing.T, w *world, idp *scriptedIdP, secrets map[string]string, remember func(string, *broker.Login)) {
	t.Helper()
	const verifier = "the-code-verifier-of-the-app-0123456789-0123456789"
	secrets["verifier of the app"] = verifier
	for _, step := range []string{"finished", "waiting", "begun"} {
		request := broker.AppRequest{
			ProviderID: "openid", ResponseType: "code", RedirectURI: "audiobookshelf://oauth", State: "app-state-" + step,
			CodeChallenge: challengeOf(verifier), CodeChallengeMethod: "S256",
		}
		if _, err := w.Broker.BeginApp(ctx, request); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Broker.OpenAuthRequest(ctx, "openid", request.State, request.CodeChallenge, broker.Device{}); err != nil {
			t.Fatal(err)
		}
		ask := idp.asks[len(idp.asks)-1]
		secrets[step+": state"], secrets[step+": nonce"], secrets[step+": verifier"] = ask.State, ask.Nonce, ask.Verifier
		if step == "begun" {
			continue
		}
		done, err := w.Broker.CompleteIdPLogin(ctx, "openid", broker.IdPResponse{Code: idpCode, State: ask.State}, func(string) bool { return false }, phone)
		if err != nil {
			t.Fatal(err)
		}
		secrets[step+": code for the app"] = done.Code
		if step == "waiting" {
			continue
		}
		login, err := w.Broker.RedeemGrant(ctx, "openid", done.Code, request.State, verifier, phone)
		if err != nil {
			t.Fatal(err)
		}
		remember(step, login)
	}
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
