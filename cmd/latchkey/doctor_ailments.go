package main

import "slices"

// ailment is a kind of finding. Places in braces take values.
type ailment struct {
	id      string
	level   level
	problem string
	fix     string
}

// ailments are all of them, in the order of docs/doctor.md.
var ailments = slices.Concat(
	ailmentsOfConfiguration, ailmentsOfFiles, ailmentsOfDatabase, ailmentsOfPublicURL, ailmentsOfProviders, ailmentsOfMail,
)

var ailmentsOfConfiguration = []ailment{
	{"config_unreadable", levelFault, "The configuration cannot be read: {error}.", "Name a file that is there and is YAML, with --config or LATCHKEY_CONFIG."},
	{"config_key_unknown", levelFault, "{key} {problem}", "Write the key as it is called, or remove it; `latchkey config print` shows those in effect."},
	{"config_value", levelFault, "{key} {problem}", "Change this value; nothing starts with it."},
	{"public_url_http", levelFault, "{public_url} is plain http: everybody on the way reads passwords and tokens, and cookies are not kept to https.",
		"Put a proxy with a certificate in front, or set tls.cert_file and tls.key_file, and make public_url https."},
	{"grace_short", levelWarning, "tokens.refresh_grace is {grace}: an app that takes longer to store an answer can be logged out.", "Set it to 30s or more; the default of 10m is good."},
	{"access_ttl_long", levelWarning, "tokens.access_ttl is {ttl}: API servers that only check signatures let somebody in for so long after a logout.", "Set it to an hour or less; refreshing costs an app nothing."},
	{"algorithm_shared", levelWarning, "tokens.algorithm is HS256: every API server that checks tokens can make them too.", "Use ES256 wherever the API servers can read /.well-known/jwks.json."},
	{"rate_limit_off", levelWarning, "rate_limit.auth_max is 0: passwords may be tried without end.", "Remove it, or set it to 40."},
	{"metrics_public", levelWarning, "metrics.listen is {listen}, which strangers may reach: metrics say who runs what, and how much is logged in.",
		"Set it to an address that only Prometheus reaches, such as 127.0.0.1:9464."},
	{"database_in_memory", levelWarning, "The database is in memory: every restart logs everybody out.", "Set database_url to sqlite:<path> or postgres://..."},
	{"trusted_proxies_wide", levelFault, "trusted_proxies has {network}, in which strangers have addresses: they can claim to come from anywhere.", "Name the addresses of your own proxies alone."},
	{"cors_origin_pattern", levelFault, "{origin} in cors_origins has a *, and no origin is compared by patterns.", "List every origin in full, such as https://app.example.org."},
	{"cors_origin_http", levelWarning, "{origin} in cors_origins is plain http: whoever is on the way to it calls the API as the user.", "Serve that app by https, and list its https origin."},
	{"link_by_public", levelWarning, "{provider} gives accounts to everybody, and link_by is verified_email: an account here goes to whoever has its address there.",
		"Set link_by of {id} to none, or limit it by allowed_domains or allowed_groups."},
	{"auto_launch_unknown", levelWarning, "auto_launch names {id}, and there is no such provider.", "Add a provider of that id, or remove auto_launch."},
	{"secret_weak", levelFault, "{key} looks like an example, or can be guessed.", "Make one with: openssl rand -base64 48. Of secret_key, keep the one before in previous_secret_keys."},
	{"legacy_tokens_taken", levelWarning, "import.accept_legacy_until lets tokens in that never expire, until {until}.", "Remove it as soon as the old apps have logged in anew."},
	{"legacy_tokens_over", levelWarning, "import.accept_legacy_until has passed ({until}).", "Remove it."},
	{"app_scheme_missing", levelWarning, "Users of Audiobookshelf are taken over, and mobile_redirect_uris lacks {uri}: its app cannot log in through a provider.", "Add {uri} to mobile_redirect_uris."},
	{"check_hangs", levelFault, "The check of {check} did not end in time.", "Look at what it asks: something there takes connections and does not answer."},
}

