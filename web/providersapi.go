package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// providerRequest is a provider as it is sent: what an answer has besides the
// settings may come back with it, and is not read. A client_secret that is null
// or absent leaves the secret as it is.
type providerRequest struct {
	broker.ProviderView
	ClientSecret *string `json:"client_secret"`
}

// listProviders is GET /api/providers: those of the configuration, then those
// that were added.
func (s *Server) listProviders(c *gin.Context, _ broker.Principal) error {
	list, err := s.broker.ProvidersNow(c.Request.Context())
	if err != nil {
		return err
	}
	out := []broker.ProviderView{}
	for _, p := range list {
		out = append(out, s.broker.ViewProvider(p))
	}
	c.JSON(http.StatusOK, gin.H{"providers": out})
	return nil
}

func (s *Server) showProvider(c *gin.Context, _ broker.Principal) error {
	p, err := s.broker.FindProvider(c.Request.Context(), c.Param("id"))
	if err == nil {
		c.JSON(http.StatusOK, s.broker.ViewProvider(p))
	}
	return err
}

func (s *Server) createProvider(c *gin.Context, _ broker.Principal) error {
	var asked providerRequest
	if err := strictJSON(c, &asked); err != nil {
		return err
	}
	secret := ""
	if asked.ClientSecret != nil {
		secret = *asked.ClientSecret
	}
	made, err := s.broker.CreateProvider(c.Request.Context(), asked.ProviderSettings, secret)
	if err == nil {
		c.JSON(http.StatusCreated, s.broker.ViewProvider(made))
	}
	return err
}

// updateProvider is PUT /api/providers/:id. It replaces all settings: what is
// left out has its default again, but for the secret.
func (s *Server) updateProvider(c *gin.Context, _ broker.Principal) error {
	var asked providerRequest
	if err := strictJSON(c, &asked); err != nil {
		return err
	}
	if asked.ID == "" {
		asked.ID = c.Param("id")
	}
	if asked.ID != c.Param("id") {
		return badField("id", "it is not the one of the address")
	}
	changed, err := s.broker.UpdateProvider(c.Request.Context(), asked.ProviderSettings, asked.ClientSecret)
	if err == nil {
		c.JSON(http.StatusOK, s.broker.ViewProvider(changed))
	}
	return err
}

func (s *Server) deleteProvider(c *gin.Context, _ broker.Principal) error {
	err := s.broker.DeleteProvider(c.Request.Context(), c.Param("id"))
	if err == nil {
		c.Status(http.StatusNoContent)
	}
	return err
}

// testProvider is POST /api/providers/:id/test: what a login with these claims,
// or this ID token, would come to. Nothing is written.
func (s *Server) testProvider(c *gin.Context, _ broker.Principal) error {
	var token string
	var claims json.RawMessage
	if err := members(c, map[string]any{"id_token": &token, "claims": &claims}); err != nil {
		return err
	}
	out, err := s.broker.DryRun(c.Request.Context(), c.Param("id"), broker.DryRunInput{IDToken: token, Claims: claims})
	if err == nil {
		c.JSON(http.StatusOK, out)
	}
	return err
}

// strictJSON reads a body of the admin API. A field that we do not know was
// mistyped, and is refused by its name.
func strictJSON(c *gin.Context, into any) error {
	if !strings.HasPrefix(c.ContentType(), "application/json") {
		return badRequest("the body must be application/json")
	}
	d := json.NewDecoder(c.Request.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			return badRequest("something stands behind the JSON object")
		}
		return nil
	}
	if large := bodyError(err); large != errBadRequest {
		return large
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		path := strings.Split(wrong.Field, ".") // with the names of embedded types
		path = slices.DeleteFunc(path, func(name string) bool { return name == "" || unicode.IsUpper(rune(name[0])) })
		return badField(strings.Join(path, "."), "it has the wrong type")
	}
	if errors.Is(err, broker.ErrDuration) { // there is one field of that type
		return badField("recheck", err.Error())
	}
	if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, _ := strconv.Unquote(quoted)
		return badField(shown(name), "there is no such field")
	}
	return badRequest("the body is not a JSON object")
}
