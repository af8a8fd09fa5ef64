#!/usr/bin/env bash
# Runs pytest over the given folders (further options after --), passing by those that hold no tests yet.
set -euo pipefail
cd "$(dirname "$0")/.."

folders=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  if find "$1" -name 'test_*.py' 2>/dev/null | grep -q .; then folders+=("$1"); else echo "test: no tests in $1"; fi
  shift
done
[ $# -eq 0 ] || shift
[ ${#folders[@]} -gt 0 ] || exit 0
exec .venv/bin/python -m pytest "${folders[@]}" "$@"
