package web

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the page of one user in the office; officeuserforms.go has its forms.

// How much of a user the page shows at once.
const (
	liveShown   = 12
	pastShown   = 5
	keysShown   = 5
	eventsShown = 10
)

// userView is everything that there is about a user.
type userView struct {
	userRow
	Updated, Seen moment
	Own           bool // the administrator's own account
	Ticket        string
	Rights        broker.Rights

	Proofs               map[string]*stepUp // by form
	Profile, Permissions []input
	OwnPermissions       bool
	PermissionsOpen      bool // something is wrong there

	HasPassword, LocalLogin bool
	By                      string // the way to a password that is chosen
	MailsSent               bool
	MailsLinks              bool // to the address that the user has
	Identities              []linkedRow
	Legacy                  int

	Live, Past []sessionRow
	MoreLive   bool
	Factors    []*text
	Consents   []consentRow
	Consented  bool // to more than are shown
	Keys       []apiKeyRow
	NextKeys   string
	Events     []eventRow
}

// linkedRow is a login at an IdP that is linked to a user.
type linkedRow struct {
	ID, Provider, Name, Email string
	How                       *text
	Undo                      *text // what unlinking does besides; nil: nothing
	Linked, Used              moment
}

// consentsShown is how many consents a user's page has.
const consentsShown = 3

// consentRow is an app that a user let in.
type consentRow struct {
	Name, Scope string
	Since       moment
}

// apiKeyRow is an API key of a user.
type apiKeyRow struct {
	ID, Name, Scope string
	Disabled        bool
	Made            moment
	Used, Expires   *moment
	State           pill
}

// eventRow is a line of the audit log.
type eventRow struct {
	Text *text
	By   *text // the administrator who did it; nil: nobody but the user
	At   moment
	IP   string
}

// userPage is GET /admin/users/:id.
func (s *Server) userPage(c *gin.Context, p broker.Principal) error {
	out, view, err := s.userView(c, p)
	if err != nil {
		return err
	}
	out.Notice = whatWasDone(c, userDone)
	if typed := s.typedBefore(c, p, userPath(view.ID)); view.Proofs[or(typed[fieldAgain])] != nil {
		view.Proofs[or(typed[fieldAgain])].Open, out.Notice = true, backAgain
		switch or(typed[fieldAgain]) {
		case formProfile:
			view.Profile = filled(view.Profile, typed)
		case formPassword:
			view.By = cmp.Or(or(typed["by"]), view.By)
		case formPermissions:
			fields := permissionsIn(view)
			*fields = filled(*fields, typed)
		}
	}
	return s.show(c, http.StatusOK, "office_user", out)
}

// userView reads it all, with as many statements for one user as for another.
func (s *Server) userView(c *gin.Context, p broker.Principal) (out page, v *userView, err error) {
	id, err := rowID(c)
	if err != nil {
		return out, nil, err
	}
	ctx := c.Request.Context()
	u, err := s.broker.UserByID(ctx, id)
	if err != nil {
		return out, nil, noSuchUser(err)
	}
	v = &userView{
		userRow: s.userRow(u), Updated: s.moment(u.UpdatedAt), Seen: s.moment(u.LastSeenAt), Own: u.ID == p.User.ID, Ticket: s.broker.FormTicket(p.User.ID), Rights: broker.RightsOver(p.User, u),
		HasPassword: u.PasswordHash != "", LocalLogin: s.cfg.LocalLogin,
		MailsSent: s.broker.MailsSent(), MailsLinks: s.broker.MailsLinks(u), OwnPermissions: u.Permissions != nil, Permissions: permissionsForm(u.EffectivePermissions()),
	}
	if v.By = byLink; v.MailsLinks {
		v.By = byMail
	}
	may := v.Rights.Roles
	if !v.Rights.Lose {
		may = nil
	}
	v.Profile = profileForm(u, may)
	if err := s.readUserView(ctx, c.Query("keys"), p, v); err != nil {
		return out, nil, err
	}
	if err := s.userProofs(c, p, v); err != nil {
		return out, nil, err
	}
	out = office(c, p, say("User {person}", person(&u)))
	out.View = v
	return out, v, nil
}

// The forms of a user's page that ask for a proof; of the last two there is one for
// each row ([formOfRow]).
const (
	formProfile     = "profile"
	formPermissions = "permissions"
	formFactors     = "factors"
	formPassword    = "password"
	formState       = "state"
	formDelete      = "delete"
	formUnlink      = "unlink"
	formKey         = "key"
)

