package web_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// house is a site with people in it and rows on every page, of which the
// administrator root and the user alice have as many of each kind as each other.
type house struct {
	*site
	file        string
	root, alice []*http.Cookie
	secrets     map[string]string // what no page may say, by what it is
}

// furniture is what stands in a house.
type furniture struct {
	rows int    // of each kind
	text string // whatever comes from outside: names, claims, user agents, errors
	url  string // links of clients; empty: https
}

// plainText is what people are called where nobody means harm.
const plainText = "Harmless"

// furnish builds a house. The broker would refuse many a text, so that the rows
// are written past it.
func furnish(t testing.TB, f furniture) *house {
	t.Helper()
	h := &house{file: filepath.Join(t.TempDir(), "house.db"), secrets: map[string]string{}}
	f.url = cmp.Or(f.url, "https://shelf.example/a")
	h.site = newSite(t, setup{database: "sqlite:" + h.file, broker: func(c *broker.Config) {
		newIdP := func(s broker.ProviderSettings, _ string, _ bool) broker.IdP {
			return oidc.New(oidc.Config{Issuer: s.Issuer, ClientID: "latchkey", Cache: c.Store.(*storage.Store), Now: c.Now})
		}
		configured := f.provider("openid")
		c.MailSender, c.LetterWriter = noMail{}, letters(t)
		c.NewIdP, c.Providers = newIdP, []broker.Provider{{ProviderSettings: configured, IdP: newIdP(configured, "", true)}}
	}})
	h.root, h.alice = h.pageLogin("root"), h.pageLogin("alice")
	h.secret("the password of root", harness.PasswordOf("root"))
	for who, list := range map[string][]*http.Cookie{"root": h.root, "alice": h.alice} {
		for _, c := range list {
			h.secret(who+"'s cookie "+c.Name, c.Value)
		}
		app := h.login(who)
		h.secret(who+"'s refresh token", app.refresh)
		h.secret(who+"'s access token", app.access)
		_, key := h.keyFor(who, func(n *broker.NewAPIKey) { n.Name, n.Description, n.Scope = f.short(), f.short(), "latchkey:read" })
		h.secret(who+"'s API key", key)
	}
	if err := h.Store.Tx(context.Background(), func(s broker.Store) error { return h.fill(s, f) }); err != nil {
		t.Fatal(err)
	}
	if err := h.Broker.Load(context.Background()); err != nil { // the providers
		t.Fatal(err)
	}
	return h
}

func (h *house) secret(what, value string) { h.secrets[what] = value }

// short is a text that the broker takes as well.
func (f furniture) short() string {
	runes := []rune(f.text)
	return string(runes[:min(len(runes), 60)])
}

func (f furniture) provider(id string) broker.ProviderSettings {
	return broker.ProviderSettings{
		ID: id, Name: f.text, Type: "oidc", Issuer: "http://127.0.0.1:9", ClientID: f.text, Scopes: []string{"openid", "profile"}, Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone,
		RequireVerifiedEmail: broker.EmailIfPresent, AllowedGroups: []string{f.text}, AllowedDomains: []string{f.text},
		RoleMap: map[string]broker.Role{f.text: broker.RoleUser}, Claims: broker.ClaimNames{Groups: f.text}, ExchangeAudiences: []string{f.text},
	}
}

// idAt is an id of the form of ours.
func idAt(kind, i int) string { return fmt.Sprintf("00000000-0000-7%03d-8000-%012d", kind, i) }

// fill writes the rows.
func (h *house) fill(s broker.Store, f furniture) error {
	ctx, now := context.Background(), h.Clock.Now()
	var people []broker.User
	for _, name := range []string{"alice", "root"} {
		u, err := s.UserByUsername(ctx, name)
		if err != nil {
			return err
		}
		u.Username, u.Name, u.Email, u.Groups = name+" "+f.text, f.text, name+f.text, []string{f.text}
		h.secret("the hash of "+name, string(u.PasswordHash))
		if err := s.UpdateUser(ctx, u); err != nil {
			return err
		}
		notice := broker.Notice{Code: broker.EventIdentityLinked, At: now, Until: now.Add(time.Hour), Detail: f.text}
		if err := s.SetNotice(ctx, u.ID, notice); err != nil {
			return err
		}
		people = append(people, u)
	}
	for i := range f.rows {
		u := broker.User{
			ID: idAt(1, i), Username: fmt.Sprintf("u%03d %s", i, f.text), Name: f.text, Email: fmt.Sprintf("u%03d%s", i, f.text), Groups: []string{f.text}, Role: broker.RoleUser,
			PasswordHash: "$argon2id$v=19$m=64,t=1,p=1$a-hash-of-somebody", CreatedAt: now, UpdatedAt: now,
		}
		if i%3 == 1 {
			u.DisabledAt = now
		}
		if err := s.InsertUser(ctx, u); err != nil {
			return err
		}
		if err := h.fillClient(s, f, i); err != nil {
			return err
		}
	}
	for i := range min(f.rows, 30) {
		p := broker.StoredProvider{Settings: f.provider(fmt.Sprintf("p%03d", i)), CreatedAt: now, UpdatedAt: now}
		if err := s.InsertProvider(ctx, p); err != nil {
			return err
		}
	}
	for n, u := range people {
		for i := range f.rows {
			if err := h.fillUser(s, f, u, 2+n, i); err != nil {
				return err
			}
		}
	}
	if err := h.fillMails(s, f, people); err != nil {
		return err
	}
	return h.fillEvents(s, f, people)
}

