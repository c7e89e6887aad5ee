package web

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const dataPath = "/account/data"

// dataView is what the page of the own data is about.
type dataView struct {
	Apps  []letInView
	Pager pager
	Guest bool
}

// letInView is a client that whoever is logged in has let in.
type letInView struct {
	ID, Name, Mark string
	Gets           []*text
	Since          moment
}

var dataDone = map[string]*text{
	"withdrawn": say("The app is not let in any more: it is logged out, and has to ask you again."),
	"gone":      say("You have not let in such an app; it may have been taken back already."),
}

const appsPerPage = 20

// dataPage says what is stored of a person, and who was let in to some of it.
func (s *Server) dataPage(c *gin.Context, p broker.Principal) error {
	q, err := query(c, "next")
	if err != nil {
		return err
	}
	apps, next, err := s.broker.Apps(c.Request.Context(), p.User.ID, broker.Page{Next: q["next"], Limit: appsPerPage})
	if err != nil {
		return err
	}
	out, view := room(c, p, say("Your data")), dataView{Pager: pagerOf(c, next), Guest: p.User.Role == broker.RoleGuest}
	for _, a := range apps {
		one := letInView{ID: a.ClientID, Name: a.ClientID, Gets: scopeSentences(a.Scope), Since: s.moment(a.GrantedAt)}
		if a.Client.ID != "" {
			one.Name = a.Client.DisplayName()
		}
		one.Mark = monogram(one.Name)
		view.Apps = append(view.Apps, one)
	}
	out.View, out.Notice = view, whatWasDone(c, dataDone)
	return s.show(c, http.StatusOK, "data", out)
}

// withdrawConsent takes back what an app was permitted.
func (s *Server) withdrawConsent(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "client_id")
	if err != nil {
		return err
	}
	err = s.broker.WithdrawConsent(c.Request.Context(), p, or(f["client_id"]), device(c))
	if errors.Is(err, broker.NotFound) && !wantsJSON(c) {
		return s.done(c, dataPath, "gone")
	}
	if err != nil {
		return err
	}
	return s.done(c, dataPath, "withdrawn")
}

