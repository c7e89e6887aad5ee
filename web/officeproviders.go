package web

import (
	"cmp"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the pages of the identity providers.

const providersPath = "/admin/providers"

// providerRow is a provider in the list.
type providerRow struct {
	broker.ProviderView
	Kind   *text
	URL    string
	Health health
}

// health is a word on a provider's health, with its colour.
type health struct {
	pill
	When *moment // since when, or of the last answer; nil: not known
}

// providerTypes are how the types are called.
var providerTypes = map[string]*text{
	broker.TypeOIDC: say("OpenID"), broker.TypeOAuth2: say("OAuth 2"), broker.TypeGitHub: say("GitHub"), broker.TypeDiscord: say("Discord"),
}

// healthOf is what is known without asking.
func (s *Server) healthOf(h broker.ProviderHealth) health {
	out := health{pill: pill{"", say("not asked lately")}}
	when := h.LastAnswerAt
	switch {
	case !h.InUse:
		return health{pill: pill{"bad", say("cannot be used")}}
	case h.State == broker.HealthOK:
		out = health{pill: pill{"good", say("answers")}}
	case h.State == broker.HealthSlow:
		out = health{pill: pill{"warn", say("answers slowly")}}
	case h.State == broker.HealthDark:
		out, when = health{pill: pill{"bad", say("does not answer since")}}, h.Since
	}
	if when != nil {
		out.When = new(s.moment(time.UnixMilli(*when)))
	}
	return out
}

// failedTrial is a word on a trial that failed.
func failedTrial(trial broker.Trial) *text {
	if step, _ := trial.Of(broker.TrialSecret); step.Finding == broker.FindingSecretRefused {
		return say("refuses the secret")
	}
	return say("logins fail")
}

// providersPage is GET /admin/providers.
func (s *Server) providersPage(c *gin.Context, p broker.Principal) error {
	list, err := s.broker.ProvidersNow(c.Request.Context())
	if err != nil {
		return err
	}
	rows := []providerRow{}
	for _, one := range list {
		v := s.broker.ViewProvider(one)
		row := providerRow{ProviderView: v, Kind: providerTypes[cmp.Or(v.Type, broker.TypeOIDC)], URL: providersPath + "/" + url.PathEscape(v.ID), Health: s.healthOf(v.Health)}
		if trial, ok := s.broker.LastTrial(one); ok && trial.Result == broker.CheckFailed && row.Health.Class != "bad" {
			row.Health = health{pill: pill{"bad", failedTrial(trial)}}
		}
		rows = append(rows, row)
	}
	view := office(c, p, say("Identity providers"))
	view.View = rows
	view.Notice = whatWasDone(c, map[string]*text{"deleted": say("The provider was deleted.")})
	return s.show(c, http.StatusOK, "office_providers", view)
}

// newProviderView is the way to a new provider: which kind, then what to
// register there and the form.
type newProviderView struct {
	Kinds    []knownIdP // of the first step
	Kind     string
	First    []input
	Known    knownIdP
	ID, Name string
	There    registration
	Form     []input
	Proof    stepUp
}

// Parts is the form in parts.
func (v *newProviderView) Parts() formParts { return partsOf(v.Form) }

// newProviderPage is GET /admin/providers/new: with kind, id and name in the
// address, the second step.
func (s *Server) newProviderPage(c *gin.Context, p broker.Principal) error {
	q, err := query(c, "kind", "id", "name")
	if err != nil {
		return err
	}
	if q["kind"] == "" {
		return s.show(c, http.StatusOK, "office_provider_new", s.firstStep(c, p, q))
	}
	known, ok := knownKind(q["kind"])
	if !ok {
		return badRequest("there is no such kind of provider")
	}
	id := cmp.Or(q["id"], known.Kind)
	if err := s.freeProviderID(c, id); err != nil {
		view := s.firstStep(c, p, q)
		v := view.View.(*newProviderView)
		return s.retry(c, "office_provider_new", view, &v.First, map[string]*string{"id": &id, "name": new(q["name"])}, err)
	}
	view, err := s.secondStep(c, p, known, id, q["name"])
	if err != nil {
		return err
	}
	if typed := s.typedBefore(c, p, secondStepPath(known, id, q["name"])); typed != nil {
		v := view.View.(*newProviderView)
		v.Form, view.Notice = filled(v.Form, typed), backAgain
	}
	return s.show(c, http.StatusOK, "office_provider_new", view)
}

func (s *Server) firstStep(c *gin.Context, p broker.Principal, q map[string]string) page {
	view := office(c, p, say("Connect an identity provider"))
	view.View = &newProviderView{
		Kinds: knownIdPs, Kind: cmp.Or(q["kind"], knownIdPs[0].Kind),
		First: []input{
			{Name: "name", Label: say("Name on the login page"), Help: say("Empty: the product’s own."), Value: q["name"], Max: broker.MaxName},
			{Name: "id", Label: say("Id"), Help: say("It stands in the addresses to register there and cannot be changed later. Empty: the product’s name."), Value: q["id"], Max: 32, Code: true},
		},
	}
	return view
}

// secondStepPath is where the second step of a new provider is.
func secondStepPath(known knownIdP, id, name string) string {
	return providersPath + "/new?" + url.Values{"kind": {known.Kind}, "id": {id}, "name": {name}}.Encode()
}

func (s *Server) secondStep(c *gin.Context, p broker.Principal, known knownIdP, id, name string) (page, error) {
	ask, err := s.stepUp(c, p, "new-provider")
	settings := known.Settings
	settings.Name = cmp.Or(name, known.Name, id)
	title := say("Connect {provider}", settings.Name)
	view := office(c, p, title)
	view.View = &newProviderView{Known: known, ID: id, Name: settings.Name, There: s.registrationOf(known, id), Form: providerForm(known, settings, false), Proof: ask}
	return view, err
}

// freeProviderID refuses an id that no new provider can have.
func (s *Server) freeProviderID(c *gin.Context, id string) error {
	if err := broker.CheckProviderID(id); err != nil {
		return err
	}
	_, err := s.broker.FindProvider(c.Request.Context(), id)
	switch {
	case err == nil:
		return &broker.Error{Code: broker.ProviderExists, Field: "id", Message: "there is a provider of this id already; choose another one"}
	case broker.CodeOf(err) == broker.ProviderUnknown:
		return nil
	}
	return err
}

// createProviderForm is POST /admin/providers/new.
func (s *Server) createProviderForm(c *gin.Context, p broker.Principal) error {
	if err := c.Request.ParseForm(); err != nil {
		return bodyError(err)
	}
	known, ok := knownKind(c.Request.PostForm.Get("kind"))
	if !ok {
		return badRequest("there is no such kind of provider")
	}
	form, id, name := providerForm(known, known.Settings, false), c.Request.PostForm.Get("id"), c.Request.PostForm.Get("name")
	typed, gone, err := s.provenFields(c, p, secondStepPath(known, id, name), namesIn(hiddenFields, form)...)
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(typed[fieldProof]))
	settings, secret, err := readProvider(typed, known.Settings.Type)
	if err == nil {
		settings.Issuer = cmp.Or(settings.Issuer, known.Settings.Issuer)
		_, err = s.broker.CreateProvider(c.Request.Context(), settings, or(secret))
	}
	if err == nil {
		return s.done(c, providersPath+"/"+url.PathEscape(settings.ID), "created"+s.triedOnce(c, settings.ID))
	}
	view, trouble := s.secondStep(c, p, known, settings.ID, settings.Name)
	if trouble != nil {
		return trouble
	}
	v := view.View.(*newProviderView)
	return s.retry(c, "office_provider_new", view, &v.Form, typed, err, &v.Proof)
}

