package broker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// Import is what another system knows of people and of their devices. Users
// may be read more than once; an error in it is one of reading, and ends the
// import.
type Import struct {
	Users    iter.Seq2[ImportUser, error]
	Sessions []ImportSession
	Keys     []ImportKey
}

// ImportUser is a user of another system. The ID stays, or is made from the
// name where there is none, so that a second import finds the same user.
type ImportUser struct {
	Line       int // where it stands in a file; 0: in none
	User       User
	Disabled   bool               // it may not log in
	Identities []Identity         // UserID is not looked at
	Legacy     tokens.AccessToken // the token of old, which never expires; or empty
	Problem    string             // why it could not be read, naming the field; or empty
}

// ImportSession is a session that is alive in another system: its ID, UserID,
// idle end, times, address and User-Agent. Tokens are the refresh tokens that a
// device may hold for it.
type ImportSession struct {
	Session Session
	Tokens  []tokens.RefreshToken
	Problem string // why it could not be read, naming the field; or empty
}

// ImportKey is an API key of another system, which has signed it.
type ImportKey struct {
	Key      APIKey
	Disabled bool
	Problem  string // why it could not be read, naming the field; or empty
}

// ImportOptions say how an import is carried out.
type ImportOptions struct {
	// DryRun does everything and takes it back.
	DryRun bool
	// Partial keeps what is good where something else was refused; else nothing
	// is kept.
	Partial bool
	// ProviderID names the provider of identities that come without an issuer.
	ProviderID string
}

// ImportReport is what an import did, or with DryRun would do.
type ImportReport struct {
	DryRun     bool         `json:"dry_run"`
	Written    bool         `json:"written"`
	Users      ImportCount  `json:"users"`
	Identities ImportCount  `json:"identities"`
	Sessions   ImportCount  `json:"sessions"`
	Keys       ImportCount  `json:"api_keys"`
	Lines      []ImportLine `json:"lines"` // what was refused or left out
	Notes      []string     `json:"notes"`
}

// ImportCount counts what became of the lines of one kind. Unchanged was there
// already; left out is nothing that is missed, such as an expired session.
type ImportCount struct {
	Imported  int `json:"imported"`
	Unchanged int `json:"unchanged"`
	LeftOut   int `json:"left_out"`
	Refused   int `json:"refused"`
}

// ImportLine says why something was refused or left out.
type ImportLine struct {
	Kind    string `json:"kind"` // user, identity, session, API key
	Line    int    `json:"line,omitempty"`
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Refused bool   `json:"refused"`
	Reason  string `json:"reason"`
}

// Refused reports how many lines were refused.
func (r *ImportReport) Refused() int {
	return r.Users.Refused + r.Identities.Refused + r.Sessions.Refused + r.Keys.Refused
}

const (
	// importBatch is how many users are looked up and written at once.
	importBatch = 500
	// legacyLife is how long a legacy token can be accepted after its import.
	legacyLife = 366 * 24 * time.Hour
	maxSubject = 255 // OIDC Core section 2, and as much for an IdP that keeps no bounds
	maxIssuer  = 2048
)

// errTakeBack rolls the transaction of an import back.
var errTakeBack = errors.New("import: taken back")

// Import writes users and their devices from another system in one
// transaction. What is there already stays as it is, so that a second run
// changes nothing. Where something is refused nothing is written, unless
// Partial says otherwise; the report names every line that was refused.
func (b *Broker) Import(ctx context.Context, from Import, o ImportOptions) (*ImportReport, error) {
	if _, err := b.provider(o.ProviderID); o.ProviderID != "" && err != nil {
		return nil, refuse(ProviderUnknown, fmt.Sprintf("there is no provider %q", o.ProviderID))
	}
	var report *ImportReport
	err := b.cfg.Store.Tx(ctx, func(store Store) error {
		im := &importer{
			b: b, store: store, options: o, now: b.now(), users: map[string]importedUser{}, names: map[string]bool{},
			linked: map[[2]string]bool{}, holders: map[string]int{}, report: &ImportReport{DryRun: o.DryRun, Lines: []ImportLine{}, Notes: []string{}},
		}
		report = im.report
		if err := im.run(ctx, from); err != nil {
			return err
		}
		if o.DryRun || report.Refused() > 0 && !o.Partial {
			return errTakeBack
		}
		report.Written = true
		return nil
	})
	if err != nil && !errors.Is(err, errTakeBack) {
		return nil, err
	}
	return report, nil
}

