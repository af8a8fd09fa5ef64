#!/usr/bin/env bash
# Our own parsers under inputs that are made up as it goes: tests/fuzz. Arguments go on to it: a target, --seconds 60, --keep.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

python -c 'import atheris' 2>/dev/null || python -m pip install --quiet --require-hashes --only-binary=:all: -r requirements/fuzz.txt
exec python -m tests.fuzz "$@"
