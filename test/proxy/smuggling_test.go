package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	attacker = "127.0.0.9"    // where attackers come from
	victim   = "127.0.0.1"    // where everybody else does
	stranger = "203.0.113.66" // where smuggled requests say that they come from
)

// witness looks at every request that reaches Latchkey or the app. A proxy says of each
// that it has read where it comes from: one of which it did not, or which came with
// another's words, was smuggled past it.
type witness struct {
	mu  sync.Mutex
	saw []string
}

func (x *witness) watch(next http.Handler, isApp bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, whole := victim, r.RequestURI+" "+r.Header.Get("X-Forwarded-Uri")
		if strings.Contains(whole, "attack") {
			from = attacker
		}
		for name, values := range r.Header {
			if isApp { // some read an underscore as a dash
				name = strings.ReplaceAll(name, "_", "-")
			}
			switch said := strings.Join(values, ","); strings.ToLower(name) {
			case "x-forwarded-for":
				if said != from {
					x.say(whole, name, said)
				}
			case "remote-user":
				if isApp && said != "mallory" {
					x.say(whole, name, said)
				}
			}
		}
		if r.Header.Get("X-Forwarded-For") == "" {
			x.say(whole, "nobody's")
		}
		next.ServeHTTP(w, r)
	})
}

func (x *witness) say(what ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.saw = append(x.saw, strings.Join(what, " "))
}

// taken is what was seen since it was asked last.
func (x *witness) taken() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := x.saw
	x.saw = nil
	return out
}

// smuggled is a request that a proxy has to take for a body, or to refuse.
func smuggled(host string) string {
	return "GET /attack-inside HTTP/1.1\r\nHost: " + host + "\r\nX-Forwarded-For: " + stranger + "\r\nX_Forwarded_For: " + stranger + "\r\nRemote-User: root\r\n\r\n"
}

// obfuscated are ways to write that a body is chunked, of which servers read some and
// not others.
var obfuscated = []string{
	"Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", "Transfer-Encoding:\tchunked",
	"Transfer-Encoding:\vchunked", "Transfer-Encoding: \x00chunked", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: chunked, identity",
	"Transfer-Encoding: identity, chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
	"Transfer-Encoding:\r\n chunked", "X: y\r\n Transfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked",
	"Transfer_Encoding: chunked", "transfer-encoding: CHUNKED", " Transfer-Encoding: chunked", "Transfer-Encoding: chunked;q=1", "TE: chunked\r\nTransfer-Encoding: chunk",
	"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "Expect: 100-continue\r\nTransfer-Encoding: chunked",
}

