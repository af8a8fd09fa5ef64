#!/usr/bin/env bash
# Puts into .venv what `make check` needs beside the tests (requirements/check.txt). Does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=$(cat requirements/check.txt <(pwd) | sha256sum)
[ "$(cat .venv/.check 2>/dev/null)" != "$wanted" ] || exit 0
echo "setup: the packages of requirements/check.txt, about 30 MB to download"
.venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --only-binary=:all: \
  -r requirements/check.txt
echo "$wanted" > .venv/.check
