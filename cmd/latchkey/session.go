package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
)

// sessionView is a session as the API names its fields.
type sessionView struct {
	ID        string `json:"id"`
	UserID    string `json:"userId"`
	ClientID  string `json:"client_id"`
	Provider  string `json:"provider"`
	IPAddress string `json:"ipAddress"`
	UserAgent string `json:"userAgent"`
	// DeviceName is what the app or the person calls the device.
	DeviceName string   `json:"deviceName,omitempty"`
	AMR        []string `json:"amr"`
	CreatedAt  *int64   `json:"createdAt"`
	UpdatedAt  *int64   `json:"updatedAt"`
	ExpiresAt  *int64   `json:"expiresAt"`
	EndedAt    *int64   `json:"endedAt"`
	EndCause   string   `json:"endCause"`
	Wipe       bool     `json:"wipe"`
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
			ID: s.ID, UserID: s.UserID, ClientID: s.ClientID, Provider: s.ProviderID, IPAddress: s.LastIP, UserAgent: s.UserAgent, DeviceName: s.DeviceName, AMR: s.AMR,
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
