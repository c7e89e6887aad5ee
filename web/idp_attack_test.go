package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
)

// idpSite is a site with one IdP, whose user anna has never logged in, and with
// all that must not be in its log.
type idpSite struct {
	*site
	idp *providertest.IdP

	mu      sync.Mutex
	secrets []string
}

func idpStart(t testing.TB, change func(*broker.Provider)) *idpSite {
	t.Helper()
	x := &idpSite{idp: startIdP(t), secrets: []string{"the IdP's client secret"}}
	x.site = openSite(t, setup{idp: x.idp, broker: func(c *broker.Config) {
		if change != nil {
			change(&c.Providers[0])
		}
	}})
	x.idp.Script(x.spy)
	return x
}

// spy notes what is sent to the token endpoint.
func (x *idpSite) spy(s *providertest.Script) {
	if s.Respond[providertest.EndpointToken] != nil {
		return
	}
	s.Respond[providertest.EndpointToken] = func(_ http.ResponseWriter, r *http.Request) bool {
		_ = r.ParseForm()
		x.secret(r.PostForm.Get("code"), r.PostForm.Get("code_verifier"))
		return false
	}
	edit := s.EditTokenAnswer
	s.EditTokenAnswer = func(answer map[string]any) {
		if edit != nil {
			edit(answer)
		}
		for _, name := range []string{"access_token", "id_token"} {
			if token, ok := answer[name].(string); ok && len(token) > 20 {
				x.secret(token)
			}
		}
	}
}

func (x *idpSite) lie(change func(*providertest.Script)) {
	x.idp.Script(func(s *providertest.Script) {
		*s = providertest.Script{Respond: map[string]providertest.Responder{}}
		if change != nil {
			change(s)
		}
		x.spy(s)
	})
}

func (x *idpSite) secret(values ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, v := range values {
		if v != "" {
			x.secrets = append(x.secrets, v)
		}
	}
}

// idpTally is what a login adds to.
type idpTally struct{ users, identities, sessions int }

func (x *idpSite) tally() (n idpTally) {
	x.t.Helper()
	users, err := x.Store.ListUsers(context.Background(), broker.UserPage{By: broker.ByUsername, Limit: 1000})
	if err != nil {
		x.t.Fatal(err)
	}
	n.users = len(users)
	for _, u := range users {
		list, err := x.Store.IdentitiesOfUser(context.Background(), u.ID)
		if err != nil {
			x.t.Fatal(err)
		}
		n.identities += len(list)
	}
	if _, n.sessions, err = x.Store.ListSessions(context.Background(), broker.SessionFilter{All: true}, 0, 1); err != nil {
		x.t.Fatal(err)
	}
	return n
}

// begin is a browser's own login up to the IdP.
func (x *idpSite) begin() (atIdP string, flow []*http.Cookie) {
	x.t.Helper()
	a := x.do(http.MethodGet, "/auth/openid?callback=/")
	atIdP = a.location().String()
	x.secret(idpQuery(x.t, atIdP).Get("state"))
	return atIdP, a.cookies
}

func (x *idpSite) visit(atIdP, username string) (callback string) {
	x.t.Helper()
	callback, err := x.idp.Authorize(context.Background(), atIdP, username)
	if err != nil {
		x.t.Fatal(err)
	}
	x.secret(idpQuery(x.t, callback).Get("code"))
	return callback
}

// browse is a browser's whole login, and its last answer.
func (x *idpSite) browse(username string) *answer {
	x.t.Helper()
	atIdP, flow := x.begin()
	return x.do(http.MethodGet, x.visit(atIdP, username), cookies(flow))
}

