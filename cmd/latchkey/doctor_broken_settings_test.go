package main

import (
	"context"
	"database/sql"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// setup is a broken installation.
type setup struct {
	id   string
	make func(w *world)
	// with are findings that the same fault has to bring along.
	with []string
}

// yamlIs is a set-up that one configuration file breaks.
func yamlIs(text string) func(*world) { return func(w *world) { w.yaml = text } }

func envIs(name, value string) func(*world) { return func(w *world) { w.set(name, value) } }

var brokenSettings = []setup{
	{id: "config_unreadable", make: yamlIs("listen: [")},
	{id: "config_unreadable", make: func(w *world) { w.set("LATCHKEY_CONFIG", filepath.Join(w.dir, "nowhere", "latchkey.yaml")) }},
	{id: "config_key_unknown", make: yamlIs("publik_url: https://id.example.org\n")},
	{id: "config_key_unknown", make: envIs("LATCHKEY_PUBLIC_ULR", "https://id.example.org")},
	{id: "config_value", make: yamlIs("log: {level: loud}\n")},
	{id: "config_value", make: yamlIs("tokens: {access_ttl: 100d}\n")},
	{id: "public_url_http", make: func(w *world) {
		w.set("LATCHKEY_PUBLIC_URL", "http://id.example.org")
		w.unreachable("id.example.org")
	}},
	{id: "grace_short", make: yamlIs("tokens: {refresh_grace: 5s}\n")},
	{id: "access_ttl_long", make: yamlIs("tokens: {access_ttl: 7d}\n")},
	{id: "algorithm_shared", make: yamlIs("tokens: {algorithm: HS256, hs256_secret: " + rootSecret + "}\n")},
	{id: "rate_limit_off", make: yamlIs("rate_limit: {auth_max: 0}\n")},
	{id: "database_in_memory", make: func(w *world) {
		w.set("LATCHKEY_DATABASE_URL", "sqlite::memory:")
	}},
	{id: "metrics_public", make: envIs("LATCHKEY_METRICS_LISTEN", "203.0.113.5:9464")},
	{id: "trusted_proxies_wide", make: yamlIs("trusted_proxies: [127.0.0.1, 0.0.0.0/1]\n")},
	{id: "trusted_proxies_wide", make: yamlIs("trusted_proxies: ['2000::/3']\n")},
	{id: "cors_origin_pattern", make: yamlIs("cors_origins: ['https://*.example.org']\n")},
	{id: "cors_origin_http", make: yamlIs("cors_origins: ['http://app.example.org', 'http://localhost:5173']\n")},
	{id: "auto_launch_unknown", make: yamlIs("auto_launch: google\n")},
	{id: "secret_weak", make: envIs("JWT_SECRET_KEY", "please-changeme-please-changeme-please")},
	{id: "secret_weak", make: envIs("LATCHKEY_REGISTRATION_TOKEN", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")},
	{id: "legacy_tokens_taken", make: func(w *world) {
		w.yaml = "import: {audiobookshelf_secret: " + rootSecret + ", accept_legacy_until: '" + time.Now().Add(30*24*time.Hour).Format(time.DateOnly) + "'}\n"
	}},
	{id: "legacy_tokens_over", make: yamlIs("import: {audiobookshelf_secret: " + rootSecret + ", accept_legacy_until: 2020-01-01}\n")},
	{id: "app_scheme_missing", make: func(w *world) {
		w.idp("")
		w.yaml += "import: {audiobookshelf_secret: " + rootSecret + "}\nmobile_redirect_uris: ['shelfplayer://callback']\n"
	}},
	{id: "link_by_public", make: func(w *world) {
		w.yaml = "providers:\n- {id: chat, name: Discord, type: discord, client_id: x, client_secret: y, provision: match, link_by: verified_email}\n"
		w.change = func(d *doctor) { // nothing outside this machine is asked
			d.try = func(context.Context, string) (broker.Trial, error) { return broker.Trial{}, nil }
		}
	}},
}

var brokenFiles = []setup{
	{id: "config_file_exposed", make: func(w *world) { w.write("latchkey.yaml", "registration_token: "+rootSecret+"\n", 0o644) }},
	{id: "secret_file_exposed", make: func(w *world) {
		w.mkdir("data", 0o755)
		w.write("data/secret.key", rootSecret, 0o644)
	}},
	{id: "secret_file_exposed", make: func(w *world) { w.set("JWT_SECRET_KEY_FILE", w.write("root", rootSecret, 0o604)) }},
	{id: "secret_file_exposed", make: func(w *world) { // of PostgreSQL
		w.usePostgres(nil)
		w.set("LATCHKEY_DATABASE_URL_FILE", w.write("database", w.env["LATCHKEY_DATABASE_URL"], 0o644))
		w.set("LATCHKEY_DATABASE_URL", "")
	}},
	{id: "config_file_exposed", make: func(w *world) {
		w.usePostgres(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "p4ssw0rd") })
		w.write("latchkey.yaml", "database_url: '"+w.env["LATCHKEY_DATABASE_URL"]+"'\n", 0o644)
		w.set("LATCHKEY_DATABASE_URL", "")
	}},
	{id: "secret_file_empty", make: func(w *world) { w.set("LATCHKEY_REGISTRATION_TOKEN_FILE", w.write("token", "\n", 0o600)) }},
	{id: "database_file_exposed", make: func(w *world) {
		w.run("user", "list")
		w.mkdir("data", 0o755)
		w.must(os.Chmod(w.file("data/latchkey.db"), 0o644))
	}},
	{id: "data_dir_open", make: func(w *world) { w.mkdir("data", 0o777) }},
	{id: "data_dir_unusable", make: func(w *world) { w.set("LATCHKEY_DATA_DIR", w.write("no-folder", "", 0o600)+"/data") }},
	{id: "data_dir_unusable", make: func(w *world) {
		w.change = func(d *doctor) { d.disk = func(string) (diskState, error) { return diskState{readOnly: true}, nil } }
	}},
	{id: "database_on_network_disk", make: func(w *world) {
		w.change = func(d *doctor) { d.disk = func(string) (diskState, error) { return diskState{network: "NFS"}, nil } }
	}},
	{id: "disk_full", make: diskIs(4<<20, 8<<30)},
	{id: "disk_nearly_full", make: diskIs(200<<20, 8<<30)},
	{id: "journal_unusable", make: func(w *world) { w.mkdir("data/ends.journal", 0o700) }},
	{id: "journal_unusable", make: func(w *world) { w.set("LATCHKEY_JOURNAL_FILE", w.write("no-folder", "", 0o600)+"/ends.journal") }},
	{id: "journal_damaged", make: func(w *world) { w.write("data/ends.journal", "deadbeef {\"id\":\"torn", 0o600) }},
	{id: "journal_on_same_disk", make: func(w *world) { w.set("LATCHKEY_JOURNAL_FILE", w.file("ends.journal")) }},
	{id: "check_hangs", make: func(w *world) {
		hung := make(chan struct{})
		w.t.Cleanup(func() { close(hung) })
		w.change = func(d *doctor) {
			d.limit = time.Second / 2
			d.disk = func(string) (diskState, error) { <-hung; return diskState{}, nil }
		}
	}},
	{id: "tls_file_unreadable", make: func(w *world) {
		cert, _ := w.certificate("localhost", time.Now().Add(60*24*time.Hour))
		w.useTLS(cert, w.file("nowhere.key"))
	}},
	{id: "tls_files_unusable", make: func(w *world) {
		cert, _ := w.certificate("localhost", time.Now().Add(60*24*time.Hour))
		_, other := w.certificate("other", time.Now().Add(60*24*time.Hour))
		w.useTLS(cert, other)
	}},
	{id: "certificate_expired", make: func(w *world) { w.useTLS(w.certificate("localhost", time.Now().Add(-time.Hour))) }},
	{id: "certificate_expiring", make: func(w *world) {
		w.useTLS(w.certificate("localhost", time.Now().Add(5*24*time.Hour)))
		w.serve() // it is found in the file, and at public_url
	}},
	{id: "listen_taken", make: func(w *world) {
		w.site(w.listen, notFound)
		w.set("LATCHKEY_PUBLIC_URL", "http://"+freeAddress(w.t))
	}},
	{id: "listen_taken", make: func(w *world) { // by something that does not speak HTTP
		listener, err := net.Listen("tcp", w.listen)
		w.must(err)
		w.t.Cleanup(func() { _ = listener.Close() })
		w.change = func(d *doctor) { d.limit = time.Second }
		w.set("LATCHKEY_PUBLIC_URL", "http://"+freeAddress(w.t))
	}},
	{id: "listen_impossible", make: envIs("LATCHKEY_LISTEN", "192.0.2.1:8080")},
}

// unreachable is a host whose address the router does not lead back in to.
func (w *world) unreachable(host string) {
	w.change = func(d *doctor) {
		there := d.dial
		d.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, host+":") {
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
			}
			return there(ctx, network, address)
		}
	}
}

func diskIs(free, size int64) func(*world) {
	return func(w *world) {
		w.change = func(d *doctor) {
			d.disk = func(string) (diskState, error) { return diskState{free: free, size: size}, nil }
		}
	}
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// useTLS makes the server speak TLS itself.
func (w *world) useTLS(cert, key string) {
	w.set("LATCHKEY_TLS_CERT_FILE", cert)
	w.set("LATCHKEY_TLS_KEY_FILE", key)
	w.set("LATCHKEY_PUBLIC_URL", "https://"+w.listen)
}

// sql changes the database behind the back of the program.
func (w *world) sql(statement string) {
	w.t.Helper()
	driver, dsn := "sqlite3", "file:"+w.file("data/latchkey.db")
	if database := w.env["LATCHKEY_DATABASE_URL"]; database != "" {
		driver, dsn = "postgres", database
	}
	db, err := sql.Open(driver, dsn)
	w.must(err)
	defer db.Close()
	_, err = db.ExecContext(w.t.Context(), statement)
	w.must(err)
}