var ailmentsOfFiles = []ailment{
	{"config_file_exposed", levelFault, "{file} has secrets, and everybody on this machine can read it.", "chmod o= {file}, or move the secrets to files of their own."},
	{"secret_file_exposed", levelFault, "{file} is a secret, and everybody on this machine can read it.", "chmod o= {file}, and change the secret if strangers have accounts here."},
	{"secret_file_empty", levelFault, "{variable} names {file}, which is empty.", "Write the secret into {file}, or unset {variable}."},
	{"database_file_exposed", levelFault, "{file} has password hashes, and everybody on this machine can read it.", "chmod o= {file}"},
	{"data_dir_open", levelFault, "Everybody on this machine can write in {folder}, and so replace the database.", "chmod o= {folder}"},
	{"data_dir_unusable", levelFault, "The folder of the database, {folder}, cannot be used: {reason}.", "Make it, hand it to the user of the server, or set data_dir."},
	{"database_on_network_disk", levelFault, "{folder} is on {kind}, where the locks of SQLite do not hold: the database gets damaged.", "Keep data_dir on a local disk, or use PostgreSQL."},
	{"disk_full", levelFault, "The disk of {folder} has {free} MiB left: the database soon takes no more.", "Make room, or give the folder a larger disk."},
	{"disk_nearly_full", levelWarning, "The disk of {folder} has {free} MiB left.", "Make room."},
	{"journal_none", levelNote, "With PostgreSQL there is no journal of ends until journal_file is set. In a restored backup everything lives again that ended since: sessions, disabled and deleted accounts, old passwords, API keys, signing keys.",
		"Set journal_file to a file on a disk of this machine."},
	{"journal_unusable", levelFault, "The journal of ends, {file}, cannot be used: {reason}. What ends is not in it, and lives again in a restored backup.", "Hand the file and its folder to the user of the server, or set journal_file."},
	{"journal_damaged", levelWarning, "{lines} lines of the journal of ends, {file}, cannot be read.", "Look after its disk. The next start writes again what the database knows of them."},
	{"journal_on_same_disk", levelNote, "The journal of ends, {file}, is on the same disk as the database: what takes one takes both.", "Keep journal_file on another disk, or leave it out."},
	{"tls_file_unreadable", levelFault, "{file} cannot be read: {reason}.", "Let the user of the server read it, or correct tls.cert_file and tls.key_file."},
	{"tls_files_unusable", levelFault, "{cert} and {key} cannot be used: {reason}.", "Name a certificate in PEM, with its chain, and the key that was made for it."},
	{"certificate_expired", levelFault, "The certificate {where} has expired, on {until}.", "Renew it, and restart."},
	{"certificate_expiring", levelWarning, "The certificate {where} expires on {until}.", "Renew it; look why that was not done by itself."},
	{"listen_taken", levelFault, "Another program has {listen}.", "End it, or set listen to another address."},
	{"listen_impossible", levelFault, "Nothing can listen at {listen}: {reason}.", "Set listen to an address of this machine, and a port of 1024 or more."},
}

