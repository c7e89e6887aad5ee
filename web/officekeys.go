package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// keysView is what the page of the signing keys shows.
type keysView struct {
	JWKS    string
	Keys    []keyRow
	Waiting bool // a key of every algorithm waits for its turn already
}

const keysPath = "/admin/keys"

var keysDone = map[string]*text{
	"rotated": say("New keys are in the key set. They sign as soon as everybody knows them."),
	"revoked": say("The key is taken back. Apps get new access tokens by themselves."),
}

// keyRow is a signing key, without the key.
type keyRow struct {
	ID, Algorithm string
	State, What   *text // in a word, and in a sentence
	Good          bool  // it signs
	Shared        bool  // it stands in the configuration
	Created       moment
}

// keysPage is GET /admin/keys.
func (s *Server) keysPage(c *gin.Context, p broker.Principal) error {
	view := keysView{JWKS: s.endpoints()["jwks"]}
	keys := s.broker.SigningKeys()
	newest, waiting := map[string]broker.KeyState{}, map[string]bool{} // of those that may sign, and of those that wait, by algorithm
	for _, k := range keys {
		waiting[k.Algorithm] = waiting[k.Algorithm] || k.State == broker.KeyPublished && k.ActiveAt.IsZero()
		if k.State == broker.KeyActive && !k.ActiveAt.Before(newest[k.Algorithm].ActiveAt) {
			newest[k.Algorithm] = k
		}
	}
	for _, k := range keys {
		row := keyRow{ID: k.ID, Algorithm: k.Algorithm, Shared: k.Algorithm == "HS256", Good: k.Signs || newest[k.Algorithm].ID == k.ID, Created: s.moment(k.CreatedAt)}
		row.State, row.What = keyState(k, newest[k.Algorithm].ID == k.ID)
		view.Keys = append(view.Keys, row)
	}
	view.Waiting = len(waiting) > 0
	for algorithm, waits := range waiting {
		view.Waiting = view.Waiting && (waits || algorithm == "HS256")
	}
	page := office(c, p, say("Signing keys"))
	page.View, page.Notice = view, whatWasDone(c, keysDone)
	return s.show(c, http.StatusOK, "office_keys", page)
}

// keyState says what a key does, in a word and in a sentence. The newest key of
// an algorithm is the one that signs.
func keyState(k broker.KeyState, newest bool) (state, what *text) {
	switch {
	case k.Algorithm == "HS256":
		return say("shared"), say("A secret that Latchkey shares with API servers: access tokens are signed with it. It is not in the key set.")
	case k.State == broker.KeyRetired:
		return say("retired"), say("Since {when} it signs nothing more. What it signed is good until it expires.", k.RetiredAt)
	case k.State == broker.KeyPublished && k.ActiveAt.IsZero():
		return say("published"), say("It signs once every server has it, from {when} on at the earliest. Until then programs that keep the key set learn of it.", k.NotBefore)
	case k.State == broker.KeyPublished:
		return say("published"), say("It signs from {when} on. Until then programs that keep the key set learn of it.", k.ActiveAt)
	case k.Signs:
		return say("signs access tokens"), say("Access tokens are signed with it, and ID tokens of clients that want this algorithm.")
	case newest:
		return say("signs ID tokens"), say("ID tokens of clients that want this algorithm are signed with it, and logout tokens.")
	}
	return say("replaced"), say("A newer key signs in its place. What it signed is good until it expires.")
}

// rotateKeysForm is POST /admin/keys/rotate.
func (s *Server) rotateKeysForm(c *gin.Context, _ broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	if _, err := s.broker.RotateKeys(c.Request.Context()); err != nil {
		return err
	}
	return s.done(c, keysPath, "rotated")
}

// revokeKeyForm is POST /admin/keys/revoke.
func (s *Server) revokeKeyForm(c *gin.Context, _ broker.Principal) error {
	f, err := onlyFields(c, "kid")
	if err != nil {
		return err
	}
	if _, err := s.broker.RevokeKey(c.Request.Context(), or(f["kid"])); err != nil {
		return err
	}
	return s.done(c, keysPath, "revoked")
}
