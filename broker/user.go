package broker

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Role is what a user may do in Latchkey itself.
type Role string

// The roles, from most to least. The first administrator is root.
const (
	RoleRoot  Role = "root"
	RoleAdmin Role = "admin"
	RoleUser  Role = "user"
	RoleGuest Role = "guest"
)

// Roles lists the roles from most to least.
var Roles = []Role{RoleRoot, RoleAdmin, RoleUser, RoleGuest}

// Valid reports whether r is one of [Roles].
func (r Role) Valid() bool { return r.rank() < len(Roles) }

// IsAdmin reports whether r may administrate.
func (r Role) IsAdmin() bool { return r == RoleRoot || r == RoleAdmin }

func (r Role) rank() int {
	for i, known := range Roles {
		if r == known {
			return i
		}
	}
	return len(Roles)
}

// PasswordHash is a PHC or bcrypt string. It prints as a placeholder.
type PasswordHash string

// String keeps the hash out of logs and errors.
func (PasswordHash) String() string { return "[password hash]" }

// GoString keeps the hash out of %#v.
func (PasswordHash) GoString() string { return "[password hash]" }

// User is a person. The ID is a UUID that never changes; everything else may.
type User struct {
	ID            string
	Username      string
	Name          string
	Email         string
	EmailVerified bool
	// EmailVouched is for which address an administrator has vouched by setting it,
	// and who: "root" or "admin", a space, the folded address.
	EmailVouched string
	Language     string // that the person last read pages in (BCP 47); empty: not known
	Role         Role
	Groups       []string // as the IdP named them at the last login through one
	PasswordHash PasswordHash
	// PasswordTemporary: somebody else chose the password, so that it is good for
	// choosing another and for nothing else.
	PasswordTemporary bool
	Permissions       *Permissions // of the JSON contract; nil: the role's
	Notice            Notice       // what the owner is to be told
	HasIdentity       bool         // at least one linked identity
	// SecondFactor: the password alone lets nobody in; see [Store.SetSecondFactor].
	SecondFactor bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	LastSeenAt   time.Time // zero: never
	DisabledAt   time.Time // zero: enabled
}

// Permissions are those of the JSON contract, for the programs behind it:
// Latchkey itself decides by [Role].
type Permissions struct {
	Download               bool     `json:"download"`
	Update                 bool     `json:"update"`
	Delete                 bool     `json:"delete"`
	Upload                 bool     `json:"upload"`
	CreateEreader          bool     `json:"createEreader"`
	AccessAllLibraries     bool     `json:"accessAllLibraries"`
	AccessAllTags          bool     `json:"accessAllTags"`
	AccessExplicitContent  bool     `json:"accessExplicitContent"`
	SelectedTagsNotAllowed bool     `json:"selectedTagsNotAccessible"`
	Libraries              []string `json:"librariesAccessible,omitempty"`
	Tags                   []string `json:"itemTagsSelected,omitempty"`
}

// EffectivePermissions are the user's own, or else those of the role.
func (u User) EffectivePermissions() Permissions {
	if u.Permissions != nil {
		return *u.Permissions
	}
	admin := u.Role.IsAdmin()
	return Permissions{
		Download: true, Update: admin, Delete: admin, Upload: admin, CreateEreader: admin,
		AccessAllLibraries: true, AccessAllTags: true, AccessExplicitContent: admin,
	}
}

// Notice is something that happened to an account and that its owner may have
// to undo. Every device of the account is told until it ends.
type Notice struct {
	Code   string    `json:"code"` // the name of the audit event
	At     time.Time `json:"at"`
	Until  time.Time `json:"until"`
	Detail string    `json:"detail,omitempty"` // such as the name of an IdP
}

// Identity links what an IdP calls a person (OIDC Core section 5.7: issuer and
// subject together) to a user.
type Identity struct {
	Issuer     string
	Subject    string
	ProviderID string
	UserID     string
	Email      string
	Username   string
	CreatedAt  time.Time
	LastUsedAt time.Time
	// Link is zero where the user was made for the identity.
	Link Link
}

// Bounds of what people type, in code points.
const (
	MaxUsername = 64
	MaxName     = 128
	MaxEmail    = 254
)

// FoldUsername is the form in which usernames are compared: NFKC, case folded
// (Unicode TR 36), so that look-alikes are one name on every database.
func FoldUsername(username string) string {
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(strings.TrimSpace(username))))
}

// FoldName is the form in which full names are searched.
func FoldName(name string) string { return FoldUsername(name) }

// FoldEmail is the form in which addresses are compared.
func FoldEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// checkUsername returns the name to store, or says what is wrong with it.
func checkUsername(username string) (string, error) {
	name := strings.TrimSpace(norm.NFC.String(username))
	switch {
	case name == "" || FoldUsername(name) == "":
		return "", refuse(InvalidUsername, "a username is needed")
	case !utf8.ValidString(name) || utf8.RuneCountInString(name) > MaxUsername || len(FoldUsername(name)) > 4*MaxUsername:
		return "", refuse(InvalidUsername, "a username has at most 64 characters")
	case strings.ContainsFunc(name, invisible):
		return "", refuse(InvalidUsername, "a username has no invisible characters")
	}
	return name, nil
}

func invisible(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) && r != ' '
}

// cleanText bounds a free text and drops what cannot be shown.
func cleanText(text string, limit int) string {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, text))
	if utf8.RuneCountInString(text) > limit {
		text = string([]rune(text)[:limit])
	}
	return text
}

// checkEmail accepts one plain address, or none.
func checkEmail(email string) (string, error) {
	email = strings.TrimSpace(email)
	if email == "" {
		return "", nil
	}
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || len(email) > MaxEmail || strings.ContainsAny(domain, "@ ") ||
		strings.HasSuffix(domain, ".") || strings.ContainsAny(local, "\" \\,;<>()") || strings.ContainsFunc(email, invisible) {
		return "", fault(InvalidRequest, "email", "the e-mail address is not a plain address")
	}
	return email, nil
}
