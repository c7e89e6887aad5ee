package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const ownKeysPath = "/account/api-keys"

// ownKeysView is what the page of the own API keys is about.
type ownKeysView struct {
	Keys   []ownKeyView
	Form   []input // to make another
	Proof  stepUp
	Ticket string
	Guest  bool
	Made   *madeKey
	Pager  pager
}

// madeKey is a key at the one moment when it is shown.
type madeKey struct{ Name, Key, Try string }

// ownKeysPerPage keeps the page light.
const ownKeysPerPage = 50

// ownKeyView is a key as its owner sees it.
type ownKeyView struct {
	ID, Name, Description string
	Imported, Off         bool
	State                 pill
	Can                   []*text
	Made                  moment
	Used, Ends            *moment // nil: never
	Form                  []input // to change it, on its own page
	Proof, Switch         stepUp  // of that form, and of the one that switches it on
}

var ownKeysDone = map[string]*text{
	"changed": say("The key is changed."),
	"off":     say("The key is switched off: whatever uses it is refused until you switch it on again."),
	"on":      say("The key is switched on again."),
	"deleted": say("The key is deleted: whatever uses it is refused from now on."),
	"gone":    say("You have no such key; it may have been deleted already."),
	"twice":   say("This form was sent already, so no second key was made. A key is shown once, where it is made: if you did not copy it, delete it and make another."),
}

// The lives of keys that are offered, in days; onADay asks for a date.
const (
	onADay   = "date"
	noEnd    = "never"
	asItIs   = ""
	lifeOf30 = "30"
	lifeOf90 = "90"
	lifeOf1y = "365"
)

var keyLives = map[string]time.Duration{noEnd: 0, lifeOf30: 30 * 24 * time.Hour, lifeOf90: 90 * 24 * time.Hour, lifeOf1y: 365 * 24 * time.Hour}

func lifeOptions() []option {
	return []option{
		{Value: lifeOf30, Text: say("in 30 days")}, {Value: lifeOf90, Text: say("in 90 days")}, {Value: lifeOf1y, Text: say("in a year")},
		{Value: onADay, Text: say("on a day, see below")}, {Value: noEnd, Text: say("never")},
	}
}

// keyForm are the fields of a form about a key.
func keyForm(lives []option) []input {
	return []input{
		{Name: "name", Label: say("Name"), Required: true, Max: broker.MaxKeyName, Rule: say("A name of 1 to 128 characters."), Autocomplete: "off"},
		{Name: "description", Label: say("What it is for"), Max: broker.MaxKeyDescription, Rule: say("At most 512 characters."), Autocomplete: "off"},
		{Name: "expires", Type: "select", Label: say("It expires"), Required: true, Options: lives, Rule: say("Choose one of these.")},
		{
			Name: "until", Type: "date", Label: say("Last day"), Max: len(time.DateOnly), Autocomplete: "off",
			Help: say("Only where you chose a day. It ends with that day in UTC."), Rule: say("A day that is not over yet, and at most ten years ahead."),
		},
	}
}

func newKeyForm() []input {
	form := keyForm(lifeOptions())
	form[2].Value = lifeOf90
	scope := input{
		Name: "scope", Type: "select", Label: say("It may"), Required: true, Value: broker.ScopeRead, Rule: say("Choose one of these."),
		Options: []option{{Value: broker.ScopeRead, Text: say("read in your name")}, {Value: broker.ScopeAPI, Text: say("read and change in your name")},
			{Value: broker.ScopeForward, Text: say("open web apps behind Latchkey in your name")}},
	}
	return slices.Insert(form, 2, scope)
}

// keyLife reads what a form says of a key's expiry; nil: as it is.
func keyLife(f map[string]*string, now time.Time) (*time.Duration, error) {
	choice := or(f["expires"])
	if choice == asItIs {
		return nil, nil
	}
	if life, ok := keyLives[choice]; ok {
		return &life, nil
	}
	if choice != onADay {
		return nil, badField("expires", "expires: is not one of those that are offered")
	}
	day, err := time.Parse(time.DateOnly, or(f["until"]))
	life := day.AddDate(0, 0, 1).Sub(now)
	if err != nil || life <= 0 {
		return nil, badField("until", "until: is no day to come")
	}
	return &life, nil
}

// ownKeysPage lists the own keys.
func (s *Server) ownKeysPage(c *gin.Context, p broker.Principal) error {
	out, view, err := s.ownKeys(c, p)
	if err != nil {
		return err
	}
	out.Notice = whatWasDone(c, ownKeysDone)
	if typed := s.typedBefore(c, p, ownKeysPath); typed != nil {
		view.Form, out.Notice = filled(view.Form, typed), backAgain
	}
	return s.show(c, http.StatusOK, "own_keys", out)
}

