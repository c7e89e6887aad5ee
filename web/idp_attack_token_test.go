package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

func TestU06Nonce(t *testing.T) {
	idpLies(t, []idpLie{
		{"absent", idpClaim("nonce", nil), broker.NonceMismatch},
		{"empty", idpClaim("nonce", ""), broker.NonceMismatch},
		{"another", idpClaim("nonce", "n-0S6_WzA2Mj"), broker.NonceMismatch},
		{"of a parallel flow", func(x *idpSite, s *providertest.Script) {
			s.EditIDToken = func(claims map[string]any) {
				parallel, _ := x.begin()
				claims["nonce"] = idpQuery(x.t, parallel).Get("nonce")
			}
		}, broker.NonceMismatch},
		{"not a string", idpClaim("nonce", []string{"x"}), broker.IdPBadResponse},
	})
}

func TestU07Issuer(t *testing.T) {
	var second *providertest.IdP
	other := func(x *idpSite, s *providertest.Script) {
		second = startIdP(x.t)
		s.EditTokenAnswer = func(answer map[string]any) {
			forged, err := second.SignToken(nil, claimsOf(x.t, answer["id_token"].(string)))
			if err != nil {
				panic(err)
			}
			answer["id_token"] = forged
		}
	}
	idpLies(t, []idpLie{
		{"of another", idpClaim("iss", "https://idp2.test"), broker.IdPBadResponse},
		{"with a slash", func(x *idpSite, s *providertest.Script) { idpClaim("iss", x.idp.Issuer()+"/")(x, s) }, broker.IdPBadResponse},
		{"as a prefix", func(x *idpSite, s *providertest.Script) { idpClaim("iss", x.idp.Issuer()+".evil.test")(x, s) }, broker.IdPBadResponse},
		{"absent", idpClaim("iss", nil), broker.IdPBadResponse},
		{"right, but signed by another IdP", other, broker.IdPBadResponse},
		{"audience of another", idpClaim("aud", "another-client"), broker.IdPBadResponse},
		{"no audience", idpClaim("aud", nil), broker.IdPBadResponse},
		{"an array of one", idpClaim("aud", []string{"latchkey"}), ""},
		{"several audiences without azp", idpClaim("aud", []string{"latchkey", "another"}), broker.IdPBadResponse},
		{"several audiences, azp us", idpClaim("aud", []string{"latchkey", "another"}, "azp", "latchkey"), ""},
		{"azp of another", idpClaim("azp", "another"), broker.IdPBadResponse},
		{"no subject", idpClaim("sub", nil), broker.IdPBadResponse},
		{"a number as subject", idpClaim("sub", 42), broker.IdPBadResponse},
		{"a subject with a NUL", idpClaim("sub", "s-\x00anna"), broker.IdPBadResponse},
		{"a long subject", idpClaim("sub", strings.Repeat("s", 300)), broker.IdPBadResponse},
	})
}