func idpQuery(t testing.TB, target string) url.Values {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// noLogin expects a refusal that left nothing behind.
func (x *idpSite) noLogin(a *answer, before idpTally, status int, code broker.Code) {
	x.t.Helper()
	if a.Status != status || a.Header.Get("Latchkey-Code") != string(code) || a.Header.Get("Location") != "" {
		x.t.Errorf("%s: %d %s to %q, want %d %s", a.request, a.Status, a.Header.Get("Latchkey-Code"), a.Header.Get("Location"), status, code)
	}
	for _, c := range a.cookies {
		if c.MaxAge >= 0 {
			x.t.Errorf("a cookie: %s", c)
		}
	}
	if after := x.tally(); after != before {
		x.t.Errorf("rows: before %+v, after %+v", before, after)
	}
	x.quiet(a.Body)
}

// quiet looks for secrets in the log and in what a browser was shown.
func (x *idpSite) quiet(shown string) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	log := x.log.String()
	for _, s := range x.secrets {
		for _, form := range []string{s, url.QueryEscape(s)} {
			if strings.Contains(log, form) {
				x.t.Errorf("in the log: %q\n%s", form, log)
			}
			if strings.Contains(shown, form) {
				x.t.Errorf("in the answer: %q", form)
			}
		}
	}
	if strings.Contains(log, "request.panic") {
		x.t.Errorf("a panic: %s", log)
	}
}

func (x *idpSite) honest() {
	x.t.Helper()
	x.lie(nil)
	a := x.browse("anna")
	if a.location(); a.cookie("refresh_token") == nil {
		x.t.Errorf("the honest login: %d %s", a.Status, a.Body)
	}
}

type idpLie struct {
	name string
	tell func(x *idpSite, s *providertest.Script)
	code broker.Code // empty: the login works
}

var idpStatus = map[broker.Code]int{
	broker.IdPBadResponse: 502, broker.NonceMismatch: 400, broker.IssuerMismatch: 400, broker.IdPRefused: 403,
	broker.TemporarilyUnavailable: 503, broker.AccessDenied: 403,
}

// idpLies runs each lie against a site of its own; an honest login follows,
// with nothing to wait for.
func idpLies(t *testing.T, lies []idpLie) {
	t.Helper()
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			x := idpStart(t, nil)
			x.lie(func(s *providertest.Script) { l.tell(x, s) })
			begun, before := time.Now(), x.tally()
			a := x.browse("anna")
			if l.code == "" {
				if a.location(); a.cookie("refresh_token") == nil || x.tally() != (idpTally{1, 1, 1}) {
					t.Errorf("refused: %d, %+v", a.Status, x.tally())
				}
				return
			}
			x.noLogin(a, before, idpStatus[l.code], l.code)
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			x.honest()
		})
	}
}

// claim changes the ID token's claims; nil removes one.
func idpClaim(pairs ...any) func(*idpSite, *providertest.Script) {
	return func(_ *idpSite, s *providertest.Script) {
		s.EditIDToken = func(claims map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i+1] == nil {
					delete(claims, pairs[i].(string))
				} else {
					claims[pairs[i].(string)] = pairs[i+1]
				}
			}
		}
	}
}

func idpAt(d time.Duration) int64 { return harness.NewClock().Now().Add(d).Unix() }

// U01: nobody began this login.
func TestU01UnsolicitedCallback(t *testing.T) {
	x := idpStart(t, nil)
	before := x.tally()
	for _, query := range []string{"code=x", "code=x&state=AAAA", "state=AAAA", "code=x&state=" + strings.Repeat("A", 8000), ""} {
		x.noLogin(x.do(http.MethodGet, "/auth/openid/callback?"+query), before, 400, broker.InvalidState)
	}
	for _, code := range []string{"", "&code=", "&code=" + strings.Repeat("c", 5000)} {
		atIdP, flow := x.begin()
		target := "/auth/openid/callback?state=" + idpQuery(t, atIdP).Get("state") + code + "&iss=" + url.QueryEscape(x.idp.Issuer())
		x.noLogin(x.do(http.MethodGet, target, cookies(flow)), before, 400, broker.InvalidRequest)
	}
	if n := x.idp.Count(providertest.EndpointToken); n != 0 {
		t.Errorf("%d token requests", n)
	}
}

