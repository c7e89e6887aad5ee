#!/bin/sh
# Runs every fuzz target of the project for FUZZTIME each, a time or a number of inputs
# (500x), or those of the packages that are named. What a run finds is kept in testdata/fuzz of the
# package, and is tried by every go test from then on. With LATCHKEY_WRITE=1 what was
# tried is written into docs/proof.md.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-500x}
# SQLite is not instrumented: nothing is looked for in it, and it takes minutes.
plain='-gcflags=github.com/ncruces/go-sqlite3-wasm/...=-d=libfuzzer=0'
# An input that is new to the code is made smaller in a few tries: by default that takes up to a
# minute each, in which nothing new is tried.
few='-test.fuzzminimizetime=50x'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -eq 0 ] || unset LATCHKEY_WRITE # the document has all of them
[ $# -gt 0 ] || set -- $(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u)
ran=0
: > "$work/table"
for dir; do
	go test "$plain" -c -fuzz=Fuzz -o "$work/fuzz" "./$dir"
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$dir"/*_test.go); do
		echo "fuzz $dir $target"
		(cd "$dir" && "$work/fuzz" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" "$few" -test.fuzzcachedir="$work/cache" -test.timeout=60m) > "$work/log" 2>&1 ||
			{ cat "$work/log" >&2; echo "$dir: $target found something; see above" >&2; exit 1; }
		last=$(grep 'execs:' "$work/log" | tail -n 1)
		[ -n "$last" ] || { cat "$work/log" >&2; echo "$dir: $target does not say what it tried" >&2; exit 1; }
		echo "$last"
		echo "$last" | sed -E "s,.*execs: ([0-9]+) .*new interesting: ([0-9]+) .*,| $dir | \`$target\` | \\1 | \\2 |," >> "$work/table"
		ran=$((ran + 1))
	done
done
[ "$ran" -gt 0 ] || { echo "no fuzz target was found" >&2; exit 1; }
echo "fuzzed: $ran targets, $time each"
[ -n "${LATCHKEY_WRITE:-}" ] || exit 0
{
	printf '\n%s targets, %s each, on %s; nothing was found.\n\n' "$ran" "$time" "$(date -u +%F)"
	printf '| package | target | inputs tried | of them new to the code |\n|---|---|---|---|\n'
	cat "$work/table"
	echo
} > "$work/part"
sed -i -e "/^<!-- fuzz -->\$/r $work/part" -e '/^<!-- fuzz -->$/,/^<!-- end of fuzz -->$/{/^<!--/!d}' docs/proof.md
