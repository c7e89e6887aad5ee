package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// signatures are the algorithms that this file's checks take.
var signatures = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

type metadata map[string]any

func (d metadata) text(name string) string {
	s, _ := d[name].(string)
	return s
}

// list is a list of strings; nil: it is none.
func (d metadata) list(name string) (out []string) {
	all, _ := d[name].([]any)
	for _, one := range all {
		s, ok := one.(string)
		if !ok {
			return nil
		}
		out = append(out, s)
	}
	return out
}

type keySet []map[string]any

// begin is what every module of the suite begins with: discovery and keys.
func (m *run) begin() {
	m.Helper()
	a := m.call(http.MethodGet, m.op.issuer+"/.well-known/openid-configuration", nil, nil)
	m.meta = a.body
	if a.status != http.StatusOK || m.meta == nil {
		m.Fatalf("discovery: %d %s", a.status, a.raw)
	}
	for _, name := range []string{"issuer", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"} {
		if m.meta.text(name) == "" {
			m.Fatalf("discovery: %s is missing", name)
		}
	}
	if m.meta.text("issuer") != m.op.issuer {
		m.Errorf("the issuer is %s", m.meta.text("issuer"))
	}
	m.keys = m.fetchKeys()
}

// fetchKeys fetches the JWKS: distinct kids, and public keys only (RFC 7517
// sections 4.5, 9.2).
func (m *run) fetchKeys() keySet {
	m.Helper()
	a := m.call(http.MethodGet, m.meta.text("jwks_uri"), nil, nil)
	var set struct {
		Keys keySet `json:"keys"`
	}
	if err := json.Unmarshal([]byte(a.raw), &set); err != nil || a.status != http.StatusOK || len(set.Keys) == 0 {
		m.Fatalf("jwks: %d %v %s", a.status, err, a.raw)
	}
	var readable jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(a.raw), &readable); err != nil || len(readable.Keys) != len(set.Keys) {
		m.Errorf("jwks: %d of %d keys are understood: %v", len(readable.Keys), len(set.Keys), err)
	}
	for _, key := range readable.Keys {
		if !key.Valid() || !key.IsPublic() {
			m.Errorf("jwks: key %s is not a valid public key", key.KeyID)
		}
	}
	seen := map[any]bool{}
	for _, key := range set.Keys {
		kid, _ := key["kid"].(string)
		if kid == "" || seen[kid] {
			m.Errorf("jwks: kid %q is missing or there twice", kid)
		}
		seen[kid] = true
		if key["kty"] == "oct" {
			m.Errorf("jwks: %s is symmetric", kid)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, has := key[private]; has {
				m.Errorf("jwks: %s has the private member %s", kid, private)
			}
		}
	}
	return set.Keys
}

// asked is an authorization request, and where it led.
type asked struct {
	client   client
	sent     url.Values
	verifier string
	at       place
}

// request makes an authorization request. differ are parameters that differ; an
// empty value leaves one out.
func (m *run) request(c client, differ ...string) asked {
	x := asked{client: c, sent: url.Values{
		"client_id": {c.id}, "redirect_uri": {c.redirect}, "response_type": {"code"}, "scope": {"openid"},
		"state": {random(10)}, "nonce": {random(10)},
	}}
	if c.pkce {
		x.pkce()
	}
	if m.formPost {
		x.sent.Set("response_mode", "form_post")
	}
	for i := 0; i+1 < len(differ); i += 2 {
		if x.sent.Set(differ[i], differ[i+1]); differ[i+1] == "" {
			x.sent.Del(differ[i])
		}
	}
	return x
}

func (x *asked) pkce() {
	x.verifier = random(64)
	sum := sha256.Sum256([]byte(x.verifier))
	x.sent.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
	x.sent.Set("code_challenge_method", "S256")
}

// ask sends a browser with an authorization request, to the end.
func (m *run) ask(b *browser, c client, differ ...string) asked {
	m.Helper()
	x := m.request(c, differ...)
	x.at = b.open(m.meta.text("authorization_endpoint") + "?" + x.sent.Encode())
	return x
}

