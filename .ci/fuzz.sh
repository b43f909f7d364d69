#!/bin/bash
# Fuzzes each target for a time, one after the other, and says at the end what each did. Fails
# if one has crashed; the input is then in its package's testdata/fuzz, to be kept as a test.
# Usage: .ci/fuzz.sh TIME [TARGET...], a target being package:Function, all by default.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: .ci/fuzz.sh TIME [TARGET...], such as .ci/fuzz.sh 10s ./internal/sdp:FuzzAnswer}
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# targets prints all that there are.
targets() {
	git grep --untracked -o '^func Fuzz[A-Za-z0-9]*' -- '*_test.go' |
		sed -E 's|^(.*/)?[^/]+_test.go:func (Fuzz.*)$|./\1:\2|; s|/:|:|' | sort
}

failed=0
summary=$(printf '%-28s %-24s %12s %8s  %s' package target executions 'new' result)
[ $# -gt 0 ] || mapfile -t all < <(targets)
for target in "${@:-${all[@]}}"; do
	package=${target%%:*} function=${target##*:}
	echo "==> $package $function"
	result=ok
	# Minimising is cut short: it may take all the time there is.
	go test -run '^$' -fuzz "^$function\$" -fuzztime "$time" -fuzzminimizetime 20x "$package" 2>&1 | tee "$log" || result=FAILED
	last=$(grep -E '^fuzz: elapsed: .*execs' "$log" | tail -1 || true)
	# One that is gone, or does not build, has run nothing.
	[ -n "$last" ] || result='NOT RUN'
	[ "$result" = ok ] || failed=1
	summary+=$(printf '\n%-28s %-24s %12s %8s  %s' "$package" "$function" \
		"$(sed -nE 's/.*execs: ([0-9]+).*/\1/p' <<<"$last")" "$(sed -nE 's/.*new interesting: ([0-9]+).*/\1/p' <<<"$last")" "$result")
done
echo
echo "$summary"
exit $failed
