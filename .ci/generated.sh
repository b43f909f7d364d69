#!/bin/bash
# Fails if go generate changes anything: what is committed must be what the sources give.
set -euo pipefail
state() { git status --porcelain; git diff | sha256sum; }
before=$(state)
go generate ./...
after=$(state)
if [ "$before" != "$after" ]; then
	git status --short
	echo "go generate changed files: commit what it made" >&2
	exit 1
fi