func formOfRow(form, id string) string { return form + "-" + id }

func (s *Server) userProofs(c *gin.Context, p broker.Principal, v *userView) error {
	ask, err := s.stepUp(c, p, formProfile)
	v.Proofs = map[string]*stepUp{}
	bare := []string{formFactors, formState, formDelete}
	for _, i := range v.Identities {
		bare = append(bare, formOfRow(formUnlink, i.ID))
	}
	for _, k := range v.Keys {
		bare = append(bare, formOfRow(formKey, k.ID))
	}
	for _, form := range bare {
		v.Proofs[form] = new(ask.bare(form))
	}
	for _, form := range []string{formPassword, formPermissions} {
		v.Proofs[form] = new(ask.of(form))
	}
	v.Proofs[formProfile] = new(ask.only(say("To change the username, the address or the role, prove that it is you:")))
	return err
}

func noSuchUser(err error) error {
	if broker.CodeOf(err) == broker.NotFound {
		return &broker.Error{Code: broker.NotFound, Message: "there is no such user; what the account has left is in the audit log"}
	}
	return err
}

// readUserView reads what belongs to a user.
func (s *Server) readUserView(ctx context.Context, keysAfter string, p broker.Principal, v *userView) error {
	identities, err := s.broker.Identities(ctx, v.ID)
	if err != nil {
		return err
	}
	for _, i := range identities {
		v.Identities = append(v.Identities, s.linkedRow(i))
	}
	if err := s.readLetIn(ctx, v); err != nil {
		return err
	}
	live, past, err := s.broker.SessionsOf(ctx, v.ID, liveShown+1, pastShown)
	if err != nil {
		return err
	}
	if v.MoreLive = len(live) > liveShown; v.MoreLive {
		live = live[:liveShown]
	}
	v.Live, v.Past = s.ownRows(live, p), s.ownRows(past, p)
	keys, err := s.broker.APIKeys(ctx, &p.User, v.ID, shown(keysAfter), keysShown+1)
	if err != nil {
		return err
	}
	if len(keys) > keysShown {
		keys = keys[:keysShown]
		v.NextKeys = keys[keysShown-1].ID
	}
	for _, k := range keys {
		v.Keys = append(v.Keys, s.apiKeyRow(k))
	}
	events, _, err := s.broker.PageEvents(ctx, broker.EventFilter{UserID: v.ID}, broker.Page{Limit: eventsShown})
	if err != nil {
		return err
	}
	v.Events = s.eventRows(events, map[string]string{p.User.ID: p.User.Username, v.ID: v.Username})
	v.Legacy, err = s.broker.LegacyTokens(ctx, v.ID)
	return err
}

// readLetIn reads who has to be proven besides the password, and who was let in.
func (s *Server) readLetIn(ctx context.Context, v *userView) error {
	apps, next, err := s.broker.Apps(ctx, v.ID, broker.Page{Limit: consentsShown})
	if err != nil {
		return err
	}
	v.Consented = next != ""
	for _, a := range apps {
		name := a.ClientID
		if a.Client.ID != "" {
			name = a.Client.DisplayName()
		}
		v.Consents = append(v.Consents, consentRow{name, a.Scope, s.moment(a.GrantedAt)})
	}
	if !v.SecondFactor {
		return nil
	}
	n, err := s.broker.CountFactors(ctx, v.ID)
	v.Factors = factorTexts(n)
	return err
}

func factorTexts(n broker.FactorCount) (out []*text) {
	if n.App {
		out = append(out, say("Authenticator app"))
	}
	counted := func(n int, one, more *text) {
		if n == 1 {
			out = append(out, one)
		} else if n > 1 {
			out = append(out, more.with(n))
		}
	}
	counted(n.Passkeys, say("1 passkey"), say("{n} passkeys"))
	counted(n.RecoveryCodes, say("1 recovery code"), say("{n} recovery codes"))
	return out
}

// howLinked says to an administrator how a login came to an account.
var howLinked = map[string]*text{
	"":                    say("the account was made for it"),
	broker.LinkedByHand:   say("linked by the person"),
	broker.LinkedByEmail:  say("linked by the e-mail address"),
	broker.LinkedByImport: say("an administrator linked it"),
}

