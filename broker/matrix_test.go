package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
)

// rawIdP says claims as they stand in a token, and reads them as a real
// provider does.
type rawIdP struct {
	sayingIdP
	reader *oidc.Provider
	claims map[string]any
}

func newRawIdP(issuer string, names oidc.ClaimNames) *rawIdP {
	return &rawIdP{sayingIdP: sayingIdP{issuer: issuer}, reader: oidc.New(oidc.Config{Issuer: issuer, Claims: names})}
}

// ReadClaims implements broker.Inspector.
func (r *rawIdP) ReadClaims(object []byte) (broker.IdPClaims, error) {
	return r.reader.ReadClaims(object)
}

// InspectIDToken implements broker.Inspector.
func (r *rawIdP) InspectIDToken(ctx context.Context, raw string) ([]byte, []broker.TokenCheck, error) {
	return r.reader.InspectIDToken(ctx, raw)
}

func (r *rawIdP) Exchange(context.Context, broker.IdPRequest, broker.IdPResponse) (broker.IdPClaims, error) {
	object, err := json.Marshal(r.claims)
	if err != nil {
		return broker.IdPClaims{}, err
	}
	return r.ReadClaims(object)
}

// matrixHouse has one provider with real reading of claims, and accounts that a
// login may meet.
type matrixHouse struct {
	*house
	idp *rawIdP
	n   int // of the case
}

type claimState struct {
	verified any    // email_verified; nil: absent
	email    string // none, free, own, trap, root
	username string // free, taken, root
	known    bool   // the subject is linked already
}

func rules(s broker.ProviderSettings) func(*broker.Provider) {
	return func(p *broker.Provider) {
		p.Provision, p.LinkBy, p.RequireVerifiedEmail = s.Provision, s.LinkBy, s.RequireVerifiedEmail
	}
}

// expected is the whole table in words: what must come of a login, from the
// documentation of the rules alone.
func (s claimState) expected(rule broker.ProviderSettings) string {
	isTrue, isFalse := s.verified == true && s.email != "none", s.verified == false
	linkable := rule.LinkBy == broker.LinkVerifiedEmail && rule.Provision != broker.ProvisionDeny && isTrue
	switch {
	case rule.RequireVerifiedEmail == broker.EmailAlways && !isTrue, rule.RequireVerifiedEmail == broker.EmailIfPresent && isFalse:
		return string(broker.EmailNotVerified)
	case s.known:
		return "known"
	case linkable && s.email == "own":
		return "linked"
	case linkable && s.email == "root":
		return string(broker.IdentityConflict) // never to an administrator by an address
	case rule.Provision == broker.ProvisionCreate && s.username == "free":
		return "created"
	case rule.Provision == broker.ProvisionCreate:
		return "created with a suffix"
	}
	return string(broker.NotProvisioned)
}

// TestClaimsAndPolicies goes through every combination of what an IdP may say
// and what an administrator may have chosen.
func TestClaimsAndPolicies(t *testing.T) {
	for _, provision := range []broker.Provisioning{broker.ProvisionCreate, broker.ProvisionMatch, broker.ProvisionDeny} {
		for _, link := range []broker.LinkRule{broker.LinkNone, broker.LinkVerifiedEmail} {
			for _, require := range []broker.EmailRule{broker.EmailAlways, broker.EmailIfPresent, broker.EmailNever} {
				rule := broker.ProviderSettings{Provision: provision, LinkBy: link, RequireVerifiedEmail: require}
				t.Run(fmt.Sprintf("%s,%s,%s", provision, link, require), func(t *testing.T) {
					t.Parallel()
					claimsUnder(t, rule)
				})
			}
		}
	}
}

func claimsUnder(t *testing.T, rule broker.ProviderSettings) {
	h := &matrixHouse{idp: newRawIdP("https://p.test", oidc.ClaimNames{})}
	// p is under test; q is another issuer, which lets everybody in.
	h.house = newHouse(t, "", func(p *broker.Provider) {
		if p.ID == "p" {
			rules(rule)(p)
			p.IdP = h.idp
		}
	}, nil)
	root := h.user("root", "root@x.test", broker.RoleRoot)
	for _, verified := range []any{nil, true, false, "true", 1.0} {
		for _, email := range []string{"none", "free", "own", "trap", "root"} {
			for _, username := range []string{"free", "taken", "root"} {
				for _, known := range []bool{false, true} {
					h.try(rule, claimState{verified, email, username, known}, root)
				}
			}
		}
	}
}

