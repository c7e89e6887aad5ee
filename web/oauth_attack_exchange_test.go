package web_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
)

// exchangeSite takes the ID tokens that the IdP gives to sdk-app and sdk-other.
func exchangeSite(t *testing.T, database string, idp *providertest.IdP, change func(*broker.Config)) *site {
	t.Helper()
	return openSite(t, setup{database: database, idp: idp, broker: func(c *broker.Config) {
		c.Clients = testClients(t)
		powerful(c)
		c.Providers[0].IdP = oidc.New(oidc.Config{
			Issuer: idp.Issuer(), ClientID: "latchkey", ClientSecret: "the IdP's client secret", Cache: c.Store.(*storage.Store), Now: c.Now,
			ExchangeAudiences: []string{"sdk-app", "sdk-other"},
		})
		if change != nil {
			change(c)
		}
	}})
}

// sdk is what an app gets from the IdP by itself.
func sdk(t testing.TB, idp *providertest.IdP, nonce string, bend providertest.Bend) string {
	t.Helper()
	token, err := idp.MintIDToken("sdk-app", "anna", nonce, bend)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claimed bends claims alone.
func claimed(pairs ...any) providertest.Bend {
	return func(_, claims map[string]any) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if claims[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
				delete(claims, pairs[i].(string))
			}
		}
	}
}

func (x *site) rows() int {
	x.t.Helper()
	_, n, err := x.Store.ListSessions(context.Background(), broker.SessionFilter{All: true}, 0, 1)
	if err != nil {
		x.t.Fatal(err)
	}
	return n
}