// U02: somebody else began this login (login CSRF).
func TestU02LoginCSRF(t *testing.T) {
	x := idpStart(t, nil)
	before := x.tally()
	atIdP, mallory := x.begin()
	_, alice := x.begin()
	callback := x.visit(atIdP, "anna")
	x.noLogin(x.do(http.MethodGet, callback, cookies(alice)), before, 400, broker.StateMismatch)
	x.noLogin(x.do(http.MethodGet, callback, cookies(mallory)), before, 400, broker.InvalidState) // it is burned

	// The right name with another value, and the right cookie twice.
	for _, tamper := range []func(r *http.Request, c *http.Cookie){
		func(r *http.Request, c *http.Cookie) {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: alice[0].Value})
		},
		func(r *http.Request, c *http.Cookie) {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
			r.AddCookie(&http.Cookie{Name: c.Name, Value: "tossed-in"})
		},
		func(r *http.Request, c *http.Cookie) {
			r.AddCookie(&http.Cookie{Name: strings.TrimPrefix(c.Name, "__Host-"), Value: c.Value})
		},
	} {
		atIdP, flow := x.begin()
		callback := x.visit(atIdP, "anna")
		x.noLogin(x.do(http.MethodGet, callback, func(r *http.Request) { tamper(r, flow[0]) }), before, 400, broker.StateMismatch)
	}
	if n := x.idp.Count(providertest.EndpointToken); n != 0 {
		t.Errorf("%d token requests", n)
	}
}

// idpTwo is a site with two providers, p1 and p2.
func idpTwo(t testing.TB) (x *idpSite, second *providertest.IdP) {
	t.Helper()
	x = &idpSite{idp: startIdP(t), secrets: []string{"the IdP's client secret"}}
	second = startIdP(t)
	x.site = openSite(t, setup{idp: x.idp, broker: func(c *broker.Config) {
		c.Providers = nil
		for id, idp := range map[string]*providertest.IdP{"p1": x.idp, "p2": second} {
			idp.SetClient(providertest.Client{ID: "latchkey", Secret: "the IdP's client secret", RedirectURIs: []string{publicURL + "/auth/" + id + "/callback"}})
		}
		for _, one := range []struct {
			id  string
			idp *providertest.IdP
		}{{"p1", x.idp}, {"p2", second}} {
			c.Providers = append(c.Providers, broker.Provider{
				ProviderSettings: broker.ProviderSettings{
					ID: one.id, Name: one.id, Provision: broker.ProvisionCreate, RequireVerifiedEmail: broker.EmailIfPresent,
				},
				IdP: oidc.New(oidc.Config{Issuer: one.idp.Issuer(), ClientID: "latchkey", ClientSecret: "the IdP's client secret", Now: c.Now}),
			})
		}
	}})
	return x, second
}

