#!/bin/bash
# Says what a binary is made of: BINARY.cdx.json (CycloneDX: Go modules, the standard library,
# what the pages bundle, with licences) and the licences' texts in BINARY.licenses.txt. The
# same binary gives the same files.
# Usage: .ci/sbom.sh VERSION BINARY...
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: .ci/sbom.sh VERSION BINARY...}
shift
go mod download # the licences are in the modules
web/modules.sh  # and in the packages
(cd .ci/tools && go build -o ../../dist/.sbom ./sbom)
trap 'rm -f dist/.sbom' EXIT
for binary in "$@"; do
	go tool -modfile=.ci/tools/go.mod cyclonedx-gomod bin -json -std -noserial -notimestamp -version "$version" -output "$binary.cdx.json" "$binary"
	dist/.sbom -binary "$binary" -bom "$binary.cdx.json" -web web -notices "$binary.licenses.txt" \
		-modcache "$(go env GOMODCACHE)" -goroot "$(go env GOROOT)"
	echo "$binary.cdx.json: $(grep -c '"purl"' "$binary.cdx.json") packages"
done
