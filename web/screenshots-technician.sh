#!/bin/bash
# Makes pictures of the technician's station in each of its states, in the folder $1 (by
# default in the system's temporary one), for people to look at, and fails where axe finds
# something wrong.
set -euo pipefail
cd "$(dirname "$0")"
./modules.sh
cache=${SIGHTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sightline}
[ -d "$cache/node/node_modules/puppeteer-core" ] || { echo "run internal/e2e/setup.sh first" >&2; exit 1; }
out=${1:-${TMPDIR:-/tmp}/sightline-technician}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
go build -o "$work/sightline" ../cmd/sightline
node screenshots-technician.mjs "$work" "$out" "$cache/node"
