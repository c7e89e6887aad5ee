package lab

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is what a request is for.
type Kind string

// The kinds of requests.
const (
	KindLogin   Kind = "login"   // anything by which an app begins or ends a login
	KindRefresh Kind = "refresh" // on either face
	KindAPI     Kind = "api"     // with an access token
	KindLogout  Kind = "logout"
	KindOther   Kind = "other"
)

var kinds = []Kind{KindLogin, KindRefresh, KindAPI, KindLogout, KindOther}

// kindOf tells the kind from the request; form is its body, if it is a form.
func kindOf(r *http.Request, form url.Values) Kind {
	path := r.URL.Path
	switch {
	case path == "/auth/refresh":
		return KindRefresh
	case path == "/oauth2/token":
		return kindOfGrant(form.Get("grant_type"))
	case strings.HasPrefix(path, "/api/"), path == "/oauth2/userinfo":
		return KindAPI
	case path == "/logout", path == "/oauth2/logout", path == "/oauth2/revoke":
		return KindLogout
	case path == "/auth/openid/config", strings.HasSuffix(path, "/backchannel-logout"):
		return KindOther
	case path == "/login", strings.HasPrefix(path, "/auth/"),
		path == "/oauth2/authorize", path == "/oauth2/par", path == "/oauth2/device_authorization":
		return KindLogin
	}
	return KindOther
}

func kindOfGrant(grant string) Kind {
	switch grant {
	case "refresh_token":
		return KindRefresh
	case "client_credentials":
		return KindOther
	}
	return KindLogin
}

// Exchange is a request and its answer, as far as checks look at them. Of tokens
// it has hashes.
type Exchange struct {
	Kind   Kind
	Method string
	Path   string // without the query, in which there may be codes
	// Token is the refresh token of a refresh, and the access token of an API call.
	Token string
	Begun time.Time
	// Ended is when the answer had left, or the connection was cut; zero: not yet.
	Ended       time.Time
	Status      int // of the answer; 0: there was none
	Code        string
	RetryAfter  time.Duration
	GaveAccess  string
	GaveRefresh string
	// Delivered: the whole answer left for the app.
	Delivered bool
	// Fault is what the lab did to it, in its scenario's words.
	Fault string
}

func (x Exchange) ok() bool { return x.Delivered && x.Status >= 200 && x.Status < 300 }

// renewed: the app has new tokens by it.
func (x Exchange) renewed() bool { return x.ok() && x.GaveAccess != "" }

// toProvider: the login is one through the identity provider.
func (x Exchange) toProvider() bool {
	return x.Kind == KindLogin && strings.HasPrefix(x.Path, "/auth/") && !strings.HasSuffix(x.Path, "/logo")
}

// record is what was seen in the course of one check.
type record struct {
	mu      sync.Mutex
	list    []*Exchange
	changed chan struct{} // has room for one: there is something new
}

func newRecord() *record { return &record{changed: make(chan struct{}, 1)} }

// mostExchanges are the newest, which are kept: an app that loops sends more.
const mostExchanges = 2000

func (r *record) begin(x Exchange) *Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := &x
	if r.list = append(r.list, kept); len(r.list) > mostExchanges {
		r.list = r.list[1:]
	}
	return kept
}

// change writes to an exchange of this record.
func (r *record) change(x *Exchange, f func(*Exchange)) {
	r.mu.Lock()
	f(x)
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// seen is a copy of everything, in the order in which requests came.
func (r *record) seen() []Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Exchange, 0, len(r.list))
	for _, x := range r.list {
		out = append(out, *x)
	}
	return out
}

// since are the exchanges that began at t or later.
func since(list []Exchange, t time.Time) []Exchange {
	i := slices.IndexFunc(list, func(x Exchange) bool { return !x.Begun.Before(t) })
	if i < 0 {
		return nil
	}
	return list[i:]
}

func of(list []Exchange, kind Kind) (out []Exchange) {
	for _, x := range list {
		if x.Kind == kind {
			out = append(out, x)
		}
	}
	return out
}
