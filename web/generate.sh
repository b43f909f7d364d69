#!/bin/bash
# Makes what is in web/assets from web/src: watch.js, stations.js with all other pages,
# sightline.js with the elements, and ui.css. The same sources give the same bytes on every machine.
set -euo pipefail
cd "$(dirname "$0")"
./modules.sh

bundle() {
	go tool -modfile=../.ci/tools/go.mod esbuild --log-level=warning --bundle --minify --format=esm --charset=utf8 \
		--target=chrome103,firefox115,safari16 --legal-comments=inline --outdir=assets --entry-names='[name]' "$@"
}

rm -f assets/*.js
bundle src/pages/watch.ts src/elements/sightline.ts
bundle src/ui/ui.css
# What has JSX has Preact in it, and so its licence.
bundle --jsx=automatic --jsx-import-source=preact --banner:js="/*! Preact
$(cat node_modules/preact/LICENSE)*/" src/pages/stations.tsx
