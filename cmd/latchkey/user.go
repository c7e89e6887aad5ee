package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

// userView is a user as the API names its fields.
type userView struct {
	ID        string `json:"id"`
	Username  string `json:"username"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	Verified  bool   `json:"emailVerified"`
	Type      string `json:"type"`
	IsActive  bool   `json:"isActive"`
	HasOpenID bool   `json:"hasOpenIDLink"`
	Second    bool   `json:"secondFactor"`
	CreatedAt *int64 `json:"createdAt"`
	LastSeen  *int64 `json:"lastSeen"`
}

func viewUser(u broker.User) userView {
	return userView{
		ID: u.ID, Username: u.Username, Name: u.Name, Email: u.Email, Verified: u.EmailVerified, Type: string(u.Role), IsActive: u.DisabledAt.IsZero(),
		HasOpenID: u.HasIdentity, Second: u.SecondFactor, CreatedAt: millis(u.CreatedAt), LastSeen: millis(u.LastSeenAt),
	}
}

func (p *program) printUsers(users []broker.User, one bool) error {
	views, rows := []userView{}, [][]string{}
	for _, u := range users {
		views = append(views, viewUser(u))
		state := "enabled"
		if !u.DisabledAt.IsZero() {
			state = "disabled"
		}
		rows = append(rows, []string{u.Username, string(u.Role), state, u.Email, when(u.LastSeenAt), u.ID})
	}
	switch {
	case p.json && one:
		return p.printJSON(views[0])
	case p.json:
		return p.printJSON(views)
	}
	p.table("USERNAME\tROLE\tSTATE\tE-MAIL\tLAST SEEN\tID", rows)
	return nil
}

func (p *program) userCommand() *cobra.Command {
	user := &cobra.Command{Use: "user", Short: "Make and change users, on the database directly"}
	user.AddCommand(p.userCreate(), p.userInvite(), p.userResetLink(), p.userList(), p.userUpdate(), p.userLegacy(), p.userEndLegacy())
	user.AddCommand(p.onUser("show NAME", "Show a user", func(ctx context.Context, b *broker.Broker, u broker.User) error { return nil }))
	var temporary bool
	setPassword := p.onUser("set-password NAME --password-stdin", "Set a password; every device of the user has to log in again",
		func(ctx context.Context, b *broker.Broker, u broker.User) error {
			password, err := p.readPassword()
			if err != nil {
				return err
			}
			return b.ResetPassword(ctx, u.ID, password, temporary)
		})
	setPassword.Flags().Bool("password-stdin", false, "read the password from the standard input")
	setPassword.Flags().BoolVar(&temporary, "temporary", false, temporaryHelp)
	_ = setPassword.MarkFlagRequired("password-stdin")
	user.AddCommand(setPassword,
		p.onUser("disable NAME", "Disable a user; all sessions end", func(ctx context.Context, b *broker.Broker, u broker.User) error {
			return b.SetDisabled(ctx, u.ID, true)
		}),
		p.onUser("enable NAME", "Enable a user again", func(ctx context.Context, b *broker.Broker, u broker.User) error {
			return b.SetDisabled(ctx, u.ID, false)
		}),
		p.onUser("reset-factors NAME", "Remove the second factors of a user who has lost them; no session ends",
			func(ctx context.Context, b *broker.Broker, u broker.User) error {
				_, err := b.ResetFactors(ctx, u.ID)
				return err
			}),
		p.onUser("delete NAME", "Delete a user and its identities; all sessions end", func(ctx context.Context, b *broker.Broker, u broker.User) error {
			return b.DeleteUser(ctx, u.ID)
		}),
		p.userUnlink())
	return user
}

// onUser is a command that finds a user, does something and shows the user as
// it is then (or, once deleted, as it was).
func (p *program) onUser(use, short string, do func(context.Context, *broker.Broker, broker.User) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, err := findUser(cmd.Context(), b, args[0])
				if err != nil {
					return err
				}
				if err := do(cmd.Context(), b, u); err != nil {
					return err
				}
				if after, err := b.FindUser(cmd.Context(), u.ID); err == nil {
					u = after
				}
				return p.printUsers([]broker.User{u}, true)
			})
		},
	}
	p.jsonFlag(c)
	return c
}

func findUser(ctx context.Context, b *broker.Broker, nameOrID string) (broker.User, error) {
	u, err := b.FindUser(ctx, nameOrID)
	if errors.Is(err, broker.NotFound) {
		err = fmt.Errorf("there is no user %q", nameOrID)
	}
	return u, err
}

const temporaryHelp = "the user has to choose another password at the next login"

var errRole = errors.New("--role is one of root, admin, user, guest")

func (p *program) userCreate() *cobra.Command {
	var n broker.NewUser
	var role string
	var withPassword bool
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a user", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			n.Username, n.Role = args[0], broker.Role(role)
			if !n.Role.Valid() {
				return usageError{errRole}
			}
			if n.Temporary && !withPassword {
				return usageError{errors.New("--temporary needs --password-stdin")}
			}
			if withPassword {
				if n.Password, err = p.readPassword(); err != nil {
					return err
				}
			}
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, err := b.CreateUser(cmd.Context(), n)
				if err != nil {
					return err
				}
				return p.printUsers([]broker.User{u}, true)
			})
		},
	}
	accountFlags(c, &n, &role)
	c.Flags().BoolVar(&withPassword, "password-stdin", false, "read the password from the standard input; without it the user has none")
	c.Flags().BoolVar(&n.Temporary, "temporary", false, temporaryHelp)
	p.jsonFlag(c)
	return c
}

// accountFlags are those of every command that makes a user.
func accountFlags(c *cobra.Command, n *broker.NewUser, role *string) {
	c.Flags().StringVar(&n.Email, "email", "", "e-mail address")
	c.Flags().BoolVar(&n.EmailVerified, "email-verified", false, "the e-mail address is known to be the user's own")
	c.Flags().StringVar(&n.Name, "full-name", "", "full name")
	c.Flags().StringVar(role, "role", string(broker.RoleUser), "root, admin, user or guest")
}

func (p *program) userList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List users", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				var all []broker.User
				for page := (broker.Page{Limit: broker.MaxPage}); ; {
					users, next, err := b.PageUsers(cmd.Context(), broker.UserFilter{}, page)
					if err != nil {
						return err
					}
					if all = append(all, users...); next == "" {
						return p.printUsers(all, false)
					}
					page.Next = next
				}
			})
		},
	}
	p.jsonFlag(c)
	return c
}

func (p *program) userUpdate() *cobra.Command {
	var name, fullName, email, role string
	var verified bool
	var flags interface{ Changed(string) bool }
	c := p.onUser("update NAME", "Change a user; a rename logs nobody out", func(ctx context.Context, b *broker.Broker, u broker.User) error {
		change := broker.UserChange{}
		set := func(flag string, value *string) *string {
			if flags.Changed(flag) {
				return value
			}
			return nil
		}
		change.Username, change.Name, change.Email = set("name", &name), set("full-name", &fullName), set("email", &email)
		if flags.Changed("email-verified") {
			change.EmailVerified = &verified
		}
		if flags.Changed("role") {
			r := broker.Role(role)
			if !r.Valid() {
				return usageError{errRole}
			}
			change.Role = &r
		}
		_, err := b.UpdateUser(ctx, u.ID, change)
		return err
	})
	c.Flags().StringVar(&name, "name", "", "new username")
	c.Flags().StringVar(&fullName, "full-name", "", "new full name")
	c.Flags().StringVar(&email, "email", "", "new e-mail address")
	c.Flags().BoolVar(&verified, "email-verified", false, "the e-mail address is known to be the user's own")
	c.Flags().StringVar(&role, "role", "", "new role: root, admin, user or guest")
	flags = c.Flags()
	return c
}

func (p *program) userUnlink() *cobra.Command {
	var provider string
	c := p.onUser("unlink NAME", "Take the linked logins of identity providers from a user; what logged in through them has to log in again",
		func(ctx context.Context, b *broker.Broker, u broker.User) error {
			_, err := b.UnlinkProvider(ctx, u.ID, provider)
			if errors.Is(err, broker.NotFound) {
				return fmt.Errorf("nothing of that kind is linked to %q", u.Username)
			}
			return err
		})
	c.Flags().StringVar(&provider, "provider", "", "id of the provider; without it, all")
	return c
}

// readPassword reads one line, for --password-stdin.
func (p *program) readPassword() (string, error) {
	line, err := bufio.NewReader(io.LimitReader(p.stdin, broker.MaxPasswordBytes+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("no password came on the standard input")
	}
	return line, nil
}