// try makes the accounts of one case, logs in, and judges what came of it.
func (h *matrixHouse) try(rule broker.ProviderSettings, s claimState, root broker.User) {
	h.t.Helper()
	h.n++
	own := h.user(fmt.Sprint("own", h.n), fmt.Sprintf("own%d@x.test", h.n), broker.RoleUser)
	trap := h.enters("q", says(fmt.Sprint("trap", h.n), verified(nil))) // named an address that is not his
	subject := fmt.Sprint("subject", h.n)
	var known broker.User
	if s.known {
		known = h.user(fmt.Sprint("known", h.n), "", broker.RoleUser)
		if err := h.Store.InsertIdentity(ctx, broker.Identity{Issuer: "https://p.test", Subject: subject, ProviderID: "p", UserID: known.ID}); err != nil {
			h.t.Fatal(err)
		}
	}
	claims := map[string]any{
		"sub":                subject,
		"preferred_username": map[string]string{"free": fmt.Sprint("free", h.n), "taken": own.Username, "root": "root"}[s.username],
		"email": map[string]any{
			"none": nil, "free": fmt.Sprintf("free%d@x.test", h.n), "own": own.Email, "trap": trap.Email, "root": "root@x.test",
		}[s.email],
		"email_verified": s.verified,
	}
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	h.idp.claims = claims
	before := h.rowsOf()
	login, err := h.enterRaw()
	got, want := "", s.expected(rule)
	switch {
	case err != nil:
		got = string(broker.CodeOf(err))
		if after := h.rowsOf(); after != before {
			h.t.Errorf("%+v: refused, and left behind\n%s\n%s", s, before, after)
		}
	case login.User.ID == known.ID && s.known:
		got = "known"
	case login.User.ID == own.ID:
		got = "linked"
	case login.User.ID == trap.ID, login.User.ID == root.ID:
		got = "taken over"
	case login.User.Username == fmt.Sprint("free", h.n):
		got = "created"
	case strings.HasPrefix(login.User.Username, claims["preferred_username"].(string)+"-"):
		got = "created with a suffix"
	}
	if got != want {
		h.t.Errorf("%+v: %s (%v), want %s", s, got, err, want)
	}
	if dry, err := h.Broker.DryRun(ctx, "p", broker.DryRunInput{Claims: mustJSON(h.t, claims)}); err != nil || (dry.Outcome == broker.OutcomeLogin) != (login != nil) {
		h.t.Errorf("%+v: the dry run says %+v, %v", s, dry, err)
	}
	if login != nil && login.User.Role != broker.RoleUser {
		h.t.Errorf("%+v: became %s", s, login.User.Role)
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rowsOf is less than [house.rows], which grows with every case.
func (h *matrixHouse) rowsOf() string {
	h.t.Helper()
	_, sessions, err := h.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 1)
	if err != nil {
		h.t.Fatal(err)
	}
	events, err := h.Store.ListEvents(ctx, broker.EventFilter{Limit: 1})
	if err != nil {
		h.t.Fatal(err)
	}
	return fmt.Sprint(sessions, events)
}

// enterRaw is a browser's whole login with what the raw IdP says.
func (h *matrixHouse) enterRaw() (*broker.Login, error) {
	_, state, err := h.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{})
	if err != nil {
		return nil, err
	}
	done, err := h.Broker.CompleteIdPLogin(ctx, "p", broker.IdPResponse{Code: "c", State: state}, func(string) bool { return true }, phone)
	return done.Login, err
}

// U18: what an IdP calls roles decides nothing where no role_map does.
func TestU18RoleClaimsWithoutARoleMap(t *testing.T) {
	h := &matrixHouse{idp: newRawIdP("https://p.test", oidc.ClaimNames{})}
	h.house = newHouse(t, "", func(p *broker.Provider) { p.IdP = h.idp }, nil)
	for i, text := range []string{
		`"groups":["admin","root"]`, `"roles":"admin"`, `"role":"root"`, `"isAdmin":true`, `"role":{"$ne":0}`, `"groups":{"admin":true}`, `"type":"root"`,
		`"permissions":{"canDelete":true}`, `"groups":"admin root"`,
	} {
		if err := json.Unmarshal(fmt.Appendf(nil, `{"sub":"s%d","preferred_username":"u%d",%s}`, i, i, text), &h.idp.claims); err != nil {
			t.Fatal(err)
		}
		login, err := h.enterRaw()
		if err != nil || login.User.Role != broker.RoleUser || login.User.Permissions != nil {
			t.Errorf("%s: %+v, %v", text, login, err)
		}
		h.idp.claims = nil
	}
}

// The takeover that other products were open to: somebody calls himself at an
// IdP what a victim is called here, or names the victim's address unverified.
func TestTakeoverByPreferredUsernameOrUnverifiedEmail(t *testing.T) {
	for _, link := range []broker.LinkRule{broker.LinkNone, broker.LinkVerifiedEmail} {
		h := newHouse(t, "", func(p *broker.Provider) { p.LinkBy, p.RequireVerifiedEmail = link, broker.EmailNever }, nil)
		victim := h.user("victim", "victim@x.test", broker.RoleUser)
		for i, c := range []broker.IdPClaims{
			says("m", username("victim"), email("")), says("m", username("VICTIM"), email("m@x.test")), says("victim", username("m"), email("")),
			says(victim.ID, username(victim.ID), email("")), says("m", email("victim@x.test"), verified(nil)), says("m", email("victim@x.test"), verified(new(false))),
		} {
			c.Subject = fmt.Sprint(c.Subject, i)
			if u := h.enters("p", c); u.ID == victim.ID {
				t.Errorf("%s: %+v is in the victim's account", link, c)
			}
		}
		if list, err := h.Store.IdentitiesOfUser(ctx, victim.ID); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
	}
}
