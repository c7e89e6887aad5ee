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
	Waiting bool   // a key of every algorithm waits for its turn already
	Proof   stepUp // of the form that makes new ones
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
	Proof         stepUp // of the form that takes it back
}

// keysPage is GET /admin/keys.
func (s *Server) keysPage(c *gin.Context, p broker.Principal) error {
	page, view, err := s.keysOffice(c, p)
	if err != nil {
		return err
	}
	page.Notice = whatWasDone(c, keysDone)
	if typed := s.typedBefore(c, p, keysPath); typed != nil {
		view.asking(or(typed[fieldAgain])).Open, page.Notice = true, backAgain
	}
	return s.show(c, http.StatusOK, "office_keys", page)
}

// asking is the proof of the form of this name.
func (v *keysView) asking(form string) *stepUp {
	for i := range v.Keys {
		if v.Keys[i].Proof.Form == form {
			return &v.Keys[i].Proof
		}
	}
	return &v.Proof
}

const formRotate = "rotate"

func formRevoke(kid string) string { return "revoke-" + kid }

func (s *Server) keysOffice(c *gin.Context, p broker.Principal) (page, *keysView, error) {
	ask, err := s.stepUp(c, p, "")
	view := &keysView{JWKS: s.endpoints()["jwks"], Proof: ask.bare(formRotate)}
	keys := s.broker.SigningKeys()
	newest, waiting := map[string]broker.KeyState{}, map[string]bool{} // of those that may sign, and of those that wait, by algorithm
	for _, k := range keys {
		waiting[k.Algorithm] = waiting[k.Algorithm] || k.State == broker.KeyPublished && k.ActiveAt.IsZero()
		if k.State == broker.KeyActive && !k.ActiveAt.Before(newest[k.Algorithm].ActiveAt) {
			newest[k.Algorithm] = k
		}
	}
	for _, k := range keys {
		row := keyRow{ID: k.ID, Algorithm: k.Algorithm, Shared: k.Algorithm == "HS256", Good: k.Signs || newest[k.Algorithm].ID == k.ID, Created: s.moment(k.CreatedAt), Proof: ask.bare(formRevoke(k.ID))}
		row.State, row.What = keyState(k, newest[k.Algorithm].ID == k.ID)
		view.Keys = append(view.Keys, row)
	}
	view.Waiting = len(waiting) > 0
	for algorithm, waits := range waiting {
		view.Waiting = view.Waiting && (waits || algorithm == "HS256")
	}
	out := office(c, p, say("Signing keys"))
	out.View = view
	return out, view, err
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
func (s *Server) rotateKeysForm(c *gin.Context, p broker.Principal) error {
	return s.changeKeys(c, p, func(string) (string, string, error) {
		_, err := s.broker.RotateKeys(c.Request.Context())
		return "rotated", formRotate, err
	})
}

// revokeKeyForm is POST /admin/keys/revoke.
func (s *Server) revokeKeyForm(c *gin.Context, p broker.Principal) error {
	return s.changeKeys(c, p, func(kid string) (string, string, error) {
		_, err := s.broker.RevokeKey(c.Request.Context(), kid)
		return "revoked", formRevoke(kid), err
	}, "kid")
}

// changeKeys reads a form of the page: change does what it asks for, and names what
// was done and the form.
func (s *Server) changeKeys(c *gin.Context, p broker.Principal, change func(kid string) (done, form string, err error), fields ...string) error {
	f, gone, err := s.provenFields(c, p, keysPath, fields...)
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(f[fieldProof]))
	done, form, err := change(or(f["kid"]))
	if err == nil {
		return s.done(c, keysPath, done)
	}
	page, view, trouble := s.keysOffice(c, p)
	if trouble != nil {
		return trouble
	}
	ask := view.asking(form)
	ask.Open = true
	return s.retry(c, "office_keys", page, &[]input{}, nil, err, ask)
}
