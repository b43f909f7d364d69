#!/bin/bash
# Installs the C compiler that the race detector needs, where there is none.
set -euo pipefail
command -v "$(go env CC)" >/dev/null && exit 0
[ "$(id -u)" = 0 ] || { echo "go test -race needs a C compiler: apt-get install gcc libc6-dev" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends install gcc libc6-dev
