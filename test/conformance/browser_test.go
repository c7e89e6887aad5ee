package conformance

import (
	"crypto/tls"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// elsewhere is the site that clients and their users come from.
const elsewhere = "https://suite.test"

// browser is a person's: it keeps cookies, follows redirects within the
// provider, and fills in its forms.
type browser struct {
	m    *run
	http *http.Client
	user string
	deny bool // press Cancel when asked for consent
	stay bool // at the login page

	logins, consents, confirmations int
}

func transport(c *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: c, MaxIdleConnsPerHost: 4}
}

func (m *run) newBrowser(user string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		m.Fatal(err)
	}
	t := transport(m.op.tls)
	m.Cleanup(t.CloseIdleConnections)
	return &browser{m: m, user: user, http: &http.Client{
		Jar: jar, Transport: t, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// place is where a browser has come to: a page of the provider, or a URI of
// somebody else's, with what it brings there.
type place struct {
	url    string
	status int
	header http.Header
	body   string

	left bool       // the provider
	form url.Values // what a form that posts itself carries there; nil: none
}

// travel sends one request and follows redirects until they lead away.
func (b *browser) travel(req *http.Request, err error) place {
	b.m.Helper()
	for range 15 {
		if err != nil {
			b.m.Fatal(err)
		}
		res, err2 := b.http.Do(req)
		if err2 != nil {
			b.m.Fatal(err2)
		}
		body, err2 := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err2 != nil {
			b.m.Fatal(err2)
		}
		if res.StatusCode < 300 || res.StatusCode > 399 {
			return place{url: req.URL.String(), status: res.StatusCode, header: res.Header, body: string(body)}
		}
		if res.StatusCode == http.StatusTemporaryRedirect || res.StatusCode == http.StatusPermanentRedirect {
			b.m.Errorf("%s: %s would send a form's content on", req.URL.Path, res.Status) // RFC 9700 section 4.12
		}
		to, err2 := res.Location()
		if err2 != nil {
			b.m.Fatal(req.URL, err2)
		}
		if !strings.HasPrefix(to.String(), b.m.op.issuer+"/") {
			return place{url: res.Header.Get("Location"), left: true}
		}
		req, err = http.NewRequest(http.MethodGet, to.String(), nil)
	}
	b.m.Fatal("redirects without end")
	return place{}
}

// open follows a link, and does what the pages ask for.
func (b *browser) open(target string) place {
	b.m.Helper()
	return b.walk(b.look(target))
}

// look follows a link and touches nothing.
func (b *browser) look(target string) place {
	b.m.Helper()
	return b.travel(http.NewRequest(http.MethodGet, target, nil))
}

// openByForm posts a form of another site, which comes without our cookies
// (SameSite=Lax), while those of the answer are kept.
func (b *browser) openByForm(target string, values url.Values) place {
	b.m.Helper()
	req, err := http.NewRequest(http.MethodPost, target, strings.NewReader(values.Encode()))
	if err != nil {
		b.m.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", elsewhere)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	jar := b.http.Jar
	b.http.Jar = nil
	res, err := b.http.Do(req)
	b.http.Jar = jar
	if err != nil {
		b.m.Fatal(err)
	}
	_ = res.Body.Close()
	jar.SetCookies(req.URL, res.Cookies())
	to, err := res.Location()
	if err != nil || res.StatusCode != http.StatusSeeOther && res.StatusCode != http.StatusFound {
		b.m.Fatalf("a form of another site: %s", res.Status)
	}
	return b.open(to.String())
}

var (
	formPattern  = regexp.MustCompile(`(?s)<form [^>]*>.*?</form>`)
	inputPattern = regexp.MustCompile(`<(?:input|button)\b[^>]*>`)
	attribute    = regexp.MustCompile(`\b(\w+)="([^"]*)"`)
)

// webForm is a form of a page: its hidden fields, and the names of the others.
type webForm struct {
	id, action string
	hidden     url.Values
	buttons    map[string]bool // name=value
	fields     map[string]bool // by name
}

func attributes(tag string) map[string]string {
	out := map[string]string{}
	for _, found := range attribute.FindAllStringSubmatch(tag, -1) {
		out[found[1]] = html.UnescapeString(found[2])
	}
	return out
}

func (p place) forms() (out []webForm) {
	for _, text := range formPattern.FindAllString(p.body, -1) {
		head := attributes(text[:strings.Index(text, ">")+1])
		f := webForm{id: head["id"], action: head["action"], hidden: url.Values{}, buttons: map[string]bool{}, fields: map[string]bool{}}
		for _, tag := range inputPattern.FindAllString(text, -1) {
			a := attributes(tag)
			switch {
			case strings.HasPrefix(tag, "<button"):
				f.buttons[a["name"]+"="+a["value"]] = true
			case a["type"] == "hidden":
				f.hidden.Add(a["name"], a["value"])
			default:
				f.fields[a["name"]] = true
			}
		}
		out = append(out, f)
	}
	return out
}

// walk does what the pages ask for, until they ask for nothing more.
func (b *browser) walk(at place) place {
	b.m.Helper()
	for range 10 {
		next, more := b.step(at)
		if !more {
			return next
		}
		at = next
	}
	b.m.Fatal("forms without end")
	return place{}
}

func (b *browser) step(at place) (next place, more bool) {
	b.m.Helper()
	if at.left || at.status != http.StatusOK {
		return at, false
	}
	for _, f := range at.forms() {
		switch {
		case f.id == "form-post":
			return place{url: f.action, left: true, form: f.hidden, header: at.header}, false
		case strings.HasSuffix(f.action, "/login/password") && !b.stay:
			if !f.fields["username"] || !f.fields["password"] {
				b.m.Fatalf("the login form has the fields %v", f.fields)
			}
			b.logins++
			f.hidden.Set("username", b.user)
			f.hidden.Set("password", passwordOf(b.user))
			return b.submit(at, f), true
		case f.id == "consent":
			decision := "allow"
			if b.deny {
				decision = "deny"
			}
			if !f.buttons["decision="+decision] {
				b.m.Fatalf("the consent form has the buttons %v", f.buttons)
			}
			b.consents++
			f.hidden.Set("decision", decision)
			return b.submit(at, f), true
		case f.id == "logout":
			b.confirmations++
			return b.submit(at, f), true
		}
	}
	return at, false
}

// submit sends a form of the provider's own page. Where that leads away, the
// page's policy must let it: browsers apply form-action to redirects, too.
func (b *browser) submit(at place, f webForm) place {
	b.m.Helper()
	base, err := url.Parse(at.url)
	if err != nil {
		b.m.Fatal(err)
	}
	target, err := base.Parse(f.action)
	if err != nil {
		b.m.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, target.String(), strings.NewReader(f.hidden.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.m.op.issuer)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		req.Header.Set("Sec-Fetch-Mode", "navigate")
	}
	to := b.travel(req, err)
	if to.left {
		u, err := url.Parse(to.url)
		if err != nil {
			b.m.Fatal(err)
		}
		policy := at.header.Get("Content-Security-Policy")
		_, sources, _ := strings.Cut(policy, "form-action ")
		sources, _, _ = strings.Cut(sources, ";")
		if strings.Contains(policy, "form-action ") && !strings.Contains(" "+sources+" ", " "+u.Scheme+"://"+u.Host+" ") {
			b.m.Errorf("%s: the page's policy (form-action %s) keeps browsers from %s", at.url, sources, u.Host)
		}
	}
	return to
}
