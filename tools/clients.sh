#!/usr/bin/env bash
# Builds the programs of examples/ and runs each against one suite, started for them: `tools/clients.sh` all of them,
# `tools/clients.sh node go` these. Needs what they are built with; examples/README.md says what that is.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

tools/node.sh
exec python -m tools.clients "$@"
