#!/bin/sh
# Runs every fuzz target of the project for FUZZTIME each, a time or a number of inputs
# (500x), or those of the packages that are named; JOBS of them at once, one by default.
# What a run finds is kept in testdata/fuzz of the package, and is tried by every go test
# from then on. With LATCHKEY_WRITE=1 what was tried is written into docs/proof.md.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-500x}
# SQLite is not instrumented: nothing is looked for in it, and it takes minutes.
plain='-gcflags=github.com/ncruces/go-sqlite3-wasm/...=-d=libfuzzer=0'

# one runs one target of a folder with its program, which lies in $work.
one() {
	set -- "$1" "$2" "$work/$3"
	# An input that is new to the code is made smaller in a few tries: by default that takes
	# up to a minute each, in which nothing new is tried.
	log=$3.$2.log
	(cd "$1" && "$3" -test.run='^$' -test.fuzz="^$2\$" -test.fuzztime="$time" -test.fuzzminimizetime=50x -test.fuzzcachedir="$work/cache" -test.timeout=60m) > "$log" 2>&1 ||
		{ cat "$log" >&2; echo "$1: $2 found something; see above" >&2; exit 1; }
	last=$(grep 'execs:' "$log" | tail -n 1)
	[ -n "$last" ] || { cat "$log" >&2; echo "$1: $2 does not say what it tried" >&2; exit 1; }
	echo "fuzz $1 $2 $last"
	echo "$last" | sed -E "s,.*execs: ([0-9]+) .*new interesting: ([0-9]+) .*,| $1 | \`$2\` | \\1 | \\2 |," > "$3.$2.row"
}

if [ "${1:-}" = one ]; then # see below
	work=$2
	one "$3" "$4" "$5"
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -eq 0 ] || unset LATCHKEY_WRITE # the document has all of them
[ $# -gt 0 ] || set -- $(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u)
for dir; do
	program=$(echo "$dir" | tr / -) # a line of the list has no blanks, whatever $work has
	go test "$plain" -c -fuzz=Fuzz -o "$work/$program" "./$dir"
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$dir"/*_test.go); do
		echo "$dir $target $program" >> "$work/list"
	done
done
[ -s "$work/list" ] || { echo "no fuzz target was found" >&2; exit 1; }
xargs -P "${JOBS:-1}" -L 1 ./test/fuzz.sh one "$work" < "$work/list" # goes on with the others where one finds something
ran=$(grep -c . "$work/list")
echo "fuzzed: $ran targets, $time each"
[ -n "${LATCHKEY_WRITE:-}" ] || exit 0
{
	printf '\n%s targets, %s each, on %s; nothing was found.\n\n' "$ran" "$time" "$(date -u +%F)"
	printf '| package | target | inputs tried | of them new to the code |\n|---|---|---|---|\n'
	while read -r dir target program; do cat "$work/$program.$target.row"; done < "$work/list"
	echo
} > "$work/part"
sed -i -e "/^<!-- fuzz -->\$/r $work/part" -e '/^<!-- fuzz -->$/,/^<!-- end of fuzz -->$/{/^<!--/!d}' docs/proof.md
