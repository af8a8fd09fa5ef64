#!/usr/bin/env bash
# Runs pytest over the given folders, files or tests (further options after --), each of which has to hold tests. Where at
# most three tests fail, they are run once more by themselves, and it is said so: on a machine that is busy with
# other things a time limit may pass that has nothing to do with the code.
set -euo pipefail
cd "$(dirname "$0")/.."

folders=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  # Without a pipe: `grep -q` would end it early, and its failure count as "none".
  [ -n "$(find "${1%%::*}" -name 'test_*.py' -print -quit)" ] || { echo "test: no tests in $1" >&2; exit 1; }
  folders+=("$1")
  shift
done
[ $# -eq 0 ] || shift
[ ${#folders[@]} -gt 0 ] || exit 0

# A memory of its own for each lane: two may run side by side.
cache=.pytest_cache/${folders[0]//[^A-Za-z0-9]/-}
run=(.venv/bin/python -m pytest -o "cache_dir=$cache" "${folders[@]}" "$@")
rm -rf "$cache"
status=0
"${run[@]}" || status=$?
[ "$status" = 1 ] || exit "$status"
failed=$(.venv/bin/python -c "import json, sys; print(len(json.load(open(sys.argv[1]))))" "$cache/v/cache/lastfailed")
[ "$failed" -le 3 ] || exit 1
echo "test: $failed failed, and run once more by themselves:"
exec "${run[@]}" --last-failed --last-failed-no-failures=none