func (s *Server) ownKeys(c *gin.Context, p broker.Principal) (page, *ownKeysView, error) {
	out, view := room(c, p, say("Your API keys")), &ownKeysView{Guest: p.User.Role == broker.RoleGuest}
	out.View = view
	if view.Guest {
		return out, view, nil
	}
	q, err := query(c, "next")
	if err != nil {
		return out, view, err
	}
	who := p.User.Member()
	list, err := s.broker.APIKeys(c.Request.Context(), &who, who.ID, q["next"], ownKeysPerPage+1)
	if err != nil {
		return out, view, err
	}
	next := ""
	if len(list) > ownKeysPerPage {
		list = list[:ownKeysPerPage]
		next = list[len(list)-1].ID
	}
	view.Pager = pagerOf(c, next)
	slices.SortStableFunc(list, func(a, b broker.OwnedAPIKey) int { return b.CreatedAt.Compare(a.CreatedAt) })
	for _, k := range list {
		view.Keys = append(view.Keys, s.ownKeyView(k.APIKey))
	}
	view.Form, view.Ticket = newKeyForm(), s.broker.FormTicket(who.ID)
	view.Proof, err = s.stepUp(c, p, "new-key")
	return out, view, err
}

func (s *Server) ownKeyView(k broker.APIKey) ownKeyView {
	v := ownKeyView{
		ID: k.ID, Name: k.Name, Description: k.Description, Imported: k.Imported(), Off: !k.DisabledAt.IsZero(), State: pill{"good", say("active")},
		Can: keyScopes(k.Scope), Made: s.moment(k.CreatedAt), Used: s.momentOr(k.LastUsedAt), Ends: s.momentOr(k.ExpiresAt),
	}
	if v.Off {
		v.State = pill{"bad", say("switched off")}
	} else if !k.Active(s.broker.Now()) {
		v.State = pill{"bad", say("expired")}
	}
	return v
}

// ownKeyPage is where one of the own keys is changed.
func (s *Server) ownKeyPage(c *gin.Context, p broker.Principal) error {
	out, view, err := s.ownKey(c, p)
	if err != nil {
		return s.orNoKey(c, err)
	}
	out.Notice = whatWasDone(c, ownKeysDone)
	if typed := s.typedBefore(c, p, ownKeyPath(c)); typed != nil {
		if out.Notice = backAgain; or(typed[fieldAgain]) == view.Proof.Form {
			view.Form = filled(view.Form, typed)
		}
	}
	return s.show(c, http.StatusOK, "own_key", out)
}

func (s *Server) ownKey(c *gin.Context, p broker.Principal) (page, *ownKeyView, error) {
	out := room(c, p, say("API key"))
	who := p.User.Member()
	k, err := s.broker.APIKey(c.Request.Context(), &who, c.Param("id"))
	if err != nil {
		return out, nil, err
	}
	v := s.ownKeyView(k.APIKey)
	out.View = &v
	ask, err := s.stepUp(c, p, "key")
	v.Proof, v.Switch = ask.only(say("To have it count for longer, prove that it is you:")), ask.bare("switch")
	v.Form = keyForm(append([]option{{Value: asItIs, Text: say("as it does now")}}, lifeOptions()...))
	if v.Form[0].Value, v.Form[1].Value = k.Name, k.Description; v.Imported {
		v.Form = v.Form[:2]
	}
	return out, &v, err
}

func ownKeyPath(c *gin.Context) string { return ownKeysPath + "/" + url.PathEscape(c.Param("id")) }

// orNoKey leads whoever asks for a key that is not there, or another's, back to
// the own ones.
func (s *Server) orNoKey(c *gin.Context, err error) error {
	if errors.Is(err, broker.NotFound) && !wantsJSON(c) {
		return s.done(c, ownKeysPath, "gone")
	}
	return err
}

// keyScopes say what a key may do.
func keyScopes(scope string) (out []*text) {
	switch {
	case hasScope(scope, broker.ScopeAPI):
		out = append(out, say("may read and change in your name"))
	case hasScope(scope, broker.ScopeRead):
		out = append(out, say("may read in your name"))
	}
	if hasScope(scope, broker.ScopeForward) {
		out = append(out, say("may open web apps behind Latchkey in your name"))
	}
	own := []string{broker.ScopeAPI, broker.ScopeRead, broker.ScopeForward}
	others := slices.DeleteFunc(strings.Fields(scope), func(one string) bool { return slices.Contains(own, one) })
	if len(others) > 0 {
		out = append(out, say("may act at other services: {scopes}", strings.Join(others, ", ")))
	}
	return out
}

