#!/bin/bash
# Fails if make dist depends on where, when or by whom it is run: it builds what is committed
# in two clones, in directories of different depth, and compares the bytes. The second has
# another time zone, locale, umask, home and GOFLAGS, and no build cache.
# Usage: .ci/reproducible.sh [ARCH...], this machine's by default: any other is built alike.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=${*:-$(go env GOARCH)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOMODCACHE) proxy=$(go env GOPROXY)
version=$(git describe --tags --always)
git clone -q . "$work/a"
git clone -q . "$work/deeper/b"
make -s -C "$work/a" dist ARCHS="$arch" VERSION="$version"
(
	umask 077
	export TZ=Pacific/Auckland LC_ALL=C HOME="$work/home" GOCACHE="$work/cache" GOMODCACHE="$cache" GOPROXY="$proxy" GOFLAGS=-buildvcs=true
	mkdir "$HOME"
	make -s -C "$work/deeper/b" dist ARCHS="$arch" VERSION="$version"
)
if ! cmp "$work/a/dist/SHA256SUMS" "$work/deeper/b/dist/SHA256SUMS"; then
	echo "the same commit gives other bytes elsewhere: compare go version -m of both" >&2
	exit 1
fi
cat "$work/a/dist/SHA256SUMS"
