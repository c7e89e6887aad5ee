package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/latchkey-id/latchkey/broker"
)

func (p *program) jsonFlag(c *cobra.Command) {
	c.Flags().BoolVar(&p.json, "json", false, "print JSON")
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints rows in columns.
func (p *program) table(header string, rows [][]string) {
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// localTLSClient is for the health check alone: it asks our own port whether we
// are ready, and the certificate is for our public name.
func localTLSClient() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
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

// userView is a user as the API names its fields.
type userView struct {
	ID        string `json:"id"`
	Username  string `json:"username"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	Type      string `json:"type"`
	IsActive  bool   `json:"isActive"`
	HasOpenID bool   `json:"hasOpenIDLink"`
	CreatedAt *int64 `json:"createdAt"`
	LastSeen  *int64 `json:"lastSeen"`
}

func viewUser(u broker.User) userView {
	return userView{
		ID: u.ID, Username: u.Username, Name: u.Name, Email: u.Email, Type: string(u.Role), IsActive: u.DisabledAt.IsZero(),
		HasOpenID: u.HasIdentity, CreatedAt: millis(u.CreatedAt), LastSeen: millis(u.LastSeenAt),
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
	user.AddCommand(p.userCreate(), p.userList(), p.userUpdate())
	user.AddCommand(p.onUser("show NAME", "Show a user", func(ctx context.Context, b *broker.Broker, u broker.User) error { return nil }))
	setPassword := p.onUser("set-password NAME --password-stdin", "Set a password; every device of the user has to log in again",
		func(ctx context.Context, b *broker.Broker, u broker.User) error {
			password, err := p.readPassword()
			if err != nil {
				return err
			}
			return b.ResetPassword(ctx, u.ID, password)
		})
	setPassword.Flags().Bool("password-stdin", false, "read the password from the standard input")
	_ = setPassword.MarkFlagRequired("password-stdin")
	user.AddCommand(setPassword,
		p.onUser("disable NAME", "Disable a user; all sessions end", func(ctx context.Context, b *broker.Broker, u broker.User) error {
			return b.SetDisabled(ctx, u.ID, true)
		}),
		p.onUser("enable NAME", "Enable a user again", func(ctx context.Context, b *broker.Broker, u broker.User) error {
			return b.SetDisabled(ctx, u.ID, false)
		}),
		p.onUser("delete NAME", "Delete a user and its identities; all sessions end", func(ctx context.Context, b *broker.Broker, u broker.User) error {
			return b.DeleteUser(ctx, u.ID)
		}))
	return user
}

// onUser is a command that finds a user, does something and shows the user as
// it is then (or, once deleted, as it was).
func (p *program) onUser(use, short string, do func(context.Context, *broker.Broker, broker.User) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				u, err := b.FindUser(cmd.Context(), args[0])
				if errors.Is(err, broker.NotFound) {
					return fmt.Errorf("there is no user %q", args[0])
				}
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
	c.Flags().StringVar(&n.Email, "email", "", "e-mail address")
	c.Flags().StringVar(&n.Name, "full-name", "", "full name")
	c.Flags().StringVar(&role, "role", string(broker.RoleUser), "root, admin, user or guest")
	c.Flags().BoolVar(&withPassword, "password-stdin", false, "read the password from the standard input; without it the user has none")
	p.jsonFlag(c)
	return c
}

func (p *program) userList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List users", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				var all []broker.User
				for after := ""; ; {
					page, err := b.Users(cmd.Context(), after, 500)
					if err != nil {
						return err
					}
					if all = append(all, page...); len(page) < 500 {
						return p.printUsers(all, false)
					}
					after = page[len(page)-1].Username
				}
			})
		},
	}
	p.jsonFlag(c)
	return c
}

func (p *program) userUpdate() *cobra.Command {
	var name, fullName, email, role string
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
	c.Flags().StringVar(&role, "role", "", "new role: root, admin, user or guest")
	flags = c.Flags()
	return c
}

// sessionView is a session as the API names its fields.
type sessionView struct {
	ID        string   `json:"id"`
	UserID    string   `json:"userId"`
	ClientID  string   `json:"client_id"`
	Provider  string   `json:"provider"`
	IPAddress string   `json:"ipAddress"`
	UserAgent string   `json:"userAgent"`
	AMR       []string `json:"amr"`
	CreatedAt *int64   `json:"createdAt"`
	UpdatedAt *int64   `json:"updatedAt"`
	ExpiresAt *int64   `json:"expiresAt"`
	EndedAt   *int64   `json:"endedAt"`
	EndCause  string   `json:"endCause"`
	Wipe      bool     `json:"wipe"`
}

func (p *program) sessionCommand() *cobra.Command {
	session := &cobra.Command{Use: "session", Short: "List and end sessions"}
	session.AddCommand(p.sessionList(), p.sessionRevoke())
	return session
}

func (p *program) sessionList() *cobra.Command {
	var name string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List sessions, ended ones too, newest activity first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				filter, err := sessionFilter(cmd.Context(), b, "", name, name == "")
				if err != nil {
					return err
				}
				list, _, err := b.SessionsBy(cmd.Context(), filter, 0, limit)
				if err != nil {
					return err
				}
				return p.printSessions(list, b.Now())
			})
		},
	}
	c.Flags().StringVar(&name, "user", "", "only of this user")
	c.Flags().IntVar(&limit, "limit", 1000, "at most so many")
	p.jsonFlag(c)
	return c
}

func (p *program) printSessions(list []broker.Session, now time.Time) error {
	views, rows := []sessionView{}, [][]string{}
	for _, s := range list {
		cause := s.Ended(now)
		views = append(views, sessionView{
			ID: s.ID, UserID: s.UserID, ClientID: s.ClientID, Provider: s.ProviderID, IPAddress: s.LastIP, UserAgent: s.UserAgent, AMR: s.AMR,
			CreatedAt: millis(s.CreatedAt), UpdatedAt: millis(s.LastSeenAt), ExpiresAt: millis(s.IdleExpiresAt),
			EndedAt: millis(s.EndedAt), EndCause: string(cause), Wipe: s.Wipe,
		})
		state := "alive"
		if cause != "" {
			state = string(cause)
		}
		rows = append(rows, []string{s.ID, s.UserID, state, s.LastIP, when(s.LastSeenAt), when(s.IdleExpiresAt)})
	}
	if p.json {
		return p.printJSON(views)
	}
	p.table("ID\tUSER\tSTATE\tADDRESS\tLAST USED\tEXPIRES", rows)
	return nil
}

func sessionFilter(ctx context.Context, b *broker.Broker, id, name string, all bool) (broker.SessionFilter, error) {
	f := broker.SessionFilter{ID: id, All: all}
	if name != "" {
		u, err := b.FindUser(ctx, name)
		if err != nil {
			return f, fmt.Errorf("user %q: %w", name, err)
		}
		f.UserID = u.ID
	}
	return f, nil
}

func (p *program) sessionRevoke() *cobra.Command {
	var name string
	var all, wipe bool
	c := &cobra.Command{
		Use: "revoke [ID]", Short: "End a session, those of a user, or all", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := strings.Join(args, "")
			if named := slices.DeleteFunc([]bool{id != "", name != "", all}, func(b bool) bool { return !b }); len(named) != 1 {
				return usageError{errors.New("name one of: a session ID, --user NAME, --all")}
			}
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error {
				filter, err := sessionFilter(cmd.Context(), b, id, name, all)
				if err != nil {
					return err
				}
				n, err := b.EndSessions(cmd.Context(), filter, broker.RevokedByAdmin, wipe, "")
				if err != nil {
					return err
				}
				if id != "" && n == 0 {
					return fmt.Errorf("there is no live session %s", id)
				}
				if p.json {
					return p.printJSON(map[string]int{"ended": n})
				}
				fmt.Fprintf(p.stdout, "%d ended\n", n)
				return nil
			})
		},
	}
	c.Flags().StringVar(&name, "user", "", "every session of this user")
	c.Flags().BoolVar(&all, "all", false, "every session of everybody")
	c.Flags().BoolVar(&wipe, "wipe", false, "ask the app to remove local data (a lost device)")
	p.jsonFlag(c)
	return c
}

func (p *program) keyCommand() *cobra.Command {
	key := &cobra.Command{Use: "key", Short: "Signing keys"}
	list := &cobra.Command{
		Use: "list", Short: "List signing keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withBroker(cmd.Context(), func(b *broker.Broker) error { return p.printKeys(b) })
		},
	}
	p.jsonFlag(list)
	key.AddCommand(list)
	return key
}

func (p *program) printKeys(b *broker.Broker) error {
	type view struct {
		ID        string `json:"kid"`
		Algorithm string `json:"alg"`
		Signs     bool   `json:"signs"`
		CreatedAt *int64 `json:"createdAt"`
		ActiveAt  *int64 `json:"activeAt"`
		RetiredAt *int64 `json:"retiredAt"`
	}
	views, rows := []view{}, [][]string{}
	signer := b.Signer()
	for _, k := range b.KeyRing().Keys() {
		signs := signer != nil && signer.ID == k.ID
		views = append(views, view{k.ID, k.Algorithm, signs, millis(k.CreatedAt), millis(k.ActiveAt), millis(k.RetiredAt)})
		state := "published"
		if signs {
			state = "signs"
		}
		rows = append(rows, []string{k.ID, k.Algorithm, state, when(k.CreatedAt), when(k.ActiveAt)})
	}
	if p.json {
		return p.printJSON(views)
	}
	p.table("KID\tALGORITHM\tSTATE\tMADE\tSIGNS FROM", rows)
	return nil
}

func (p *program) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check or print the configuration"}
	check := &cobra.Command{
		Use: "check", Short: "Say what is wrong with the configuration", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.loadConfig()
			if err != nil {
				return err
			}
			for _, w := range cfg.warnings() {
				fmt.Fprintln(p.stdout, "warning:", w)
			}
			fmt.Fprintln(p.stdout, "ok")
			return nil
		},
	}
	show := &cobra.Command{
		Use: "print", Short: "Print the configuration in effect, secrets redacted", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.loadConfig()
			if err != nil {
				return err
			}
			return p.printConfig(cfg)
		},
	}
	p.jsonFlag(show)
	c.AddCommand(check, show)
	return c
}

// printConfig prints what is in effect, as the file would say it.
func (p *program) printConfig(c *config) error {
	for _, s := range c.settings() {
		if text, ok := s.value.(*string); ok && s.secret && *text != "" {
			*text = redacted
		}
		if list, ok := s.value.(*[]string); ok && s.secret {
			for i := range *list {
				(*list)[i] = redacted
			}
		}
	}
	if c.DatabaseURL == "" {
		c.DatabaseURL = c.databaseURL()
	}
	for i := range c.Providers {
		if c.Providers[i].ClientSecret != "" {
			c.Providers[i].ClientSecret = redacted
		}
	}
	out, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if p.json {
		var tree map[string]any
		if err := yaml.Unmarshal(out, &tree); err != nil {
			return err
		}
		return p.printJSON(tree)
	}
	_, err = p.stdout.Write(out)
	return err
}

const redacted = "[redacted]"

// MarshalYAML prints a duration as people write it.
func (d duration) MarshalYAML() (any, error) { return d.String(), nil }
