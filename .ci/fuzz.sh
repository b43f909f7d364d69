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
	git grep --untracked -h -o '^func Fuzz[A-Za-z0-9]*' -- '*_test.go' >/dev/null # there are some, or the script is wrong
	git grep --untracked -o '^func Fuzz[A-Za-z0-9]*' -- '*_test.go' |
		sed -E 's|^(.*/)?[^/]+_test.go:func (Fuzz.*)$|./\1:\2|; s|/:|:|' | sort
}

failed=0
summary=$(printf '%-28s %-24s %12s %8s  %s' package target executions 'new' result)
for target in "${@:-$(targets)}"; do
	for one in $target; do
		package=${one%%:*} function=${one##*:}
		echo "==> $package $function"
		result=ok
		# Minimising is cut short: it may take all the time there is.
		go test -run '^$' -fuzz "^$function\$" -fuzztime "$time" -fuzzminimizetime 20x "$package" 2>&1 | tee "$log" || result=FAILED
		[ "$result" = ok ] || failed=1
		last=$(grep -E '^fuzz: elapsed: .*execs' "$log" | tail -1 || true)
		# One that is gone, or does not build, has run nothing.
		[ -n "$last" ] || { result='NOT RUN'; failed=1; }
		summary+=$(printf '\n%-28s %-24s %12s %8s  %s' "$package" "$function" \
			"$(sed -nE 's/.*execs: ([0-9]+).*/\1/p' <<<"$last")" "$(sed -nE 's/.*new interesting: ([0-9]+).*/\1/p' <<<"$last")" "$result")
	done
done
echo
echo "$summary"
exit $failed
