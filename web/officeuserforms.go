package web

import (
	"cmp"
	"context"
	"errors"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// userDone are the sentences of what was done to a user.
var userDone = map[string]*text{
	"created": say("The user was made."), "invited": say("The user was made, and a mail with the invitation is on its way."), "changed": say("The change is saved."), "permissions": say("The permissions are saved."),
	"disabled": say("The account is disabled, and every session has ended."), "enabled": say("The account is enabled again."),
	"unlinked": say("The login is unlinked."), "ended": say("Every session of the account has ended."), "legacy": say("The tokens that never expire have ended."),
	"twice":  say("This form was sent already, so no other password was set. A temporary password is shown once: if you did not pass it on, set another."),
	"mailed": say("A mail with the link is on its way."),
	"key":    say("The API key is changed."), "key_deleted": say("The API key is deleted."),
	"factors": say("The second factors are reset: the password alone lets the person in again."),
}

// userChange is what a form of a user's page asks for: it does it, and names it in
// [userDone].
type userChange func(c *gin.Context, p broker.Principal, id string, f map[string]*string) (done string, err error)

// userForm is a form of a user's page. What is refused is said on the page; at
// says which of its forms has fields.
func (s *Server) userForm(change userChange, at func(*userView) *[]input, fields ...string) principalHandler {
	return s.provenUserForm("", change, at, fields...)
}

// provenUserForm is [Server.userForm] for the form of this name that asks for a
// proof; empty: it does not.
func (s *Server) provenUserForm(form string, change userChange, at func(*userView) *[]input, fields ...string) principalHandler {
	return func(c *gin.Context, p broker.Principal) error {
		id, err := rowID(c)
		if err != nil {
			return err
		}
		var f map[string]*string
		var gone bool
		if form == "" {
			f, err = onlyFields(c, fields...)
		} else {
			f, gone, err = s.provenFields(c, p, userPath(id), fields...)
		}
		if gone || err != nil {
			return err
		}
		actProving(c, p, or(f[fieldProof]))
		done, err := change(c, p, id, f)
		if err == nil {
			return s.done(c, userPath(id), done)
		}
		if row := cmp.Or(or(f["identity"]), or(f["key"])); row != "" {
			return s.userAgain(c, p, formOfRow(form, row), f, at, err)
		}
		return s.userAgain(c, p, form, f, at, err)
	}
}

// userAgain shows a user's page with what was refused: at says which of its forms
// has fields, and form which asks for a proof; nil and empty: none.
func (s *Server) userAgain(c *gin.Context, p broker.Principal, form string, f map[string]*string, at func(*userView) *[]input, err error) error {
	out, view, trouble := s.userView(c, p)
	if trouble != nil {
		return trouble // the user may be gone
	}
	fields, proofs := &[]input{}, []*stepUp{}
	if at != nil {
		fields = at(view)
	}
	if proof := view.Proofs[form]; proof != nil {
		proof.Open, proofs = true, append(proofs, proof)
	}
	return s.retry(c, "office_user", out, fields, f, err, proofs...)
}

func (s *Server) changeProfile(c *gin.Context, _ broker.Principal, id string, f map[string]*string) (string, error) {
	verified := or(f["emailVerified"]) != ""
	change := broker.UserChange{Username: f["username"], Name: f["name"], Email: f["email"], EmailVerified: &verified}
	if f["role"] != nil {
		change.Role = new(broker.Role(*f["role"]))
	}
	_, err := s.broker.UpdateUser(c.Request.Context(), id, change)
	return "changed", err
}

func (s *Server) changePermissions(c *gin.Context, _ broker.Principal, id string, f map[string]*string) (string, error) {
	_, err := s.broker.UpdateUser(c.Request.Context(), id, broker.UserChange{Permissions: permissionsOf(f)})
	return "permissions", err
}

func (s *Server) changeState(c *gin.Context, _ broker.Principal, id string, f map[string]*string) (string, error) {
	switch or(f["to"]) {
	case "disabled":
		return "disabled", s.broker.SetDisabled(c.Request.Context(), id, true)
	case "enabled":
		return "enabled", s.broker.SetDisabled(c.Request.Context(), id, false)
	}
	return "", badRequest("to is disabled or enabled")
}

func (s *Server) unlinkUser(c *gin.Context, p broker.Principal, id string, f map[string]*string) (string, error) {
	if or(f["identity"]) == "" { // which would be all
		return "", badRequest("the field identity is missing")
	}
	_, err := s.broker.UnlinkByAdmin(c.Request.Context(), p, id, *f["identity"], device(c))
	return "unlinked", err
}

func (s *Server) endSessionsOfUser(c *gin.Context, _ broker.Principal, id string, f map[string]*string) (string, error) {
	_, err := s.broker.EndSessions(c.Request.Context(), broker.SessionFilter{UserID: id}, broker.RevokedByAdmin, or(f["wipe"]) != "", device(c).IP)
	return "ended", err
}

func (s *Server) endLegacyOfUser(c *gin.Context, _ broker.Principal, id string, _ map[string]*string) (string, error) {
	_, err := s.broker.EndLegacyTokens(c.Request.Context(), id, device(c))
	return "legacy", err
}

func (s *Server) resetFactorsOfUser(c *gin.Context, _ broker.Principal, id string, _ map[string]*string) (string, error) {
	_, err := s.broker.ResetFactors(c.Request.Context(), id)
	return "factors", err
}

// changeUserKey disables, enables or deletes an API key.
func (s *Server) changeUserKey(c *gin.Context, p broker.Principal, _ string, f map[string]*string) (string, error) {
	ctx, key := c.Request.Context(), or(f["key"])
	switch or(f["to"]) {
	case "deleted":
		return "key_deleted", s.broker.DeleteAPIKey(ctx, &p.User, key, device(c))
	case "disabled", "enabled":
		disabled := or(f["to"]) == "disabled"
		change := broker.APIKeyChange{Disabled: &disabled, Proving: &broker.Proving{Principal: p, Given: or(f[fieldProof]), Device: device(c)}}
		_, err := s.broker.UpdateAPIKey(ctx, &p.User, key, change, device(c))
		return "key", err
	}
	return "", badRequest("to is disabled, enabled or deleted")
}

// deleteUserForm leads to the list: the page is gone with the user.
func (s *Server) deleteUserForm(c *gin.Context, p broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	f, gone, err := s.provenFields(c, p, userPath(id))
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(f[fieldProof]))
	if err := s.broker.DeleteUser(c.Request.Context(), id); err != nil {
		return s.userAgain(c, p, formDelete, nil, nil, err)
	}
	return s.done(c, usersPath, "deleted")
}

