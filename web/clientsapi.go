package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// clientJSON is a client under the names of RFC 7591 section 3.2.1. The secret
// is there once, in the answer that made it.
type clientJSON struct {
	broker.Client
	Secret          string `json:"client_secret,omitempty"`
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`
	IssuedAt        int64  `json:"client_id_issued_at,omitempty"`
	ReadOnly        bool   `json:"read_only"`
}

func toClientJSON(c broker.Client, secret string) clientJSON {
	out := clientJSON{Client: c, Secret: secret, ReadOnly: c.ReadOnly}
	if !c.CreatedAt.IsZero() {
		out.IssuedAt = c.CreatedAt.Unix()
	}
	if secret != "" {
		never := int64(0)
		out.SecretExpiresAt = &never
	}
	return out
}

// readClient reads client metadata. A field that we do not know is an error for
// an administrator, who mistyped it, and ignored for a program that registers
// itself (RFC 7591 section 2).
func readClient(c *gin.Context, strict bool) (client broker.Client, err error) {
	if !strings.HasPrefix(c.ContentType(), "application/json") {
		return client, badRequest("the body must be application/json")
	}
	d := json.NewDecoder(c.Request.Body)
	if strict {
		d.DisallowUnknownFields()
	}
	if err = d.Decode(&client); err == nil {
		if _, more := d.Token(); more != io.EOF {
			return client, badRequest("something stands behind the JSON object")
		}
		return client, nil
	}
	if large := bodyError(err); large != errBadRequest {
		return client, large
	}
	return client, &broker.Error{Code: broker.InvalidClientMetadata, Message: "the body is not client metadata: " + strings.TrimPrefix(err.Error(), "json: ")}
}

// registerClient is POST /oauth2/register (RFC 7591 section 3), off unless there
// is an initial access token.
func (s *Server) registerClient(c *gin.Context) error {
	noStore(c)
	if err := s.broker.RegistrationAllowed(c.Request.Context(), verify.Bearer(c.Request), device(c)); err != nil {
		if code := broker.CodeOf(err); code == broker.NoToken || code == broker.InvalidToken {
			s.fail(c, err, asBearer)
			return nil
		}
		return err
	}
	asked, err := readClient(c, false)
	if err != nil {
		return err
	}
	made, secret, err := s.broker.RegisterClient(c.Request.Context(), asked, device(c))
	if err != nil {
		return err
	}
	c.JSON(http.StatusCreated, toClientJSON(made, secret))
	return nil
}

const clientsPerPage = 100

// listClients is GET /api/clients[?after=ID&limit=N], by id.
func (s *Server) listClients(c *gin.Context, _ broker.Principal) error {
	q, err := query(c, "after", "limit")
	if err != nil {
		return err
	}
	limit := max(1, count(q["limit"], clientsPerPage, clientsPerPage))
	list, err := s.broker.Clients(c.Request.Context(), q["after"], limit)
	if err != nil {
		return err
	}
	out, stored := []clientJSON{}, 0
	for _, client := range list {
		out = append(out, toClientJSON(client, ""))
		if !client.ReadOnly {
			stored++
		}
	}
	body := gin.H{"clients": out}
	if stored == limit {
		body["next"] = list[len(list)-1].ID // to be given as after
	}
	c.JSON(http.StatusOK, body)
	return nil
}

func (s *Server) createClient(c *gin.Context, _ broker.Principal) error {
	asked, err := readClient(c, true)
	if err != nil {
		return err
	}
	asked.Registered = false
	made, secret, err := s.broker.CreateClient(c.Request.Context(), asked)
	if err != nil {
		return err
	}
	c.JSON(http.StatusCreated, toClientJSON(made, secret))
	return nil
}

func (s *Server) showClient(c *gin.Context, _ broker.Principal) error {
	found, err := s.broker.FindClient(c.Request.Context(), c.Param("id"))
	if err == nil {
		c.JSON(http.StatusOK, toClientJSON(found, ""))
	}
	return err
}

func (s *Server) updateClient(c *gin.Context, _ broker.Principal) error {
	asked, err := readClient(c, true)
	if err != nil {
		return err
	}
	if id := c.Param("id"); asked.ID == "" {
		asked.ID = id
	} else if asked.ID != id {
		return &broker.Error{Code: broker.InvalidClientMetadata, Message: "client_id: is not the one of the address"}
	}
	changed, err := s.broker.UpdateClient(c.Request.Context(), asked)
	if err == nil {
		c.JSON(http.StatusOK, toClientJSON(changed, ""))
	}
	return err
}

func (s *Server) deleteClient(c *gin.Context, _ broker.Principal) error {
	err := s.broker.DeleteClient(c.Request.Context(), c.Param("id"))
	if err == nil {
		c.Status(http.StatusNoContent)
	}
	return err
}

// newClientSecret is POST /api/clients/:id/secret: the old one ends at once.
func (s *Server) newClientSecret(c *gin.Context, _ broker.Principal) error {
	id := c.Param("id")
	secret, err := s.broker.RotateClientSecret(c.Request.Context(), id, "")
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, gin.H{"client_id": id, "client_secret": secret, "client_secret_expires_at": 0})
	return nil
}
