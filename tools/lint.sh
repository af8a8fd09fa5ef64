#!/usr/bin/env bash
# Every static check. All of them run, also after one has failed.
set -uo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
failed=()

check() { # name, command…
  local name=$1
  shift
  "$@" || failed+=("$name")
}

check "ruff check" ruff check --quiet .
check "ruff format (run 'make fmt')" ruff format --quiet --check .
check mypy mypy --no-error-summary
check "buf lint" buf lint
check "buf format (run 'make fmt')" buf format --diff --exit-code --path protos/crown
# Against what was released, not against the last commit: that would compare a change with itself.
if [ -f protos/released.binpb ]; then
  check "buf breaking" buf breaking --against protos/released.binpb
fi
[ ${#failed[@]} -eq 0 ] || { printf 'lint: %s failed\n' "${failed[@]}" >&2; exit 1; }
