#!/bin/sh
# Runs every fuzz target of the project for FUZZTIME each (2s), or those of the
# packages that are named. What a run finds is kept in testdata/fuzz of the
# package, and is tried by every go test from then on.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-2s}
# SQLite is not instrumented: nothing is looked for in it, and it takes minutes.
plain='-gcflags=github.com/ncruces/go-sqlite3-wasm/...=-d=libfuzzer=0'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- $(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u)
ran=0
for dir; do
	go test "$plain" -c -fuzz=Fuzz -o "$work/fuzz" "./$dir"
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$dir"/*_test.go); do
		echo "fuzz $dir $target"
		(cd "$dir" && "$work/fuzz" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" -test.fuzzcachedir="$work/cache" -test.timeout=60m) ||
			{ echo "$dir: $target found something; see above" >&2; exit 1; }
		ran=$((ran + 1))
	done
done
[ "$ran" -gt 0 ] || { echo "no fuzz target was found" >&2; exit 1; }
echo "fuzzed: $ran targets, $time each"