// passwordOfUserForm makes a link with which the user sets a password, or a
// temporary password. It stands in the answer, and nowhere else.
func (s *Server) passwordOfUserForm(c *gin.Context, p broker.Principal) error {
	id, err := rowID(c)
	if err != nil {
		return err
	}
	f, gone, err := s.provenFields(c, p, userPath(id), "by", "ticket")
	if gone || err != nil {
		return err
	}
	by := or(f["by"])
	if by != byMail && by != byLink && by != byPassword {
		return s.userAgain(c, p, formPassword, nil, nil, badRequest("by is mail, link or password"))
	}
	chosen := func(v *userView) *[]input {
		v.By = by
		return &[]input{}
	}
	actProving(c, p, or(f[fieldProof]))
	u, err := s.broker.UserByID(c.Request.Context(), id)
	if err != nil {
		return noSuchUser(err)
	}
	if by == byMail {
		_, err := s.broker.SendPasswordLink(c.Request.Context(), &p.User, id, "", s.byMail(c))
		if err != nil {
			return s.userAgain(c, p, formPassword, nil, chosen, err)
		}
		return s.done(c, userPath(id), "mailed")
	}
	once, err := s.passwordFor(c.Request.Context(), p, id, by, or(f["ticket"]))
	if errors.Is(err, broker.FormUsed) && !wantsJSON(c) {
		return s.done(c, userPath(id), "twice")
	}
	if err != nil {
		return s.userAgain(c, p, formPassword, nil, chosen, err)
	}
	return s.showOnce(c, p, u, *once)
}

// byMail hands a link over by mail, in the administrator's language where the
// user's is not known.
func (s *Server) byMail(c *gin.Context) broker.Handover {
	return broker.Handover{ByMail: true, Language: s.tongueFor(c, "").tag.String()}
}

func (s *Server) passwordFor(ctx context.Context, p broker.Principal, id, by, ticket string) (*shownOnce, error) {
	if by == byLink {
		made, err := s.broker.MakePasswordLink(ctx, &p.User, id, "")
		return linkOnce(made), err
	}
	password := s.broker.NewTemporaryPassword()
	_, err := s.broker.UpdateUser(ctx, id, broker.UserChange{Password: &password, Temporary: true, Ticket: ticket})
	return passwordOnce(password), err
}

// The forms of a user's page that have fields.
func profileOf(v *userView) *[]input { return &v.Profile }

func permissionsIn(v *userView) *[]input {
	v.PermissionsOpen = true
	return &v.Permissions
}

// permissionFields are the fields of the form of permissions.
func permissionFields() []string {
	names := []string{"librariesAccessible", "itemTagsSelected"}
	for _, p := range permissionTexts {
		names = append(names, p.name)
	}
	return names
}