// answered is the answer at the redirect URI, which brings state and iss as they
// must be.
func (m *run) answered(x asked) url.Values {
	m.Helper()
	if !x.at.left {
		m.Fatalf("the browser is at a page (%d) instead of the client: %s\n%s", x.at.status, x.at.url, x.at.body)
	}
	got := x.at.form
	if m.formPost && x.sent.Get("response_mode") == "form_post" {
		if got == nil {
			m.Fatalf("the answer came without a form post: %s", x.at.url)
		}
		if x.at.url != x.client.redirect {
			m.Fatalf("the answer went to %s", x.at.url)
		}
	} else {
		separator := "?"
		if strings.Contains(x.client.redirect, "?") {
			separator = "&"
		}
		rest, ok := strings.CutPrefix(x.at.url, x.client.redirect+separator)
		if !ok || got != nil || strings.Contains(x.at.url, "#") {
			m.Fatalf("the answer went to %s", x.at.url)
		}
		var err error
		if got, err = url.ParseQuery(rest); err != nil {
			m.Fatal(err)
		}
	}
	for name, values := range got {
		if len(values) != 1 {
			m.Errorf("%s came %d times", name, len(values))
		}
	}
	if got.Get("state") != x.sent.Get("state") || got.Has("state") != x.sent.Has("state") {
		m.Errorf("state %q came back as %q", x.sent.Get("state"), got.Get("state"))
	}
	if got.Has("iss") && got.Get("iss") != m.op.issuer {
		m.Errorf("iss is %q", got.Get("iss"))
	}
	return got
}

// code is the code of a successful answer.
func (m *run) code(x asked) string {
	m.Helper()
	got := m.answered(x)
	if got.Has("error") || got.Get("code") == "" {
		m.Fatalf("no code but %v", got)
	}
	return got.Get("code")
}

// refused checks an error at the redirect URI (OIDC Core section 3.1.2.6).
func (m *run) refused(x asked, codes ...string) url.Values {
	m.Helper()
	got := m.answered(x)
	if !slices.Contains(codes, got.Get("error")) || got.Has("code") {
		m.Errorf("the answer is %v, want an error of %v", got, codes)
	}
	for name := range got {
		if !slices.Contains([]string{"error", "error_description", "error_uri", "state", "iss", "session_state"}, name) {
			m.warn("error-parameters", "an error brings the parameter %s", name)
		}
	}
	m.description(got.Get("error_description"))
	return got
}

// description keeps to the characters of RFC 6749 sections 4.1.2.1 and 5.2.
func (m *run) description(text string) {
	m.Helper()
	if strings.ContainsAny(text, "\r\n\t") {
		m.warn("description", "error_description %q", text)
	}
	for _, r := range text {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			m.Errorf("error_description %q has the character %q", text, r)
		}
	}
}

// needsInterface are the errors that say that a person has to do something.
var needsInterface = []string{"login_required", "interaction_required", "consent_required", "account_selection_required"}

// errorPage expects that the browser stays at the provider, and sees why.
func (m *run) errorPage(x asked) {
	m.Helper()
	if x.at.left {
		m.Fatalf("the browser was sent to %s", x.at.url)
	}
	if x.at.status < 400 || x.at.status > 499 || !strings.HasPrefix(x.at.header.Get("Content-Type"), "text/html") {
		m.Errorf("the error page is %d %s", x.at.status, x.at.header.Get("Content-Type"))
	}
}

// tokenCall calls the token endpoint; a client of DPoP with its proof, once more
// where a nonce is wanted.
func (m *run) tokenCall(c client, key *prover, form url.Values) answer {
	m.Helper()
	return m.backCall(m.meta.text("token_endpoint"), c, key, form)
}

// backCall calls an endpoint with the credentials of a client.
func (m *run) backCall(endpoint string, c client, key *prover, form url.Values) answer {
	m.Helper()
	for again := false; ; again = true {
		header, sent := http.Header{}, url.Values{}
		for name, values := range form {
			sent[name] = slices.Clone(values)
		}
		m.authenticate(c, header, sent)
		if key != nil {
			header.Set("DPoP", key.proof(http.MethodPost, endpoint, ""))
		}
		a := m.call(http.MethodPost, endpoint, header, sent)
		if key == nil {
			return a
		}
		if nonce := a.header.Get("DPoP-Nonce"); nonce != "" {
			key.nonce = nonce
		}
		if again || a.text("error") != "use_dpop_nonce" {
			return a
		}
	}
}

