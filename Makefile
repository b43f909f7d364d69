# Everything a developer or CI runs. Needs Go, git and make; `make check` and `make test`
# also Node and npm for the pages' scripts. `make test` wants Debian and root, because it
# installs the real clients that it tests with. `make check` is what vets; tests don't again.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
ARCHS   ?= amd64 arm64
FUZZTIME ?= 10s
MINUTES ?= 30
SCREENSHOTS ?= $(or $(TMPDIR),/tmp)/sightline-screenshots

# One way to build for all that is not told otherwise, so that the compiler's work is done once: vet, staticcheck,
# dist and the end-to-end tests share it. The race detector and libopus need C.
given := $(shell go env GOFLAGS)
export CGO_ENABLED = 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(given)) -trimpath)
WITH_C = CGO_ENABLED=1 GOFLAGS="$(filter-out -trimpath,$(given))"

# Packages whose tests wait more than they compute: twice as many of them run at a time as there are processors.
WAITING = ^sightline/(internal/(certs|cluster|demo|signin)|rooms|whep|whip)(/|$$)

STATICCHECK = go tool -modfile=.ci/tools/go.mod staticcheck
TSC = web/node_modules/.bin/tsc

.PHONY: build check dist sbom reproducible test-hardened test test-go test-web test-libopus test-clients screenshots soak soak-technician bench bench-bridge bench-audit bench-hostile bench-relay bench-cluster fuzz clean

build: ## one binary for this machine
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o sightline ./cmd/sightline

check: ## what needs no running: format, vet, staticcheck, go.mod, TypeScript, generated files
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	  test -z "$$unformatted" || { echo "gofmt: run gofmt -w $$unformatted"; exit 1; }
	go vet -tags e2e,soak,figures ./...
	go vet -tags e2e ./internal/e2e
	cd .ci/tools && go vet ./... && go test ./...
	$(STATICCHECK) -tags e2e,soak,figures ./...
	$(STATICCHECK) -tags e2e ./internal/e2e
	go mod tidy -diff
	web/modules.sh
	$(TSC) --project web
	$(TSC) --project web/tsconfig.test.json
	.ci/generated.sh

# What the environment sets must not show in the binary, and the commit has to.
dist: ## static binaries for Linux, in dist/; one commit gives the same bytes everywhere
	@mkdir -p dist
	@set -e; for arch in $(ARCHS); do \
	  echo "dist/sightline-linux-$$arch $(VERSION)"; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 GOFLAGS=-buildvcs=false go build -trimpath \
	    -ldflags "-s -w -X main.version=$(VERSION) -X sightline/metrics.commit=$(COMMIT)" -o dist/sightline-linux-$$arch ./cmd/sightline; \
	done
	cd dist && sha256sum $(ARCHS:%=sightline-linux-%) > SHA256SUMS

sbom: dist ## what each binary is made of: dist/*.cdx.json (CycloneDX), dist/*.licenses.txt
	.ci/sbom.sh $(VERSION) $(ARCHS:%=dist/sightline-linux-%)

reproducible: ## make dist in two clones in different places gives the same bytes
	.ci/reproducible.sh

test-hardened: ## a publisher and a viewer through the gateway as docs/sightline.service confines it
	.ci/hardened.sh

test: test-go test-web test-clients ## everything

test-go: ## unit tests and tests with pion's peers, under the race detector
	.ci/compiler.sh
	$(WITH_C) go test -race -vet=off $$(go list ./... | grep -vE '$(WAITING)')
	$(WITH_C) go test -race -vet=off -p $$((2 * $$(nproc))) $$(go list ./... | grep -E '$(WAITING)')
	$(MAKE) test-libopus

test-web: ## the pages' client in Node
	web/test.sh

test-libopus: ## gopus against libopus, each decoding what the other has encoded; and sound without the race detector
	.ci/libopus.sh
	$(WITH_C) go vet -tags libopus,nolibopusfile ./internal/audio
	$(WITH_C) go test -vet=off -tags libopus,nolibopusfile ./internal/audio

test-clients: ## browsers, ffmpeg, OBS and GStreamer against the real server
	internal/e2e/setup.sh
	web/modules.sh # axe
	$(BESIDE)
	go test -tags e2e -count=1 -vet=off -v -timeout 20m ./internal/e2e

screenshots: ## pictures of each page and each of its parts, to be looked at
	web/screenshots.sh $(SCREENSHOTS)
	web/screenshots-hospital.sh $(SCREENSHOTS)
	web/screenshots-technician.sh $(SCREENSHOTS)
	SIGHTLINE_E2E_PICTURES=$(SCREENSHOTS) go test -tags e2e -count=1 -run TestMeetingIsAccessible ./internal/e2e

soak-technician: ## nine cameras on the technician's page for MINUTES (30); prints heap and nodes
	SIGHTLINE_E2E_MINUTES=$(MINUTES) go test -tags e2e -count=1 -v -timeout 120m -run TestTechnicianWatchesNine ./internal/e2e

soak: ## 1,000 sessions opened and ended; prints what they leave behind
	go test -tags soak -count=1 -v -timeout 30m ./internal/e2e/soak

bench: ## benchmarks, with allocations
	go test -run '^$$' -bench . -benchmem ./...

bench-bridge: ## the audio bridge: delay, speech, 50 speakers (docs/BRIDGE.md); wants a machine of its own, and espeak-ng
	go test -run '^$$' -bench Leg -cpu 1 ./internal/bridge
	go test -tags figures -count=1 -v -timeout 20m -run 'Speech|Spoken|Drift' ./internal/bridge
	go test -tags figures -count=1 -v -timeout 20m ./internal/e2e/figures

bench-relay: ## what a relay between two gateways adds to a packet's delay and cost (docs/CLUSTER.md)
	go test -tags figures -count=1 -v -timeout 10m -run RelayFigures ./internal/cluster/pull

bench-hostile: ## a live stream under attack for half a minute (docs/SECURITY.md); wants a machine of its own
	go test -run '^$$' -bench 'Garbage|HalfOpen' -benchmem ./internal/rtc
	go test -count=1 -v -run HalfOpen ./internal/rtc
	go test -tags figures -count=1 -v -timeout 10m -run Attack ./internal/e2e/hostile

bench-audit: ## the audit log: a hundred gateways killed under load, and what an event costs
	go test -run '^$$' -bench 'Record|Commit|Verify' ./internal/audit
	go test -tags figures -count=1 -v -timeout 20m -run AHundredKills ./cmd/sightline

bench-cluster: ## three nodes: twenty kills, ten partitions, and what they carry (docs/CLUSTER.md); wants a machine of its own
	internal/e2e/setup.sh
	go test -tags e2e,figures -count=1 -v -timeout 60m -run TestCluster ./internal/e2e

fuzz: ## each fuzz target for FUZZTIME; the last lines say what each did
	.ci/fuzz.sh $(FUZZTIME)

clean:
	rm -rf dist sightline
