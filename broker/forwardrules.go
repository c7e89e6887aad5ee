package broker

import (
	"fmt"
	"slices"
	"strings"
)

// ForwardRule says who may open what of the apps that a reverse proxy asks about
// (forward auth). Of a list the first that names host and path counts; what none
// names is refused.
type ForwardRule struct {
	// Hosts of apps; "*.apps.example.org" is every name one label below. A port
	// names where the browser may be sent back to; whatever it is, the rule is the same.
	Hosts []string `yaml:"hosts"`
	// Paths: "/health" is that path alone, "/public/*" is /public and all below it.
	// Empty: every path.
	Paths  []string      `yaml:"paths,omitempty"`
	Policy ForwardPolicy `yaml:"policy"`
	// Groups, Users and Roles say who: whoever is in one of them. All empty: everybody
	// who is logged in.
	Groups []string `yaml:"groups,omitempty"`
	Users  []string `yaml:"users,omitempty"`
	Roles  []Role   `yaml:"roles,omitempty"`
	// Scopes that an API key, or the access token of a client, needs; empty: [ScopeForward].
	Scopes []string `yaml:"scopes,omitempty"`

	folded []string // Paths, for readings that are folded
}

// ForwardPolicy is what a rule asks for.
type ForwardPolicy string

// The policies.
const (
	ForwardAllow ForwardPolicy = "allow" // nothing: whoever comes
	ForwardLogin ForwardPolicy = "login" // a login, a token or a key
	ForwardKey   ForwardPolicy = "key"   // an API key and nothing else
	ForwardDeny  ForwardPolicy = "deny"  // nobody gets in
)

var forwardPolicies = []ForwardPolicy{ForwardAllow, ForwardLogin, ForwardKey, ForwardDeny}

// ForwardRules are rules as [CheckForwardRules] returned them.
type ForwardRules []ForwardRule

// maxForwardRules bounds what is looked through at every request.
const maxForwardRules = 1000

// CheckForwardRules returns rules with their names in the one form in which they
// are compared, or [Faults] as the cause of the error.
func CheckForwardRules(rules []ForwardRule, publicHost string) (ForwardRules, error) {
	bad, out := Faults{}, ForwardRules{}
	if len(rules) > maxForwardRules {
		bad.add("rules", "has %d entries, at most %d are taken: put hosts together", len(rules), maxForwardRules)
		return nil, bad.refusal()
	}
	own, _, _ := canonicalHost(publicHost)
	for i, r := range rules {
		field := fmt.Sprintf("rules[%d].", i)
		r.Hosts, r.Paths, r.Users = slices.Clone(r.Hosts), slices.Clone(r.Paths), slices.Clone(r.Users)
		checkForwardHosts(&bad, field+"hosts", r.Hosts, own)
		checkForwardPaths(&bad, field+"paths", r.Paths)
		checkForwardPeople(&bad, field, &r)
		for _, pattern := range r.Paths {
			r.folded = append(r.folded, foldPath(pattern))
		}
		out = append(out, r)
	}
	return out, bad.refusal()
}

func checkForwardHosts(bad *Faults, field string, hosts []string, own string) {
	if len(hosts) == 0 {
		bad.add(field, "is needed, such as [app.example.org] or [\"*.apps.example.org\"]")
	}
	for i, text := range hosts {
		name, wild := strings.CutPrefix(text, "*.")
		host, port, err := canonicalHost(name)
		switch {
		case err != nil || strings.Contains(name, "*"):
			bad.add(field, "%q is not a host, such as app.example.org, *.apps.example.org or app.example.org:8443", text)
		case wild && !strings.Contains(host, "."):
			bad.add(field, "%q would be every host of a top-level domain; name the hosts", text)
		case host == own && !wild:
			bad.add(field, "%q is the host of Latchkey itself: give the app a host of its own, or it can read the cookies of logins", text)
		}
		if hosts[i] = host; wild {
			hosts[i] = "*." + host
		}
		if port != "" {
			hosts[i] += ":" + port
		}
	}
}

func checkForwardPaths(bad *Faults, field string, paths []string) {
	for i, pattern := range paths {
		base, below := strings.CutSuffix(pattern, "/*")
		base = strings.TrimSuffix(base, "/")
		plain, err := pathReadings(base + "/")
		if err != nil || !strings.HasPrefix(pattern, "/") || strings.ContainsAny(base, "*?%") || plain[0].text != base+"/" {
			bad.add(field, "%q is not a plain path, such as /health, or /public/* for all below it; write it as the app reads it, without escapes", pattern)
			continue
		}
		switch {
		case below:
			base += "/*"
		case base == "":
			base = "/"
		}
		paths[i] = base
	}
}

func checkForwardPeople(bad *Faults, field string, r *ForwardRule) {
	if !slices.Contains(forwardPolicies, r.Policy) {
		bad.add(field+"policy", "is %q, must be allow, login, key or deny", r.Policy)
	}
	asksWho := len(r.Groups)+len(r.Users)+len(r.Roles)+len(r.Scopes) > 0
	if asksWho && (r.Policy == ForwardAllow || r.Policy == ForwardDeny) {
		bad.add(field+"policy", "is %s, which asks nobody who it is: take groups, users, roles and scopes away, or set policy: login", r.Policy)
	}
	for i, name := range r.Users {
		r.Users[i] = FoldUsername(name)
	}
	for _, role := range r.Roles {
		if !role.Valid() {
			bad.add(field+"roles", "%q is none of root, admin, user and guest", role)
		}
	}
	if slices.Contains(r.Groups, "") || slices.Contains(r.Users, "") {
		bad.add(field+"groups", "and users: a name is empty")
	}
	for _, scope := range r.Scopes {
		if strings.ContainsAny(scope, " ") || scope == "" || !validScope(scope) {
			bad.add(field+"scopes", "%q is not a scope, which is one word of printable ASCII characters", scope)
		}
	}
}