func (s *Server) linkedRow(i broker.Identity) linkedRow {
	row := linkedRow{
		ID: i.ID(), Provider: s.providerOr(i.ProviderID), Name: i.Username, Email: i.Email, How: howLinked[i.Link.How],
		Linked: s.moment(i.CreatedAt), Used: s.moment(i.LastUsedAt),
	}
	if until := i.UndoUntil(); s.broker.Now().Before(until) {
		row.Undo = say("Until {when}, unlinking makes the account again what it was before the link.", until)
	}
	return row
}

// ownRows are sessions of one user. A client is called by its ID: its name would
// cost a statement more.
func (s *Server) ownRows(list []broker.Session, p broker.Principal) (out []sessionRow) {
	for _, x := range list {
		out = append(out, s.sessionRow(broker.UserSession{Session: x}, nameOfClient(x, nil), p))
	}
	return out
}

func (s *Server) apiKeyRow(k broker.OwnedAPIKey) apiKeyRow {
	row := apiKeyRow{
		ID: k.ID, Name: k.Name, Scope: k.Scope, Disabled: !k.DisabledAt.IsZero(), State: pill{"good", say("active")},
		Made: s.moment(k.CreatedAt), Used: s.momentOr(k.LastUsedAt), Expires: s.momentOr(k.ExpiresAt),
	}
	if row.Disabled {
		row.State = pill{"bad", say("disabled")}
	} else if !k.Active(s.broker.Now()) {
		row.State = pill{"warn", say("expired")}
	}
	return row
}

// eventRows are lines of the audit log, with the users whose names are known.
func (s *Server) eventRows(events []broker.Event, users map[string]string) (out []eventRow) {
	for _, e := range events {
		words := auditWords{s: s, e: e, users: users}
		out = append(out, eventRow{Text: words.sentence(), By: words.by(), At: s.moment(e.At), IP: e.IP})
	}
	return out
}

// permissionTexts are the permissions of the JSON contract, in the order of the page.
var permissionTexts = []struct {
	name  string
	label *text
	get   func(*broker.Permissions) bool
}{
	{"download", say("download"), func(p *broker.Permissions) bool { return p.Download }},
	{"upload", say("upload"), func(p *broker.Permissions) bool { return p.Upload }},
	{"update", say("change what is there"), func(p *broker.Permissions) bool { return p.Update }},
	{"delete", say("delete what is there"), func(p *broker.Permissions) bool { return p.Delete }},
	{"createEreader", say("add e-readers to send to"), func(p *broker.Permissions) bool { return p.CreateEreader }},
	{"accessExplicitContent", say("see explicit content"), func(p *broker.Permissions) bool { return p.AccessExplicitContent }},
	{"accessAllLibraries", say("see every library"), func(p *broker.Permissions) bool { return p.AccessAllLibraries }},
	{"accessAllTags", say("see what has any tag"), func(p *broker.Permissions) bool { return p.AccessAllTags }},
	{"selectedTagsNotAccessible", say("the tags below are those that are hidden"), func(p *broker.Permissions) bool { return p.SelectedTagsNotAllowed }},
}

func permissionsForm(may broker.Permissions) (form []input) {
	for _, p := range permissionTexts {
		form = append(form, input{Name: p.name, Type: "checkbox", Label: p.label, Checked: p.get(&may), ID: "may-" + p.name})
	}
	return append(form,
		input{
			Name: "librariesAccessible", Type: "textarea", Label: say("Libraries"), Code: true, Max: maxLists, Value: strings.Join(may.Libraries, "\n"),
			Help: say("One ID a line. They count where not every library may be seen."),
		},
		input{
			Name: "itemTagsSelected", Type: "textarea", Label: say("Tags"), Code: true, Max: maxLists, Value: strings.Join(may.Tags, "\n"),
			Help: say("One a line. They count where not every tag may be seen."),
		})
}

// maxLists is how many characters the form takes of a list: 200 entries of 128.
const maxLists = 200 * 129

// permissionsOf reads what [permissionsForm] posts: what is not ticked is no.
func permissionsOf(f map[string]*string) broker.PermissionsChange {
	change := broker.PermissionsChange{Flags: map[string]bool{}, Libraries: orNone(lines(or(f["librariesAccessible"]))), Tags: orNone(lines(or(f["itemTagsSelected"])))}
	for _, p := range permissionTexts {
		change.Flags[p.name] = or(f[p.name]) != ""
	}
	return change
}