func (m *run) codeForm(x asked, differ ...string) url.Values {
	form := url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {x.client.redirect}}
	if x.verifier != "" {
		form.Set("code_verifier", x.verifier)
	}
	for i := 0; i+1 < len(differ); i += 2 {
		if form.Set(differ[i], differ[i+1]); differ[i+1] == "" {
			form.Del(differ[i])
		}
	}
	return form
}

// redeem exchanges the code of an answer.
func (m *run) redeem(x asked, key *prover) answer {
	m.Helper()
	return m.granted(m.tokenCall(x.client, key, m.codeForm(x, "code", m.code(x))), key)
}

// granted checks a success of the token endpoint (RFC 6749 section 5.1).
func (m *run) granted(a answer, key *prover) answer {
	m.Helper()
	if a.status != http.StatusOK || a.text("access_token") == "" || a.body["error"] != nil {
		m.Fatalf("the token endpoint answers %d %s", a.status, a.raw)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		m.Errorf("Cache-Control: %s", a.header.Get("Cache-Control"))
	}
	want := "bearer"
	if key != nil {
		want = "dpop"
	}
	if !strings.EqualFold(a.text("token_type"), want) {
		m.Errorf("token_type is %q", a.text("token_type"))
	}
	seconds, number := a.body["expires_in"].(float64)
	switch _, there := a.body["expires_in"]; {
	case !there:
		m.warn("expires_in", "expires_in is missing")
	case !number || seconds <= 0 || seconds > 31536000 || seconds != float64(int64(seconds)):
		m.Errorf("expires_in is %v", a.body["expires_in"])
	}
	return a
}

// tokenError checks a refusal of the token endpoint (RFC 6749 section 5.2).
func (m *run) tokenError(a answer, status int, codes ...string) {
	m.Helper()
	if a.status != status || a.body == nil || !slices.Contains(codes, a.text("error")) {
		m.Errorf("the answer is %d %s, want %d with an error of %v in JSON", a.status, a.raw, status, codes)
	}
	if a.body["access_token"] != nil || a.body["refresh_token"] != nil {
		m.Error("a refusal with a token")
	}
	if a.header.Get("Cache-Control") != "no-store" {
		m.Errorf("Cache-Control: %s", a.header.Get("Cache-Control"))
	}
	m.description(a.text("error_description"))
}

// claims are those of a token, or of userinfo.
type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// seconds is a time; ok: it is a whole number.
func (c claims) seconds(name string) (int64, bool) {
	n, ok := c[name].(float64)
	return int64(n), ok && n == float64(int64(n))
}

func (m *run) at(c claims, name string) int64 {
	m.Helper()
	n, ok := c.seconds(name)
	if !ok {
		m.Errorf("%s is %v", name, c[name])
	}
	return n
}

// idToken checks an ID token (OIDC Core sections 2, 3.1.3.7) with go-oidc and
// go-jose. An empty nonce: there must be none.
func (m *run) idToken(c client, raw, access, nonce string) claims {
	m.Helper()
	ctx := oidc.ClientContext(context.Background(), m.client())
	provider, err := oidc.NewProvider(ctx, m.op.issuer)
	if err != nil {
		m.Fatal(err)
	}
	token, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: c.id}).Verify(ctx, raw)
	if err != nil {
		m.Fatalf("ID token: %v", err)
	}
	var got claims
	if err := token.Claims(&got); err != nil {
		m.Fatal(err)
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(access); err != nil {
			m.Error(err)
		}
	}
	if _, has := got["c_hash"]; has {
		m.Error("c_hash, which nobody checks here")
	}
	const slack = 5 * 60
	now := time.Now().Unix()
	if iat := m.at(got, "iat"); iat < now-slack || iat > now+slack {
		m.Errorf("iat is %d s off", iat-now)
	}
	if exp := m.at(got, "exp"); exp < now || exp > now+50*365*24*3600 {
		m.Errorf("exp is in %d s", exp-now)
	}
	if _, has := got["auth_time"]; has {
		if at := m.at(got, "auth_time"); at > now+slack || at < now-365*24*3600 {
			m.Errorf("auth_time is %d s ago", now-at)
		}
	}
	if got["nonce"] != nil && got.text("nonce") != nonce || nonce != "" && got.text("nonce") != nonce {
		m.Errorf("nonce is %v, want %q", got["nonce"], nonce)
	}
	if acr, has := got["acr"]; has && got.text("acr") == "" {
		m.Errorf("acr is %v", acr)
	}
	if sub := got.text("sub"); sub == "" || len(sub) > 255 {
		m.Errorf("sub is %q", sub)
	}
	if at, has := got["updated_at"]; has {
		if _, ok := got.seconds("updated_at"); !ok {
			m.Errorf("updated_at is %v", at)
		}
	}
	return got
}

