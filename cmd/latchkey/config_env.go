package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-id/latchkey/broker"
)

// setting is one line of the configuration table: YAML key, environment
// variable, what a bare number means, default.
type setting struct {
	key    string
	env    string
	unit   time.Duration // of a bare number in the environment and the file
	secret bool          // may come from NAME_FILE; redacted when printed
	value  any           // points into the config
	std    string
}

// settings is the table. Everything that has an environment variable is here,
// and nowhere else.
func (c *config) settings() []setting {
	return append(c.SMTP.settings(), []setting{
		{key: "public_url", env: "LATCHKEY_PUBLIC_URL", value: &c.PublicURL, std: "http://localhost:8080"},
		{key: "listen", env: "LATCHKEY_LISTEN", value: &c.Listen, std: ":8080"},
		{key: "data_dir", env: "LATCHKEY_DATA_DIR", value: &c.DataDir, std: "./data"},
		{key: "database_url", env: "LATCHKEY_DATABASE_URL", value: &c.DatabaseURL, secret: true},
		{key: "journal_file", env: "LATCHKEY_JOURNAL_FILE", value: &c.JournalFile},
		{key: "tls.cert_file", env: "LATCHKEY_TLS_CERT_FILE", value: &c.TLS.CertFile},
		{key: "tls.key_file", env: "LATCHKEY_TLS_KEY_FILE", value: &c.TLS.KeyFile},
		{key: "drain_delay", env: "LATCHKEY_DRAIN_DELAY", unit: time.Second, value: &c.DrainDelay, std: "0"},
		{key: "cors_origins", env: "LATCHKEY_CORS_ORIGINS", value: &c.CORSOrigins},
		{key: "trusted_proxies", env: "LATCHKEY_TRUSTED_PROXIES", value: &c.TrustedProxies},
		{key: "secret_key", env: "JWT_SECRET_KEY", value: &c.SecretKey, secret: true},
		{key: "previous_secret_keys", env: "JWT_SECRET_KEY_PREVIOUS", value: &c.PreviousSecretKeys, secret: true},
		{key: "tokens.algorithm", env: "LATCHKEY_TOKEN_ALGORITHM", value: &c.Tokens.Algorithm, std: "ES256"},
		{key: "tokens.hs256_secret", env: "LATCHKEY_HS256_SECRET", value: &c.Tokens.HS256Secret, secret: true},
		{key: "tokens.access_ttl", env: "ACCESS_TOKEN_EXPIRY", unit: time.Second, value: &c.Tokens.AccessTTL, std: "1h"},
		{key: "tokens.refresh_ttl", env: "REFRESH_TOKEN_EXPIRY", unit: time.Second, value: &c.Tokens.RefreshTTL, std: "30d"},
		{key: "tokens.session_max_age", env: "LATCHKEY_SESSION_MAX_AGE", unit: time.Second, value: &c.Tokens.SessionMaxAge, std: "400d"},
		{key: "tokens.refresh_grace", env: "REFRESH_TOKEN_GRACE_PERIOD", unit: time.Second, value: &c.Tokens.RefreshGrace, std: "10m"},
		{key: "tokens.session_retention", env: "LATCHKEY_SESSION_RETENTION", unit: time.Second, value: &c.Tokens.SessionRetention, std: "90d"},
		{key: "tokens.session_limit", env: "LATCHKEY_SESSION_LIMIT", value: &c.Tokens.SessionLimit, std: "100"},
		{key: "audit_retention", env: "LATCHKEY_AUDIT_RETENTION", unit: time.Second, value: &c.AuditRetention, std: "400d"},
		{key: "tokens.key_rotation", env: "LATCHKEY_KEY_ROTATION", unit: time.Second, value: &c.Tokens.KeyRotation, std: "90d"},
		{key: "rate_limit.auth_window", env: "RATE_LIMIT_AUTH_WINDOW", unit: time.Millisecond, value: &c.RateLimit.AuthWindow, std: "10m"},
		{key: "rate_limit.auth_max", env: "RATE_LIMIT_AUTH_MAX", value: &c.RateLimit.AuthMax, std: "40"},
		{key: "rate_limit.starts_max", env: "LATCHKEY_RATE_LIMIT_STARTS_MAX", value: &c.RateLimit.StartsMax, std: "5000"},
		{key: "redis_url", env: "LATCHKEY_REDIS_URL", value: &c.RedisURL, secret: true},
		{key: "passwords.min_length", env: "LATCHKEY_PASSWORD_MIN_LENGTH", value: &c.Passwords.MinLength, std: "15"},
		{key: "local_login", env: "LATCHKEY_LOCAL_LOGIN", value: &c.LocalLogin, std: "true"},
		{key: "auto_launch", env: "LATCHKEY_AUTO_LAUNCH", value: &c.AutoLaunch},
		{key: "registration_token", env: "LATCHKEY_REGISTRATION_TOKEN", value: &c.RegistrationToken, secret: true},
		{key: "mobile_redirect_uris", env: "LATCHKEY_MOBILE_REDIRECT_URIS", value: &c.MobileRedirectURIs,
			std: "audiobookshelf://oauth,shelfplayer://callback,lissen://oauth,audiobooth://oauth"},
		{key: "mobile_confirm", env: "LATCHKEY_MOBILE_CONFIRM", value: &c.MobileConfirm, std: "false"},
		{key: "import.audiobookshelf_secret", env: "LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET", value: &c.Import.AudiobookshelfSecret, secret: true},
		{key: "import.accept_legacy_until", env: "LATCHKEY_IMPORT_ACCEPT_LEGACY_UNTIL", value: &c.Import.AcceptLegacyUntil},
		{key: "log.format", env: "LATCHKEY_LOG_FORMAT", value: &c.Log.Format},
		{key: "log.level", env: "LATCHKEY_LOG_LEVEL", value: &c.Log.Level, std: "info"},
		{key: "metrics.listen", env: "LATCHKEY_METRICS_LISTEN", value: &c.Metrics.Listen},
		{key: "tracing.endpoint", env: "OTEL_EXPORTER_OTLP_ENDPOINT", value: &c.Tracing.Endpoint},
		{key: "tracing.headers", env: "OTEL_EXPORTER_OTLP_HEADERS", value: &c.Tracing.Headers, secret: true},
		{env: "LATCHKEY_ADMIN_USERNAME", value: &c.adminUsername},
		{env: "LATCHKEY_ADMIN_PASSWORD", value: &c.adminPassword, secret: true},
	}...)
}

