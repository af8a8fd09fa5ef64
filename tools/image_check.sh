#!/usr/bin/env bash
# Checks the image without an engine: hadolint's rules, Dockerfile and compose.yaml against the code, the wheel
# installed beside the locked packages alone, the servers started by the commands of compose.yaml, and the default
# command run against them.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

tools/check_packages.sh
hadolint Dockerfile
tools/test.sh tests/image
