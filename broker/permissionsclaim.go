package broker

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Bounds of the lists in a permissions claim.
const (
	maxPermissionList  = 200
	maxPermissionEntry = 128
)

// flags are the permissions by their names in a permissions claim.
func (p *Permissions) claimFlags() map[string]*bool {
	return map[string]*bool{
		"canDownload": &p.Download, "canUpload": &p.Upload, "canDelete": &p.Delete, "canUpdate": &p.Update, "canCreateEReader": &p.CreateEreader,
		"canAccessExplicitContent": &p.AccessExplicitContent, "canAccessAllLibraries": &p.AccessAllLibraries, "canAccessAllTags": &p.AccessAllTags,
		"tagsAreDenylist": &p.SelectedTagsNotAllowed,
	}
}

func (p *Permissions) claimLists() map[string]*[]string {
	return map[string]*[]string{"allowedLibraries": &p.Libraries, "allowedTags": &p.Tags}
}

// assignPermissions gives the user what the permissions claim says, at every
// login, where the provider's settings name one. What it does not name stays;
// what it must not name refuses the login, because a mistyped "can not" would
// grant. The administrators' permissions are their role's.
func (p *Provider) assignPermissions(u *User, claim any, r *resolution) error {
	if p.Claims.Permissions == "" || u.Role.IsAdmin() {
		return nil
	}
	rule := "claims.permissions: " + p.Claims.Permissions
	before := u.EffectivePermissions()
	after, fault := before.with(claim)
	if fault != "" {
		r.rule("permissions", before, nil, rule)
		return &Error{Code: IdPBadResponse, Message: p.Name + "'s claim " + p.Claims.Permissions + " " + fault}
	}
	r.rule("permissions", before, after, rule)
	if !reflect.DeepEqual(before, after) {
		u.Permissions = &after
	}
	return nil
}

// with adds a claim to permissions, or says what is wrong with the claim.
func (p Permissions) with(claim any) (out Permissions, fault string) {
	object, ok := claim.(map[string]any)
	if !ok {
		return p, "is no JSON object, or is missing"
	}
	flags, lists := p.claimFlags(), p.claimLists()
	for _, name := range slices.Sorted(maps.Keys(object)) {
		var ok bool
		switch {
		case flags[name] != nil:
			*flags[name], ok = object[name].(bool)
		case lists[name] != nil:
			*lists[name], ok = permissionList(object[name])
		default:
			return p, "has " + strconvQuote(name) + ", which is no permission"
		}
		if !ok {
			return p, fmt.Sprintf("has a value at %s that it cannot have", name)
		}
	}
	if p.AccessAllLibraries {
		p.Libraries = nil
	}
	if p.AccessAllTags {
		p.Tags = nil
	}
	return p, ""
}

func permissionList(v any) (out []string, ok bool) {
	list, ok := v.([]any)
	for _, entry := range list {
		text, isText := entry.(string)
		if !isText || text == "" || cleanText(text, maxPermissionEntry) != text {
			return nil, false
		}
		out = append(out, text)
	}
	return out, ok && len(out) <= maxPermissionList
}
