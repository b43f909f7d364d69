#!/bin/bash
# Installs libopus, which the tests compare our Opus with, and what cgo needs to find it, where
# they are missing.
set -euo pipefail
pkg-config --exists opus 2>/dev/null && exit 0
[ "$(id -u)" = 0 ] || { echo "go test -tags libopus needs libopus: apt-get install libopus-dev pkg-config" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends install libopus-dev pkg-config
