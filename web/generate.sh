#!/bin/bash
# Makes the scripts in web/assets from web/src: one for each page, and sightline.js with the
# elements. The same sources give the same bytes on every machine.
set -euo pipefail
cd "$(dirname "$0")"
./modules.sh

bundle() {
	go tool -modfile=../.ci/tools/go.mod esbuild --log-level=warning --bundle --minify --format=esm --charset=utf8 \
		--target=chrome103,firefox115,safari16 --legal-comments=inline --outdir=assets --entry-names='[name]' "$@"
}

rm -f assets/*.js
bundle src/pages/*.ts src/elements/sightline.ts
# What has JSX has Preact in it, and so its licence.
bundle --jsx=automatic --jsx-import-source=preact --banner:js="/*! Preact
$(cat node_modules/preact/LICENSE)*/" src/pages/*.tsx