// createOwnKey makes a key and shows it, in this answer and never again: the
// form's ticket makes a reload ask in vain.
func (s *Server) createOwnKey(c *gin.Context, p broker.Principal) error {
	f, gone, err := s.provenFields(c, p, ownKeysPath, "ticket", "name", "description", "scope", "expires", "until", "username")
	if gone || err != nil {
		return err
	}
	if or(f["ticket"]) == "" {
		return badField("ticket", "the form is not complete")
	}
	made, key, err := s.newOwnKey(c, p, f)
	if errors.Is(err, broker.FormUsed) && !wantsJSON(c) {
		return s.done(c, ownKeysPath, "twice")
	}
	out, view, trouble := s.ownKeys(c, p)
	switch {
	case trouble != nil:
		return trouble
	case err != nil:
		return s.retry(c, "own_keys", out, &view.Form, f, ofTheDay(err), &view.Proof)
	}
	view.Made = &madeKey{Name: made.Name, Key: key, Try: `curl -H "Authorization: Bearer ` + key + `" ` + s.broker.PublicURL() + "/api/me"}
	return s.show(c, http.StatusOK, "own_keys", out)
}

func (s *Server) newOwnKey(c *gin.Context, p broker.Principal, f map[string]*string) (broker.OwnedAPIKey, string, error) {
	life, err := keyLife(f, s.broker.Now())
	if err == nil && life == nil {
		err = badField("expires", "expires: is missing")
	}
	if err != nil {
		return broker.OwnedAPIKey{}, "", err
	}
	p.User = p.User.Member()
	n := broker.NewAPIKey{
		UserID: p.User.ID, Name: or(f["name"]), Description: or(f["description"]), Scope: or(f["scope"]), Ticket: or(f["ticket"]), ExpiresIn: *life,
		Proof: or(f[fieldProof]),
	}
	made, key, err := s.broker.CreateAPIKey(c.Request.Context(), &p, n, device(c))
	return made, key.Reveal(), err
}

// ofTheDay is an error about the life of a key: here only a day that was typed
// can be out of bounds.
func ofTheDay(err error) error {
	if e, ok := errors.AsType[*broker.Error](err); ok && e.Field == "expiresIn" {
		at := *e
		at.Field = "until"
		return &at
	}
	return err
}

// changeOwnKey changes name, description and expiry of an own key.
func (s *Server) changeOwnKey(c *gin.Context, p broker.Principal) error {
	f, gone, err := s.provenFields(c, p, ownKeyPath(c), "name", "description", "expires", "until")
	if gone || err != nil {
		return err
	}
	change := broker.APIKeyChange{Name: f["name"], Description: f["description"]}
	if change.ExpiresIn, err = keyLife(f, s.broker.Now()); err == nil {
		err = s.updateOwnKey(c, p, change, f)
	}
	if err == nil {
		return s.done(c, ownKeyPath(c), "changed")
	}
	out, view, trouble := s.ownKey(c, p)
	if trouble != nil {
		return s.orNoKey(c, trouble)
	}
	return s.retry(c, "own_key", out, &view.Form, f, ofTheDay(err), &view.Proof)
}

func (s *Server) updateOwnKey(c *gin.Context, p broker.Principal, change broker.APIKeyChange, f map[string]*string) error {
	who := p.User.Member()
	change.Proving = &broker.Proving{Principal: p, Given: or(f[fieldProof]), Device: device(c)}
	_, err := s.broker.UpdateAPIKey(c.Request.Context(), &who, c.Param("id"), change, device(c))
	return err
}

// switchOwnKey switches an own key off or on.
func (s *Server) switchOwnKey(c *gin.Context, p broker.Principal) error {
	f, gone, err := s.provenFields(c, p, ownKeyPath(c), "active")
	if gone || err != nil {
		return err
	}
	off, done := or(f["active"]) != "1", "on"
	if off {
		done = "off"
	}
	err = s.updateOwnKey(c, p, broker.APIKeyChange{Disabled: &off}, f)
	if err == nil {
		return s.done(c, ownKeyPath(c), done)
	}
	out, view, trouble := s.ownKey(c, p)
	if trouble != nil {
		return s.orNoKey(c, trouble)
	}
	return s.retry(c, "own_key", out, &[]input{}, nil, err, &view.Switch)
}

// deleteOwnKey deletes an own key.
func (s *Server) deleteOwnKey(c *gin.Context, p broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	who := p.User.Member()
	if err := s.broker.DeleteAPIKey(c.Request.Context(), &who, c.Param("id"), device(c)); err != nil {
		return s.orNoKey(c, err)
	}
	return s.done(c, ownKeysPath, "deleted")
}
