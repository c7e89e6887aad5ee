#!/bin/sh
# Installs what Latchkey's tests need from Debian: a PostgreSQL server, PgBouncer, systemd, bash-completion, zsh, fish,
# docker-compose, buildah with a static busybox, a browser, Node.js with npm, Apache with mod_auth_openidc, Redis, nginx,
# Caddy, fail2ban, CrowdSec, a C compiler for Go's race detector, the root certificates, and promtool of Prometheus; and
# from elsewhere the clients that Latchkey is tried with. Does nothing, quickly, where all of it is there already.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

have() { command -v "$1" >/dev/null 2>&1; }

# The same places, in the same order, as the Go package test/pgtest looks in.
have_postgres() {
	if [ -n "${LATCHKEY_PG_BIN:-}" ]; then
		[ -x "$LATCHKEY_PG_BIN/initdb" ] && [ -x "$LATCHKEY_PG_BIN/postgres" ]
		return
	fi
	for dir in /usr/lib/postgresql/*/bin; do
		if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then return 0; fi
	done
	have initdb && have postgres
}

# gcc alone is not enough: without the C library's headers it builds nothing.
have_c_compiler() { have gcc && [ -e /usr/include/stdlib.h ]; }

have_apache() { [ -x /usr/sbin/apache2 ] && [ -e /usr/lib/apache2/modules/mod_auth_openidc.so ]; }

have_crowdsec() { have crowdsec && have cscli && [ -d /usr/share/crowdsec/hub/parsers ]; }

# Prints the Debian packages that are still to be installed, one per line.
missing_packages() {
	have_postgres || echo postgresql-15
	[ -x /usr/bin/chromium ] || echo chromium
	have node || echo nodejs
	have npm || echo npm
	[ -x /usr/sbin/pgbouncer ] || echo pgbouncer
	# The program alone: the package apache2 would start a system-wide server.
	have_apache || printf '%s\n' apache2-bin libapache2-mod-auth-openidc
	# The package redis-server would start one; its program is in this one too.
	have redis-server || have redis-check-rdb || echo redis-tools
	[ -x /usr/sbin/nginx ] || echo nginx-light
	have fail2ban-regex || echo fail2ban
	have_crowdsec || echo crowdsec
	have caddy || echo caddy
	have systemd-analyze || echo systemd
	have zsh || echo zsh
	have fish || echo fish
	[ -e /usr/share/bash-completion/bash_completion ] || echo bash-completion
	have docker-compose || echo docker-compose
	have buildah || echo buildah
	have busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || echo busybox-static
	have_c_compiler || printf '%s\n' gcc libc6-dev
	[ -s /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

# The tests start PostgreSQL servers of their own, so the package must not set
# up and start a system-wide one. A file that is there already is respected.
no_system_cluster() {
	conf=/etc/postgresql-common/createcluster.conf
	if [ ! -e "$conf" ]; then
		mkdir -p "$(dirname "$conf")"
		echo 'create_main_cluster = false' >"$conf"
	fi
}

# Prints the service that a package would start, if it has one.
service_of() {
	case $1 in
	nginx-light) echo nginx ;;
	pgbouncer | caddy | fail2ban | crowdsec) echo "$1" ;;
	esac
}

# The tests start a PgBouncer, an nginx, a Caddy, a fail2ban and a CrowdSec of their own, too. What their packages
# would start is held back while they are installed; a policy that is there is respected.
hold_services() {
	policy=/usr/sbin/policy-rc.d
	[ ! -e "$policy" ] || return 0
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

# Nobody is told on the network that there is a CrowdSec.
crowdsec_stays_alone() {
	online=/etc/crowdsec/online_api_credentials.yaml
	[ ! -s "$online" ] || return 0
	mkdir -p /etc/crowdsec
	echo '# Not registered: for tests alone.' >"$online"
}

install_packages() {
	packages=$(missing_packages | tr '\n' ' ')
	packages=${packages% }
	[ -n "$packages" ] || return 0

	if [ "$(id -u)" -ne 0 ]; then
		{
			echo "Latchkey's tests need Debian packages that are not installed: $packages"
			echo "Install them as root:"
			echo "  apt-get update && apt-get install -y --no-install-recommends $packages"
		} >&2
		exit 1
	fi
	if ! have apt-get; then
		echo "Latchkey's tests need $packages, and there is no apt-get here to install them with." >&2
		exit 1
	fi

	echo "Latchkey's tests need $packages: installing"
	case " $packages " in *" postgresql-15 "*) no_system_cluster ;; esac
	services=$(for package in $packages; do service_of "$package"; done)
	[ -z "$services" ] || hold_services
	case " $packages " in *" crowdsec "*) crowdsec_stays_alone ;; esac
	# UCF_FORCE_CONFFOLD keeps the file written above from raising a question.
	export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
	apt-get update
	# Waits for another apt that is at work. Unquoted on purpose: one argument
	# for each package.
	# shellcheck disable=SC2086
	apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $packages
	# Nor do they start with the machine from now on.
	if have systemctl; then
		for service in $services; do systemctl disable "$service.service" >/dev/null 2>&1 || true; done
	fi

	packages=$(missing_packages | tr '\n' ' ')
	if [ -n "$packages" ]; then
		echo "Latchkey's tests need ${packages% }, still missing after apt-get install." >&2
		exit 1
	fi
}

# Prometheus' promtool alone, out of its package: the package itself would start
# a server, and bring its pages along.
install_promtool() (
	have promtool && return 0
	if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
		echo "Latchkey's tests need promtool of Prometheus: install it, or run this as root on Debian." >&2
		exit 1
	fi
	echo "Latchkey's tests need promtool: taking it out of Debian's package prometheus"
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	cd "$dir"
	apt-get update
	apt-get download prometheus
	dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -f - ./usr/bin/promtool
	install -m 755 usr/bin/promtool /usr/local/bin/promtool
)

# The Node packages of a folder of tests, exactly as locked. npm writes
# node_modules/.package-lock.json last, so an interrupted run is done again.
install_node_packages() (
	[ -e "$here/$1/package.json" ] || return 0
	cd "$here/$1"
	if [ ! -e package-lock.json ]; then
		echo "Latchkey's tests need $here/$1/package-lock.json, which is missing." >&2
		exit 1
	fi
	stamp=node_modules/.package-lock.json
	if [ -e "$stamp" ] && [ -z "$(find package-lock.json -newer "$stamp")" ]; then
		return 0
	fi
	echo "Latchkey's tests in test/$1 need their Node packages: npm ci"
	# The tests drive Debian's chromium; no second browser is downloaded.
	PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 PUPPETEER_SKIP_DOWNLOAD=1 npm ci --no-audit --no-fund
)

# It takes a minute or two, and then stays in Go's build cache.
build_oauth2_proxy() {
	echo "Latchkey's tests need oauth2-proxy: building it, unless that is done"
	go -C "$here/interop/oauth2proxy" tool -n oauth2-proxy >/dev/null
}

install_packages
install_promtool
install_node_packages e2e
install_node_packages interop
install_node_packages mail
build_oauth2_proxy