// What an SDK got logs in: once, soon, for its own apps, with its own nonce.
func TestExchangeIDTokenRules(t *testing.T) {
	idp := startIdP(t)
	x := exchangeSite(t, "", idp, nil)
	now := x.Clock.Now().Unix()
	const nonce = "a nonce of the app"
	sum := sha256.Sum256([]byte(nonce))
	for what, c := range map[string]struct {
		inToken, given string
		bend           providertest.Bend
		ok             bool
	}{
		"no nonce": {"", "", nil, true}, "the nonce": {nonce, nonce, nil, true}, "its hash in hex": {hex.EncodeToString(sum[:]), nonce, nil, true}, "its hash in base64url": {base64.RawURLEncoding.EncodeToString(sum[:]), nonce, nil, true},
		"a nonce in the token alone": {nonce, "", nil, false}, "a nonce of the app alone": {"", nonce, nil, false}, "another nonce": {nonce, nonce + "x", nil, false}, "the hash given, the nonce inside": {nonce, hex.EncodeToString(sum[:]), nil, false},
		"our own audience": {"", "", claimed("aud", "latchkey"), false}, "another app": {"", "", claimed("aud", "evil-app"), false}, "no audience": {"", "", claimed("aud", nil), false}, "ours among others": {"", "", claimed("aud", []string{"sdk-app", "evil-app"}, "azp", "sdk-app"), false},
		"two apps, no azp": {"", "", claimed("aud", []string{"sdk-app", "sdk-other"}), false}, "two apps, azp": {"", "", claimed("aud", []string{"sdk-app", "sdk-other"}, "azp", "sdk-other"), true}, "azp of a stranger": {"", "", claimed("azp", "evil-app"), false},
		"azp of another of ours": {"", "", claimed("azp", "sdk-other"), true}, "azp no text": {"", "", claimed("azp", 1), false}, "10 minutes old": {"", "", claimed("iat", now-600, "exp", now+600), true}, "older": {"", "", claimed("iat", now-601, "exp", now+600), false},
		"expired": {"", "", claimed("exp", now-61), false}, "no exp": {"", "", claimed("exp", nil), false}, "no iat": {"", "", claimed("iat", nil), false}, "from the future": {"", "", claimed("iat", now+120), false}, "nbf ahead": {"", "", claimed("nbf", now+120), false},
		"no sub": {"", "", claimed("sub", nil), false}, "an empty sub": {"", "", claimed("sub", ""), false}, "another issuer": {"", "", claimed("iss", "https://evil.test"), false}, "a slash behind the issuer": {"", "", claimed("iss", idp.Issuer()+"/"), false},
		"a logout token": {"", "", claimed("events", map[string]any{providertest.LogoutEvent: map[string]any{}}), false}, "an access token by its typ": {"", "", func(h, _ map[string]any) { h["typ"] = "at+jwt" }, false}, "one of Keycloak": {"", "", claimed("typ", "Bearer"), false},
		"alg none in the header": {"", "", func(h, _ map[string]any) { h["alg"] = "none" }, false}, "email_verified false": {"", "", claimed("email_verified", false), false},
	} {
		before := x.rows()
		token := sdk(t, idp, c.inToken, c.bend)
		pairs := []string{"subject_issuer", "openid"}
		if c.given != "" {
			pairs = append(pairs, "nonce", c.given)
		}
		a := x.exchange("nat1", token, broker.TokenTypeID, pairs...)
		if !c.ok {
			if said, _ := a.at("error"); a.Status != 400 || said != "invalid_grant" && said != "access_denied" || x.rows() != before {
				t.Errorf("%s: %d %s, rows %d, before %d", what, a.Status, a.Body, x.rows(), before)
			}
			continue
		}
		if a.Status != 200 {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
			continue
		}
		if g := a.granted(); g.refresh == "" || g.id == "" || a.text("issued_token_type") != broker.TokenTypeAccess || x.rows() != before+1 {
			t.Errorf("%s: %s", what, a.Body)
		}
		x.exchange("nat1", token, broker.TokenTypeID, pairs...).oauthError(400, "invalid_grant")
	}
	for _, alg := range []string{"none", providertest.AlgHS256PublicPEM, providertest.AlgHS256PublicDER, providertest.AlgHS256PublicJWK, providertest.AlgHS256ClientSecret} {
		idp.SetClient(providertest.Client{ID: "sdk-app", Secret: "a secret of the app"})
		idp.Script(func(s *providertest.Script) { s.SignAlg = alg })
		token := sdk(t, idp, "", nil)
		idp.Script(func(s *providertest.Script) { s.SignAlg = "" })
		x.exchange("nat1", token, broker.TokenTypeID).oauthError(400, "invalid_grant")
	}
	// A wrong nonce does not use the token up; whoever has the right one logs in.
	token := sdk(t, idp, nonce, nil)
	x.exchange("nat1", token, broker.TokenTypeID, "nonce", "guess").oauthError(400, "invalid_grant")
	x.exchange("nat1", token, broker.TokenTypeID, "nonce", nonce).granted()
	for what, a := range map[string]*answer{
		"nothing": x.exchange("nat1", "", broker.TokenTypeID), "an actor": x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID, "actor_token", "x"), "of no type": x.exchange("nat1", sdk(t, idp, "", nil), ""),
		"of SAML": x.exchange("nat1", "x", "urn:ietf:params:oauth:token-type:saml2"), "an ID token wanted": x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID, "requested_token_type", broker.TokenTypeID),
	} {
		a.oauthError(400, "invalid_request")
		if t.Failed() {
			t.Fatal(what)
		}
	}
	x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID, "subject_issuer", "other").oauthError(400, "invalid_grant")
	x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeAccess, "audience", "https://api.test").oauthError(400, "invalid_grant")
	scoped := x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID, "scope", "openid latchkey:admin latchkey:api things:write").granted()
	if claimsOf(t, scoped.access)["scope"] != "openid" {
		t.Errorf("scope %v", claimsOf(t, scoped.access)["scope"])
	}
	if strings.Contains(x.log.String(), "panic") {
		t.Error("a panic is in the log")
	}
}

// One ID token logs in once, on all replicas together and however many try.
func TestExchangeIDTokenOnceOnAllReplicas(t *testing.T) {
	idp := startIdP(t)
	database := "sqlite:" + t.TempDir() + "/latchkey.db"
	one, two := exchangeSite(t, database, idp, nil), exchangeSite(t, database, idp, nil)
	one.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID).granted() // anna is there
	token, before := sdk(t, idp, "", nil), one.rows()
	var won atomic.Int64
	var group sync.WaitGroup
	for i := range 20 {
		x := []*site{one, two}[i%2]
		group.Go(func() {
			a, err := x.try("POST", "/oauth2/token", form("grant_type", broker.GrantTokenExchange, "client_id", "nat1", "subject_token", token, "subject_token_type", broker.TokenTypeID))
			if err == nil && a.Status == 200 {
				won.Add(1)
			} else if err != nil || a.Status != 400 {
				t.Errorf("%v %+v", err, a)
			}
		})
	}
	if group.Wait(); won.Load() != 1 || one.rows() != before+1 {
		t.Errorf("%d logins, %d rows, before %d", won.Load(), one.rows(), before)
	}
	// It is remembered for as long as it could be good.
	for _, x := range []*site{one, two} {
		x.Clock.Advance(11 * time.Minute)
		if err := x.Broker.Sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		x.exchange("nat1", token, broker.TokenTypeID).oauthError(400, "invalid_grant")
	}
}

