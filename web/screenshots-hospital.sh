#!/bin/bash
# Makes pictures of the hospital's station in each of its states, in the folder $1 (by default
# in the system's temporary one), for people to look at, and has axe look at each of them.
# With --docs it makes those of docs/HOSPITAL.md.
set -euo pipefail
cd "$(dirname "$0")"
./modules.sh
cache=${SIGHTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sightline}
[ -d "$cache/node/node_modules/puppeteer-core" ] || { echo "run internal/e2e/setup.sh first" >&2; exit 1; }
if [ "${1:-}" = --docs ]; then
	out=../docs/pictures
	export ONLY=^doc-
else
	out=${1:-${TMPDIR:-/tmp}/sightline-screenshots}
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
go build -o "$work/sightline" ../cmd/sightline
node screenshots-hospital.mjs "$work" "$out" "$cache/node"
