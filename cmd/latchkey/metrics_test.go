package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What Prometheus reads from the real program after a day in small, and whether
// dashboard and alerts ask for what is there.
func TestMetricsOfTheRealProgram(t *testing.T) {
	x := newWatchedWorld(t, "metrics: {listen: \"127.0.0.1:0\"}\n", nil)
	const hostile = "hostile-text-of-a-stranger"
	app := x.passwordLogin()
	if err := app.refreshTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := newDemoApp(x.base).password(t.Context(), hostile, hostile); err == nil {
		t.Fatal("a wrong password logged in")
	}
	phone := x.mobileLogin()
	if err := phone.logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, code, _, err := phone.refused(t.Context()); err != nil || code != "logged_out" {
		t.Fatal(code, err)
	}
	for range 20 { // no more series for all of these than for one
		get(t, x.base+"/"+hostile)
		get(t, x.base+"/auth/"+hostile+"/callback?state="+hostile)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "HOSTILE", x.base+"/login", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	text := x.metrics()
	for _, want := range []string{
		`latchkey_logins_total{method="password",result="ok"} 1`,
		`latchkey_logins_total{method="password",result="invalid_credentials"} 1`,
		`latchkey_logins_total{method="openid",result="ok"} 1`,
		`latchkey_logins_total{method="unknown",result="provider_unknown"} 20`,
		`latchkey_refreshes_total{reason="same",result="ok"} 1`,
		`latchkey_refreshes_total{reason="logged_out",result="refused"} 1`,
		`latchkey_sessions_started_total{method="openid"} 1`,
		`latchkey_sessions_ended_total{cause="logged_out"} 1`,
		`latchkey_refusals_total{code="logged_out",verdict="login"} 1`,
		`latchkey_idp_requests_total{provider="openid",result="ok"} `,
		`latchkey_idp_request_duration_seconds_count{provider="openid"} `,
		`latchkey_idp_up{provider="openid"} 1`,
		`latchkey_limiter_decisions_total{decision="failed",key="address"} 1`,
		`latchkey_password_hashes_total 2`,
		`latchkey_db_connections{pool="reader",state="idle"} `,
		`latchkey_http_requests_total{method="POST",route="/auth/refresh",status="401"} 1`,
		`latchkey_http_requests_total{method="GET",route="none",status="404"} 20`,
		`latchkey_http_requests_total{method="other",route="none",status="405"} 1`,
		`latchkey_http_request_duration_seconds_bucket{method="POST",route="/login",le="10"} 2`,
		`latchkey_signing_key_active_timestamp_seconds{algorithm="ES256"} `, `latchkey_signing_key_change_overdue_seconds 0`,
		`latchkey_mails_total{result="sent"} 0`, `latchkey_mails_total{result="undelivered"} 0`, `latchkey_mails_waiting 0`, `latchkey_mails_waiting_oldest_seconds 0`,
		`latchkey_ready 1`, `latchkey_sessions_live `, `latchkey_build_info{goversion="go`, `process_start_time_seconds `, `go_goroutines `,
		`latchkey_config_last_reload_successful 1`,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(strings.ToLower(text), "hostile") || strings.Contains(text, "root") || strings.Contains(text, "anna") {
		t.Error("a label holds what a stranger chose, or who somebody is")
	}
	if n := strings.Count(text, "\nlatchkey_"); n > 600 {
		t.Errorf("%d series after a few requests", n)
	}
	if status, _ := get(t, x.base+"/metrics"); status != http.StatusNotFound {
		t.Errorf("/metrics at the address of everybody answers %d", status)
	}
	promtool(t, text, "check", "metrics")
	dashboardAsksForWhatIsThere(t, text)
	// The one that needs TLS; see TestCertificateFiles.
	alertsAskForWhatIsThere(t, text+"\nlatchkey_tls_certificate_expiry_timestamp_seconds 1\n")
	if t.Failed() {
		t.Log(text)
	}
}

func TestAlerts(t *testing.T) {
	folder := filepath.Join("..", "..", "deploy", "prometheus")
	promtool(t, "", "check", "rules", filepath.Join(folder, "alerts.yml"))
	promtool(t, "", "test", "rules", filepath.Join(folder, "alerts_test.yml"))
	rules, tests := alertRules(t), string(readFile(t, filepath.Join(folder, "alerts_test.yml")))
	for name := range rules {
		if !regexp.MustCompile(`(?s)alertname: ` + name + `\b.{1,30}exp_alerts:\s+- exp_labels`).MatchString(tests) {
			t.Errorf("no test makes %s fire", name)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func alertRules(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(readFile(t, filepath.Join("..", "..", "deploy", "prometheus", "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			out[r.Alert] = r.Expr
		}
	}
	return out
}

func alertsAskForWhatIsThere(t *testing.T, text string) {
	t.Helper()
	for name, expr := range alertRules(t) {
		asksForWhatIsThere(t, text, "alert "+name, expr)
	}
}

func dashboardAsksForWhatIsThere(t *testing.T, text string) {
	t.Helper()
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr, LegendFormat string }
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(readFile(t, filepath.Join("..", "..", "deploy", "grafana", "latchkey.json"))))
	if err := decoder.Decode(&board); err != nil {
		t.Fatal(err)
	}
	asked := 0
	type recording struct{ Record, Expr string }
	var queries []recording
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %s asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			asked++
			asksForWhatIsThere(t, text, "panel "+p.Title, target.Expr)
			queries = append(queries, recording{fmt.Sprint("panel:", asked), grafanaVariable.ReplaceAllString(target.Expr, "5m")})
		}
	}
	// That Prometheus can read the queries it says itself, of rules.
	rules, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": queries}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
	if asked < 20 {
		t.Errorf("the dashboard asks for %d things", asked)
	}
}

var (
	metricInQuery = regexp.MustCompile(`\b(latchkey_[a-z_]+|process_[a-z_]+|go_[a-z_]+|up)\b(\{[^}]*\})?`)
	// grafanaVariable is how long Grafana says that a rate looks back.
	grafanaVariable = regexp.MustCompile(`\$__rate_interval`)

	labelInQuery = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	labelsOfSums = regexp.MustCompile(`\b(?:by|without) \(([a-z_, ]+)\)`)
	ofTheScrape  = []string{"instance", "job", "le"} // labels that Prometheus gives, or a histogram has
)

// asksForWhatIsThere walks the metrics and the labels of a query.
func asksForWhatIsThere(t *testing.T, text, who, query string) {
	t.Helper()
	found := metricInQuery.FindAllStringSubmatch(query, -1)
	if len(found) == 0 {
		t.Errorf("%s asks for no metric: %s", who, query)
	}
	labels := map[string]bool{}
	for _, m := range found {
		if m[1] == "up" { // of Prometheus itself
			continue
		}
		sample := regexp.MustCompile(`(?m)^`+m[1]+`(\{[^}]*\})? `).FindAllStringSubmatch(text, -1)
		if sample == nil {
			t.Errorf("%s asks for %s, which is not there", who, m[1])
			continue
		}
		for _, l := range labelInQuery.FindAllStringSubmatch(sample[0][1], -1) {
			labels[l[1]] = true
		}
		for _, l := range labelInQuery.FindAllStringSubmatch(m[2], -1) {
			if !labels[l[1]] && !slices.Contains(ofTheScrape, l[1]) {
				t.Errorf("%s asks for the label %s of %s, which has none", who, l[1], m[1])
			}
		}
	}
	for _, m := range labelsOfSums.FindAllStringSubmatch(query, -1) {
		for _, l := range strings.Split(m[1], ",") {
			if l = strings.TrimSpace(l); !labels[l] && !slices.Contains(ofTheScrape, l) {
				t.Errorf("%s sums up by the label %s, which nothing there has", who, l)
			}
		}
	}
}
