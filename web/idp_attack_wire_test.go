package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// idpCount serves size zeros and counts what the client took.
func idpCount(taken *atomic.Int64, size int64) providertest.Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		chunk := make([]byte, 64<<10)
		for i := range chunk {
			chunk[i] = '['
		}
		for sent := int64(0); sent < size; {
			n, err := w.Write(chunk)
			taken.Add(int64(n))
			if sent += int64(n); err != nil {
				break
			}
		}
		return true
	}
}

// U20: hostile bytes. Whatever comes, it is over soon, costs little and is the
// IdP's fault; and the next honest answer heals it.
func TestU20HostileBytes(t *testing.T) {
	endpoints := []string{providertest.EndpointDiscovery, providertest.EndpointJWKS, providertest.EndpointToken, providertest.EndpointUserinfo}
	var taken atomic.Int64
	nested := func(open, end string) string { return strings.Repeat(open, 100_000) + strings.Repeat(end, 100_000) }
	faults := map[string]providertest.Responder{
		"1 GB":           idpCount(&taken, 1<<30),
		"gzip bomb":      providertest.GzipBomb(1 << 30),
		"nested arrays":  providertest.Body(200, "application/json", nested("[", "]")),
		"nested objects": providertest.Body(200, "application/json", nested(`{"a":`, "}")[:600_000]),
		"10 MB ID token": providertest.Body(200, "application/json", `{"access_token":"x","id_token":"`+strings.Repeat("A", 10<<20)+`"}`),
		"cut off":        providertest.CutOff(`{"access_token":"x",`),
		"HTML":           providertest.Body(200, "text/html", "<html>the IdP's client secret</html>"),
		"nothing":        providertest.Body(200, "application/json", ""),
		"null":           providertest.Body(200, "application/json", "null"),
		"a list":         providertest.Body(200, "application/json", "[]"),
		"500":            providertest.Body(500, "text/html", "the IdP's client secret"),
		"204":            providertest.Body(204, "", ""),
	}
	for _, endpoint := range endpoints {
		for name, fault := range faults {
			t.Run(endpoint+": "+name, func(t *testing.T) {
				x := idpStart(t, nil)
				before, begun := x.tally(), time.Now()
				taken.Store(0)
				var a *answer
				if endpoint == providertest.EndpointDiscovery {
					x.lie(func(s *providertest.Script) { s.Respond[endpoint] = fault })
					a = x.do(http.MethodGet, "/auth/openid?callback=/")
				} else {
					x.lie(func(s *providertest.Script) {
						idpClaim("preferred_username", nil)(x, s)
						s.Respond[endpoint] = fault
					})
					a = x.browse("anna")
				}
				if a.Status != 502 && a.Status != 503 || time.Since(begun) > 10*time.Second {
					t.Errorf("%d after %v", a.Status, time.Since(begun))
				}
				x.noLogin(a, before, a.Status, broker.Code(a.Header.Get("Latchkey-Code")))
				if n := taken.Load(); n > 16<<20 {
					t.Errorf("%d bytes were taken", n)
				}
				x.honest()
			})
		}
	}
}

// U20: a drip and a stall end by time, and hold up nobody else.
func TestU20Drip(t *testing.T) {
	for _, endpoint := range []string{providertest.EndpointDiscovery, providertest.EndpointJWKS, providertest.EndpointToken, providertest.EndpointUserinfo} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			x := idpStart(t, nil)
			x.User(t, "alice", broker.RoleUser)
			alice := x.login("alice")
			before := x.tally()
			atIdP, flow := x.begin()
			callback := x.visit(atIdP, "anna")
			x.lie(func(s *providertest.Script) {
				idpClaim("preferred_username", nil)(x, s)
				s.Respond[endpoint] = providertest.Drip(strings.Repeat(" ", 1000), time.Second)
			})
			target := callback
			if endpoint == providertest.EndpointDiscovery {
				target = "/auth/openid?callback=/"
			}
			done := make(chan *answer)
			begun := time.Now()
			go func() {
				a, err := x.try(http.MethodGet, target, cookies(flow))
				if err != nil {
					t.Error(err)
				}
				done <- a
			}()
			time.Sleep(200 * time.Millisecond)
			x.refresh(alice.refresh).want(200)
			x.me(alice.access).want(200)
			a := <-done
			if a == nil {
				return
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if a.Status != 502 && a.Status != 503 {
				t.Errorf("status %d", a.Status)
			}
			x.noLogin(a, before, a.Status, broker.Code(a.Header.Get("Latchkey-Code")))
			x.honest()
		})
	}
}

