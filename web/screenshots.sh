#!/bin/bash
# Makes pictures of each page and of each part of the pages, in each state, in the folder
# $1 (by default in the system's temporary one), for people to look at.
set -euo pipefail
cd "$(dirname "$0")"
./generate.sh
cache=${SIGHTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sightline}
[ -d "$cache/node/node_modules/puppeteer-core" ] || { echo "run internal/e2e/setup.sh first" >&2; exit 1; }
out=${1:-${TMPDIR:-/tmp}/sightline-screenshots}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/gallery"
go build -o "$work/sightline" ../cmd/sightline
go tool -modfile=../.ci/tools/go.mod esbuild --log-level=warning --bundle --format=esm --charset=utf8 \
	--target=chrome103,firefox115,safari16 --jsx=automatic --jsx-import-source=preact --outdir="$work/gallery" --entry-names='[name]' src/gallery/gallery.tsx src/ui/ui.css
node screenshots.mjs "$work" "$out" "$cache/node"
