package ban

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/proc"
)

const hub = "/usr/share/crowdsec/hub"

// decision is a line of CrowdSec's about a ban.
var decision = regexp.MustCompile(`latchkey-id/latchkey-bf by ip (\S+) : \S+ ban on Ip (\S+)"`)

// checkCrowdSec has CrowdSec read a log at once, with the shipped parser and
// scenario, a local API of its own and nobody on the network. kind is the type
// of acquis.d.
func checkCrowdSec(t *testing.T, file, kind string, want []string) {
	t.Helper()
	dir := t.TempDir()
	etc := func(name string) string { return filepath.Join(dir, "etc", name) }
	for _, name := range []string{"parsers/s01-parse/latchkey-logs.yaml", "scenarios/latchkey-bf.yaml"} {
		put(t, etc(name), read(t, deploy+"/crowdsec/"+name))
	}
	for _, name := range []string{"s00-raw/crowdsecurity/syslog-logs.yaml", "s02-enrich/crowdsecurity/dateparse-enrich.yaml"} {
		put(t, etc(filepath.Join("parsers", strings.Split(name, "/")[0], filepath.Base(name))), read(t, hub+"/parsers/"+name))
	}
	for _, name := range []string{"profiles.yaml", "simulation.yaml"} {
		put(t, etc(name), read(t, "/etc/crowdsec/"+name))
	}
	if err := os.CopyFS(etc("patterns"), os.DirFS("/etc/crowdsec/patterns")); err != nil {
		t.Fatal(err, "; test/install.sh installs CrowdSec")
	}
	for _, folder := range []string{"data", "plugins", "etc/notifications", "etc/acquis.d", "etc/postoverflows"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put(t, etc("config.yaml"), fmt.Sprintf(crowdsecConfig, dir, hub, fmt.Sprint("127.0.0.1:", proc.Port(t))))
	put(t, etc("lapi.yaml"), "")
	run := func(name string, args ...string) string {
		command := exec.CommandContext(t.Context(), name, args...)
		command.SysProcAttr = proc.DieWithUs()
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	run("cscli", "-c", etc("config.yaml"), "machines", "add", "test", "--password", "test", "--force", "-f", etc("lapi.yaml"))
	said := run("crowdsec", "-c", etc("config.yaml"), "-dsn", "file://"+file, "-type", kind, "-info")
	got := []string{}
	for _, line := range decision.FindAllStringSubmatch(said, -1) {
		if !slices.Contains(got, line[2]) {
			got = append(got, line[2])
		}
	}
	same(t, "CrowdSec, "+filepath.Base(file), got, want)
	if t.Failed() {
		t.Log(said)
	}
}

const crowdsecConfig = `
common: {daemonize: false, log_media: stdout, log_level: info, log_dir: %[1]s, working_dir: .}
config_paths:
  config_dir: %[1]s/etc/
  data_dir: %[1]s/data/
  hub_dir: %[2]s/
  index_path: %[2]s/.index.json
  simulation_path: %[1]s/etc/simulation.yaml
  notification_dir: %[1]s/etc/notifications/
  plugin_dir: %[1]s/plugins/
crowdsec_service: {acquisition_dir: %[1]s/etc/acquis.d, parser_routines: 1}
cscli: {output: human}
db_config: {log_level: info, type: sqlite, db_path: %[1]s/data/crowdsec.db, use_wal: false}
api:
  client: {credentials_path: %[1]s/etc/lapi.yaml}
  server: {log_level: info, listen_uri: "%[3]s", profiles_path: %[1]s/etc/profiles.yaml}
prometheus: {enabled: false}
`