// fillMails writes mails that could not be sent.
func (h *house) fillMails(s broker.Store, f furniture, people []broker.User) error {
	ctx, now := context.Background(), h.Clock.Now()
	for i := range f.rows {
		m := broker.Mail{
			ID: idAt(9, i), Fact: idAt(9, i), Kind: broker.MailReset, UserID: people[i%2].ID, Sealed: "x", CreatedAt: now, NextAt: now, ExpiresAt: now.Add(time.Hour),
		}
		if _, err := s.InsertMail(ctx, m, broker.MailQuota{Most: 1000}); err != nil {
			return err
		}
		if err := s.PostponeMail(ctx, m.ID, f.text, now, now.Add(time.Minute)); err != nil {
			return err
		}
	}
	return nil
}

// noMail is a mail server that is not there.
type noMail struct{}

func (noMail) SendMail(context.Context, broker.Message) error { return errors.New("no mail server") }

func letters(t testing.TB) broker.LetterWriter {
	t.Helper()
	l, err := web.NewLetters(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (h *house) fillClient(s broker.Store, f furniture, i int) error {
	now, secret := h.Clock.Now(), fmt.Sprintf("the-secret-of-client-%03d", i)
	c := broker.Client{
		ID: fmt.Sprintf("client%03d", i), Name: f.text, URI: f.url, LogoURI: f.url, PolicyURI: f.url, TermsURI: f.url, Contacts: []string{f.text},
		RedirectURIs: []string{f.url, f.url + "2"}, PostLogoutRedirectURIs: []string{f.url}, ApplicationType: "web", TokenEndpointAuthMethod: broker.AuthBasic,
		GrantTypes: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken}, ResponseTypes: []string{"code"}, Scope: "openid " + f.text,
		BackchannelLogoutURI: f.url, Resources: []string{f.url}, AllowedOrigins: []string{f.url}, Registered: i%2 == 1, SecretHash: broker.HashClientSecret(secret), CreatedAt: now, UpdatedAt: now,
	}
	h.secret("the secret of "+c.ID, secret)
	h.secret("the hash of the secret of "+c.ID, c.SecretHash)
	return s.InsertClient(context.Background(), c)
}

// fillUser writes row i of each kind for a user: three sessions that live and one
// that ended, an identity, an API key and a consent.
func (h *house) fillUser(s broker.Store, f furniture, u broker.User, kind, i int) error {
	ctx, now := context.Background(), h.Clock.Now()
	session := func(n int, clientID, providerID string) broker.Session {
		return broker.Session{
			ID: idAt(10*kind+n, i), UserID: u.ID, ClientID: clientID, ProviderID: providerID, AMR: []string{"pwd"}, AuthTime: now, Scope: "openid", CreatedAt: now, LastSeenAt: now,
			Rotation: broker.Rotation{AdvancedAt: now, IssuedAt: now}, IdleExpiresAt: now.Add(24 * time.Hour), AbsExpiresAt: now.Add(100 * 24 * time.Hour),
			CreatedIP: "192.0.2.7", LastIP: "192.0.2.8", UserAgent: f.text, DeviceName: f.text,
		}
	}
	app, idp, client, ended := session(0, broker.AppClientID, ""), session(1, broker.AppClientID, "openid"), session(2, "client000", ""), session(3, broker.AppClientID, "")
	client.ParentID, client.FollowsParent = app.ID, i%2 == 0
	idp.VouchedAt = now
	for _, one := range []broker.Session{app, idp, client, ended} {
		if _, err := s.InsertSession(ctx, one, u.PasswordHash); err != nil {
			return err
		}
	}
	end := broker.End{At: now, Cause: broker.EndCauses[i%len(broker.EndCauses)], KeepUntil: now.Add(24 * time.Hour)}
	if i == f.rows-1 { // the first of a list, of which more is read than of others
		end.Cause = broker.TokenReused
	}
	if i%3 == 0 { // which says more than the others
		end.Cause = broker.TokenReused
	}
	reuse := broker.Event{
		ID: "reuse of " + ended.ID, At: now, Name: "refresh.reuse", UserID: u.ID, SessionID: ended.ID, IP: f.text,
		Detail: map[string]string{"user_agent": f.text, "other_ip": f.text, "other_user_agent": f.text, "other_at": now.Format(time.RFC3339)},
	}
	if err := s.InsertEvent(ctx, reuse); err != nil {
		return err
	}
	if _, err := s.EndSessions(ctx, broker.SessionFilter{ID: ended.ID}, end); err != nil {
		return err
	}
	if i >= 5 {
		return h.fillKeyAndConsent(s, f, u, kind, i) // nobody has so many logins
	}
	identity := broker.Identity{
		Issuer: "http://127.0.0.1:9", Subject: fmt.Sprintf("%s %d", u.ID, i), ProviderID: "openid", UserID: u.ID, Email: f.text, Username: f.text, CreatedAt: now, LastUsedAt: now,
		Link: broker.Link{How: broker.LinkedByHand},
	}
	if err := s.InsertIdentity(ctx, identity); err != nil {
		return err
	}
	return h.fillKeyAndConsent(s, f, u, kind, i)
}

func (h *house) fillKeyAndConsent(s broker.Store, f furniture, u broker.User, kind, i int) error {
	ctx, now := context.Background(), h.Clock.Now()
	key := broker.APIKey{ID: fmt.Sprintf("key%d%04d", kind, i), Name: f.text, Description: f.text, UserID: u.ID, CreatedBy: u.ID, Scope: "latchkey:read", SecretHash: "a-hash-of-a-key", CreatedAt: now, UpdatedAt: now}
	if _, err := s.InsertAPIKey(ctx, key, 10*f.rows+10); err != nil {
		return err
	}
	return s.SaveConsent(ctx, broker.Consent{UserID: u.ID, ClientID: fmt.Sprintf("client%03d", i), Scope: "openid " + f.text, GrantedAt: now})
}

// eventNames are those that have a look of their own on some page.
var eventNames = []string{
	broker.EventSessionStarted, broker.EventSessionEnded, broker.EventUserUpdated, broker.EventPasswordChanged, broker.EventIdentityLinked, broker.EventClientCreated,
	broker.EventAPIKeyCreated, broker.EventProviderUpdated, broker.EventIdPUnknown, broker.EventUpstreamUnknown, broker.EventLoginRefused, "unheard.of",
}

func (h *house) fillEvents(s broker.Store, f furniture, people []broker.User) error {
	now := h.Clock.Now()
	detail := map[string]string{}
	for _, name := range []string{"cause", "provider", "issuer", "subject", "username", "name", "email", "error", "reason", "fields", "from", "to", "role", "scope", "client", "count", "code"} {
		detail[name] = f.text
	}
	for i := range f.rows {
		for n, name := range eventNames {
			e := broker.Event{
				ID: idAt(50+n, i), At: now.Add(-time.Duration(i) * time.Minute), Name: name, UserID: people[i%2].ID, SessionID: idAt(20, i), ClientID: "client000", IP: "192.0.2.7",
				Actor: people[1].ID, Detail: detail,
			}
			if err := s.InsertEvent(context.Background(), e); err != nil {
				return err
			}
		}
	}
	return nil
}

// contents is all that the database holds, but for what a mere look at a page
// may change.
func (h *house) contents() string {
	h.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+h.file+"?mode=ro")
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	var out strings.Builder
	for _, table := range h.column(db, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('facts', 'idp_metadata', 'sqlite_sequence') ORDER BY name`) {
		columns := h.column(db, `SELECT name FROM pragma_table_info('`+table+`') WHERE name NOT IN ('last_seen_at', 'last_used_at', 'idle_expires_at', 'last_ip')`)
		rows := h.column(db, `SELECT json_array(`+strings.Join(columns, ", ")+`) FROM `+table+` ORDER BY 1`)
		fmt.Fprintf(&out, "%s\n%s\n", table, strings.Join(rows, "\n"))
	}
	return out.String()
}

func (h *house) column(db *sql.DB, query string) (out []string) {
	h.t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			h.t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return out
}
