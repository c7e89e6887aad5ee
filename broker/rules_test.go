package broker_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
)

func TestDefaultRole(t *testing.T) {
	for standard, want := range map[broker.Role]broker.Role{"": broker.RoleUser, broker.RoleUser: broker.RoleUser, broker.RoleGuest: broker.RoleGuest, broker.RoleNone: ""} {
		h := newHouse(t, "", func(p *broker.Provider) {
			p.RoleMap, p.DefaultRole = map[string]broker.Role{"admins": broker.RoleAdmin, "people": broker.RoleUser}, standard
		}, nil)
		if u := h.enters("p", says("anna", groups("people"))); u.Role != broker.RoleUser {
			t.Errorf("%q: %s", standard, u.Role)
		}
		for _, c := range []broker.IdPClaims{says("anna", groups("other")), says("bob"), says("eve", groups("root", "none", "admin"))} {
			if want == "" {
				h.refused("p", c, broker.GroupNotAllowed) // newcomers leave no account behind
			} else if u := h.enters("p", c); u.Role != want {
				t.Errorf("%q: %s", standard, u.Role)
			}
		}
	}
}

// Whatever a map says, root comes in and stays root.
func TestDefaultRoleNoneLeavesRootAlone(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) {
		p.RoleMap, p.DefaultRole = map[string]broker.Role{"people": broker.RoleGuest}, broker.RoleNone
	}, nil)
	u := h.enters("p", says("boss", groups("people")))
	u.Role = broker.RoleRoot
	if err := h.Store.UpdateUser(ctx, u); err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]string{nil, {"people"}} {
		if u := h.enters("p", says("boss", groups(list...))); u.Role != broker.RoleRoot {
			t.Errorf("%s", u.Role)
		}
	}
}

func may(claim any) func(*broker.IdPClaims) {
	return func(c *broker.IdPClaims) { c.Permissions = claim }
}

type claim = map[string]any

func permissionsHouse(t *testing.T) *house {
	return newHouse(t, "", func(p *broker.Provider) {
		p.Claims.Permissions = "may"
		p.RoleMap = map[string]broker.Role{"admins": broker.RoleAdmin}
	}, nil)
}

func TestPermissionsClaim(t *testing.T) {
	h := permissionsHouse(t)
	every := claim{
		"canDownload": false, "canUpload": true, "canDelete": true, "canUpdate": true, "canAccessExplicitContent": true, "canAccessAllLibraries": false,
		"canAccessAllTags": false, "canCreateEReader": true, "tagsAreDenylist": true, "allowedLibraries": []any{"l1", "l2"}, "allowedTags": []any{"t"},
	}
	want := broker.Permissions{
		Upload: true, Delete: true, Update: true, AccessExplicitContent: true, CreateEreader: true, SelectedTagsNotAllowed: true,
		Libraries: []string{"l1", "l2"}, Tags: []string{"t"},
	}
	step := func(c claim, want broker.Permissions) {
		t.Helper()
		if u := h.enters("p", says("anna", may(c))); !reflect.DeepEqual(u.EffectivePermissions(), want) {
			t.Errorf("%v: %+v, want %+v", c, u.EffectivePermissions(), want)
		}
	}
	if u := h.enters("p", says("anna", may(claim{}))); u.Permissions != nil {
		t.Errorf("%+v: nothing was said, and they are the role's", u.Permissions)
	}
	step(every, want)
	step(claim{}, want) // what is missing keeps its value
	want.Download, want.SelectedTagsNotAllowed = true, false
	step(claim{"canDownload": true, "tagsAreDenylist": false}, want)
	want.Libraries = nil
	step(claim{"allowedLibraries": []any{}}, want)
	want.AccessAllTags, want.Tags = true, nil
	step(claim{"canAccessAllTags": true, "allowedTags": []any{"x"}}, want)

	// The administrators' are their role's: the claim is not looked at.
	if u := h.enters("p", says("boss", groups("admins"), may(claim{"mayAnything": 1}))); u.Permissions != nil {
		t.Errorf("%+v", u.Permissions)
	}
	// Without the setting nobody is asked.
	if u := h.enters("q", says("bob", may(every))); u.Permissions == nil {
		t.Error("q has the setting as well")
	}
	other := newHouse(t, "", nil, nil)
	if u := other.enters("p", says("eve", may(every))); u.Permissions != nil {
		t.Errorf("%+v", u.Permissions)
	}
}

