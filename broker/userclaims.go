package broker

import "slices"

// userClaimNames are the claims about a person that can be asked for (OIDC Core
// section 5.1).
var userClaimNames = []string{"email", "email_verified", "groups", "name", "preferred_username", "updated_at"}

// scopeClaims are the claims that a scope stands for (OIDC Core section 5.4).
var scopeClaims = map[string][]string{
	ScopeProfile: {"name", "preferred_username", "updated_at"},
	ScopeEmail:   {"email", "email_verified"},
	ScopeGroups:  {"groups"},
}

// UserClaimNames lists every claim about a person that Latchkey can give.
func UserClaimNames() []string { return slices.Clone(userClaimNames) }

// userClaims are the claims of a person that the scope, or the claims
// parameter, lets a client have. What is not known is left out.
func (b *Broker) userClaims(u User, scope string, also []string) map[string]any {
	wanted := slices.Clone(also)
	for s, names := range scopeClaims {
		if hasScope(scope, s) {
			wanted = append(wanted, names...)
		}
	}
	all := map[string]any{
		"preferred_username": u.Username, "updated_at": u.UpdatedAt.Unix(), "name": u.Name, "groups": u.Groups,
		"email": u.Email, "email_verified": u.EmailVerified,
	}
	if u.Name == "" {
		all["name"] = u.Username
	}
	if u.Groups == nil {
		all["groups"] = []string{}
	}
	if u.Email == "" {
		delete(all, "email")
		delete(all, "email_verified")
	}
	return pick(all, wanted)
}

func pick(all map[string]any, names []string) map[string]any {
	out := map[string]any{}
	for _, name := range names {
		if value, ok := all[name]; ok {
			out[name] = value
		}
	}
	return out
}

// Userinfo is what the userinfo endpoint says (OIDC Core section 5.3) of the
// person behind an access token with this scope.
func (b *Broker) Userinfo(p Principal, scope string) (map[string]any, error) {
	if !hasScope(scope, ScopeOpenID) {
		return nil, refuse(InsufficientScope, "the access token lacks the scope openid")
	}
	var also []string
	if scope == p.Session.Scope { // a narrowed token does not carry what was asked besides
		also = p.Session.Request.UserinfoClaims
	}
	claims := b.userClaims(p.User, scope, also)
	claims["sub"] = p.User.ID
	return claims, nil
}