// ownIdentityJSON is a linked identity with all that is stored of it.
type ownIdentityJSON struct {
	identityJSON
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

type appJSON struct {
	ClientID  string `json:"client_id"`
	Name      string `json:"name"` // empty: the app is gone
	Scope     string `json:"scope"`
	GrantedAt int64  `json:"grantedAt"`
}

// factorsJSON are the second factors of an account, without what proves them.
type factorsJSON struct {
	AuthenticatorApp *int64        `json:"authenticatorApp"` // when it was set up; nil: there is none
	Passkeys         []passkeyJSON `json:"passkeys"`
	RecoveryCodes    int           `json:"recoveryCodes"` // that are left
}

type passkeyJSON struct {
	Name       string   `json:"name"`
	AAGUID     string   `json:"aaguid"` // the kind of authenticator, as far as it says
	Transports []string `json:"transports"`
	Synced     bool     `json:"synced"`
	CreatedAt  int64    `json:"createdAt"`
	LastUsedAt *int64   `json:"lastUsedAt"`
}

func toFactorsJSON(f broker.Factors) factorsJSON {
	out := factorsJSON{Passkeys: []passkeyJSON{}, RecoveryCodes: f.RecoveryCodes}
	if f.TOTP != nil {
		out.AuthenticatorApp = new(f.TOTP.ConfirmedAt.UnixMilli())
	}
	for _, k := range f.Passkeys {
		one := passkeyJSON{Name: k.Name, AAGUID: k.AAGUID, Transports: orNone(k.Transports), Synced: k.Synced, CreatedAt: k.CreatedAt.UnixMilli()}
		if !k.LastUsedAt.IsZero() {
			one.LastUsedAt = new(k.LastUsedAt.UnixMilli())
		}
		out.Passkeys = append(out.Passkeys, one)
	}
	return out
}

// downloadData is the own data as one JSON file: no secret and no hash is in it.
// It is written as it is read, so that the longest history takes no more memory
// than a page of it.
func (s *Server) downloadData(c *gin.Context, p broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	ctx, who := c.Request.Context(), p.User.Member()
	if err := s.broker.MayExport(ctx, p); err != nil {
		return err
	}
	known, err := s.broker.Identities(ctx, who.ID)
	if err != nil {
		return err
	}
	identities := []ownIdentityJSON{}
	for _, i := range known {
		identities = append(identities, ownIdentityJSON{s.toIdentityJSON(i), i.Issuer, i.Subject})
	}
	keys, err := s.keysOf(c, who)
	if err != nil {
		return err
	}
	apps, moreApps, err := s.broker.Apps(ctx, who.ID, broker.Page{Limit: broker.MaxPage})
	if err != nil {
		return err
	}
	consents := []appJSON{}
	for _, a := range apps {
		consents = append(consents, appJSON{a.ClientID, a.Client.Name, a.Scope, a.GrantedAt.UnixMilli()})
	}
	factors, err := s.broker.Factors(ctx, who.ID)
	if err != nil {
		return err
	}
	noStore(c)
	c.Header("Content-Type", "application/json")
	c.Header("Content-Disposition", `attachment; filename="`+downloadName(p.User.Username)+`"`)
	out := &document{w: bufio.NewWriterSize(c.Writer, 1<<15)}
	out.member("exportedAt", s.broker.Now().UTC().Format(time.RFC3339))
	out.member("issuer", s.broker.PublicURL())
	out.member("about", "Times are Unix milliseconds, unless they are written out. At most the newest 10,000 sessions and 10,000 events are here; cut names what has more.")
	out.member("user", toAdminUserJSON(p.User))
	out.member("identities", identities)
	out.member("factors", toFactorsJSON(factors))
	out.member("apiKeys", keys)
	out.member("apps", consents)
	cut := map[string]bool{"apps": moreApps != ""}
	cut["sessions"], err = list(out, "sessions", func(write func(any)) (bool, error) {
		return s.broker.OwnSessions(ctx, p, func(x broker.UserSession) error {
			write(s.toAdminSessionJSON(x, p.Session.ID))
			return out.err
		})
	})
	if err == nil {
		cut["events"], err = list(out, "events", func(write func(any)) (bool, error) {
			return s.broker.OwnEvents(ctx, p, func(e broker.Event) error {
				write(toEventJSON(e))
				return out.err
			})
		})
	}
	out.member("cut", cut)
	if err == nil {
		err = out.end()
	}
	if err != nil { // half of it is sent: the browser has to see that it is not whole
		s.cfg.Log.WarnContext(ctx, "download of own data broken off", "event", "data.download.failed", "user_id", who.ID, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// keysOf are the API keys of a user, for the user.
func (s *Server) keysOf(c *gin.Context, who broker.User) ([]apiKeyJSON, error) {
	out := []apiKeyJSON{}
	if who.Role == broker.RoleGuest { // who keeps none
		return out, nil
	}
	keys, err := s.broker.APIKeys(c.Request.Context(), &who, who.ID, "", broker.MaxPage)
	for _, k := range keys {
		j := toAPIKeyJSON(k, s.broker.Now())
		if j.CreatedByUser != nil && j.CreatedByUser.ID != who.ID { // who it was is not theirs to know
			j.CreatedByUser, j.CreatedByUserID = nil, nil
		}
		out = append(out, j)
	}
	return out, err
}

// downloadName is the file's, of characters that every system takes.
func downloadName(username string) string {
	const most = 64
	name := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (r == '-' || r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z') {
			return r
		}
		return '-'
	}, username)
	return "latchkey-" + name[:min(len(name), most)] + ".json"
}

// document writes a JSON object piece by piece. The first error stays.
type document struct {
	w    *bufio.Writer
	some bool
	err  error
}

func (d *document) write(text string) {
	if d.err == nil {
		_, d.err = io.WriteString(d.w, text)
	}
}

func (d *document) value(v any) {
	text, err := json.Marshal(v)
	if d.err == nil {
		d.err = err
	}
	d.write(string(text))
}

func (d *document) name(name string) {
	d.write(map[bool]string{false: "{\n", true: ",\n"}[d.some])
	d.some = true
	d.value(name)
	d.write(": ")
}

func (d *document) member(name string, v any) {
	d.name(name)
	d.value(v)
}

func (d *document) end() error {
	if d.write("\n}\n"); d.err != nil {
		return d.err
	}
	return d.w.Flush()
}

// list writes a member that is an array, an element a line.
func list(d *document, name string, each func(write func(any)) (bool, error)) (cut bool, err error) {
	d.name(name)
	before := "["
	cut, err = each(func(v any) {
		d.write(before + "\n")
		d.value(v)
		before = ","
	})
	if before == "[" {
		d.write("[")
	}
	d.write("]")
	return cut, err
}
