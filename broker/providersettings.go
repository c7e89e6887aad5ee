package broker

import (
	"fmt"
	"slices"
	"strings"
)

// ProviderSettings is an IdP as an administrator describes it: in the
// configuration file and in the admin API by the same names. The client secret
// is kept apart from it, so that no way of showing settings can show it.
type ProviderSettings struct {
	ID                   string          `json:"id" yaml:"id"`
	Name                 string          `json:"name" yaml:"name"`
	Logo                 string          `json:"logo,omitempty" yaml:"logo,omitempty"` // of its button: see [ReadLogo]
	Type                 string          `json:"type" yaml:"type"`
	Issuer               string          `json:"issuer" yaml:"issuer"`
	ClientID             string          `json:"client_id" yaml:"client_id"`
	TokenEndpointAuth    string          `json:"token_endpoint_auth" yaml:"token_endpoint_auth"`
	Scopes               []string        `json:"scopes" yaml:"scopes"`
	Claims               ClaimNames      `json:"claims" yaml:"claims"`
	Provision            Provisioning    `json:"provision" yaml:"provision"`
	LinkBy               LinkRule        `json:"link_by" yaml:"link_by"`
	RequireVerifiedEmail EmailRule       `json:"require_verified_email" yaml:"require_verified_email"`
	AllowedGroups        []string        `json:"allowed_groups,omitempty" yaml:"allowed_groups,omitempty"`
	AllowedDomains       []string        `json:"allowed_domains,omitempty" yaml:"allowed_domains,omitempty"`
	RoleMap              map[string]Role `json:"role_map,omitempty" yaml:"role_map,omitempty"`         // group → role; empty: the IdP says nothing about roles
	DefaultRole          Role            `json:"default_role,omitempty" yaml:"default_role,omitempty"` // with a role map: of who has none of its groups
	ExchangeAudiences    []string        `json:"exchange_audiences,omitempty" yaml:"exchange_audiences,omitempty"`
	Logout               bool            `json:"logout,omitempty" yaml:"logout,omitempty"`   // end the IdP's session too
	Recheck              Interval        `json:"recheck,omitempty" yaml:"recheck,omitempty"` // how often its logins are checked again; 0: never
	RecheckBy            RecheckBy       `json:"recheck_by,omitempty" yaml:"recheck_by,omitempty"`
	InsecureHTTP         bool            `json:"insecure_http,omitempty" yaml:"insecure_http,omitempty"` // plain http beyond this machine
	AllowPrivate         bool            `json:"allow_private,omitempty" yaml:"allow_private,omitempty"` // an issuer at a private address

	// The endpoints of a provider of type oauth2; what speaks OpenID says its own.
	AuthorizationEndpoint string `json:"authorization_endpoint,omitempty" yaml:"authorization_endpoint,omitempty"`
	TokenEndpoint         string `json:"token_endpoint,omitempty" yaml:"token_endpoint,omitempty"`
	UserinfoEndpoint      string `json:"userinfo_endpoint,omitempty" yaml:"userinfo_endpoint,omitempty"`
	EmailsEndpoint        string `json:"emails_endpoint,omitempty" yaml:"emails_endpoint,omitempty"` // where addresses are not in userinfo
}

// ClaimNames say which claim gives what. Empty fields have the standard's name.
// A name may lead into an object, with dots: realm_access.roles.
type ClaimNames struct {
	Username string `json:"username,omitempty" yaml:"username,omitempty"` // preferred_username
	Email    string `json:"email,omitempty" yaml:"email,omitempty"`       // email
	Name     string `json:"name,omitempty" yaml:"name,omitempty"`         // name
	Groups   string `json:"groups,omitempty" yaml:"groups,omitempty"`     // groups
	// Permissions names the claim that decides the user's [Permissions]; empty:
	// none does.
	Permissions string `json:"permissions,omitempty" yaml:"permissions,omitempty"`

	// These two are for providers without OpenID; with it, the standard's names
	// are the only ones.
	Subject       string `json:"subject,omitempty" yaml:"subject,omitempty"`               // sub
	EmailVerified string `json:"email_verified,omitempty" yaml:"email_verified,omitempty"` // email_verified
}

// RoleNone in place of a role refuses the login.
const RoleNone Role = "none"

// Fault is what is wrong with one field.
type Fault struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

// Faults is everything that is wrong with some settings; it is the cause (Err)
// of an [Error], whose message says the same.
type Faults []Fault

// Error says every fault.
func (f Faults) Error() string {
	lines := []string{}
	for _, one := range f {
		lines = append(lines, one.Field+": "+one.Problem)
	}
	return strings.Join(lines, "; ")
}

func (f *Faults) add(field, format string, args ...any) {
	*f = append(*f, Fault{field, fmt.Sprintf(format, args...)})
}

func (f Faults) has(field string) bool {
	return slices.ContainsFunc(f, func(one Fault) bool { return one.Field == field })
}

// refusal is nil where nothing is wrong. The order is that of the fields, or
// maps would shuffle it.
func (f Faults) refusal() error {
	if len(f) == 0 {
		return nil
	}
	slices.SortStableFunc(f, func(a, b Fault) int { return strings.Compare(a.Field, b.Field) })
	return &Error{Code: InvalidRequest, Field: f[0].Field, Message: f.Error(), Err: f}
}
