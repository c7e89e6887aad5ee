package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/password"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/web"
)

// visits is how often each page is opened.
const visits = 50

// pageList are the pages of lists, with their filters; :me is the measured user.
var pageList = []string{
	"/account", "/account/ended", "/account/api-keys",
	"/admin",
	"/admin/users", "/admin/users?search=user7", "/admin/users?search=mail7", "/admin/users?search=name+7", "/admin/users?search=nobody", "/admin/users?role=admin",
	"/admin/users?disabled=true", "/admin/users?provider=first", "/admin/users/:me",
	"/admin/sessions", "/admin/sessions?user=:me", "/admin/sessions?client=client3", "/admin/sessions?client=latchkey-app", "/admin/sessions?provider=first",
	"/admin/sessions?cause=idp_logout", "/admin/sessions?cause=token_reused", "/admin/sessions?state=live", "/admin/sessions?state=ended", "/admin/sessions?ip=198.51.0.7",
	"/admin/sessions?ip=203.0.113.1",
	"/admin/clients", "/admin/providers", "/admin/keys",
	"/admin/audit", "/admin/audit?event=identity.linked", "/admin/audit?event=client.deleted", "/admin/audit?user=:me", "/admin/audit?client=client3", "/admin/audit?ip=198.51.0.7", "/admin/audit?actor=:me",
}

// rarePages have two filters that no session meets together. All that the
// narrower finds is read, and no goal holds.
var rarePages = []string{"/admin/sessions?client=client3&state=ended", "/admin/sessions?client=client3&provider=second"}

// pages measures the pages of lists in a small and in a big database.
func (o options) pages(ctx context.Context, r *report, folder string) error {
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		if o.db == "sqlite" && name != "SQLite" || o.db == "postgres" && name == "SQLite" {
			continue
		}
		var houses []*house
		for _, w := range towns {
			begin := time.Now()
			h, err := settle(ctx, name, folder, w)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			defer h.close()
			houses = append(houses, h)
			r.note("%s, %s: %d users and %d sessions, filled in %.0f s", name, w.name, w.users, w.sessions, time.Since(begin).Seconds())
		}
		for _, page := range append(pageList, rarePages...) {
			small, big, err := visitInTurn(houses[0], houses[1], page)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", name, page, err)
			}
			goal := "at most 2"
			if slices.Contains(rarePages, page) {
				goal = ""
			}
			r.row([]string{name, "small ms", "big ms", "ratio", "goal"}, "%-55s %9s %9s %7s  %s",
				"`"+page+"`", fmt.Sprintf("%.2f", 1000*small), fmt.Sprintf("%.2f", 1000*big), fmt.Sprintf("%.2f", big/small), r.judge(goal, big/small <= 2))
		}
	}
	return nil
}

// house is a product whose pages are measured, by its administrator.
type house struct {
	address, cookie, measured string
	client                    *client
	close                     func()
}

// settle opens a database of its own and fills it.
func settle(ctx context.Context, name, folder string, w town) (*house, error) {
	var d database
	stop := func() {}
	if name == "SQLite" {
		d = sqliteAt(filepath.Join(folder, "pages-"+w.name+".db"))
	} else {
		cluster, err := pgtest.Start()
		if err != nil {
			return nil, err
		}
		d, stop = postgresAt(cluster.URL("postgres")), func() { cluster.Close() }
	}
	store, err := storage.Open(ctx, storage.Options{URL: d.url})
	if err != nil {
		return nil, err
	}
	b, err := pageBroker(store)
	if err != nil {
		return nil, err
	}
	u, err := b.CreateUser(ctx, broker.NewUser{Username: "root", Role: broker.RoleRoot, Password: goodWord})
	if err != nil {
		return nil, err
	}
	db, err := d.open("&_pragma=synchronous(off)&_pragma=cache_size(-200000)", 1)
	if name != "SQLite" {
		db, err = d.open("", 1)
	}
	if err != nil {
		return nil, err
	}
	if err := w.fill(ctx, db, u.ID, time.Now()); err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	if err := b.Load(ctx); err != nil {
		return nil, err
	}
	l, err := b.LoginPassword(ctx, "root", goodWord, broker.Device{IP: "127.0.0.1", UserAgent: "benchmark/1.0 (Linux)"})
	if err != nil {
		return nil, err
	}
	handler, err := web.New(web.Config{Broker: b, LocalLogin: true})
	if err != nil {
		return nil, err
	}
	address, end, err := serve(handler)
	return &house{address: address, cookie: "latchkey_session=" + b.PageCookie(l.Session.ID), measured: u.ID, close: func() {
		end()
		_ = store.Close()
		stop()
	}}, err
}

func pageBroker(store *storage.Store) (*broker.Broker, error) {
	secret, err := tokens.NewRootSecret([]byte(rootSecret))
	if err != nil {
		return nil, err
	}
	hasher, err := password.New(password.Config{})
	if err != nil {
		return nil, err
	}
	cfg := broker.Config{Store: store, Secrets: tokens.Secrets{secret}, Hasher: hasher, PublicURL: publicURL, LocalLogin: true}
	for _, id := range []string{"first", "second"} {
		cfg.Providers = append(cfg.Providers, broker.Provider{
			ProviderSettings: broker.ProviderSettings{ID: id, Name: "Provider " + id, Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent},
			IdP:              oidc.New(oidc.Config{Issuer: "http://127.0.0.1:9", ClientID: "latchkey", Cache: store}),
		})
	}
	b, err := broker.New(cfg)
	if err != nil {
		return nil, err
	}
	return b, b.Load(context.Background())
}

// visitInTurn opens a page of both houses in turn, after a few times for what is
// remembered: what else the machine does meets both alike. It returns the medians
// in seconds.
func visitInTurn(small, big *house, page string) (a, b float64, err error) {
	const first = 3
	took := [2][]float64{}
	for _, h := range []*house{small, big} { // anew: a server ends a connection that says nothing for a while
		if h.client, err = dial(h.address); err != nil {
			return 0, 0, err
		}
		defer h.client.close()
	}
	for i := range visits + first {
		for n, h := range []*house{small, big} {
			d, err := h.visit(page)
			if err != nil {
				return 0, 0, err
			}
			if i >= first {
				took[n] = append(took[n], d.Seconds())
			}
		}
	}
	return median(took[0]), median(took[1]), nil
}

func (h *house) visit(page string) (time.Duration, error) {
	send := request("GET", strings.ReplaceAll(page, ":me", h.measured), h.address, "Cookie", h.cookie, "Accept", "text/html")
	begin := time.Now()
	status, body, err := h.client.do(send)
	if err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("status %d, error %v: %.300s", status, err, body)
	}
	return time.Since(begin), nil
}