var ailmentsOfDatabase = []ailment{
	{"database_unreachable", levelFault, "{database} does not answer: {reason}.", "Start PostgreSQL, or correct host and port in database_url."},
	{"database_login", levelFault, "{database} does not let us in: {reason}.", "Correct user and password in database_url, or pg_hba.conf."},
	{"database_missing", levelFault, "The server has no database of the name in {database}.", "Make it with createdb, owned by the user in database_url."},
	{"database_tls", levelFault, "{database} and sslmode do not fit: {reason}.", "Set sslmode in database_url to what the server has; with verify-full, name its CA as sslrootcert."},
	{"database_pooler", levelFault, "{database} is a pooler that takes no settings at the start: {reason}.", "Add binary_parameters=yes to database_url."},
	{"database_connections", levelFault, "{database} has {have} connections for us, and one process may need {need}.", "Raise max_connections, or the limit of the role."},
	{"database_damaged", levelFault, "{database} is no SQLite database, or is damaged: {reason}.", "Restore a backup, or correct database_url."},
	{"database_trouble", levelFault, "{database} cannot be opened: {reason}.", "Do what the message says."},
	{"database_not_durable", levelFault, "{setting} is off: a crash takes logins and logouts back that were answered.", "ALTER SYSTEM SET {setting} = on, and reload."},
	{"database_clock", levelFault, "The clock of {database} is {seconds} seconds apart from this one.", "Let both keep time by NTP."},
	{"database_unencrypted", levelWarning, "The connection to {database} is not encrypted.", "Add sslmode=verify-full to database_url."},
	{"redis_unreachable", levelFault, "The Redis at {redis} cannot be used: {reason}.", "Start it, or correct redis_url; without it the database counts."},
	{"schema_newer", levelFault, "A newer Latchkey wrote the database: {reason}.", "Start that version, or restore a backup from before."},
	{"schema_older", levelWarning, "The schema is {schema}, and this program has {known}: the next start changes it.", "Make a backup, then restart the server."},
	{"secret_file_unusable", levelFault, "{file} cannot be used: {reason}.", "Let the user of the server read it, or restore it from your copy."},
	{"secret_file_gone", levelFault, "{file} is gone, and the database was used with it.", "Restore it, or give the secret as JWT_SECRET_KEY."},
	{"secret_other", levelFault, "The database was last used with another root secret: with this one no server gets ready.", "Give every process the same JWT_SECRET_KEY, or name the earlier one in JWT_SECRET_KEY_PREVIOUS."},
	{"secret_earlier", levelNote, "The database was last used with an earlier root secret.", "Restart every server, so that all have the new one."},
	{"server_other_secret", levelFault, "The server at {at} is of this database, and has another root secret than this configuration.", "Restart it, or run the doctor with its configuration; give replicas the same secret."},
	{"key_change_overdue", levelWarning, "A change of signing keys is {hours} hours overdue; the old key signs on.",
		"Look at the log of every server on this database: one has not loaded the new key. Restart it, or end it."},
}

var ailmentsOfPublicURL = []ailment{
	{"server_not_running", levelNote, "No server runs here, and nobody answers at {public_url}: what it looks like from there could not be told.", "Start the server, and run the doctor again."},
	{"server_not_ready", levelFault, "The server at {public_url} is not ready.", "Read its log: it says why."},
	{"server_other_configuration", levelFault, "The server that runs has the public_url {served}, and the configuration {public_url}.", "Restart the server, or run the doctor with its configuration."},
	{"server_clock", levelFault, "The clock of the server at public_url is {seconds} seconds apart from this one.", "Let both keep time by NTP."},
	{"public_url_no_host", levelFault, "There is no host {host}.", "Make a DNS record for it, or correct public_url."},
	{"public_url_certificate", levelFault, "The certificate at {public_url} is not trusted: {reason}.", "Give the proxy a certificate for {host}, with its chain."},
	{"public_url_no_tls", levelFault, "{public_url} is https, and plain http is spoken there.", "Give the proxy a certificate, or set tls.cert_file and tls.key_file."},
	{"public_url_unreachable", levelFault, "Nobody answers at {public_url}, and the server runs at {local}: {reason}.", "Let the proxy, or the server, listen at the port of public_url."},
	{"public_url_hairpin", levelFault, "{public_url} cannot be reached from this machine, though the server runs at {local}: {reason}. Probably the router does not lead back in.",
		"Give {host} an address of this network in your own DNS (split horizon), or switch on NAT loopback. Servers next to this one that check tokens need it too."},
	{"public_url_leads_on", levelFault, "{public_url} leads on to {location}.", "Set public_url to where it leads, and register that at the providers."},
	{"public_url_other_server", levelFault, "Something else answers at {public_url}, with the status {status}: it is not this Latchkey.", "Let DNS and proxy lead to this server, or correct public_url."},
	{"public_url_other_database", levelFault, "The Latchkey at {public_url} has this root secret, and another database.", "Let DNS and proxy lead to this server; give a copy of an installation a secret and a public_url of its own."},
	{"proxy_finds_no_server", levelFault, "The proxy at {public_url} answers {status}, though the server runs at {local}.", "Let the proxy pass requests on to that address."},
	{"proxy_forwarded_for", levelFault, "The proxy at {public_url} does not say who asks: all failed logins count against one address.",
		"nginx: proxy_set_header X-Forwarded-For $remote_addr; Caddy and Traefik do it by themselves. Behind another proxy: $proxy_add_x_forwarded_for, and both in trusted_proxies."},
	{"proxy_forwarded_proto", levelFault, "The proxy at {public_url} does not say by which scheme it was asked.", "nginx: proxy_set_header X-Forwarded-Proto $scheme;"},
	{"proxy_other_proto", levelFault, "The proxy says {said} as the scheme, and {public_url} is {scheme}.", "Let the outermost proxy set X-Forwarded-Proto, and those behind it pass it on."},
	{"proxy_other_host", levelFault, "The proxy passes {passed} on as Host, and not {host}.", "nginx: proxy_set_header Host $host;"},
	{"trusted_proxies_missing", levelFault, "A proxy at {peer} stands in front, and trusted_proxies does not name it: its word for who asks is not taken.", "Add {peer}, or its network, to trusted_proxies."},
}