// Judge finds what a request to host and uri has to meet. It is a pure function:
// the error is a refusal, whoever asks.
//
// A path that apps read in more than one way meets the rules of every reading,
// so that no spelling of an address opens what another one does not.
func (rules ForwardRules) Judge(host, uri string) (ForwardDemand, error) {
	mine := rules.of(host)
	if len(mine) == 0 {
		return nil, refuse(Forbidden, "no rule of forward_auth.rules names the host "+host)
	}
	readings, err := readingsFor(mine, uri)
	if err != nil {
		return nil, err
	}
	demand := ForwardDemand{}
	for _, path := range readings {
		i := slices.IndexFunc(mine, func(r *ForwardRule) bool { return r.names(path) })
		if i < 0 {
			return nil, refuse(Forbidden, "no rule of forward_auth.rules names this path of "+host)
		}
		if mine[i].Policy == ForwardDeny {
			return nil, refuse(Forbidden, "a rule of forward_auth.rules keeps everybody out here")
		}
		if !slices.Contains(demand, mine[i]) {
			demand = append(demand, mine[i])
		}
	}
	return demand, nil
}

var errReservedPath = refuse(Forbidden, "the proxy has to pass "+ForwardPath+" to Latchkey itself, and not to ask about it")

// readingsFor are the readings of a path that rules of one host have to be met for.
func readingsFor(mine []*ForwardRule, uri string) ([]reading, error) {
	if !slices.ContainsFunc(mine, func(r *ForwardRule) bool { return len(r.Paths) > 0 }) {
		return []reading{{text: "/"}}, checkOwnPath(uri) // nothing hangs on the path
	}
	readings, err := pathReadings(uri)
	if slices.ContainsFunc(readings, reserved) {
		err = errReservedPath
	}
	return readings, err
}

// of are the rules for a host, in their order.
func (rules ForwardRules) of(host string) (out []*ForwardRule) {
	for i := range rules {
		if slices.ContainsFunc(rules[i].Hosts, func(pattern string) bool { return namesHost(pattern, host) }) {
			out = append(out, &rules[i])
		}
	}
	return out
}

// namesHost compares names in their canonical form; the port of a pattern does
// not count.
func namesHost(pattern, host string) bool {
	pattern, _, _ = cutPort(pattern)
	parent, wild := strings.CutPrefix(pattern, "*.")
	if !wild {
		return pattern == host
	}
	label, rest, ok := strings.Cut(host, ".")
	return ok && label != "" && rest == parent
}

func (r *ForwardRule) names(path reading) bool {
	patterns := r.Paths
	if path.folded {
		patterns = r.folded
	}
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		base, below := strings.CutSuffix(pattern, "/*")
		return path.text == pattern || below && (path.text == base || strings.HasPrefix(path.text, base+"/"))
	})
}

// ForwardDemand is what a request has to meet: every one of these rules.
type ForwardDemand []*ForwardRule

// Open reports whether nobody is asked who it is.
func (d ForwardDemand) Open() bool {
	return !slices.ContainsFunc(d, func(r *ForwardRule) bool { return r.Policy != ForwardAllow })
}

// ByLogin reports whether a login can meet the demand.
func (d ForwardDemand) ByLogin() bool {
	return !slices.ContainsFunc(d, func(r *ForwardRule) bool { return r.Policy == ForwardKey })
}

// Admit refuses who does not meet the demand. scope is that of the access token
// of a client; nil: the person came in person, or with an API key.
func (d ForwardDemand) Admit(p Principal, scope *string) error {
	for _, r := range d {
		if err := r.admit(p, scope); err != nil {
			return err
		}
	}
	return nil
}

func (r *ForwardRule) admit(p Principal, scope *string) error {
	if r.Policy == ForwardAllow {
		return nil
	}
	if p.Key != nil {
		scope = &p.Key.Scope
	}
	needed := r.Scopes
	if len(needed) == 0 {
		needed = []string{ScopeForward}
	}
	switch {
	case r.Policy == ForwardKey && p.Key == nil:
		return refuse(Forbidden, "this address is for API keys alone")
	case scope != nil && !subset(strings.Join(needed, " "), *scope):
		return refuse(InsufficientScope, "this needs the scope "+strings.Join(needed, " "))
	case !r.takes(p.User):
		return refuse(GroupNotAllowed, "you are logged in, and this app is not for you; an administrator can change that")
	}
	return nil
}

// takes reports whether the rule is for a user.
func (r *ForwardRule) takes(u User) bool {
	return len(r.Groups)+len(r.Users)+len(r.Roles) == 0 || slices.Contains(r.Roles, u.Role) ||
		slices.Contains(r.Users, FoldUsername(u.Username)) ||
		slices.ContainsFunc(u.Groups, func(g string) bool { return slices.Contains(r.Groups, g) })
}