func TestU09Times(t *testing.T) {
	exact := func(number string) json.RawMessage { return json.RawMessage(number) }
	idpLies(t, []idpLie{
		{"exp missing", idpClaim("exp", nil), broker.IdPBadResponse},
		{"exp 10 min ago", idpClaim("exp", idpAt(-10*time.Minute)), broker.IdPBadResponse},
		{"exp 61 s ago", idpClaim("exp", idpAt(-61*time.Second)), broker.IdPBadResponse},
		{"exp 30 s ago", idpClaim("exp", idpAt(-30*time.Second)), ""},
		{"exp 59 s ago", idpClaim("exp", idpAt(-59*time.Second)), ""},
		{"exp a string", idpClaim("exp", fmt.Sprint(idpAt(time.Hour))), broker.IdPBadResponse},
		{"exp a fraction", idpClaim("exp", exact(fmt.Sprint(idpAt(time.Hour))+".5")), broker.IdPBadResponse},
		{"exp 1e30", idpClaim("exp", exact("1e30")), broker.IdPBadResponse},
		{"exp 2^53", idpClaim("exp", exact("9007199254740992")), broker.IdPBadResponse},
		{"exp -1", idpClaim("exp", exact("-1")), broker.IdPBadResponse},
		{"exp an object", idpClaim("exp", exact("{}")), broker.IdPBadResponse},
		{"iat missing", idpClaim("iat", nil), broker.IdPBadResponse},
		{"iat a string", idpClaim("iat", fmt.Sprint(idpAt(0))), broker.IdPBadResponse},
		{"iat in 1 h", idpClaim("iat", idpAt(time.Hour)), broker.IdPBadResponse},
		{"iat in 61 s", idpClaim("iat", idpAt(61*time.Second)), broker.IdPBadResponse},
		{"iat in 30 s", idpClaim("iat", idpAt(30*time.Second)), ""},
		{"iat in 59 s", idpClaim("iat", idpAt(59*time.Second)), ""},
		{"iat 59 s ago", idpClaim("iat", idpAt(-59*time.Second)), ""},
		{"iat 5 min ago", idpClaim("iat", idpAt(-5*time.Minute)), broker.IdPBadResponse},
		{"iat 24 h ago", idpClaim("iat", idpAt(-24*time.Hour)), broker.IdPBadResponse},
		{"nbf in 1 h", idpClaim("nbf", idpAt(time.Hour)), broker.IdPBadResponse},
		{"nbf in 2 min", idpClaim("nbf", idpAt(2*time.Minute)), broker.IdPBadResponse},
		{"nbf in 30 s", idpClaim("nbf", idpAt(30*time.Second)), ""},
		{"nbf a string", idpClaim("nbf", "soon"), broker.IdPBadResponse},
		{"nbf now", idpClaim("nbf", idpAt(0)), ""},
	})
}

// idpBait is a server that nobody may call.
func idpBait(t testing.TB) (address string, calls *atomic.Int32) {
	calls = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(s.Close)
	return s.URL, calls
}

