#!/usr/bin/env bash
# Regenerates the locks from pyproject.toml: requirements/dev.txt (everything), runtime.txt and build.txt (the
# image: what runs, and what builds the wheel), check.txt (documents, Kubernetes), fuzz.txt, node.txt.
# Pins that still fit are kept; `UPGRADE=1 make lock` takes the newest of each. Takes a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

# Locked on the oldest Python that the project supports: packages that only older Pythons need are in.
python=${LOCK_PYTHON:-.venv/bin/python}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
  echo "lock: needs Python 3.11 (LOCK_PYTHON=/path/to/python with pip-tools): the lock is made on the oldest supported one" >&2
  exit 1
}
export CUSTOM_COMPILE_COMMAND="make lock"
options=(--quiet --allow-unsafe --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links)
[ -z "${UPGRADE:-}" ] || options+=(--upgrade)

compile() { "$python" -m piptools compile "${options[@]}" "$@"; }

compile --all-extras --output-file=requirements/dev.txt pyproject.toml requirements/older.in
# One set of versions: what the image runs is what the tests ran.
compile --extra=realtime --extra=email --extra=push --extra=sms --extra=stack --constraint=requirements/dev.txt \
  --output-file=requirements/runtime.txt pyproject.toml requirements/older.in
compile --constraint=requirements/dev.txt --output-file=requirements/build.txt requirements/build.in
compile --constraint=requirements/dev.txt --output-file=requirements/check.txt requirements/check.in
compile --constraint=requirements/dev.txt --output-file=requirements/fuzz.txt requirements/fuzz.in
compile --output-file=requirements/node.txt requirements/node.in