var ailmentsOfProviders = []ailment{
	{"provider_unusable", levelFault, "{provider} cannot be used: {detail}", "Open it at /admin/providers, and enter its secret again."},
	{"provider_no_host", levelFault, "{provider}: {detail}", "Correct the issuer in {recipe}, or the DNS."},
	{"provider_refuses_connection", levelFault, "{provider}: {detail}", "Start it, or correct the issuer in {recipe}."},
	{"provider_silent", levelFault, "{provider}: {detail}", "Look why it does not answer this machine: a firewall, or the way there."},
	{"provider_certificate", levelFault, "{provider}: {detail}", "Renew its certificate; a CA of your own belongs into the certificates of this system (SSL_CERT_FILE)."},
	{"provider_private", levelFault, "{provider}: {detail}", "Set allow_private, if the issuer is yours."},
	{"provider_unreachable", levelFault, "{provider}: {detail}", "Look at the way there, and at the issuer in {recipe}."},
	{"provider_answer", levelFault, "{provider}: {detail}", "Correct the issuer in {recipe}: its discovery document is at <issuer>/.well-known/openid-configuration."},
	{"provider_leads_on", levelFault, "{provider}: {detail}", "Enter the issuer as its discovery document has it, in {recipe}."},
	{"provider_lacks", levelFault, "{provider}: {detail}", "Enable OpenID Connect there, or use the type oauth2."},
	{"issuer_mismatch", levelFault, "{provider}: {detail}", "Set issuer to {named}, to the letter, in {recipe}."},
	{"provider_no_code_flow", levelFault, "{provider}: {detail}", "Enable the authorization code flow for the client {client_id} there."},
	{"provider_no_pkce", levelNote, "{provider}: {detail}", "Nothing has to be done; a newer version of it may know PKCE."},
	{"provider_other_auth", levelWarning, "{provider}: {detail}", "Set token_endpoint_auth to one that it lists, in {recipe}."},
	{"provider_scopes", levelWarning, "{provider}: {detail}", "Enable these scopes for the client {client_id} there, or remove them from scopes, in {recipe}."},
	{"provider_no_refresh", levelWarning, "{provider} does not list refresh tokens, and recheck needs one: its logins cannot be checked again.",
		"Enable refresh tokens (offline_access) for the client {client_id} there, or remove recheck, in {recipe}."},
	{"provider_claims", levelNote, "{provider} does not list the claims {claims}, which the rules in {recipe} look at. Some send more than they list.",
		"Look at a token with `latchkey provider test {id}`; without the claims, logins are refused or get no role."},
	{"provider_no_keys", levelFault, "{provider}: {detail}", "Give it a signing key, of RSA (2048 to 4096 bits) or an elliptic curve."},
	{"provider_algorithms", levelFault, "{provider}: {detail}", "Let it sign ID tokens with RS256 or ES256."},
	{"provider_clock", levelFault, "{provider}: {detail}", "Let both keep time by NTP."},
	{"redirect_uri_unregistered", levelFault, "{provider}: {detail}", "Register {uri} there, to the letter, for the client {client_id}."},
	{"redirect_uri_unknown", levelNote, "{provider}: {detail}", "See that {uri} is registered there for the client {client_id}."},
	{"provider_refuses_request", levelFault, "{provider}: {detail}", "Let the client {client_id} there use the code flow, and the scopes of {recipe}."},
	{"client_secret_refused", levelFault, "{provider}: {detail}", "Copy client id and secret from there again, into {recipe}."},
	{"client_secret_unknown", levelNote, "{provider}: {detail}", "A login tells."},
	{"provider_no_grant", levelFault, "{provider}: {detail}", "Enable the authorization code grant for the client {client_id} there."},
}
