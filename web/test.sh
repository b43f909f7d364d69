#!/bin/bash
# Runs the tests of web/src that need no browser.
set -euo pipefail
cd "$(dirname "$0")"
./modules.sh
out=node_modules/.tests
rm -rf "$out"
mapfile -t tests < <(find src -name '*.test.ts' | sort)
go tool -modfile=../.ci/tools/go.mod esbuild --log-level=warning --bundle --format=esm --platform=node --target=node18 \
	--sourcemap=inline --outdir="$out" --out-extension:.js=.mjs "${tests[@]}"
mapfile -t bundles < <(find "$out" -name '*.mjs' | sort)
node --enable-source-maps --test "${bundles[@]}"
