#!/bin/sh
# Lets staticcheck, gosec and govulncheck look at the source. A finding is an error.
# A program that cannot be had, or has no data, is named as NOT RUN, and is none.
# GOVULNDB is where govulncheck has its data from, if not from https://vuln.go.dev.
#
# gosec: G101 takes names of columns and grant types for secrets, and G304 says that
# a program opens files that whoever runs it names. Everything else that it finds is
# mended, or explained beside the code after "#nosec".
set -u
cd "$(dirname "$0")/.."
mkdir -p bin/tools
failed=0 missing=

have() { # name, package
	go build -modfile=test/tools/go.mod -o "bin/tools/$1" "$2" >bin/tools/log 2>&1 && return
	tail -n 3 bin/tools/log
	missing="$missing $1"
	return 1
}

have staticcheck honnef.co/go/tools/cmd/staticcheck && { bin/tools/staticcheck -tags nomsgpack ./... || failed=1; }
have gosec github.com/securego/gosec/v2/cmd/gosec && {
	bin/tools/gosec -quiet -tags nomsgpack -exclude=G101,G304 ./broker/... ./cmd/... ./providers/... ./storage/... ./tokens/... ./web/... || failed=1
}
have govulncheck golang.org/x/vuln/cmd/govulncheck && {
	bin/tools/govulncheck -db "${GOVULNDB:-https://vuln.go.dev}" -tags nomsgpack ./... >bin/tools/log 2>&1
	case $? in
	0) ;;
	3) cat bin/tools/log; failed=1 ;;
	*) tail -n 3 bin/tools/log; missing="$missing govulncheck" ;;
	esac
}
for name in $missing; do
	echo "NOT RUN: $name"
done | tee bin/not-run
exit $failed