// The rules on who may log in hold here as at every login.
func TestExchangeIDTokenWhoMayNot(t *testing.T) {
	idp := startIdP(t)
	x := exchangeSite(t, "", idp, nil)
	g := x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID).granted()
	if err := x.Broker.SetDisabled(t.Context(), claimsOf(t, g.access)["sub"].(string), true); err != nil {
		t.Fatal(err)
	}
	before := x.rows()
	x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID).oauthError(400, "invalid_grant").refused(400, broker.UserDisabled, "login")
	x.refreshAt("nat1", g.refresh).oauthError(400, "invalid_grant")
	x.exchange("web1", sdk(t, idp, "", nil), broker.TokenTypeID).oauthError(401, "invalid_client")
	if x.rows() != before {
		t.Errorf("%d rows, before %d", x.rows(), before)
	}
	for what, c := range map[string]struct {
		change func(*broker.Config)
		code   broker.Code
	}{
		"not provisioned":   {func(c *broker.Config) { c.Providers[0].Provision = broker.ProvisionMatch }, broker.NotProvisioned},
		"denied":            {func(c *broker.Config) { c.Providers[0].Provision = broker.ProvisionDeny }, broker.NotProvisioned},
		"group":             {func(c *broker.Config) { c.Providers[0].AllowedGroups = []string{"staff"} }, broker.GroupNotAllowed},
		"domain":            {func(c *broker.Config) { c.Providers[0].AllowedDomains = []string{"x.test"} }, broker.DomainNotAllowed},
		"not by the client": {func(c *broker.Config) { c.Clients[3].Providers = []string{"local"} }, broker.CodeInvalid},
		"no audiences": {func(c *broker.Config) {
			c.Providers[0].IdP = oidc.New(oidc.Config{Issuer: idp.Issuer(), ClientID: "latchkey", Now: c.Now})
		}, broker.CodeInvalid},
	} {
		y := exchangeSite(t, "", idp, c.change)
		a := y.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID)
		if said := a.text("error"); a.Status != 400 || a.Header.Get("Latchkey-Code") != string(c.code) || said != "access_denied" && said != "invalid_grant" || y.rows() != 0 {
			t.Errorf("%s: %d %s, %d rows", what, a.Status, a.Body, y.rows())
		}
	}
}

// U24: tokens of nobody make the IdP work no more than twice a minute, and a
// new key of the IdP is found all the same.
func TestU24JWKSFetchAmplification(t *testing.T) {
	idp := startIdP(t)
	x := exchangeSite(t, "", idp, nil)
	x.exchange("nat1", sdk(t, idp, "", nil), broker.TokenTypeID).granted()
	x.Clock.Advance(2 * time.Minute)
	stale := func() string {
		return sdk(t, idp, "", claimed("iat", x.Clock.Now().Unix(), "exp", x.Clock.Now().Unix()+300))
	}
	logout := func(bend providertest.Bend) string {
		token, err := idp.MintLogoutToken("latchkey", "s-anna", "", bend)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for minute := range 2 {
		before := idp.Count(providertest.EndpointJWKS)
		for i := range 500 {
			kid := func(h, c map[string]any) {
				h["kid"] = strings.Repeat("k", i%50+1)
				claimed("iat", x.Clock.Now().Unix(), "exp", x.Clock.Now().Unix()+300)(h, c)
			}
			bad := stale()
			a := x.exchange("nat1", bad[:len(bad)-8]+"AAAAAAAA", broker.TokenTypeID)
			b := x.do(http.MethodPost, "/auth/openid/backchannel-logout", form("logout_token", logout(kid)))
			c := x.exchange("nat1", sdk(t, idp, "", kid), broker.TokenTypeID)
			for _, a := range []*answer{a, b, c} {
				if a.Status != 400 {
					t.Fatalf("%d %s", a.Status, a.Body)
				}
			}
		}
		if n := idp.Count(providertest.EndpointJWKS) - before; n > 2 {
			t.Errorf("minute %d: %d fetches of the key set", minute, n)
		}
		x.Clock.Advance(time.Minute)
	}
	x.Clock.Advance(time.Minute)
	idp.RotateKey()
	x.exchange("nat1", stale(), broker.TokenTypeID).granted()
}
