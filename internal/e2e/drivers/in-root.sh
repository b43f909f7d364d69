#!/bin/sh
# in-root.sh ROOT COMMAND...: runs COMMAND inside the unpacked system ROOT, in a mount namespace of its own, so that its
# mounts end with it. The process keeps its id from here to COMMAND: a signal to it reaches COMMAND itself.
# SIGHTLINE_SHARE names a folder that COMMAND sees as /srv.
[ "$1" = --inside ] || exec unshare --mount --propagation private "$0" --inside "$@"
shift
root=$1
shift
set -e
for d in proc sys dev; do mount --rbind "/$d" "$root/$d"; done
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
[ -z "$SIGHTLINE_SHARE" ] || mount --bind "$SIGHTLINE_SHARE" "$root/srv"
if [ -d /tmp/.X11-unix ]; then
	mkdir "$root/tmp/.X11-unix"
	mount --bind /tmp/.X11-unix "$root/tmp/.X11-unix"
fi
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="${SIGHTLINE_HOME:-/root}" LC_ALL=C.UTF-8 "$@"
