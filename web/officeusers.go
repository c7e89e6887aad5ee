package web

import (
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the office's list of users, and the form that makes one.

const (
	usersPath    = "/admin/users"
	newUserPath  = usersPath + "/new"
	usersPerPage = 50
)

// pill is a word with its colour: good, warn, bad or none.
type pill struct {
	Class string
	Text  *text
}

type usersView struct {
	Filters  []input
	Filtered bool
	Rows     []userRow
	Pager    pager
}

// userRow is a user in a list.
type userRow struct {
	broker.User
	RoleText *text
	States   []pill
	Created  moment
}

// userFilter reads what a list of users is narrowed by, for the API and the page.
func userFilter(q params) (f broker.UserFilter, err error) {
	f = broker.UserFilter{Search: q["search"], Role: broker.Role(q["role"]), ProviderID: q["provider"]}
	if f.Role != "" && !f.Role.Valid() {
		return f, badField("role", "one of root, admin, user, guest")
	}
	f.Disabled, err = q.flag("disabled")
	return f, err
}

// readPage is [readParams] for a list on a page, with what any page may be asked.
func readPage(c *gin.Context, size int, known ...string) (q params, at broker.Page, err error) {
	if q, err = readParams(c, append(known, "done", "ui_locales")...); err != nil {
		return nil, at, err
	}
	at, err = q.page(size, size)
	return q, at, err
}

// usersPage is GET /admin/users.
func (s *Server) usersPage(c *gin.Context, p broker.Principal) error {
	q, at, err := readPage(c, usersPerPage, "search", "role", "disabled", "provider")
	if err != nil {
		return err
	}
	f, err := userFilter(q)
	if err != nil {
		return err
	}
	users, next, err := s.broker.PageUsers(c.Request.Context(), f, at)
	if err != nil {
		return err
	}
	view := usersView{Filters: s.userFilters(q), Pager: pagerOf(c, next)}
	view.Filtered = f.Search != "" || f.Role != "" || f.ProviderID != "" || f.Disabled != nil
	for _, u := range users {
		view.Rows = append(view.Rows, s.userRow(u))
	}
	out := office(c, p, say("Users"))
	out.Notice, out.View = whatWasDone(c, map[string]*text{"deleted": say("The user was deleted.")}), view
	return s.show(c, http.StatusOK, "office_users", out)
}

func (s *Server) userRow(u broker.User) userRow {
	return userRow{User: u, RoleText: roles[u.Role], States: statesOf(u), Created: s.moment(u.CreatedAt)}
}

// statesOf are what is to be known of a user at a glance.
func statesOf(u broker.User) (out []pill) {
	if !u.DisabledAt.IsZero() {
		out = append(out, pill{"bad", say("disabled")})
	}
	switch {
	case u.PasswordTemporary:
		out = append(out, pill{"warn", say("temporary password")})
	case u.PasswordHash == "" && !u.HasIdentity:
		out = append(out, pill{"warn", say("no login yet")})
	}
	if len(out) == 0 {
		out = []pill{{"good", say("active")}}
	}
	return out
}

func (s *Server) userFilters(q params) []input {
	list := []input{
		{Name: "search", Type: "search", Label: say("Name or address begins with"), Value: q["search"]},
		{Name: "role", Type: "select", Label: say("Role"), Value: q["role"], Options: append([]option{{Text: say("any")}}, roleOptions(broker.Roles)...)},
		{Name: "disabled", Type: "select", Label: say("State"), Value: q["disabled"], Options: []option{
			{Text: say("any")}, {Value: "false", Text: say("enabled")}, {Value: "true", Text: say("disabled")},
		}},
	}
	if providers := s.providerOptions(); len(providers) > 1 {
		list = append(list, input{Name: "provider", Type: "select", Label: say("Provider"), Value: q["provider"], Options: providers})
	}
	return list
}

func roleOptions(list []broker.Role) (out []option) {
	for _, r := range list {
		out = append(out, option{Value: string(r), Text: roles[r]})
	}
	return out
}

// providerOptions are any, and the providers that there are.
func (s *Server) providerOptions() []option {
	out := []option{{Text: say("any")}}
	for _, p := range s.broker.Providers() {
		out = append(out, option{Value: p.ID, Name: p.Name})
	}
	return out
}

// newUserView is the form that makes a user.
type newUserView struct {
	Form  []input
	Proof stepUp
}

// The ways of a new user to get in.
const (
	byInvitation = "invitation"
	byMail       = "mail"
	byLink       = "link" // of a user who is there
	byPassword   = "password"
	byProvider   = "provider"
)

func (s *Server) newUserPage(c *gin.Context, p broker.Principal) error {
	out, view, err := s.newUser(c, p)
	if err != nil {
		return err
	}
	if typed := s.typedBefore(c, p, newUserPath); typed != nil {
		view.Form, out.Notice = filled(view.Form, typed), backAgain
	}
	return s.show(c, http.StatusOK, "office_user_new", out)
}

func (s *Server) newUser(c *gin.Context, p broker.Principal) (page, *newUserView, error) {
	rights := broker.RightsOver(p.User, broker.User{})
	ask, err := s.stepUp(c, p, "new-user")
	view := &newUserView{Proof: ask, Form: append(profileForm(broker.User{Role: broker.RoleUser}, rights.Roles), input{
		Name: "how", Type: "select", Required: true, Label: say("How the person gets in"), Options: s.waysIn(),
		Help: say("A link or a temporary password is shown to you once, to pass on. The person chooses a password then; you never know it."),
	})}
	out := office(c, p, say("New user"))
	out.View = view
	return out, view, err
}

func (s *Server) waysIn() (out []option) {
	if s.cfg.LocalLogin {
		if s.broker.MailsSent() {
			out = []option{{Value: byMail, Text: say("by an invitation that is mailed")}}
		}
		out = append(out, option{Value: byInvitation, Text: say("by an invitation link")}, option{Value: byPassword, Text: say("by a temporary password")})
	}
	return append(out, option{Value: byProvider, Text: say("through an identity provider only")})
}

// profileForm are the fields of a user; without roles that may be given, the role
// is none of them.
func profileForm(u broker.User, may []broker.Role) []input {
	form := []input{
		{Name: "username", Label: say("Username"), Value: u.Username, Required: true, Max: broker.MaxUsername, Autocomplete: "off", Code: true},
		{Name: "name", Label: say("Full name"), Value: u.Name, Max: broker.MaxName, Autocomplete: "off"},
		{Name: "email", Type: "email", Label: say("E-mail"), Value: u.Email, Max: broker.MaxEmail, Autocomplete: "off", Code: true},
		{
			Name: "emailVerified", Type: "checkbox", Label: say("The address is known to be this person’s own"), Checked: u.EmailVerified,
			Help: say("By a verified address a provider’s login can be linked to the account, and apps believe it."),
		},
	}
	if len(may) > 0 {
		form = append(form, input{Name: "role", Type: "select", Label: say("Role"), Required: true, Value: string(u.Role), Options: roleOptions(may)})
	}
	return form
}

// newUserForm makes a user. What the person gets in with stands in the answer,
// and nowhere else.
func (s *Server) newUserForm(c *gin.Context, p broker.Principal) error {
	f, gone, err := s.provenFields(c, p, newUserPath, "username", "name", "email", "emailVerified", "role", "how")
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(f[fieldProof]))
	n := broker.NewUser{
		Username: or(f["username"]), Name: or(f["name"]), Email: or(f["email"]), EmailVerified: or(f["emailVerified"]) != "", Role: broker.Role(or(f["role"])),
	}
	u, once, err := s.makeUser(c, n, or(f["how"]))
	if err != nil {
		out, view, trouble := s.newUser(c, p)
		if trouble != nil {
			return trouble
		}
		return s.retry(c, "office_user_new", out, &view.Form, f, err, &view.Proof)
	}
	if once == nil {
		return s.done(c, userPath(u.ID), madeBy[or(f["how"])])
	}
	return s.showOnce(c, p, u, *once)
}

