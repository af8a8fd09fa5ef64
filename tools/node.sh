#!/usr/bin/env bash
# Sees to Node 20 or newer for the tests with phoenix.js and examples/node: the machine's own, or one from a wheel, put into .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

fits() { command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; }

if fits; then exit 0; fi
echo "node: none of version 20 or newer here; it comes as a wheel, about 61 MB to download"
.venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --only-binary=:all: \
  -r requirements/node.txt
fits || { echo "node: the wheel's Node does not run on this machine: install Node 20 or newer" >&2; exit 1; }