// U04: the answer of one IdP is given to another.
func TestU04MixUp(t *testing.T) {
	edit := func(x *idpSite, change func(url.Values)) *answer {
		x.lie(func(s *providertest.Script) { s.EditCallback = change })
		return x.browse("anna")
	}
	t.Run("a: iss of another", func(t *testing.T) {
		x := idpStart(t, nil)
		before := x.tally()
		for _, iss := range []string{"https://idp2.test", x.idp.Issuer() + "/", strings.ToUpper(x.idp.Issuer())} {
			x.noLogin(edit(x, func(v url.Values) { v.Set("iss", iss) }), before, 400, broker.IssuerMismatch)
		}
		if n := x.idp.Count(providertest.EndpointToken); n != 0 {
			t.Errorf("%d token requests", n)
		}
		x.honest()
	})
	t.Run("b: iss is missing where it is promised", func(t *testing.T) {
		x := idpStart(t, nil)
		x.noLogin(edit(x, func(v url.Values) { v.Del("iss") }), x.tally(), 400, broker.IssuerMismatch)
		if n := x.idp.Count(providertest.EndpointToken); n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("not promised, not missed", func(t *testing.T) {
		x := idpStart(t, nil)
		x.lie(func(s *providertest.Script) {
			s.EditCallback = func(v url.Values) { v.Del("iss") }
			s.EditDiscovery = func(m map[string]any) { delete(m, "authorization_response_iss_parameter_supported") }
		})
		x.browse("anna").location()
	})
	t.Run("an error without iss is an error", func(t *testing.T) {
		x := idpStart(t, nil)
		x.lie(func(s *providertest.Script) { s.EditCallback = func(v url.Values) { v.Del("iss") } })
		x.noLogin(x.browse(""), x.tally(), 403, broker.AccessDenied)
	})
	t.Run("c: at another provider's path", func(t *testing.T) {
		x, second := idpTwo(t)
		before := x.tally()
		begin := x.do(http.MethodGet, "/auth/p1?callback=/")
		callback := x.visit(begin.location().String(), "anna")
		crossed := strings.Replace(callback, "/p1/", "/p2/", 1)
		x.noLogin(x.do(http.MethodGet, crossed, cookies(begin.cookies)), before, 400, broker.InvalidState)
		if n := x.idp.Count(providertest.EndpointToken) + second.Count(providertest.EndpointToken); n != 0 {
			t.Errorf("%d token requests", n)
		}
		x.do(http.MethodGet, callback, cookies(begin.cookies)).location() // and it was not consumed
	})
}

// U05: a stolen code in another's flow.
func TestU05CodeInjection(t *testing.T) {
	inject := func(x *idpSite) *answer {
		stolen := idpQuery(t, x.visit(func() string { at, _ := x.begin(); return at }(), "anna")).Get("code")
		atIdP, flow := x.begin()
		q := idpQuery(t, x.visit(atIdP, "mallory"))
		q.Set("code", stolen)
		return x.do(http.MethodGet, "/auth/openid/callback?"+q.Encode(), cookies(flow))
	}
	mallory := providertest.User{Subject: "s-mallory", Username: "mallory"}
	t.Run("the IdP refuses the verifier", func(t *testing.T) {
		x := idpStart(t, nil)
		x.idp.SetUser(mallory)
		x.noLogin(inject(x), x.tally(), 403, broker.IdPRefused)
		if n := x.idp.Count(providertest.EndpointToken); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("an IdP that ignores PKCE", func(t *testing.T) {
		x := idpStart(t, nil)
		x.idp.SetUser(mallory)
		x.lie(func(s *providertest.Script) { s.IgnorePKCE = true })
		x.noLogin(inject(x), x.tally(), 400, broker.NonceMismatch)
		x.browse("anna").location()
	})
	t.Run("what is sent", func(t *testing.T) {
		x := idpStart(t, nil)
		one, _ := x.begin()
		two, _ := x.begin()
		a, b := idpQuery(t, one), idpQuery(t, two)
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if len(a.Get(name)) < 43 || a.Get(name) == b.Get(name) {
				t.Errorf("%s: %q and %q", name, a.Get(name), b.Get(name))
			}
		}
		if a.Get("code_challenge_method") != "S256" || a.Get("response_type") != "code" || a.Get("scope") != "openid profile email" ||
			a.Get("redirect_uri") != publicURL+"/auth/openid/callback" {
			t.Errorf("%v", a)
		}
	})
}

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

// idpCount serves size zeros and counts what the client took.
func idpCount(taken *atomic.Int64, size int64) providertest.Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		chunk := make([]byte, 64<<10)
		for i := range chunk {
			chunk[i] = '['
		}
		for sent := int64(0); sent < size; {
			n, err := w.Write(chunk)
			taken.Add(int64(n))
			if sent += int64(n); err != nil {
				break
			}
		}
		return true
	}
}

// U20: hostile bytes. Whatever comes, it is over soon, costs little and is the
// IdP's fault; and the next honest answer heals it.
func TestU20HostileBytes(t *testing.T) {
	endpoints := []string{providertest.EndpointDiscovery, providertest.EndpointJWKS, providertest.EndpointToken, providertest.EndpointUserinfo}
	var taken atomic.Int64
	nested := func(open, end string) string { return strings.Repeat(open, 100_000) + strings.Repeat(end, 100_000) }
	faults := map[string]providertest.Responder{
		"1 GB":           idpCount(&taken, 1<<30),
		"gzip bomb":      providertest.GzipBomb(1 << 30),
		"nested arrays":  providertest.Body(200, "application/json", nested("[", "]")),
		"nested objects": providertest.Body(200, "application/json", nested(`{"a":`, "}")[:600_000]),
		"10 MB ID token": providertest.Body(200, "application/json", `{"access_token":"x","id_token":"`+strings.Repeat("A", 10<<20)+`"}`),
		"cut off":        providertest.CutOff(`{"access_token":"x",`),
		"HTML":           providertest.Body(200, "text/html", "<html>the IdP's client secret</html>"),
		"nothing":        providertest.Body(200, "application/json", ""),
		"null":           providertest.Body(200, "application/json", "null"),
		"a list":         providertest.Body(200, "application/json", "[]"),
		"500":            providertest.Body(500, "text/html", "the IdP's client secret"),
		"204":            providertest.Body(204, "", ""),
	}
	for _, endpoint := range endpoints {
		for name, fault := range faults {
			t.Run(endpoint+": "+name, func(t *testing.T) {
				x := idpStart(t, nil)
				before, begun := x.tally(), time.Now()
				taken.Store(0)
				var a *answer
				if endpoint == providertest.EndpointDiscovery {
					x.lie(func(s *providertest.Script) { s.Respond[endpoint] = fault })
					a = x.do(http.MethodGet, "/auth/openid?callback=/")
				} else {
					x.lie(func(s *providertest.Script) {
						idpClaim("preferred_username", nil)(x, s)
						s.Respond[endpoint] = fault
					})
					a = x.browse("anna")
				}
				if a.Status != 502 && a.Status != 503 || time.Since(begun) > 10*time.Second {
					t.Errorf("%d after %v", a.Status, time.Since(begun))
				}
				x.noLogin(a, before, a.Status, broker.Code(a.Header.Get("Latchkey-Code")))
				if n := taken.Load(); n > 16<<20 {
					t.Errorf("%d bytes were taken", n)
				}
				x.honest()
			})
		}
	}
}

// U20: a drip and a stall end by time, and hold up nobody else.
func TestU20Drip(t *testing.T) {
	for _, endpoint := range []string{providertest.EndpointDiscovery, providertest.EndpointJWKS, providertest.EndpointToken, providertest.EndpointUserinfo} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			x := idpStart(t, nil)
			x.User(t, "alice", broker.RoleUser)
			alice := x.login("alice")
			before := x.tally()
			atIdP, flow := x.begin()
			callback := x.visit(atIdP, "anna")
			x.lie(func(s *providertest.Script) {
				idpClaim("preferred_username", nil)(x, s)
				s.Respond[endpoint] = providertest.Drip(strings.Repeat(" ", 1000), time.Second)
			})
			target := callback
			if endpoint == providertest.EndpointDiscovery {
				target = "/auth/openid?callback=/"
			}
			done := make(chan *answer)
			begun := time.Now()
			go func() {
				a, err := x.try(http.MethodGet, target, cookies(flow))
				if err != nil {
					t.Error(err)
				}
				done <- a
			}()
			time.Sleep(200 * time.Millisecond)
			x.refresh(alice.refresh).want(200)
			x.me(alice.access).want(200)
			a := <-done
			if a == nil {
				return
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if a.Status != 502 && a.Status != 503 {
				t.Errorf("status %d", a.Status)
			}
			x.noLogin(a, before, a.Status, broker.Code(a.Header.Get("Latchkey-Code")))
			x.honest()
		})
	}
}