// madeBy are the codes of what was done, by the way in; see [userDone].
var madeBy = map[string]string{byMail: "invited", byProvider: "created"}

func userPath(id string) string { return usersPath + "/" + url.PathEscape(id) }

func (s *Server) makeUser(c *gin.Context, n broker.NewUser, how string) (u broker.User, once *shownOnce, err error) {
	ctx := c.Request.Context()
	switch how {
	case byInvitation:
		u, made, err := s.broker.InviteUser(ctx, n)
		return u, linkOnce(made), err
	case byMail:
		u, _, err = s.broker.SendInvitation(ctx, n, s.byMail(c))
		return u, nil, err
	case byPassword:
		n.Password, n.Temporary = s.broker.NewTemporaryPassword(), true
		u, err = s.broker.CreateUser(ctx, n)
		return u, passwordOnce(n.Password), err
	case byProvider:
		u, err = s.broker.CreateUser(ctx, n)
		return u, nil, err
	}
	return u, nil, badField("how", "choose how the person gets in")
}

// shownOnce is a secret for a person, as the administrator who asked for it sees
// it this once.
type shownOnce struct {
	Title, Lead, Label, Life *text
	Secret                   string
	User                     broker.User
}

func linkOnce(made broker.MadeLink) *shownOnce {
	once := &shownOnce{
		Title: say("Password link"), Lead: say("With this link {person} chooses another password. Every device of the account has to log in again then."),
		Label: say("Link"), Secret: made.URL, Life: say("It works once, until {when}. A newer link takes its place.", made.ExpiresAt),
	}
	if made.Purpose == broker.PurposeInvitation {
		once.Title, once.Lead = say("Invitation"), say("With this link {person} chooses a password and can log in.")
	}
	return once
}

func passwordOnce(password string) *shownOnce {
	return &shownOnce{
		Title: say("Temporary password"), Lead: say("With this password {person} logs in and has to choose another one at once."),
		Label: say("Password"), Secret: password, Life: say("It does not expire: pass it on in a way that nobody else reads."),
	}
}

func (s *Server) showOnce(c *gin.Context, p broker.Principal, u broker.User, once shownOnce) error {
	once.Lead, once.User = once.Lead.with(person(&u)), u
	out := office(c, p, once.Title)
	out.View = once
	return s.show(c, http.StatusOK, "office_once", out)
}
