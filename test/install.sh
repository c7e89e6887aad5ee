#!/bin/sh
# Installs what Latchkey's tests need from Debian: a PostgreSQL server, a
# browser, Node.js with npm, Apache with mod_auth_openidc, a C compiler for Go's
# race detector, and the root certificates; and from elsewhere the clients that
# Latchkey is tried with. Does nothing, quickly, where all of it is there already.
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

# Prints the Debian packages that are still to be installed, one per line.
missing_packages() {
	have_postgres || echo postgresql-15
	[ -x /usr/bin/chromium ] || echo chromium
	have node || echo nodejs
	have npm || echo npm
	# The program alone: the package apache2 would start a system-wide server.
	have_apache || printf '%s\n' apache2-bin libapache2-mod-auth-openidc
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
	# UCF_FORCE_CONFFOLD keeps the file written above from raising a question.
	export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
	apt-get update
	# Waits for another apt that is at work. Unquoted on purpose: one argument
	# for each package.
	# shellcheck disable=SC2086
	apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $packages

	packages=$(missing_packages | tr '\n' ' ')
	if [ -n "$packages" ]; then
		echo "Latchkey's tests need ${packages% }, still missing after apt-get install." >&2
		exit 1
	fi
}

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
install_node_packages e2e
install_node_packages interop
build_oauth2_proxy
