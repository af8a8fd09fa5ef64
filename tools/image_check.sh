#!/usr/bin/env bash
# Checks the image without an engine: hadolint's rules, Dockerfile and compose.yaml against the code, the wheel
# installed beside the locked packages alone, and the default command run with them against real servers.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

tools/check_packages.sh
hadolint Dockerfile
tools/test.sh tests/image