// header is the JOSE header of a token.
func (m *run) joseHeader(raw string) jose.Header {
	m.Helper()
	object, err := jose.ParseSignedCompact(raw, signatures)
	if err != nil || len(object.Signatures) != 1 {
		m.Fatal(err)
	}
	return object.Signatures[0].Header
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// userinfo is 200, with the subject of the ID token (OIDC Core section 5.3.2).
func (m *run) userinfo(access, sub string) claims {
	m.Helper()
	return m.person(m.call(http.MethodGet, m.meta.text("userinfo_endpoint"), bearer(access), nil), sub)
}

// person checks an answer of the userinfo endpoint.
func (m *run) person(a answer, sub string) claims {
	m.Helper()
	if a.status != http.StatusOK || a.body == nil {
		m.Fatalf("userinfo: %d %s", a.status, a.raw)
	}
	got := claims(a.body)
	if got.text("sub") != sub {
		m.Errorf("userinfo is of %q, the ID token of %q", got.text("sub"), sub)
	}
	m.standardClaims(got)
	return got
}

// standardClaims have the types of OIDC Core section 5.1.
func (m *run) standardClaims(got claims) {
	m.Helper()
	for name, value := range got {
		ok := true
		switch name {
		case "email_verified", "phone_number_verified":
			_, ok = value.(bool)
		case "updated_at":
			var at int64
			at, ok = got.seconds(name)
			ok = ok && at > 0 && at <= time.Now().Unix()+300 // seconds, not milliseconds
		case "address":
			_, ok = value.(map[string]any)
		case "groups":
			_, ok = value.([]any)
		default:
			var s string
			s, ok = value.(string)
			ok = ok && s != ""
		}
		if !ok {
			m.Errorf("the claim %s is %v", name, value)
		}
	}
}

// login is a login of a person at a client, to the end.
type login struct {
	asked  asked
	answer answer
	id     claims
	person claims
}

func (l login) access() string  { return l.answer.text("access_token") }
func (l login) refresh() string { return l.answer.text("refresh_token") }
func (l login) hint() string    { return l.answer.text("id_token") }

// logIn goes through the code flow with all the checks that are common to the
// modules of the suite.
func (m *run) logIn(b *browser, c client, differ ...string) login {
	m.Helper()
	return m.finish(m.ask(b, c, differ...))
}

// finish redeems the code of an answer and checks what comes of it.
func (m *run) finish(x asked) login {
	m.Helper()
	l := login{asked: x, answer: m.redeem(x, nil)}
	l.id = m.idToken(x.client, l.hint(), l.access(), x.sent.Get("nonce"))
	l.person = m.userinfo(l.access(), l.id.text("sub"))
	return l
}

// entropy is what the suite measures (Shannon's, over the characters), in bits.
func entropy(text string) float64 {
	seen := map[rune]float64{}
	for _, r := range text {
		seen[r]++
	}
	total := 0.0
	for _, n := range seen {
		p := n / float64(len(text))
		total -= p * math.Log2(p)
	}
	return total * float64(len(text))
}

// unguessable is what the suite asks of codes and refresh tokens (RFC 6749
// section 10.10).
func (m *run) unguessable(what, text string) {
	m.Helper()
	if len(text)*8 < 128 || entropy(text) <= 96 {
		m.Errorf("%s has %d characters and %.0f bits", what, len(text), entropy(text))
	}
	for _, r := range text {
		if r < ' ' || r > '~' {
			m.Errorf("%s has the character %q", what, r)
		}
	}
}