// importer is one run of an import, in its transaction.
type importer struct {
	b        *Broker
	store    Store
	options  ImportOptions
	now      time.Time
	report   *ImportReport
	admin    bool                    // there is an administrator
	users    map[string]importedUser // of this import, by ID
	names    map[string]bool         // folded, of this import
	linked   map[[2]string]bool      // identities of this import
	holders  map[string]int          // how many live sessions hold a refresh token, by its hash
	unsigned int                     // sessions whose token does not verify
}

type importedUser struct{ refused, disabled bool }

func (im *importer) run(ctx context.Context, from Import) (err error) {
	if im.admin, err = im.store.HasAdmin(ctx); err != nil {
		return err
	}
	var batch []ImportUser
	if from.Users != nil {
		for u, err := range from.Users {
			if err != nil {
				return err
			}
			if batch = append(batch, u); len(batch) == importBatch {
				if err := im.importUsers(ctx, batch); err != nil {
					return err
				}
				batch = batch[:0]
			}
		}
	}
	if err := im.importUsers(ctx, batch); err != nil {
		return err
	}
	im.countHolders(from.Sessions)
	for _, s := range from.Sessions {
		if err := im.importSession(ctx, s); err != nil {
			return err
		}
	}
	for _, k := range from.Keys {
		if err := im.importKey(ctx, k); err != nil {
			return err
		}
	}
	im.noteSecrets(len(from.Sessions))
	return nil
}

// importUsers decides about some hundred users and writes those that are new.
func (im *importer) importUsers(ctx context.Context, batch []ImportUser) error {
	good, ids, names := []ImportUser{}, []string{}, []string{}
	for _, u := range batch {
		if err := im.checkUser(&u); err != nil {
			im.refuseUser(u, err)
			continue
		}
		good, ids, names = append(good, u), append(ids, u.User.ID), append(names, FoldUsername(u.User.Username))
	}
	there, err := im.store.UsersWith(ctx, ids, names)
	if err != nil {
		return err
	}
	byID, byName := map[string]User{}, map[string]User{}
	for _, u := range there {
		byID[u.ID], byName[FoldUsername(u.Username)] = u, u
	}
	fresh := []ImportUser{}
	for _, u := range good {
		known, isThere := byID[u.User.ID]
		_, taken := byName[FoldUsername(u.User.Username)]
		switch {
		case isThere: // as it is: what was changed here since is not taken back
			im.report.Users.Unchanged++
			im.users[u.User.ID] = importedUser{disabled: !known.DisabledAt.IsZero()}
		case taken:
			im.refuseUser(u, refuse(UsernameTaken, "username: is taken by another user here; rename one of the two"))
			im.users[u.User.ID] = importedUser{refused: true}
		default:
			im.demote(&u)
			im.report.Users.Imported++
			im.users[u.User.ID] = importedUser{disabled: u.Disabled}
			fresh = append(fresh, u)
		}
	}
	return im.insert(ctx, fresh)
}

// demote lets one root come in, and only where there is no administrator yet.
func (im *importer) demote(u *ImportUser) {
	if u.User.Role != RoleRoot {
		return
	}
	if im.admin {
		u.User.Role = RoleAdmin
		im.note("%q is root there and admin here, because this installation has an administrator", u.User.Username)
	}
	im.admin = true
}

