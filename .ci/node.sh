#!/bin/bash
# Installs Node and npm, which check, test and generate the pages' scripts, where there are none.
set -euo pipefail
command -v node >/dev/null && command -v npm >/dev/null && exit 0
[ "$(id -u)" = 0 ] || { echo "the pages' sources need Node 18 or newer, and npm" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends install nodejs npm