// The one provider of the environment.
var providerEnv = []string{"OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_NAME"}

// loadConfig reads defaults < file < environment and reports all problems at
// once.
func (p *program) loadConfig() (*config, error) {
	c, bad, err := p.readConfig()
	if err != nil {
		return nil, err
	}
	return c, bad.err()
}

// readConfig is loadConfig for who wants to see the problems one by one. It fails
// if the file cannot be read at all.
func (p *program) readConfig() (c *config, bad problems, err error) {
	c = &config{bounds: ordinary}
	table := c.settings()
	for _, s := range table {
		if s.std != "" {
			if err := s.set(s.std); err != nil {
				panic(fmt.Sprintf("default of %s: %v", s.key, err))
			}
		}
	}
	if err := p.readFile(c, &bad); err != nil {
		return nil, nil, err
	}
	for _, s := range table {
		text, from, err := p.lookup(s.env, s.secret)
		if err == nil && from != "" {
			err = s.set(text)
		}
		if err != nil {
			bad.add(s.env, "%v", err)
		}
	}
	p.providerFromEnv(c, &bad)
	p.unknownEnv(table, &bad)
	c.check(&bad)
	return c, bad, nil
}

// lookup reads NAME, or the file that NAME_FILE names.
func (p *program) lookup(name string, secret bool) (value, from string, err error) {
	value = p.getenv(name)
	file := ""
	if secret {
		file = p.getenv(name + "_FILE")
	}
	switch {
	case value != "" && file != "":
		return "", "", fmt.Errorf("and %s_FILE are both set; keep one", name)
	case file != "":
		text, err := readSecretFile(file)
		return text, name + "_FILE", err
	case value != "":
		return value, name, nil
	}
	return "", "", nil
}

func readSecretFile(name string) (string, error) {
	raw, err := os.ReadFile(name)
	return strings.TrimRight(string(raw), "\r\n"), err
}

func (p *program) providerFromEnv(c *config, bad *problems) {
	values := map[string]string{}
	for _, name := range providerEnv {
		value, from, err := p.lookup(name, name == "OIDC_CLIENT_SECRET")
		if err != nil {
			bad.add(name, "%v", err)
		}
		if from != "" {
			values[name] = value
		}
	}
	if len(values) == 0 {
		return
	}
	for _, x := range c.Providers {
		if x.ID == "openid" {
			bad.add("OIDC_ISSUER", "makes a provider with the id openid, and the file has one too; keep one")
			return
		}
	}
	if values["OIDC_NAME"] == "" {
		values["OIDC_NAME"] = "OpenID"
	}
	c.Providers = append([]providerConfig{{
		ProviderSettings: broker.ProviderSettings{
			ID: broker.DefaultProviderID, Name: values["OIDC_NAME"], Issuer: values["OIDC_ISSUER"], ClientID: values["OIDC_CLIENT_ID"],
		},
		ClientSecret: values["OIDC_CLIENT_SECRET"],
	}}, c.Providers...)
}