// insert writes new users with their identities, legacy tokens and events.
func (im *importer) insert(ctx context.Context, list []ImportUser) error {
	users, events, legacy := []User{}, []Event{}, []ImportedToken{}
	for _, u := range list {
		users = append(users, u.User)
		events = append(events, im.event(Event{Name: EventUserCreated, UserID: u.User.ID, Detail: map[string]string{"username": u.User.Username, "method": "import"}}))
		if u.Legacy != "" {
			legacy = append(legacy, ImportedToken{ID: hashImported(u.Legacy.Reveal()), Kind: ImportedLegacy, UserID: u.User.ID, ExpiresAt: im.now.Add(legacyLife)})
		}
	}
	identities, err := im.freeIdentities(ctx, list)
	if err != nil {
		return err
	}
	for n, i := range identities {
		identities[n].Link.How = LinkedByImport
		im.report.Identities.Imported++
		events = append(events, im.event(Event{Name: EventIdentityLinked, UserID: i.UserID, Detail: map[string]string{"provider": i.ProviderID, "issuer": i.Issuer, "method": "import"}}))
	}
	if err := im.store.InsertUsers(ctx, users); err != nil {
		return err
	}
	if err := im.store.InsertIdentities(ctx, identities); err != nil {
		return err
	}
	if _, err := im.store.InsertImportedTokens(ctx, legacy); err != nil {
		return err
	}
	return im.store.InsertEvents(ctx, events)
}

// freeIdentities are the identities of new users that belong to nobody yet.
func (im *importer) freeIdentities(ctx context.Context, list []ImportUser) (free []Identity, err error) {
	wanted, of := []Identity{}, []ImportUser{}
	for _, u := range list {
		for _, i := range u.Identities {
			if err := im.checkIdentity(&i, u.User); err != nil {
				im.refused(&im.report.Identities, ImportLine{Kind: "identity", Line: u.Line, ID: u.User.ID, Name: u.User.Username, Reason: err.Error()})
				continue
			}
			wanted, of = append(wanted, i), append(of, u)
		}
	}
	there, err := im.store.IdentitiesLike(ctx, wanted)
	if err != nil {
		return nil, err
	}
	for n, i := range wanted {
		key := [2]string{i.Issuer, i.Subject}
		taken := im.linked[key] || slices.ContainsFunc(there, func(t Identity) bool { return t.Issuer == i.Issuer && t.Subject == i.Subject })
		if taken {
			im.refused(&im.report.Identities, ImportLine{
				Kind: "identity", Line: of[n].Line, ID: i.UserID, Name: of[n].User.Username, Reason: "this person at the identity provider is linked to another user",
			})
			continue
		}
		im.linked[key] = true
		free = append(free, i)
	}
	return free, nil
}

func (im *importer) event(e Event) Event {
	e.At = im.now
	e.ID = im.b.newID(im.now)
	return e
}

func (im *importer) refuseUser(u ImportUser, err error) {
	if u.User.ID != "" {
		if _, known := im.users[u.User.ID]; !known {
			im.users[u.User.ID] = importedUser{refused: true}
		}
	}
	reason := err.Error()
	if e, ok := errors.AsType[*Error](err); ok && e.Message != "" {
		reason = e.Message
	}
	im.refused(&im.report.Users, ImportLine{Kind: "user", Line: u.Line, ID: u.User.ID, Name: u.User.Username, Reason: reason})
}

func (im *importer) refused(count *ImportCount, line ImportLine) {
	count.Refused++
	line.Refused = true
	im.line(line)
}

func (im *importer) leftOut(count *ImportCount, line ImportLine) {
	count.LeftOut++
	im.line(line)
}

// line keeps a line of the report within what can be shown.
func (im *importer) line(line ImportLine) {
	line.ID, line.Name = cleanText(line.ID, MaxUsername), cleanText(line.Name, MaxUsername)
	im.report.Lines = append(im.report.Lines, line)
}

func (im *importer) note(format string, args ...any) {
	im.report.Notes = append(im.report.Notes, fmt.Sprintf(format, args...))
}