func TestU10Algorithms(t *testing.T) {
	bait, calls := idpBait(t)
	alg := func(name string) func(*idpSite, *providertest.Script) {
		return func(_ *idpSite, s *providertest.Script) {
			s.SignAlg = name
			// Advertised, it is still never accepted.
			s.EditDiscovery = func(m map[string]any) {
				m["id_token_signing_alg_values_supported"] = []string{"none", "None", "HS256", "RS256"}
			}
		}
	}
	header := func(header map[string]any) func(*idpSite, *providertest.Script) {
		return func(x *idpSite, s *providertest.Script) {
			s.SignWithUnknownKey, s.IDTokenHeader = true, header
			if header["jwk"] != nil {
				s.IDTokenHeader["jwk"] = x.idp.UnknownJWK()
			}
		}
	}
	honestES256 := func(_ *idpSite, s *providertest.Script) { s.SignAlg = providertest.AlgES256 }
	supports := func(algs ...string) func(m map[string]any) {
		return func(m map[string]any) { m["id_token_signing_alg_values_supported"] = algs }
	}
	idpLies(t, []idpLie{
		{"none", alg("none"), broker.IdPBadResponse},
		{"None", alg("None"), broker.IdPBadResponse},
		{"nOnE", alg("nOnE"), broker.IdPBadResponse},
		{"HS256 with the public key's PEM", alg(providertest.AlgHS256PublicPEM), broker.IdPBadResponse},
		{"HS256 with the public key's DER", alg(providertest.AlgHS256PublicDER), broker.IdPBadResponse},
		{"HS256 with the public JWK", alg(providertest.AlgHS256PublicJWK), broker.IdPBadResponse},
		{"HS256 with the client secret", alg(providertest.AlgHS256ClientSecret), broker.IdPBadResponse},
		{"HS256 with a published secret", func(x *idpSite, s *providertest.Script) {
			alg(providertest.AlgHS256ClientSecret)(x, s)
			s.ExtraJWKS = []any{map[string]any{"kty": "oct", "alg": "HS256", "use": "sig", "k": "dGhlIElkUCdzIGNsaWVudCBzZWNyZXQ"}}
		}, broker.IdPBadResponse},
		{"a secret among the keys does no harm", func(_ *idpSite, s *providertest.Script) {
			s.ExtraJWKS = []any{map[string]any{"kty": "oct", "kid": "x", "k": "c2VjcmV0"}, "not a key", nil, map[string]any{"kty": "??"}}
		}, ""},
		{"RS256 where only ES256 is advertised", func(_ *idpSite, s *providertest.Script) { s.EditDiscovery = supports("ES256") }, broker.IdPBadResponse},
		{"nothing usable is advertised", func(_ *idpSite, s *providertest.Script) { s.EditDiscovery = supports("HS256", "none") }, broker.IdPBadResponse},
		{"ES256", honestES256, ""},
		{"nothing is advertised", func(_ *idpSite, s *providertest.Script) {
			s.EditDiscovery = func(m map[string]any) { delete(m, "id_token_signing_alg_values_supported") }
		}, ""},
		{"an unknown key", header(map[string]any{}), broker.IdPBadResponse},
		{"its own jwk", header(map[string]any{"jwk": true}), broker.IdPBadResponse},
		{"jku", header(map[string]any{"jku": bait + "/jwks"}), broker.IdPBadResponse},
		{"x5u", header(map[string]any{"x5u": bait + "/cert"}), broker.IdPBadResponse},
		{"x5c", header(map[string]any{"x5c": []string{"MIIB"}}), broker.IdPBadResponse},
		{"a key for encryption", func(x *idpSite, s *providertest.Script) {
			s.SignWithUnknownKey = true
			key := x.idp.UnknownJWK()
			key.Use = "enc"
			s.ExtraJWKS = []any{key}
		}, broker.IdPBadResponse},
		{"unknown crit", func(_ *idpSite, s *providertest.Script) {
			s.IDTokenHeader = map[string]any{"crit": []string{"zz"}, "zz": 1}
		}, broker.IdPBadResponse},
		{"an access token by its typ", func(_ *idpSite, s *providertest.Script) { s.IDTokenHeader = map[string]any{"typ": "at+jwt"} }, broker.IdPBadResponse},
		{"an access token, long name", func(_ *idpSite, s *providertest.Script) {
			s.IDTokenHeader = map[string]any{"typ": "application/AT+JWT"}
		}, broker.IdPBadResponse},
		{"a logout token", func(_ *idpSite, s *providertest.Script) { s.IDTokenHeader = map[string]any{"typ": "logout+jwt"} }, broker.IdPBadResponse},
		{"an access token of the same key", func(x *idpSite, s *providertest.Script) {
			// As of Pocket-ID: only the nonce tells it from the ID token.
			s.EditTokenAnswer = func(answer map[string]any) {
				claims := claimsOf(x.t, answer["id_token"].(string))
				delete(claims, "nonce")
				claims["type"] = "oauth-access-token"
				answer["id_token"], _ = x.idp.SignToken(nil, claims)
			}
		}, broker.NonceMismatch},
		{"no ID token", func(_ *idpSite, s *providertest.Script) { s.OmitIDToken = true }, broker.IdPBadResponse},
		{"an ID token that is no string", func(_ *idpSite, s *providertest.Script) {
			s.EditTokenAnswer = func(a map[string]any) { a["id_token"] = 7 }
		}, broker.IdPBadResponse},
	})
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests to where a header points", n)
	}
}

func TestU11KeyIDs(t *testing.T) {
	second := func(x *idpSite) any { return x.idp.UnknownJWK() }
	idpLies(t, []idpLie{
		{"no kid, one key", func(_ *idpSite, s *providertest.Script) { s.OmitKid = true }, ""},
		{"no kid, two keys", func(x *idpSite, s *providertest.Script) { s.OmitKid, s.ExtraJWKS = true, []any{second(x)} }, ""},
		{"no kid, the second key signs", func(x *idpSite, s *providertest.Script) {
			s.OmitKid, s.SignWithUnknownKey, s.ExtraJWKS = true, true, []any{second(x)}
		}, ""},
		{"the same kid twice, the second signs", func(x *idpSite, s *providertest.Script) {
			s.SignWithUnknownKey, s.ExtraJWKS = true, []any{second(x)}
		}, ""},
		{"kid of a key of another type", func(_ *idpSite, s *providertest.Script) {
			s.SignAlg = providertest.AlgES256
			s.EditJWKS = func(m map[string]any) { m["keys"] = m["keys"].([]any)[:1] } // RSA alone
			s.OmitKid = true
		}, broker.IdPBadResponse},
		{"kid of 64 KB", func(_ *idpSite, s *providertest.Script) {
			s.IDTokenHeader = map[string]any{"kid": strings.Repeat("k", 64<<10)}
		}, broker.IdPBadResponse},
		{"kid is a path", func(_ *idpSite, s *providertest.Script) {
			s.IDTokenHeader = map[string]any{"kid": "../../../../dev/null"}
		}, broker.IdPBadResponse},
		{"kid is a number", func(_ *idpSite, s *providertest.Script) { s.IDTokenHeader = map[string]any{"kid": 1} }, broker.IdPBadResponse},
		{"wrong signature, right kid", func(_ *idpSite, s *providertest.Script) { s.SignWithUnknownKey = true }, broker.IdPBadResponse},
	})
}