// U21: code, verifier and secret reach nobody but the configured endpoint.
func TestU21EndpointsRedirect(t *testing.T) {
	bait, calls := idpBait(t)
	for _, endpoint := range []string{providertest.EndpointDiscovery, providertest.EndpointJWKS, providertest.EndpointToken, providertest.EndpointUserinfo} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(endpoint, status), func(t *testing.T) {
				x := idpStart(t, nil)
				before := x.tally()
				x.lie(func(s *providertest.Script) {
					idpClaim("preferred_username", nil)(x, s)
					s.Respond[endpoint] = providertest.RedirectTo(status, bait+"/c")
				})
				var a *answer
				if endpoint == providertest.EndpointDiscovery {
					a = x.do(http.MethodGet, "/auth/openid?callback=/")
				} else {
					a = x.browse("anna")
				}
				x.noLogin(a, before, 502, broker.IdPBadResponse)
			})
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests went on", n)
	}
}

// A refusal of the token endpoint is no outage, in whatever words, and what it
// repeats of our request is not in the log.
func TestTokenEndpointRefuses(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		code   broker.Code
	}{
		{400, `{"error":"Invalid authorization code"}`, broker.IdPRefused}, // Pocket-ID
		{401, `{"error":"Invalid client secret"}`, broker.IdPRefused},
		{404, `{"error":"Record not found"}`, broker.IdPRefused},
		{400, `{"error":"invalid_grant"}`, broker.IdPRefused},
		{200, `{"error":"bad_verification_code"}`, broker.IdPRefused}, // GitHub
		{400, `not even JSON`, broker.IdPRefused},
		{400, `{"error":7}`, broker.IdPRefused},
		{429, `{}`, broker.TemporarilyUnavailable},
		{500, `{"error":"server_error"}`, broker.TemporarilyUnavailable},
		{503, ``, broker.TemporarilyUnavailable},
		{200, `{"access_token":""}`, broker.IdPBadResponse},
		{200, `{"access_token":"x"}`, broker.IdPBadResponse},
	} {
		t.Run(fmt.Sprint(c.status, c.body), func(t *testing.T) {
			x := idpStart(t, nil)
			x.lie(func(s *providertest.Script) {
				s.Respond[providertest.EndpointToken] = providertest.Body(c.status, "application/json", c.body)
			})
			x.noLogin(x.browse("anna"), x.tally(), idpStatus[c.code], c.code)
			if strings.Contains(c.body, "Invalid") && !strings.Contains(x.log.String(), "Invalid ") {
				t.Errorf("the operator is not told: %s", x.log)
			}
			x.honest()
		})
	}
	t.Run("an echo", func(t *testing.T) {
		x := idpStart(t, nil)
		for _, how := range []func(r *http.Request) string{
			func(r *http.Request) string { return "no such code: " + r.PostForm.Get("code") },
			func(r *http.Request) string { return "wrong verifier " + r.PostForm.Get("code_verifier") },
			func(*http.Request) string { return "wrong secret the IdP's client secret" },
			func(r *http.Request) string { return r.PostForm.Encode() },
			func(r *http.Request) string { return r.Header.Get("Authorization") },
		} {
			x.lie(func(s *providertest.Script) {
				s.Respond[providertest.EndpointToken] = func(w http.ResponseWriter, r *http.Request) bool {
					_ = r.ParseForm()
					x.secret(r.PostForm.Get("code_verifier"), strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(400)
					_, _ = w.Write([]byte(toJSON(map[string]string{"error": how(r), "error_description": how(r)})))
					return true
				}
			})
			x.noLogin(x.browse("anna"), x.tally(), 403, broker.IdPRefused)
		}
	})
}
