#!/bin/bash
# A publisher and two viewers through a gateway that is confined as docs/sightline.service
# and the container confine it: nobody's process, no capability, no new privileges, every file
# system read-only but the one for its state. Fails if it does not stream, if it is not confined after all, or if it
# makes a system call that the unit forbids. As root on Linux, in namespaces of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
unit=docs/sightline.service

if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] || { echo ".ci/hardened.sh needs root, to give it away" >&2; exit 1; }
	missing=()
	for tool in strace:strace systemd-analyze:systemd ip:iproute2 setpriv:util-linux; do
		command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
	done
	if [ ${#missing[@]} -gt 0 ]; then
		export DEBIAN_FRONTEND=noninteractive
		apt-get -q update
		apt-get -q -y --no-install-recommends install "${missing[@]}"
	fi
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
	CGO_ENABLED=0 go build -trimpath -o "$work/sightline" ./cmd/sightline
	systemd-analyze syscall-filter >"$work/sets" 2>/dev/null
	systemd-analyze security --offline=true --threshold=20 "$unit" 2>/dev/null | tail -1
	unshare --mount --net --pid --fork --kill-child --mount-proc "$0" inside "$work"
	exit
fi

work=$2
ip link set lo up
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt # what this script itself writes, out of the gateway's sight
chmod 700 /mnt
mkdir "$work/state" # what the unit calls StateDirectory and LogsDirectory
mount -t tmpfs -o mode=700,uid=65532,gid=65532 tmpfs "$work/state"
export TMPDIR=/mnt
cp "$work/sets" /mnt/
while read -r at; do # the gateway's own mount is read-only as well
	[ "$at" = /mnt ] || [ "$at" = "$work/state" ] || mount -o remount,bind,ro "$at" 2>/dev/null || true
done < <(findmnt -rno TARGET | sort -r)

confined='setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all'
fail() { echo "hardened: $*" >&2; cat /mnt/log >&2; exit 1; }

for dir in / /tmp "$work" /var/tmp /dev/shm /run; do
	if $confined touch "$dir/sightline-was-here" 2>/dev/null; then
		fail "$dir can be written to: the test tests nothing"
	fi
done

export SIGHTLINE_AUTH_STATE_DIR="$work/state" SIGHTLINE_AUDIT_FILE="$work/state/audit.log"
export SIGHTLINE_HTTP_LISTEN=127.0.0.1:8080 SIGHTLINE_ICE_UDP_LISTEN=127.0.0.1:8189
strace -f -qq -o /mnt/all $confined "$work/sightline" serve 2>/mnt/log &
for _ in $(seq 150); do
	"$work/sightline" healthcheck >/dev/null 2>&1 && break
	sleep 0.2
done
"$work/sightline" healthcheck || fail "the gateway did not come up"
pid=$(pgrep -f "^$work/sightline serve" | head -1)
for want in 'Uid:.65532.65532.65532.65532' 'CapEff:.0000000000000000' 'CapBnd:.0000000000000000' 'CapPrm:.0000000000000000' 'NoNewPrivs:.1'; do
	grep -q "^$want" "/proc/$pid/status" || fail "the gateway is not confined: no $want in its status"
done

"$work/sightline" bench -streams 1 -viewers 2 -duration 3s -bitrate 300k -json >/mnt/report || fail "bench: $(cat /mnt/report)"
sed -n '/"packets": {/,/}/p' /mnt/report
kill -TERM "$pid"
wait %1 || fail "the gateway ended with $?"
grep -q 'msg="sightline ended".*cause=terminated' /mnt/log || fail "the gateway has not drained"

[ -s "$work/state/audit.log" ] || fail "there is no audit log"

# allowed prints the system calls of a list of sets and calls.
allowed() {
	local name
	for name; do
		case $name in
		@*) allowed $(awk -v set="$name" '$0 == set { on = 1; next } /^[^ ]/ || /^$/ { on = 0 } on && $1 !~ /^#/ { print $1 }' /mnt/sets) ;;
		*) echo "$name" ;;
		esac
	done
}
filter=$(sed -n 's/^SystemCallFilter=//p' "$unit")
allowed $(grep -v '^~' <<<"$filter") | sort -u >/mnt/in
allowed $(sed -n 's/^~//p' <<<"$filter") | sort -u >/mnt/out
comm -23 /mnt/in /mnt/out >/mnt/allowed
[ "$(wc -l </mnt/allowed)" -gt 100 ] || fail "only $(wc -l </mnt/allowed) system calls are allowed: the sets were not read"
sed -n '\|execve("'"$work"'/sightline"|,$ p' /mnt/all >/mnt/calls # not setpriv's
sed -E 's/^[0-9]+ +//; s/\(.*//; /^[a-z0-9_]+$/!d' /mnt/calls | sort | uniq -c | sort -rn >/mnt/made
[ "$(wc -l </mnt/made)" -gt 10 ] || fail "strace saw next to nothing"
bad=$(awk '{ print $2 }' /mnt/made | sort | comm -23 - /mnt/allowed | grep -vx 'execve' || true)
[ -z "$bad" ] || fail "system calls that $unit forbids:" $bad
if grep -E '(mmap|mprotect)\(.*PROT_WRITE\|PROT_EXEC' /mnt/calls; then
	fail "memory that can be written and run, which MemoryDenyWriteExecute forbids"
fi
families=$(grep -oE 'socket\(AF_[A-Z0-9]+' /mnt/calls | sort -u | sed 's/socket(//')
for family in $families; do
	grep -q "^RestrictAddressFamilies=.*\<$family\>" "$unit" || fail "a socket of $family, which $unit forbids"
done
echo "confined, it streamed by $(wc -l </mnt/made) different system calls and sockets of" $families