// U17: an address with two domains is of neither, and a name that is taken, or looks
// as if, leads to no account that is there.
func TestU17DomainsAndTakenNames(t *testing.T) {
	x := idpStart(t, func(p *broker.Provider) { p.AllowedDomains = []string{"x.test"} })
	root := x.User(t, "root", broker.RoleRoot)
	for _, address := range []string{
		"m@evil.test@x.test", "m@x.test@evil.test", `"a@x.test"@evil.test`, "a@x.test\x00", "a@x.test.evil.test", "a@sub.x.test", "a@evilx.test", "a@x\u3002test", "",
	} {
		x.lie(func(s *providertest.Script) { idpClaim("email", address)(x, s) })
		x.noLogin(x.browse("anna"), idpTally{users: 1}, 403, broker.DomainNotAllowed)
	}
	x.WantRefused(t, "domain_not_allowed 9 openid openid latchkey-app - 127.0.0.1")
	x.lie(nil)
	for i, name := range []string{"root", " root", "ROOT", "ｒｏｏｔ", "ro\u200bot"} {
		person := fmt.Sprint("person", i)
		x.idp.SetUser(providertest.User{
			Subject: person, Username: person, Email: person + "@x.test", EmailVerified: true, Extra: map[string]any{"preferred_username": name},
		})
		session, _, _ := generation(t, x.browse(person).cookie("refresh_token").Value)
		u, err := x.Store.UserByID(t.Context(), x.row(session).UserID)
		if err != nil || u.ID == root.ID || u.Role != broker.RoleUser || broker.FoldUsername(u.Username) == "root" {
			t.Errorf("%q became %+v, %v", name, u, err)
		}
	}
}

func TestU18RoleClaims(t *testing.T) {
	x := idpStart(t, nil)
	x.lie(func(s *providertest.Script) {
		idpClaim("groups", []string{"admin", "root"}, "roles", "admin", "isAdmin", true, "role", map[string]any{"$ne": 0}, "type", "root")(x, s)
	})
	x.browse("anna").location()
	u, err := x.Broker.FindUser(context.Background(), "anna")
	if err != nil || u.Role != broker.RoleUser {
		t.Errorf("%s, %v", u.Role, err)
	}
}

// Userinfo must be of the same subject, and adds to the ID token only.
func TestUserinfoOfAnotherSubject(t *testing.T) {
	lack := func(edit func(map[string]any)) func(*idpSite, *providertest.Script) {
		return func(x *idpSite, s *providertest.Script) {
			idpClaim("preferred_username", nil, "email", nil)(x, s)
			s.EditUserinfo = edit
		}
	}
	idpLies(t, []idpLie{
		{"another", lack(func(c map[string]any) { c["sub"] = "s-root" }), broker.IdPBadResponse},
		{"none", lack(func(c map[string]any) { delete(c, "sub") }), broker.IdPBadResponse},
		{"not a string", lack(func(c map[string]any) { c["sub"] = []string{"s-anna"} }), broker.IdPBadResponse},
		{"the same", lack(nil), ""},
		{"odd shapes", lack(func(c map[string]any) {
			c["email"], c["groups"], c["name"] = map[string]any{"a": 1}, map[string]any{"a": []int{1}}, []string{"x"}
		}), ""},
	})
}
