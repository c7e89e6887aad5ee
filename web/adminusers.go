package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// adminUserJSON is a user as administrators see one: the contract's fields, and
// Latchkey's own. No secret and no hash is in it.
type adminUserJSON struct {
	userJSON
	Name              string   `json:"name"`
	EmailVerified     bool     `json:"emailVerified"`
	Groups            []string `json:"groups"`
	HasPassword       bool     `json:"hasPassword"`
	PasswordTemporary bool     `json:"passwordTemporary"`
	SecondFactor      bool     `json:"secondFactor"`
	UpdatedAt         int64    `json:"updatedAt"`
	DisabledAt        *int64   `json:"disabledAt"`
}

func toAdminUserJSON(u broker.User) adminUserJSON {
	return adminUserJSON{
		userJSON: toUserJSON(u), Name: u.Name, EmailVerified: u.EmailVerified, Groups: orNone(u.Groups), HasPassword: u.PasswordHash != "",
		PasswordTemporary: u.PasswordTemporary, SecondFactor: u.SecondFactor, UpdatedAt: u.UpdatedAt.UnixMilli(), DisabledAt: millis(u.DisabledAt),
	}
}

// standardPage is how many entries a page of the admin API has.
const standardPage = 100

// listUsers is GET /api/users. include is a parameter of the JSON contract that
// asks for nothing that there is.
func (s *Server) listUsers(c *gin.Context, _ broker.Principal) error {
	q, err := readParams(c, "search", "role", "disabled", "provider", "include")
	if err != nil {
		return err
	}
	page, err := q.page(standardPage, broker.MaxPage)
	if err != nil {
		return err
	}
	f, err := userFilter(q)
	if err != nil {
		return err
	}
	users, next, err := s.broker.PageUsers(c.Request.Context(), f, page)
	if err != nil {
		return err
	}
	out := []adminUserJSON{}
	for _, u := range users {
		out = append(out, toAdminUserJSON(u))
	}
	c.JSON(http.StatusOK, withNext(gin.H{"users": out}, next))
	return nil
}

// resetFactors is DELETE /api/users/:id/factors.
func (s *Server) resetFactors(c *gin.Context, _ broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	had, err := s.broker.ResetFactors(c.Request.Context(), id)
	if err == nil {
		c.JSON(http.StatusOK, gin.H{"reset": had})
	}
	return err
}

// withNext adds what the next page is asked with, where there is one.
func withNext(body gin.H, next string) gin.H {
	if next != "" {
		body["next"] = next
	}
	return body
}

func (s *Server) showUser(c *gin.Context, _ broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	u, err := s.broker.UserByID(c.Request.Context(), id)
	if err == nil {
		c.JSON(http.StatusOK, toAdminUserJSON(u))
	}
	return err
}

// userFields are the fields of a user in a request, under the names of the JSON
// contract and, where those say less, Latchkey's own beside them.
type userFields struct {
	Username, Name, Email, Password *string
	EmailVerified, VerifiedEmail    *bool
	Role, Type                      *broker.Role
	IsActive, Temporary             *bool
	Permissions                     map[string]any
	Libraries, Tags                 []string
}

// readUser reads a user; what is not a field of one is a fault, so that nobody
// believes to have set it.
func readUser(c *gin.Context) (f userFields, err error) {
	into := map[string]any{
		"username": &f.Username, "name": &f.Name, "email": &f.Email, "password": &f.Password,
		"emailVerified": &f.EmailVerified, "email_verified": &f.VerifiedEmail, "role": &f.Role, "type": &f.Type, "isActive": &f.IsActive,
		"temporary": &f.Temporary, "permissions": &f.Permissions, "librariesAccessible": &f.Libraries, "itemTagsSelected": &f.Tags,
	}
	if err := members(c, into); err != nil {
		return f, err
	}
	if f.EmailVerified == nil {
		f.EmailVerified = f.VerifiedEmail
	}
	if f.Role != nil && f.Type != nil && *f.Role != *f.Type {
		return f, badField("type", "role says another one")
	}
	if or(f.Temporary) && f.Password == nil {
		return f, badField("temporary", "it goes with a password")
	}
	if f.Role == nil {
		f.Role = f.Type
	}
	return f, nil
}

// permissions are the flags; the lists may stand among them, as in the contract.
func (f userFields) permissions() (p broker.PermissionsChange, err error) {
	p.Libraries, p.Tags = f.Libraries, f.Tags
	for name, value := range f.Permissions {
		switch name {
		case "librariesAccessible":
			p.Libraries, err = texts(name, value)
		case "itemTagsSelected":
			p.Tags, err = texts(name, value)
		default:
			is, ok := value.(bool)
			if !ok {
				return p, badField("permissions", shown(name)+" is true or false")
			}
			if p.Flags == nil {
				p.Flags = map[string]bool{}
			}
			p.Flags[name] = is
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

func texts(field string, value any) ([]string, error) {
	list, ok := value.([]any)
	out := []string{}
	for _, entry := range list {
		text, isText := entry.(string)
		ok = ok && isText
		out = append(out, text)
	}
	if !ok {
		return nil, badField(field, "a list of texts")
	}
	return out, nil
}

func or[T any](p *T) (zero T) {
	if p != nil {
		return *p
	}
	return zero
}

func (s *Server) createUser(c *gin.Context, _ broker.Principal) error {
	f, err := readUser(c)
	if err != nil {
		return err
	}
	permissions, err := f.permissions()
	if err != nil {
		return err
	}
	u, err := s.broker.CreateUser(c.Request.Context(), broker.NewUser{
		Username: or(f.Username), Name: or(f.Name), Email: or(f.Email), EmailVerified: or(f.EmailVerified), Role: or(f.Role),
		Password: or(f.Password), Temporary: or(f.Temporary), Disabled: f.IsActive != nil && !*f.IsActive, Permissions: permissions,
	})
	if err == nil {
		c.JSON(http.StatusCreated, gin.H{"success": true, "user": toAdminUserJSON(u)})
	}
	return err
}

// updateUser is PATCH /api/users/:id: what the body does not name, or names as
// null, stays as it is.
func (s *Server) updateUser(c *gin.Context, _ broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	f, err := readUser(c)
	if err != nil {
		return err
	}
	change := broker.UserChange{
		Username: f.Username, Name: f.Name, Email: f.Email, EmailVerified: f.EmailVerified, Role: f.Role, Password: f.Password,
		Temporary: or(f.Temporary),
	}
	if f.IsActive != nil {
		disabled := !*f.IsActive
		change.Disabled = &disabled
	}
	if change.Permissions, err = f.permissions(); err != nil {
		return err
	}
	u, err := s.broker.UpdateUser(c.Request.Context(), id, change)
	if err == nil {
		c.JSON(http.StatusOK, gin.H{"success": true, "user": toAdminUserJSON(u)})
	}
	return err
}

func (s *Server) deleteUser(c *gin.Context, _ broker.Principal) error {
	id, err := rowID(c)
	if err == nil {
		err = s.broker.DeleteUser(c.Request.Context(), id)
	}
	if err == nil {
		c.JSON(http.StatusOK, gin.H{"success": true})
	}
	return err
}