// attacks are requests of two readings, by their names.
func attacks(host, cookies string) map[string]string {
	inside := smuggled(host)
	post := func(header, body string) string {
		return "POST /attack HTTP/1.1\r\nHost: " + host + "\r\nCookie: " + cookies + "\r\nContent-Type: application/x-www-form-urlencoded\r\n" + header + "\r\n\r\n" + body
	}
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
	ends, chunk := "0\r\n\r\n"+inside, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inside), inside)
	out := map[string]string{
		"two lengths, the first counts": post(length(0)+"\r\n"+length(len(inside)), inside), "two lengths, the last counts": post(length(len(inside))+"\r\n"+length(0), inside),
		"the same length twice": post(length(len(inside))+"\r\n"+length(len(inside)), inside), "a list of lengths": post(fmt.Sprintf("Content-Length: 0, %d", len(inside)), inside),
		"a signed length": post(fmt.Sprintf("Content-Length: +%d", len(inside)), inside), "a length in hex": post(fmt.Sprintf("Content-Length: 0x%x", len(inside)), inside),
		"a space in a name": post(length(0)+"\r\nContent Length: 9", inside), "a space before a colon": post(fmt.Sprintf("Content-Length : %d", len(inside)), inside),
		"an underscore": post(fmt.Sprintf("Content_Length: %d\r\n", len(inside))+length(0), inside), "a folded length": post(fmt.Sprintf("Content-Length:\r\n %d", len(inside)), inside),
		"a length that the proxy shall drop": post("Connection: Content-Length\r\n"+length(len(inside)), inside),
		"an address that it shall drop":      post("Connection: X-Forwarded-For, X-Forwarded-Host\r\nX-Forwarded-For: "+stranger+"\r\n"+length(0), ""),
		"a promised body":                    post("Expect: 100-continue\r\n"+length(len(inside)), inside), "an odd promise": post("Expect: y 100-continue\r\n"+length(len(inside)), inside),
		"a chunk's extension": post("Transfer-Encoding: chunked", "5;a=\"b\"\r\nhello\r\n"+ends), "an extension that ends with LF": post("Transfer-Encoding: chunked", "2;a\nxx\r\n"+ends),
		"an extension with CR":   post("Transfer-Encoding: chunked", "2;a\rb\r\nxx\r\n"+ends),
		"an extension of 256 KB": post("Transfer-Encoding: chunked", "2;"+strings.Repeat("a", 256<<10)+"\r\nxx\r\n"+ends),
		"a chunk of -1":          post("Transfer-Encoding: chunked", "-1\r\n"+ends), "a chunk of 2^64": post("Transfer-Encoding: chunked", "10000000000000000\r\n"+ends),
		"a chunk in 0x": post("Transfer-Encoding: chunked", "0x2\r\nxx\r\n"+ends), "a chunk that is longer than it says": post("Transfer-Encoding: chunked", "1\r\nxyz\r\n"+ends),
		"trailers":        post("Trailer: Remote-User\r\nTransfer-Encoding: chunked", "0\r\nRemote-User: root\r\nX-Forwarded-For: "+stranger+"\r\n\r\n"),
		"an upgrade":      post("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"+length(0), inside),
		"GET with a body": strings.Replace(post(length(len(inside)), inside), "POST", "GET", 1), "HEAD with a body": strings.Replace(post(length(len(inside)), inside), "POST", "HEAD", 1),
		"HTTP/1.0":           strings.Replace(post("Connection: keep-alive\r\n"+length(5)+"\r\nTransfer-Encoding: chunked", ends), "HTTP/1.1", "HTTP/1.0", 1),
		"HTTP/0.9":           "GET /attack\r\n" + inside,
		"an absolute target": strings.Replace(post(length(len(inside)), inside), "/attack", "http://"+stranger+"/attack", 1),
		"two hosts":          post("Host: "+stranger+"\r\n"+length(len(inside)), inside), "a target of two lines": strings.Replace(post(length(0), ""), "/attack", "/attack\r\nX-Forwarded-For: "+stranger, 1),
		"names in headers": post("X-Forwarded-For: "+stranger+"\r\nX_Forwarded_For: "+stranger+"\r\nForwarded: for="+stranger+
			"\r\nRemote-User: root\r\nRemote_User: root\r\nREMOTE-USER: root\r\n"+length(0), ""),
	}
	for _, header := range obfuscated {
		name := strings.Join(strings.Fields(header), " ")
		out["CL.TE, "+name] = post(length(len(ends))+"\r\n"+header, ends)
		out["TE.CL, "+name] = post(length(4)+"\r\n"+header, chunk)
		out["TE.TE, "+name] = post("Transfer-Encoding: chunked\r\n"+header, ends)
	}
	return out
}

// dial opens a connection of an attacker to the proxy.
func (w *world) dial(host string, protocols ...string) (*tls.Conn, error) {
	d := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(attacker)}},
		Config:    &tls.Config{InsecureSkipVerify: true, ServerName: strings.TrimSuffix(host, ":"+w.port), NextProtos: protocols},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+w.port)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// smuggle sends bytes as they are, and takes what comes until there is a pause.
func (w *world) smuggle(host, text string) error {
	conn, err := w.dial(host)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, text)
	_, _ = io.Copy(io.Discard, conn)
	return nil
}