// U21: code, verifier and secret reach nobody but the configured endpoint.
func TestU21EndpointsRedirect(t *testing.T) {
	bait, calls := idpBait(t)
	for _, endpoint := range []string{providertest.EndpointDiscovery, providertest.EndpointJWKS, providertest.EndpointToken, providertest.EndpointUserinfo} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(endpoint, status), func(t *testing.T) {
				x := idpStart(t, nil)
				before := x.tally()
				x.lie(func(s *providertest.Script) {
					idpClaim("preferred_username", nil)(x, s)
					s.Respond[endpoint] = providertest.RedirectTo(status, bait+"/c")
				})
				var a *answer
				if endpoint == providertest.EndpointDiscovery {
					a = x.do(http.MethodGet, "/auth/openid?callback=/")
				} else {
					a = x.browse("anna")
				}
				x.noLogin(a, before, 502, broker.IdPBadResponse)
			})
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests went on", n)
	}
}

// A refusal of the token endpoint is no outage, in whatever words, and what it
// repeats of our request is not in the log.
func TestTokenEndpointRefuses(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		code   broker.Code
	}{
		{400, `{"error":"Invalid authorization code"}`, broker.IdPRefused}, // Pocket-ID
		{401, `{"error":"Invalid client secret"}`, broker.IdPRefused},
		{404, `{"error":"Record not found"}`, broker.IdPRefused},
		{400, `{"error":"invalid_grant"}`, broker.IdPRefused},
		{200, `{"error":"bad_verification_code"}`, broker.IdPRefused}, // GitHub
		{400, `not even JSON`, broker.IdPRefused},
		{400, `{"error":7}`, broker.IdPRefused},
		{429, `{}`, broker.TemporarilyUnavailable},
		{500, `{"error":"server_error"}`, broker.TemporarilyUnavailable},
		{503, ``, broker.TemporarilyUnavailable},
		{200, `{"access_token":""}`, broker.IdPBadResponse},
		{200, `{"access_token":"x"}`, broker.IdPBadResponse},
	} {
		t.Run(fmt.Sprint(c.status, c.body), func(t *testing.T) {
			x := idpStart(t, nil)
			x.lie(func(s *providertest.Script) {
				s.Respond[providertest.EndpointToken] = providertest.Body(c.status, "application/json", c.body)
			})
			x.noLogin(x.browse("anna"), x.tally(), idpStatus[c.code], c.code)
			if strings.Contains(c.body, "Invalid") && !strings.Contains(x.log.String(), "Invalid ") {
				t.Errorf("the operator is not told: %s", x.log)
			}
			x.honest()
		})
	}
	t.Run("an echo", func(t *testing.T) {
		x := idpStart(t, nil)
		for _, how := range []func(r *http.Request) string{
			func(r *http.Request) string { return "no such code: " + r.PostForm.Get("code") },
			func(r *http.Request) string { return "wrong verifier " + r.PostForm.Get("code_verifier") },
			func(*http.Request) string { return "wrong secret the IdP's client secret" },
			func(r *http.Request) string { return r.PostForm.Encode() },
			func(r *http.Request) string { return r.Header.Get("Authorization") },
		} {
			x.lie(func(s *providertest.Script) {
				s.Respond[providertest.EndpointToken] = func(w http.ResponseWriter, r *http.Request) bool {
					_ = r.ParseForm()
					x.secret(r.PostForm.Get("code_verifier"), strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(400)
					_, _ = w.Write([]byte(toJSON(map[string]string{"error": how(r), "error_description": how(r)})))
					return true
				}
			})
			x.noLogin(x.browse("anna"), x.tally(), 403, broker.IdPRefused)
		}
	})
}
