package web

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// apiKeyJSON is an API key as the JSON contract has it. apiKey is there once, in
// the answer that made it; permissions is always null.
type apiKeyJSON struct {
	APIKey          string       `json:"apiKey,omitempty"`
	ID              string       `json:"id"`
	Name            string       `json:"name"`
	Description     *string      `json:"description"`
	ExpiresAt       *time.Time   `json:"expiresAt"`
	LastUsedAt      *time.Time   `json:"lastUsedAt"`
	IsActive        bool         `json:"isActive"`
	Permissions     *struct{}    `json:"permissions"`
	CreatedAt       time.Time    `json:"createdAt"`
	UpdatedAt       time.Time    `json:"updatedAt"`
	UserID          string       `json:"userId"`
	CreatedByUserID *string      `json:"createdByUserId"`
	User            keyUserJSON  `json:"user"`
	CreatedByUser   *keyUserJSON `json:"createdByUser"`

	// Latchkey's own addition.
	Scope string `json:"scope"`
}

type keyUserJSON struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Type     string `json:"type"`
}

func toKeyUserJSON(u broker.User) keyUserJSON {
	return keyUserJSON{ID: u.ID, Username: u.Username, Type: string(u.Role)}
}

func toAPIKeyJSON(k broker.OwnedAPIKey, now time.Time) apiKeyJSON {
	out := apiKeyJSON{
		ID: k.ID, Name: k.Name, ExpiresAt: unlessZero(k.ExpiresAt), LastUsedAt: unlessZero(k.LastUsedAt), IsActive: k.Active(now),
		CreatedAt: k.CreatedAt, UpdatedAt: k.UpdatedAt, UserID: k.UserID, User: toKeyUserJSON(k.Owner), Scope: k.Scope,
	}
	if k.Description != "" {
		out.Description = &k.Description
	}
	if k.Creator.ID != "" {
		creator := toKeyUserJSON(k.Creator)
		out.CreatedByUserID, out.CreatedByUser = &creator.ID, &creator
	}
	return out
}

func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

const keysPerPage = 1000

// listAPIKeys is GET /api/api-keys[?userId=ID&after=ID&limit=N], by id. An
// ordinary user sees the own keys.
func (s *Server) listAPIKeys(c *gin.Context, p broker.Principal) error {
	q, err := query(c, "userId", "after", "limit")
	if err != nil {
		return err
	}
	limit := max(1, count(q["limit"], keysPerPage, keysPerPage))
	list, err := s.broker.APIKeys(c.Request.Context(), &p.User, q["userId"], q["after"], limit)
	if err != nil {
		return err
	}
	out := []apiKeyJSON{}
	for _, k := range list {
		out = append(out, toAPIKeyJSON(k, s.broker.Now()))
	}
	body := gin.H{"apiKeys": out}
	if len(list) == limit {
		body["next"] = list[len(list)-1].ID // to be given as after
	}
	c.JSON(http.StatusOK, body)
	return nil
}

// createAPIKey is POST /api/api-keys. The contract answers 200.
func (s *Server) createAPIKey(c *gin.Context, p broker.Principal) error {
	f, err := readKeyFields(c)
	if err != nil {
		return err
	}
	n := broker.NewAPIKey{UserID: p.User.ID, ExpiresIn: f.expiresIn}
	set(&n.Name, f.name)
	set(&n.Description, f.description)
	set(&n.UserID, f.userID)
	set(&n.Scope, f.scope)
	set(&n.Disabled, f.disabled)
	made, key, err := s.broker.CreateAPIKey(c.Request.Context(), &p, n, device(c))
	if err != nil {
		return err
	}
	out := toAPIKeyJSON(made, s.broker.Now())
	out.APIKey = key.Reveal()
	c.JSON(http.StatusOK, gin.H{"apiKey": out})
	return nil
}

func set[T any](into, value *T) {
	if value != nil {
		*into = *value
	}
}

// updateAPIKey is PATCH /api/api-keys/:id.
func (s *Server) updateAPIKey(c *gin.Context, p broker.Principal) error {
	f, err := readKeyFields(c)
	if err != nil {
		return err
	}
	if f.scope != nil || f.expiresIn != 0 {
		return badRequest("scope and expiresIn cannot be changed: make another key")
	}
	change := broker.APIKeyChange{Name: f.name, Description: f.description, UserID: f.userID, Disabled: f.disabled, Proving: &broker.Proving{Principal: p, Device: device(c)}}
	changed, err := s.broker.UpdateAPIKey(c.Request.Context(), &p.User, c.Param("id"), change, device(c))
	if err == nil {
		c.JSON(http.StatusOK, gin.H{"apiKey": toAPIKeyJSON(changed, s.broker.Now())})
	}
	return err
}

// deleteAPIKey is DELETE /api/api-keys/:id.
func (s *Server) deleteAPIKey(c *gin.Context, p broker.Principal) error {
	err := s.broker.DeleteAPIKey(c.Request.Context(), &p.User, c.Param("id"), device(c))
	if err == nil {
		c.String(http.StatusOK, "OK")
	}
	return err
}

// keyFields is what a body says of a key; nil where it says nothing, or null.
type keyFields struct {
	name, description, userID, scope *string
	disabled                         *bool
	expiresIn                        time.Duration
}

func readKeyFields(c *gin.Context) (f keyFields, err error) {
	if !strings.HasPrefix(c.ContentType(), "application/json") {
		return f, badRequest("the body must be application/json")
	}
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		return f, bodyError(err)
	}
	seen := map[string]bool{}
	texts := map[string]**string{"name": &f.name, "description": &f.description, "userId": &f.userID, "scope": &f.scope}
	err = eachField(body, func(name string, value any) error {
		if seen[name] {
			return badRequest(name + ": is repeated")
		}
		seen[name] = true
		if value == nil {
			return nil
		}
		into := texts[name]
		if into == nil {
			return f.other(name, value)
		}
		text, ok := value.(string)
		if !ok || strings.ContainsRune(text, 0) {
			return badRequest(name + ": must be a text")
		}
		*into = &text
		return nil
	})
	return f, err
}

// other reads what is no text. A field that the contract does not know is left
// alone.

func (f *keyFields) other(name string, value any) error {
	switch name {
	case "isActive":
		active, ok := value.(bool)
		if !ok {
			return badRequest("isActive: must be true or false")
		}
		disabled := !active
		f.disabled = &disabled
	case "expiresIn":
		seconds, ok := value.(float64)
		if most := broker.MaxKeyLife.Seconds(); !ok || seconds < 1 || seconds > most || math.IsNaN(seconds) {
			return badRequest(fmt.Sprintf("expiresIn: must be a number of seconds from 1 to %.0f", most))
		}
		f.expiresIn = time.Duration(seconds * float64(time.Second)).Truncate(time.Millisecond)
	}
	return nil
}