// triedOnce tries a provider that was just added or changed, and says what came
// of it.
func (s *Server) triedOnce(c *gin.Context, id string) string {
	switch trial, err := s.broker.TryProvider(c.Request.Context(), id); {
	case err != nil: // which is no fault of the provider's
		return "-untried"
	case trial.Result == broker.CheckFailed:
		return "-wrong"
	}
	return ""
}

// providerPageView is a provider with what can be done about it.
type providerPageView struct {
	broker.ProviderView
	Kind     *text
	Health   health
	Known    knownIdP
	There    registration
	Path     string // of the page, below the base
	Sessions string // those that came through it
	Form     []input
	Proof    stepUp
	Deleting stepUp
	Trial    *trialView // what trying it came to
	Claims   []input    // of a dry run
	Dry      *dryRunView
}

// Parts is the form in parts.
func (v *providerPageView) Parts() formParts { return partsOf(v.Form) }

// providerPage is GET /admin/providers/:id.
func (s *Server) providerPage(c *gin.Context, p broker.Principal) error {
	view, err := s.providerView(c, p)
	if err != nil {
		return err
	}
	v := view.View.(*providerPageView)
	typed := s.typedBefore(c, p, v.Path)
	view.Notice = whatWasDone(c, map[string]*text{
		"created": say("The provider was added; people can log in through it from now on."), "changed": say("The settings were saved."),
		"created-wrong":   say("The provider was added, but something about it is wrong, so that logins fail. What it is stands below."),
		"created-untried": say("The provider was added. Try the connection before people use it."),
		"changed-wrong":   say("The settings were saved, but something about them is wrong, so that logins fail. What it is stands below."),
		"changed-untried": say("The settings were saved. Try the connection before people use it."),
	})
	switch {
	case typed == nil:
	case or(typed[fieldAgain]) == v.Deleting.Form:
		v.Deleting.Open, view.Notice = true, backAgain
	default:
		v.Form, view.Notice = filled(v.Form, typed), backAgain
	}
	return s.show(c, http.StatusOK, "office_provider", view)
}