func TestPermissionsClaimRefusesTheLogin(t *testing.T) {
	h := permissionsHouse(t)
	long := []any{}
	for range 201 {
		long = append(long, "l")
	}
	for _, c := range []any{
		nil, "canDelete", true, []any{"canDelete"}, 1.0,
		claim{"candownload": true}, claim{"canDoAnything": true}, claim{"": true}, claim{"download": true},
		claim{"canDelete": "true"}, claim{"canDelete": nil}, claim{"canDelete": 1.0}, claim{"canDelete": claim{}},
		claim{"allowedTags": "t"}, claim{"allowedTags": []any{1.0}}, claim{"allowedTags": []any{""}}, claim{"allowedTags": nil},
		claim{"allowedLibraries": []any{"a\nb"}}, claim{"allowedLibraries": []any{strings.Repeat("x", 129)}}, claim{"allowedLibraries": long},
	} {
		h.refused("p", says("anna", may(c)), broker.IdPBadResponse)
	}
	h.enters("p", says("anna", may(claim{"canUpload": true})))
	h.refused("p", says("anna", may(claim{"canUpload": false, "x": true})), broker.IdPBadResponse) // half of it is not taken either
}

// What an administrator decided is what the claim adds to.
func TestPermissionsClaimAddsToWhatStands(t *testing.T) {
	h := permissionsHouse(t)
	anna := h.enters("p", says("anna", may(claim{})))
	if err := h.Store.SetPermissions(ctx, anna.ID, &broker.Permissions{Delete: true}); err != nil {
		t.Fatal(err)
	}
	if u := h.enters("p", says("anna", may(claim{"canUpload": true}))); !reflect.DeepEqual(*u.Permissions, broker.Permissions{Delete: true, Upload: true}) {
		t.Errorf("%+v", u.Permissions)
	}
}

// A role map that takes the last administrator's role is not followed there, and
// a dry run says so without the log's believing it.
func TestRoleMapKeepsTheLastAdministrator(t *testing.T) {
	h := &matrixHouse{idp: newRawIdP("https://p.test", oidc.ClaimNames{})}
	h.house = newHouse(t, "", func(p *broker.Provider) {
		p.IdP, p.RoleMap = h.idp, map[string]broker.Role{"admins": broker.RoleAdmin}
	}, nil)
	enter := func(groups ...any) broker.Role {
		t.Helper()
		h.idp.claims = map[string]any{"sub": "boss", "preferred_username": "boss", "groups": groups}
		login, err := h.enterRaw()
		if err != nil {
			t.Fatal(err)
		}
		return login.User.Role
	}
	if role := enter("admins"); role != broker.RoleAdmin {
		t.Fatal(role)
	}
	dry := h.dry("p", `{"sub":"boss","groups":[]}`)
	if dry.User.Role != broker.RoleAdmin || dry.Rulings[len(dry.Rulings)-1].Rule != "the last administrator stays one" {
		t.Errorf("%+v", dry)
	}
	if strings.Contains(h.Log.String(), "role.kept") {
		t.Error("the dry run is in the log")
	}
	if role := enter(); role != broker.RoleAdmin || !strings.Contains(h.Log.String(), "role.kept") {
		t.Errorf("%s", role)
	}
	h.idp.claims = map[string]any{"sub": "other", "preferred_username": "other", "groups": []any{"admins"}}
	if _, err := h.enterRaw(); err != nil {
		t.Fatal(err)
	}
	if role := enter(); role != broker.RoleUser { // there is another one now
		t.Errorf("%s", role)
	}
}