// victims use what attackers try to reach until it is over, and a while longer: each
// answer has to be the one to their question.
func (w *world) victims(t *testing.T, over <-chan struct{}) {
	mallory, refresh := w.mallory(t), w.Login(t, "mallory").RefreshToken.Reveal()
	for n, left := 0, 30; left > 0; n++ {
		select {
		case <-over:
			left--
		default:
		}
		if a := w.send(t, mallory, "GET", "id.example.org", "/healthz", ""); a.status != 200 || a.body != "ok\n" {
			t.Fatalf("a victim's question: %d %s", a.status, a.body)
		}
		mine := fmt.Sprintf("/mine-%d", n)
		if a := w.send(t, mallory, "GET", app, mine, ""); a.status != 200 || !strings.HasPrefix(a.body, "GET "+mine+" app") {
			t.Fatalf("a victim's page: %d %s", a.status, a.body)
		}
		if a := w.send(t, mallory, "POST", "id.example.org", "/auth/refresh", "", "X-Refresh-Token", refresh); a.status != 200 || !strings.Contains(a.body, `"username":"mallory"`) {
			t.Fatalf("a victim's refresh: %d %s", a.status, a.body)
		}
	}
}

func (w *world) smuggles(t *testing.T) {
	w.witness.taken()
	if res, err := http.Get("http://" + w.latchkey + "/attack"); err != nil || len(w.witness.taken()) == 0 {
		t.Fatal("the witness sees nothing", err)
	} else {
		res.Body.Close()
	}
	cookies := ""
	for _, c := range w.mallory(t).Jar.Cookies(&url.URL{Scheme: "https", Host: app, Path: "/"}) {
		cookies += c.Name + "=" + c.Value + "; "
	}
	over := make(chan struct{})
	var others, all sync.WaitGroup
	others.Go(func() { w.victims(t, over) })
	few := make(chan struct{}, 64)
	try := func(name string, attack func() error) {
		few <- struct{}{}
		all.Go(func() {
			defer func() { <-few }()
			if err := attack(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	for _, name := range []string{"id.example.org", app} {
		host := name + ":" + w.port
		for what, text := range attacks(host, cookies) {
			try(what, func() error { return w.smuggle(name, text) })
		}
		for what, extra := range downgrades(smuggled(host)) {
			try(what, func() error { return w.smuggleByH2(host, cookies, extra) })
		}
	}
	all.Wait()
	close(over)
	others.Wait()
	for _, what := range w.witness.taken() {
		t.Errorf("smuggled: %s", what)
	}
}

// downgrades are headers of HTTP/2 that would make two requests in HTTP/1.1.
func downgrades(inside string) map[string][2]string {
	return map[string][2]string{
		"H2.CL": {"content-length", "0"}, "H2.TE": {"transfer-encoding", "chunked"}, "a line more": {"x", "y\r\nTransfer-Encoding: chunked"},
		"a name of two lines": {"x: y\r\ntransfer-encoding", "chunked"}, "a second host": {"host", stranger}, "a target of two lines": {":path", "/attack HTTP/1.1\r\n\r\n" + inside},
		"a longer length": {"content-length", "9999"}, "a hop": {"connection", "x-forwarded-for"},
	}
}

// smuggleByH2 does it where the proxy takes HTTP/2: nginx, as its files set it up, does not.
func (w *world) smuggleByH2(host, cookies string, extra [2]string) error {
	conn, err := w.dial(host, "h2", "http/1.1")
	if err != nil {
		return err
	}
	defer conn.Close()
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	framer := http2.NewFramer(conn, conn)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", host}, {":path", "/attack"}, {"cookie", cookies}, extra} {
		if f[0] == extra[0] && f != extra {
			continue
		}
		_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	_ = framer.WriteData(1, true, []byte("0\r\n\r\n"+smuggled(host)))
	_, _ = io.Copy(io.Discard, conn)
	return nil
}

// X05: requests that two servers could read in two ways reach nobody as another's, and
// are answered to nobody else.
func TestX05SmugglingBehindNginx(t *testing.T) {
	w := newWorld(t)
	w.nginx(t)
	w.smuggles(t)
}

func TestX05SmugglingBehindCaddy(t *testing.T) {
	w := newWorld(t)
	w.caddy(t)
	w.smuggles(t)
}