func (s *Server) providerView(c *gin.Context, p broker.Principal) (page, error) {
	found, err := s.broker.FindProvider(c.Request.Context(), c.Param("id"))
	if err != nil {
		return page{}, err
	}
	v := s.broker.ViewProvider(found)
	v.Type = cmp.Or(v.Type, broker.TypeOIDC)
	known := knownOf(v.ProviderSettings)
	ask, err := s.stepUp(c, p, "provider")
	if err != nil {
		return page{}, err
	}
	view := office(c, p, say("{name}", v.Name))
	view.View = &providerPageView{
		ProviderView: v, Kind: providerTypes[v.Type], Health: s.healthOf(v.Health), Known: known, There: s.registrationOf(known, v.ID),
		Path: providersPath + "/" + url.PathEscape(v.ID), Sessions: "/admin/sessions?" + url.Values{"provider": {v.ID}}.Encode(),
		Form: providerForm(known, v.ProviderSettings, v.HasSecret), Proof: ask, Deleting: ask.bare("delete"), Claims: dryRunInput(known),
	}
	if trial, ok := s.broker.LastTrial(found); ok && trial.Result == broker.CheckFailed {
		view.View.(*providerPageView).Trial = viewTrial(trial)
	}
	return view, nil
}

// updateProviderForm is POST /admin/providers/:id.
func (s *Server) updateProviderForm(c *gin.Context, p broker.Principal) error {
	view, err := s.providerView(c, p)
	if err != nil {
		return err
	}
	v := view.View.(*providerPageView)
	typed, gone, err := s.provenFields(c, p, v.Path, namesIn(hiddenFields, v.Form)...)
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(typed[fieldProof]))
	settings, secret, err := readProvider(typed, v.Type)
	if err == nil {
		settings.ID, settings.Logo = v.ID, v.Logo // of which the form says nothing
		settings.Issuer = cmp.Or(settings.Issuer, v.Known.Settings.Issuer)
		_, err = s.broker.UpdateProvider(c.Request.Context(), settings, secret)
	}
	if err == nil {
		return s.done(c, v.Path, "changed"+s.triedOnce(c, v.ID))
	}
	return s.retry(c, "office_provider", view, &v.Form, typed, err, &v.Proof)
}

// deleteProviderForm is POST /admin/providers/:id/delete.
func (s *Server) deleteProviderForm(c *gin.Context, p broker.Principal) error {
	view, err := s.providerView(c, p)
	if err != nil {
		return err
	}
	v := view.View.(*providerPageView)
	f, gone, err := s.provenFields(c, p, v.Path)
	if gone || err != nil {
		return err
	}
	actProving(c, p, or(f[fieldProof]))
	err = s.broker.DeleteProvider(c.Request.Context(), v.ID)
	if err == nil {
		return s.done(c, providersPath, "deleted")
	}
	v.Deleting.Open = true
	return s.retry(c, "office_provider", view, &[]input{}, nil, err, &v.Deleting)
}
