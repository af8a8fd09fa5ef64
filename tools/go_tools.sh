#!/usr/bin/env bash
# Builds grpcurl and kustomize, of the versions that tools/go/go.sum locks, into .cache/bin. Does nothing when they are
# there. Needs Go.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=$(cat tools/go/go.sum tools/go/go.mod | sha256sum)
[ "$(cat .cache/bin/.go-tools 2>/dev/null)" != "$wanted" ] || exit 0
command -v go >/dev/null || { echo "go_tools: Go 1.26 or newer is needed to build grpcurl and kustomize" >&2; exit 1; }
echo "go_tools: building grpcurl and kustomize, about a minute"
mkdir -p .cache/bin
GOBIN="$PWD/.cache/bin" GOFLAGS=-mod=readonly go -C tools/go install tool
echo "$wanted" > .cache/bin/.go-tools