// unknownEnv finds misspelt variables of ours. Kubernetes sets LATCHKEY_PORT
// and the like for a service of that name; those are not ours.
func (p *program) unknownEnv(table []setting, bad *problems) {
	known := []string{"LATCHKEY_CONFIG", "LATCHKEY_URL", "LATCHKEY_CLIENT_DIR"}
	for _, s := range table {
		known = append(known, s.env)
		if s.secret {
			known = append(known, s.env+"_FILE")
		}
	}
	for _, entry := range p.environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "LATCHKEY_") || slices.Contains(known, name) || strings.HasPrefix(name, "LATCHKEY_SERVICE_") ||
			strings.HasPrefix(name, "LATCHKEY_PORT") || strings.HasPrefix(name, "LATCHKEY_TEST_") || value == "" {
			continue
		}
		bad.addUnknown(name, "is not known; did you mean %s?", nearest(name, known))
	}
}

// systemConfig is where packages put the file.
const systemConfig = "/etc/latchkey/latchkey.yaml"

// configName is the file to read; optional: if it is there.
func (p *program) configName() (name string, optional bool) {
	name = cmp.Or(p.configFile, p.getenv("LATCHKEY_CONFIG"))
	if name != "" {
		return name, false
	}
	if _, err := os.Stat("latchkey.yaml"); err != nil { // also in a folder that is closed to the user of the server
		return systemConfig, true
	}
	return "latchkey.yaml", true
}

// readFile reads the YAML file, if there is one.
func (p *program) readFile(c *config, bad *problems) error {
	name, optional := p.configName()
	raw, err := os.ReadFile(name)
	if err != nil {
		if optional && os.IsNotExist(err) {
			return nil
		}
		return fmt.Errorf("configuration file: %w", err)
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return fmt.Errorf("configuration file %s: %s", name, withoutValues(err))
	}
	if len(tree.Content) == 0 {
		return nil // an empty file
	}
	unknownKeys(tree.Content[0], reflect.TypeFor[config](), "", bad)
	if err := tree.Decode(c); err != nil {
		return fmt.Errorf("configuration file %s: %s", name, withoutValues(err))
	}
	for i := range c.Providers {
		x := &c.Providers[i]
		secretOrFile("providers."+x.ID, &x.ClientSecret, x.ClientSecretFile, bad)
	}
	for i := range c.Clients {
		x := &c.Clients[i]
		secretOrFile("clients."+x.ID, &x.Secret, x.SecretFile, bad)
	}
	return nil
}

// quoted is what errors of the YAML reader quote from the file.
var quoted = regexp.MustCompile("(?s)`.*?`|'.*?'")

// withoutValues leaves out of an error what it quotes: it may be a secret.
func withoutValues(err error) string { return quoted.ReplaceAllString(err.Error(), "a value") }

// secretOrFile reads a secret that stands in a file of its own.
func secretOrFile(key string, secret *string, file string, bad *problems) {
	if file == "" {
		return
	}
	if *secret != "" {
		bad.add(key, "has client_secret and client_secret_file; keep one")
	}
	text, err := readSecretFile(file)
	if err == nil && text == "" {
		err = errors.New("is empty")
	}
	if err != nil {
		bad.add(key+".client_secret_file", "%v", err)
	}
	*secret = text
}

// unknownKeys walks the file beside the type that it is read into.
func unknownKeys(n *yaml.Node, t reflect.Type, path string, bad *problems) {
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range n.Content {
			unknownKeys(item, t.Elem(), path, bad)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		known := map[string]reflect.Type{}
		names := []string{}
		for _, f := range reflect.VisibleFields(t) { // those of an inlined struct too
			if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
				known[name] = f.Type
				names = append(names, name)
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			field, ok := known[key]
			if !ok {
				bad.addUnknown(path+key, "(line %d) is not known; did you mean %s%s?", n.Content[i].Line, path, nearest(key, names))
				continue
			}
			unknownKeys(n.Content[i+1], field, path+key+".", bad)
		}
	}
}

// nearest finds the known name that is fewest edits away.
func nearest(name string, known []string) string {
	sort.Strings(known)
	best, distance := "", 1<<30
	for _, k := range known {
		if d := edits(name, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := before
			if a[i-1] != b[j-1] {
				cost = 1 + min(before, row[j], row[j-1])
			}
			before, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}

// set reads one value from text.
func (s setting) set(text string) error {
	switch v := s.value.(type) {
	case *string:
		*v = text
	case *[]string:
		*v = nil
		for _, item := range strings.Split(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*v = append(*v, item)
			}
		}
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("is %q, must be true or false", text)
		}
		*v = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("is %q, must be a whole number", text)
		}
		*v = n
	case *duration:
		d, err := parseDuration(text, s.unit)
		if err != nil {
			return err
		}
		*v = d
	}
	return nil
}
