#!/bin/bash
# Brings what package-lock.json names to web/node_modules, if it is not there yet.
set -euo pipefail
cd "$(dirname "$0")"
../.ci/node.sh
stamp=$(cat package.json package-lock.json | sha256sum)
[ "$(cat node_modules/.stamp 2>/dev/null)" != "$stamp" ] || exit 0
npm ci --prefer-offline --loglevel=error
echo "$stamp" >node_modules/.stamp
