package broker_test

import (
	"fmt"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
)

// dryHouse has a provider p of which every rule is in use.
func dryHouse(t *testing.T) *house {
	return newHouse(t, "", func(p *broker.Provider) {
		p.LinkBy, p.AllowedGroups, p.AllowedDomains = broker.LinkVerifiedEmail, []string{"people", "admins"}, []string{"x.test"}
		p.RoleMap, p.DefaultRole = map[string]broker.Role{"admins": broker.RoleAdmin, "kids": broker.RoleGuest}, broker.RoleUser
		p.Claims.Permissions = "may"
		p.IdP = newRawIdP("https://"+p.ID+".test", oidc.ClaimNames{Permissions: "may"})
	}, nil)
}

func (h *house) dry(provider, claims string) broker.DryRun {
	h.t.Helper()
	before := h.rows() + h.events()
	out, err := h.Broker.DryRun(ctx, provider, broker.DryRunInput{Claims: []byte(claims)})
	if err != nil {
		h.t.Fatalf("%s: %v", claims, err)
	}
	if after := h.rows() + h.events(); after != before {
		h.t.Errorf("%s: the dry run wrote\n%s\n%s", claims, before, after)
	}
	return out
}

func (h *house) events() string {
	h.t.Helper()
	list, err := h.Store.ListEvents(ctx, broker.EventFilter{Limit: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	return fmt.Sprintf("%+v", list)
}

// rulings are what and rule of each, in order.
func rulings(d broker.DryRun) (out []string) {
	for _, r := range d.Rulings {
		out = append(out, fmt.Sprintf("%s %v>%v %s", r.What, r.Before, r.After, r.Rule))
	}
	return out
}

func TestDryRunSaysWhatAndWhy(t *testing.T) {
	const fits = `"email_verified":true,"groups":["people"],"may":{}`
	h := dryHouse(t)
	bob := h.user("bob", "bob@x.test", broker.RoleUser)
	h.user("anna", "", broker.RoleUser)
	h.user("boss", "boss@x.test", broker.RoleAdmin)

	made := h.dry("p", `{"sub":"1","preferred_username":"anna","email":"a@x.test",`+fits+`}`)
	if made.Outcome != broker.OutcomeLogin || made.Before != nil || made.User.ID != "" || made.User.Username != "anna-2" || made.User.Role != broker.RoleUser ||
		made.User.Email != "a@x.test" || !made.User.EmailVerified || made.Claims.Issuer != "https://p.test" || made.Claims.Subject != "1" {
		t.Errorf("%+v %+v", made, made.User)
	}
	wants(t, rulings(made)[:3], "account <nil>>created provision: create", "username <nil>>anna-2 claims.username; anna is taken", "role user>user default_role")

	linked := h.dry("p", `{"sub":"2","preferred_username":"robert","email":"bob@x.test","email_verified":true,"groups":["admins","people"],"may":{"canDelete":true}}`)
	if linked.Outcome != broker.OutcomeLogin || linked.Before.ID != bob.ID || linked.User.ID != bob.ID || linked.User.Username != "bob" ||
		linked.Before.Role != broker.RoleUser || linked.User.Role != broker.RoleAdmin {
		t.Errorf("%+v", linked)
	}
	wants(t, rulings(linked), "account <nil>>linked link_by: verified_email", "role user>admin role_map.admins")

	kid := h.dry("p", `{"sub":"3","email":"kid@x.test","email_verified":true,"groups":["people","kids"],"may":{"canDownload":false}}`)
	if kid.User.Role != broker.RoleGuest || kid.User.Permissions.Download || kid.User.Username != "kid" {
		t.Errorf("%+v", kid.User)
	}

	for claims, want := range map[string][2]string{
		`{"sub":"4","email":"a@x.test","email_verified":false,"groups":["people"],"may":{}}`:       {"email_not_verified", "require_verified_email: if_present"},
		`{"sub":"4","email":"a@x.test","email_verified":true,"groups":["x"],"may":{}}`:             {"group_not_allowed", "allowed_groups"},
		`{"sub":"4","email":"a@y.test",` + fits + `}`:                                              {"domain_not_allowed", "allowed_domains"},
		`{"sub":"4","email":"boss@x.test",` + fits + `}`:                                           {"identity_conflict", "link_by: verified_email"},
		`{"email":"a@x.test",` + fits + `}`:                                                        {"idp_bad_response", "the claims themselves"},
		`{"sub":"4","email":"a@x.test","email_verified":true,"groups":["people"],"may":{"x":1}}`:   {"idp_bad_response", "the claims themselves"},
		`{"sub":"4","email":"a@x.test","email_verified":"true","groups":["people"],"may":{}}`:      {"domain_not_allowed", "allowed_domains"},
		`{"sub":"4","email":"a@x.test","email_verified":true,"groups":["people"]}`:                 {"idp_bad_response", "the claims themselves"},
		`{"sub":"4","email":"a@x.test","email_verified":true,"groups":{"admin":false},"may":null}`: {"group_not_allowed", "allowed_groups"},
	} {
		if d := h.dry("p", claims); d.Outcome != broker.OutcomeRefused || string(d.Code) != want[0] || d.Rule != want[1] || d.Message == "" || d.User != nil {
			t.Errorf("%s: %+v, want %v", claims, d, want)
		}
	}
	for _, in := range []broker.DryRunInput{
		{}, {Claims: []byte(`[]`)}, {Claims: []byte(`null`)}, {Claims: []byte(`{`)}, {IDToken: "a.b.c"}, {IDToken: "x"}, {IDToken: "a.b.c", Claims: []byte(`{}`)},
	} {
		if _, err := h.Broker.DryRun(ctx, "p", in); broker.CodeOf(err) != broker.InvalidRequest {
			t.Errorf("%+v: %v", in, err)
		}
	}
	if _, err := h.Broker.DryRun(ctx, "nobody", broker.DryRunInput{Claims: []byte(`{}`)}); broker.CodeOf(err) != broker.ProviderUnknown {
		t.Error(err)
	}
}

func wants(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The dry run of a known person touches nothing either, and says what a login
// does then.
func TestDryRunIsWhatTheLoginDoes(t *testing.T) {
	h := &matrixHouse{idp: newRawIdP("https://p.test", oidc.ClaimNames{})}
	h.house = newHouse(t, "", func(p *broker.Provider) {
		p.RoleMap, p.DefaultRole = map[string]broker.Role{"admins": broker.RoleAdmin}, broker.RoleNone
		if p.ID == "p" {
			p.IdP = h.idp
		}
	}, nil)
	h.idp.claims = map[string]any{"sub": "1", "preferred_username": "anna", "groups": []any{"admins"}}
	for range 2 { // made, then known
		dry := h.dry("p", string(mustJSON(t, h.idp.claims)))
		login, err := h.enterRaw()
		if err != nil || dry.User.Username != login.User.Username || dry.User.Role != login.User.Role {
			t.Errorf("%+v, %+v, %v", dry.User, login, err)
		}
		h.Clock.Advance(1e9)
	}
	lost := h.dry("p", `{"sub":"1","preferred_username":"anna","groups":[]}`)
	if lost.Outcome != broker.OutcomeRefused || lost.Rule != "default_role" || lost.Before.Role != broker.RoleAdmin {
		t.Errorf("%+v", lost)
	}
}
