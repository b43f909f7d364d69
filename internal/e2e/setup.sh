#!/bin/bash
# Installs the real clients that the end-to-end tests drive: browsers and tools on the host (apt), JavaScript
# engines (npm), and newer ffmpeg, OBS and GStreamer unpacked beside the host's own (mmdebstrap).
#
# Made for Debian 12 on amd64, as root. What it unpacks goes to $SIGHTLINE_CACHE (by default sightline in the user's cache
# folder), about 1.3 GB; a second run finds everything in place and takes a second. Parallel runs wait for one another.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

here=$(cd "$(dirname "$0")" && pwd)
cache=${SIGHTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sightline}

die() { echo "setup.sh: $*" >&2; exit 1; }
say() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

[ "$(id -u)" = 0 ] || die "must run as root: it installs packages, and the tests make network namespaces"
[ "$(dpkg --print-architecture)" = amd64 ] || die "needs amd64, this is $(dpkg --print-architecture)"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# 1. The host. libavcodec59 is Firefox's H.264 decoder: without it Firefox still offers H.264 and decodes nothing.
host=(chromium firefox-esr espeak-ng libavcodec59 xvfb mmdebstrap nftables iproute2 util-linux)
node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
[ "${node_major:-0}" -ge 18 ] && command -v npm >/dev/null || host+=(nodejs npm)
missing=()
for p in "${host[@]}"; do
	[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
	say "host packages: ${missing[*]}"
	log=$cache/apt.log
	{ apt-get -q update && apt-get -q -y --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1 ||
		{ tail -n 30 "$log" >&2; die "apt-get failed, see $log"; }
fi

# fresh NAME STAMP is true when the folder NAME of the cache was made from the same inputs.
fresh() { [ "$(cat "$cache/$1/.stamp" 2>/dev/null)" = "$2" ]; }

# 2. npm: what drives the browsers, and libdatachannel, the engine of OBS's own WHIP output. No package here runs an
# install script or downloads a browser.
stamp=$(cat "$here/drivers/package.json" "$here/drivers/package-lock.json" | sha256sum)
if ! fresh node "$stamp"; then
	say "npm packages"
	rm -rf "$cache/node"
	mkdir -p "$cache/node"
	cp "$here/drivers/package.json" "$here/drivers/package-lock.json" "$cache/node/"
	(cd "$cache/node" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) >"$cache/npm.log" 2>&1 ||
		{ tail -n 30 "$cache/npm.log" >&2; die "npm ci failed, see $cache/npm.log"; }
	echo "$stamp" >"$cache/node/.stamp"
fi

# 3. Debian testing, only unpacked: its ffmpeg has the WHIP muxer, and its OBS and GStreamer are current.
suite=forky
root=(
	base-files libc-bin bash coreutils
	ffmpeg
	obs-studio obs-plugins libgl1 libgl1-mesa-dri libglx-mesa0 libegl1 libegl-mesa0 fonts-dejavu-core qt6-qpa-plugins
	simple-whip-client gstreamer1.0-tools gstreamer1.0-nice gstreamer1.0-libav
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
	python3 python3-gst-1.0 gir1.2-gst-plugins-bad-1.0
)
stamp=$(echo "$suite ${root[*]}" | cat - "$here/drivers/in-root.sh" | sha256sum)
if ! fresh root "$stamp"; then
	say "Debian $suite: ffmpeg, OBS, GStreamer"
	# The mirror is the machine's own: where its main archive comes from.
	mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
		awk -v release="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$1 == release && $2 == "main" { print $3; exit }')
	[ -n "$mirror" ] || die "no Debian mirror among the machine's apt sources"
	rm -rf "$cache/root" "$cache/root.new"
	# A mirror may be a frozen copy whose Release file has run out, hence Check-Valid-Until.
	mmdebstrap --quiet --mode=root --variant=extract --include="$(IFS=,; echo "${root[*]}")" \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
		--aptopt='Acquire::Check-Valid-Until "false"' \
		--keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
		"$suite" "$cache/root.new" "$mirror" >"$cache/mmdebstrap.log" 2>&1 ||
		{ tail -n 30 "$cache/mmdebstrap.log" >&2; die "mmdebstrap failed, see $cache/mmdebstrap.log"; }
	new=$cache/root.new
	# No maintainer script has run; these are the few things they would have made.
	for d in bin sbin lib lib64; do [ -e "$new/$d" ] || ln -s "usr/$d" "$new/$d"; done
	mkdir -p "$new"/{dev,etc,proc,root,run,srv,sys,tmp}
	l=/usr/lib/x86_64-linux-gnu
	printf '%s\n' $l/blas $l/lapack $l/pulseaudio $l >"$new/etc/ld.so.conf"
	echo 'root:x:0:0:root:/root:/bin/bash' >"$new/etc/passwd"
	echo 5167471115746711157467111574671a >"$new/etc/machine-id"
	"$here/drivers/in-root.sh" "$new" ldconfig
	"$here/drivers/in-root.sh" "$new" $l/glib-2.0/glib-compile-schemas /usr/share/glib-2.0/schemas 2>/dev/null ||
		die "cannot compile the settings schemas that OBS and GStreamer need"
	mv "$new" "$cache/root"
	echo "$stamp" >"$cache/root/.stamp"
fi

# 4. What is there: the suites move, so the versions belong into every log.
dpkg-query --show --showformat='${Package} ${Version}\n' chromium firefox-esr libavcodec59 nftables
# Only unpacked, so dpkg knows nothing of these; the first line of a changelog names package and version.
for p in ffmpeg obs-studio libgstreamer1.0-0 simple-whip-client; do
	zcat "$cache/root/usr/share/doc/$p/changelog.Debian.gz" | sed -n '1s/^\([^ ]*\) (\([^)]*\)).*/\1 \2/p'
done
echo "node $(node --version)"
for p in puppeteer-core node-datachannel; do
	echo "$p $(node -p "require('$cache/node/node_modules/$p/package.json').version")"
done
say "the clients are in $cache"
